"""m2mKD: a modular student learns slot by slot from the slots of a trained network."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="m2mkd",
    title="m2mKD: Module-to-Module Knowledge Distillation for Modular Transformers",
    authors="Lo, Liang, Du, Fan, Wang, Huang, Ma, Fu",
    year=2024,
    arxiv="2402.16918",
    group="modular transformers",
    summary="Cuts a trained vision transformer into slots and trains a modular student (mixtures of experts, or a graph of "
    "latents) slot by slot, each in the same small network as the teacher's slot and in a process of its own if you like; "
    "assembles, fine-tunes, and replaces one slot later.",
    capabilities=("encodes", "predicts", "evaluates", "compares", "draws", "images"),
    jobs=(
        (
            "labelled images in folders by class, and perhaps a finished or pretrained vision transformer",
            "a sparse image classifier whose parts were trained apart, and can be replaced one by one",
        ),
    ),
)
