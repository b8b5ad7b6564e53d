"""ALIGN: images and texts in one space, learned from noisy pairs."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="align",
    title="Scaling Up Visual and Vision-Language Representation Learning With Noisy Text Supervision",
    authors="Jia, Yang, Xia, Chen, Parekh, Pham, Le, Sung, Li, Duerig",
    year=2021,
    arxiv="2102.05918",
    group="vision and language",
    summary="Two encoders, of images and of texts, trained with a contrastive loss on pairs that are cleaned by "
    "frequency rules alone: search images by text, by image and by both, classify them by names.",
    capabilities=("encodes", "text", "image"),
    jobs=(
        (
            "images with captions or alt texts",
            "images found by words, by example or by both; classes by their names alone",
        ),
    ),
)
