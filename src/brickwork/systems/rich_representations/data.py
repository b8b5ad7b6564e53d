"""The data of a run: anything with labels, of which some may be kept for later."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np

from brickwork.core.config import at_least
from brickwork.core.errors import DataError
from brickwork.data.config import ImageDataConfig
from brickwork.data.load import load_task
from brickwork.data.types import Examples, TaskData


@dataclass(frozen=True, kw_only=True)
class Data(ImageDataConfig):
    """The data of a run of ``rich-representations``: anything with labels."""

    new_classes: Annotated[int, at_least(0)] = 0
    """So many classes, the last by name, are not trained on: the report measures how well they are learnt afterwards."""


def load_data(config: Data, seed: int) -> TaskData:
    """The source without its new classes; all rows of these are in the test part, with labels from ``num_classes`` on.

    Raises:
        DataError: the source cannot be used, is not labelled, or has too few classes.
    """
    task = load_task(config, seed)
    if not config.new_classes or task.kind != "labelled":
        return task
    known = (task.num_classes or 0) - config.new_classes
    if known < 2:
        raise DataError(
            f"data.new_classes={config.new_classes} leaves {max(known, 0)} of the {task.num_classes} classes of {task.name} "
            "to train on; at least 2 are needed"
        )
    parts = {"train": task.train, "validation": task.validation, "test": task.test}
    old = {name: part.select(np.flatnonzero(_labels(part) < known).tolist()) for name, part in parts.items()}
    new = [part.select(np.flatnonzero(_labels(part) >= known).tolist()) for part in parts.values()]
    names = task.class_names or tuple(map(str, range(task.num_classes or 0)))
    return replace(
        task,
        train=old["train"],
        validation=old["validation"],
        test=_joined([old["test"], *new]),
        num_classes=known,
        class_names=names[:known],
        notes=(*task.notes, f"not trained on, but measured as new labels: {', '.join(names[known:])}"),
    )


def split_new(examples: Examples, classes: int) -> tuple[Examples, Examples]:
    """The rows of the classes that were trained on, and those of the new ones."""
    labels = _labels(examples)
    return (
        examples.select(np.flatnonzero(labels < classes).tolist()),
        examples.select(np.flatnonzero(labels >= classes).tolist()),
    )


def _labels(examples: Examples) -> np.ndarray:
    return np.asarray(examples.columns["label"], dtype=np.int64)


def _joined(parts: Sequence[Examples]) -> Examples:
    """All rows, one part after the other."""
    columns: dict[str, Any] = {}
    for name, column in parts[0].columns.items():
        several = [part.columns[name] for part in parts if len(part)]
        if isinstance(column, np.ndarray):
            columns[name] = np.concatenate([column[:0], *several])
        else:
            columns[name] = [value for part in several for value in part]
    return Examples(columns)
