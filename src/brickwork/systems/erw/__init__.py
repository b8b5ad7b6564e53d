"""Embedded Representation Warmup: the first blocks of a generator of images learn what a frozen encoder knows."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="erw",
    title="Efficient Generative Model Training via Embedded Representation Warmup",
    authors="Liu, Sun, Li, Lin",
    year=2025,
    arxiv="2504.10188",
    group="sequence models",
    summary="Trains a transformer that makes images of a class from noise (flow matching); its first blocks learn to "
    "match the patches of a frozen encoder before, and a fading part of the loss keeps them near. Curves against "
    "operations, with the warm-up counted.",
    capabilities=("evaluates", "generates images", "draws", "images"),
    jobs=(
        (
            "some thousand small images in folders by class, and perhaps an encoder of images",
            "a generator of such images by class, and what the warm-up was worth in operations",
        ),
    ),
)
