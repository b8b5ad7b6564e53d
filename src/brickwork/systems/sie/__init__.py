"""SIE: vectors of which one part ignores a known change and another can be moved as the change would move it."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="sie",
    title="Self-Supervised Learning of Split Invariant Equivariant Representations",
    authors="Garrido, Najman, LeCun",
    year=2023,
    arxiv="2302.10283",
    group="learning objectives",
    summary="Learns, from views of the same objects with known changes (angle, light, hue), vectors with an invariant part, "
    "for search that ignores the changes, and an equivariant part that a hypernetwork moves as a change would: search for "
    "the object turned by 30° more, and read the change between two images.",
    capabilities=("encodes", "evaluates", "predicts", "draws", "images"),
    jobs=(
        (
            "images of objects with known changes (angle, light, hue …)",
            "search that ignores the changes, search that follows them, and the change between two images",
        ),
    ),
)
