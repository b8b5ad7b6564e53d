"""Feature bias: which of several equally needed features networks represent strongly, where the truth is known."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="feature-bias",
    title="Learned feature representations are biased by complexity, learning order, position, and more",
    authors="Lampinen, Chan, Hermann",
    year=2024,
    arxiv="2405.05847",
    group="inspection",
    summary="Networks that have to output several independent features of their input, and how much of the variance of each "
    "layer each feature explains, beside networks whose features are equal: the scale on which shares of variance of any "
    "other model are to be read.",
    capabilities=("evaluates", "analyses", "draws", "tables"),
    jobs=(
        (
            "a model of vectors, and a table of items with labelled properties",
            "how much of its vectors each property explains (`inspect`), and networks to calibrate that",
        ),
    ),
)
