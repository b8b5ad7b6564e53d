"""What the battery has to know of feature-bias."""

from dataclasses import replace
from typing import Any

from brickwork.systems.feature_bias.recipes import smoke
from brickwork.training.config import Stage

CANDIDATES = {
    "features": [("majority5", "xor2")],
    "widths": [(16, 8)],
    "prevalence": [(1.0, 0.5)],
    "data.bits": [9],
}


def runs() -> list[Any]:
    """A transformer; features that are not always there; one feature first."""
    run = smoke()
    transformer = replace(run.model, network="transformer", widths=None, width=8, depth=1)
    rare = replace(run.model, prevalence=(1.0, 0.5))
    first = replace(run, stages=(Stage(name="first", steps=100), Stage(name="all")))
    return [replace(run, model=transformer), replace(run, model=rare), first]
