"""Learning-rate schedules as pure functions of the step, so that a resume has nothing to restore."""

import math

from brickwork.training.config import Schedule


def rate_factor(step: int, *, steps: int, warmup: float, schedule: Schedule) -> float:
    """What the base learning rate is multiplied with at update ``step`` (from 0) of ``steps``.

    Rises linearly over the first ``warmup`` share of the steps (the first update is never 0), then
    falls along half a cosine or a line towards 0 at ``steps``, or stays at 1.
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done if schedule == "linear" else 1.0
