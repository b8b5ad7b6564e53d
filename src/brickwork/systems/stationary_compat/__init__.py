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
    flow=(
        ("data", "data.load.load_task, data.rehearsal.exemplars"),
        ("encoder", "encoders.text.TextEncoder or encoders.image.ImageEncoder"),
        ("classifier", "modules.simplex.SimplexHead, modules.simplex.SlotRegistry"),
        ("objective", "objectives.classification.cross_entropy, objectives.compatibility.higher_order"),
        ("training", "training.loop.fit"),
        ("representation", "representation.model.Representation"),
        ("evaluation", "evaluation.compatibility.CompatibilityMatrix"),
        ("index", "index.replacement.check_successor"),
    ),
)
