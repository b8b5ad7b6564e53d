"""EMoE: the feed-forward layers of a pretrained transformer as groups of neurons, of which a token uses a few."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="emoe",
    title="Unlocking Emergent Modularity in Large Language Models",
    authors="Qiu, Huang, Fu",
    year=2023,
    arxiv="2310.10908",
    group="modular transformers",
    summary="Cuts feed-forward layers of a pretrained transformer into groups of neurons that answer together, and "
    "fine-tunes it on labels while each token uses some of the groups: no parameter more, served dense or with a share of "
    "the groups, and written back as the same architecture.",
    capabilities=("predicts", "evaluates", "analyses", "dense", "compares", "draws", "text", "images"),
    jobs=(
        (
            "labelled texts or images, few of them, and a pretrained transformer",
            "a classifier of the same size, served whole or with a share of its feed-forward groups",
        ),
    ),
)
