"""Stationary representations: the next version of an encoder whose old index keeps working."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="stationary-compat",
    title="Stationary Representations: Optimally Approximating Compatibility and Implications for Improved Model "
    "Replacements",
    authors="Biondi, Pernici, Ricci, Del Bimbo",
    year=2024,
    arxiv="2405.02581",
    group="learning objectives",
    summary="A fixed simplex classifier and a loss towards the old model: new queries search the old index.",
    capabilities=("encodes", "succeeds", "text", "image"),
    jobs=(("an index that an older model made", "a better model, with which the old index keeps working"),),
)
