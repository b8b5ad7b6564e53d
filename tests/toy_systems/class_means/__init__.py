"""Class means: the mean image of each class, counted and not trained. A toy for the tests of the contract."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="class-means",
    title="Class Means",
    authors="Nobody",
    year=2026,
    arxiv="0000.00001",
    group="tests",
    summary="The nearest mean image says the class; classes are ranked for images as items are for users.",
    capabilities=("predicts", "evaluates", "recommends", "analyses", "images"),
)
