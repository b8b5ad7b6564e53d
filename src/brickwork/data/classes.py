"""Classes of one task as another one counts them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from brickwork.core.errors import DataError, warn
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


def warn_of_case(classes: Sequence[str], source: str) -> None:
    """Says which classes differ in nothing but case or blanks, as a slip of the pen would make them."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(" ".join(name.casefold().split()), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            listed = ", ".join(map(repr, names))
            warn(f"{source}: {listed} are {len(names)} classes; where one is meant, give them one name")


def _relabelled(part: Examples, places: np.ndarray) -> Examples:
    if not len(part):
        return part
    return Examples({**part.columns, "label": places[np.asarray(part.columns["label"])]})
