"""Classes of one task as another one counts them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from brickwork.core.errors import DataError
from brickwork.data.types import Examples, TaskData


def with_classes(task: TaskData, classes: Sequence[str]) -> TaskData:
    """The task with its labels counted as in ``classes``: a file with fewer classes counts its own otherwise.

    Raises:
        DataError: no classes, or one that is none of them.
    """
    if task.kind != "labelled":
        raise DataError(
            f"{task.name} has no classes ({task.kind}); bring what the model has learnt, with a class for each"
        )
    names = task.class_names or tuple(map(str, range(task.num_classes or 0)))
    strange = [name for name in names if name not in classes]
    if strange:
        raise DataError(
            f"{task.name} has the class '{strange[0]}', which the model has not learnt; it knows {', '.join(classes[:12])}"
        )
    places = np.array([classes.index(name) for name in names], dtype=np.int64)
    train, validation, test = (_relabelled(part, places) for part in (task.train, task.validation, task.test))
    return replace(
        task,
        train=train,
        validation=validation,
        test=test,
        class_names=tuple(classes),
        num_classes=len(classes),
    )


def _relabelled(part: Examples, places: np.ndarray) -> Examples:
    if not len(part):
        return part
    return Examples({**part.columns, "label": places[np.asarray(part.columns["label"])]})
