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
    """The source without its new classes; all rows of these are in the test part, with labels from ``num_classes`` on. There
    the column ``class`` has the name of the class of each row.

    Raises:
        DataError: the source cannot be used, is not labelled, or has too few classes.
    """
    task = load_task(config, seed)
    if task.kind != "labelled":
        return task
    names = task.class_names or tuple(map(str, range(task.num_classes or 0)))
    known = len(names) - config.new_classes
    if config.new_classes:
        if known < 2:
            raise DataError(
                f"data.new_classes={config.new_classes} leaves {max(known, 0)} of the {len(names)} classes of {task.name} "
                "to train on; at least 2 are needed"
            )
        task = _without_new(task, known, names)
    named = [names[label] for label in _labels(task.test)]
    return replace(task, test=Examples({**task.test.columns, "class": named}))


def _without_new(task: TaskData, known: int, names: Sequence[str]) -> TaskData:
    """The task of its first ``known`` classes; what is of others goes to its test part."""
    parts = {"train": task.train, "validation": task.validation, "test": task.test}
    old = {name: part.select(np.flatnonzero(_labels(part) < known).tolist()) for name, part in parts.items()}
    new = [part.select(np.flatnonzero(_labels(part) >= known).tolist()) for part in parts.values()]
    return replace(
        task,
        train=old["train"],
        validation=old["validation"],
        test=_joined([old["test"], *new]),
        num_classes=known,
        class_names=tuple(names[:known]),
        notes=(*task.notes, f"not trained on, but measured as new labels: {', '.join(names[known:])}"),
    )


def split_new(examples: Examples, classes: Sequence[str]) -> tuple[Examples, Examples]:
    """The rows of ``classes``, with labels that are places among these, and those of other ones."""
    labels = _labels(examples)
    if "class" in examples.columns:  # other data counts its classes in its own way
        places = {name: place for place, name in enumerate(classes)}
        labels = np.array(
            [
                places.get(name, len(classes) + label)
                for name, label in zip(examples.columns["class"], labels)
            ],
            dtype=np.int64,
        )
    there = Examples({**examples.columns, "label": labels})
    return (
        there.select(np.flatnonzero(labels < len(classes)).tolist()),
        there.select(np.flatnonzero(labels >= len(classes)).tolist()),
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
