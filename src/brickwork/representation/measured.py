"""What a training measured of its model on held-out searches, as the model's card has it: how much of full size's quality
each smaller size keeps. What was never measured is not guessed."""

import math
import statistics
from collections.abc import Mapping
from typing import Any

Size = tuple[int, int]
"""Dimensions and layers."""
METRIC = "ndcg@10"


def measured_tasks(card: Mapping[str, Any]) -> dict[str, Any]:
    """The search tasks of the card's ``measurement``, by name."""
    measurement = card.get("measurement")
    tasks = measurement.get("retrieval") if isinstance(measurement, Mapping) else None
    return {str(t.get("name", "")) if isinstance(t, Mapping) else "": t for t in tasks or ()}


def qualities(task: Any, metric: str = METRIC, *, hybrid: bool = False) -> dict[Size, float]:
    """The quality of each size on one of these tasks, by vectors alone or, with ``hybrid``, with words beside them; damaged
    entries are left out."""
    values: dict[Size, float] = {}
    for cell in task.get("cells", ()) if isinstance(task, Mapping) else ():
        scores = cell.get("hybrid") if hybrid and isinstance(cell, Mapping) else cell
        value = scores.get(metric) if isinstance(scores, Mapping) else None
        if isinstance(value, int | float) and math.isfinite(value):
            values[cell.get("dim"), cell.get("layers")] = float(value)
    return values


def kept_share(card: Mapping[str, Any], dim: int, layers: int) -> float:
    """The share of full size's nDCG@10 by vectors that ``dim`` and ``layers`` keep, the mean over the tasks, at most 1.
    Between measured sizes of vectors it is that of the next shorter one; 1 where it was not measured."""
    shares = []
    for task in measured_tasks(card).values():
        values = qualities(task)
        shorter = [size for size in values if size[0] <= dim and size[1] == layers]
        full = values[max(values, key=lambda size: (size[1], size[0]))] if values else 0.0
        if not shorter or full <= 0:
            return 1.0
        shares.append(min(1.0, values[max(shorter)] / full))
    return statistics.fmean(shares) if shares else 1.0
