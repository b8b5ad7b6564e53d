"""From the outputs of every task at every step to predictions, contributions of modalities, and traces."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from brickwork.core.types import Trace
from brickwork.data.types import Examples
from brickwork.systems.multimodn.layout import TableLayout, TargetLayout
from brickwork.systems.multimodn.missingness import delete, is_present
from brickwork.systems.multimodn.modules import contributions

Stages = Mapping[str, np.ndarray]
"""By target, (steps, rows, classes) probabilities or (steps, rows, 1) numbers."""


def predictions(layout: TableLayout, stages: Stages) -> dict[str, Any]:
    """The last step as columns: of a class target ``NAME`` and ``NAME=CLASS`` with its probability, else the number."""
    columns: dict[str, Any] = {}
    for target in layout.targets:
        last = stages[target.name][-1]
        if not target.is_class:
            columns[target.name] = last[:, 0]
            continue
        columns[target.name] = [target.label(place) for place in last.argmax(1).tolist()]
        columns |= {f"{target.name}={name}": last[:, place] for place, name in enumerate(target.classes)}
    return columns


def path(
    target: TargetLayout, stages: Float[np.ndarray, "steps rows out"]
) -> Float[np.ndarray, "steps rows"]:
    """What is followed from step to step: the probability of the second of two classes, else of the class that is
    predicted in the end; or a number."""
    column = np.full(stages.shape[1], 1 if len(target.classes) == 2 else 0)
    if len(target.classes) > 2:
        column = stages[-1].argmax(1)
    return np.take_along_axis(stages, column[None, :, None], axis=2)[..., 0]


def moves(
    target: TargetLayout, stages: Float[np.ndarray, "steps rows out"]
) -> Float[np.ndarray, "rows modalities"]:
    """How far each modality moved the answer along its :func:`path`."""
    followed = path(target, stages)
    return contributions(torch.from_numpy(followed), range(len(followed) - 1)).numpy()


def unit_of(target: TargetLayout) -> str:
    """What contributions to a target are counted in."""
    if len(target.classes) == 2:
        return f"change of P({target.classes[1]})"
    return "change of P(predicted class)" if target.is_class else "change"


def traces(layout: TableLayout, stages: Stages, examples: Examples) -> list[Trace]:
    """For each target the contributions of all rows, by true class."""
    result = []
    for target in layout.targets:
        domain = None
        if target.is_class and target.column in examples.columns:
            truth = np.asarray(examples.columns[target.column])
            domain = tuple(target.classes[y] if y >= 0 else "unknown" for y in truth)
        usage = moves(target, stages[target.name])
        result.append(
            Trace(name=target.name, modules=layout.names, usage=usage, domain=domain, unit=unit_of(target))
        )
    return result


def importance(system: Any, examples: Examples, target: str) -> dict[str, tuple[float, float]]:
    """What each modality does when it alone is read from the initial state, over the rows that have it.

    (mean absolute change of the answer, decrease of the loss L[0, t] − L[i, t]); the second is NaN where the examples have
    no such target. 0 for a modality that no row has.
    """
    layout = system.layout.target(target)
    results = {}
    for name in system.layout.names:
        rows = np.flatnonzero(is_present(examples, name))
        alone = examples.select(rows.tolist())
        for other in system.layout.names:
            if other != name:
                alone = delete(alone, other, np.arange(len(rows)))
        stages = system.stages(alone)[target]
        change = float(np.abs(moves(layout, stages).sum(1)).mean()) if len(rows) else 0.0
        decrease = float("nan")
        if len(rows) and layout.column in examples.columns:
            first, last = (_loss(layout, stages[step], alone) for step in (0, -1))
            decrease = first - last
        results[name] = (change, decrease)
    return results


def _loss(layout: TargetLayout, outputs: Float[np.ndarray, "rows out"], examples: Examples) -> float:
    """Mean negative log-probability of the true class, or mean squared error."""
    truth = np.asarray(examples.columns[layout.column])
    if not layout.is_class:
        return float(np.nanmean((outputs[:, 0] - truth) ** 2))
    labelled = np.flatnonzero(truth >= 0)
    return float(-np.log(np.maximum(outputs[labelled, truth[labelled]], 1e-12)).mean())
