"""What the battery has to know of feature-bias."""

from dataclasses import replace
from typing import Any

from brickwork.systems.feature_bias.recipes import smoke

UNTESTED = {
    "first": "of a stage; tests/systems/test_feature_bias.py",
    "watch": "measures only; tests/systems/test_feature_bias.py",
    "data.source": "there is one; tests/systems/test_feature_bias.py refuses others",
}
CANDIDATES = {
    "features": [("majority5", "xor2")],
    "widths": [(16, 8)],
    "prevalence": [(1.0, 0.5)],
    "data.bits": [9],
}


def runs() -> list[Any]:
    """Sizes that are not given, a small transformer, and features that are not always there."""
    run = smoke()
    models = [
        replace(run.model, widths=None),
        replace(run.model, network="transformer", widths=None, width=8, depth=1),
        replace(run.model, prevalence=(1.0, 0.5)),
    ]
    return [replace(run, model=model) for model in models]
