"""The data of a run: anything with labels, and the sets that the claims are checked on."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from brickwork.core.errors import DataError
from brickwork.data.config import DataConfig, refuse_image_size
from brickwork.data.load import load_task
from brickwork.data.sets.images import image_task
from brickwork.data.sets.sentence_tasks import SENTENCE_TASKS, sentence_task
from brickwork.data.types import Examples, TaskData

TURNED = "digits-turned"
_UPRIGHT_CLASSES = 5  # that the backbone knows


def load_data(config: DataConfig, seed: int) -> TaskData:
    """The source; also the sentence tasks, and ``digits-turned``: scikit-learn's digits, turned by a quarter. Its variant
    ``upright`` has the digits 0 to 4 of the training part as they are, for a stage that trains a backbone."""
    if config.source in (*SENTENCE_TASKS, TURNED):
        refuse_image_size(config)
    if config.source in SENTENCE_TASKS:
        return sentence_task(config.source, config, seed)
    if config.source != TURNED:
        return load_task(config, seed)
    task = image_task(config, seed, "digits")
    known = np.asarray(task.train.columns["label"]) < _UPRIGHT_CLASSES
    return replace(
        task,
        name=TURNED,
        train=_turned(task.train),
        validation=_turned(task.validation),
        test=_turned(task.test),
        variants={"upright": task.train.select(np.flatnonzero(known).tolist())},
    )


def with_classes(task: TaskData, classes: Sequence[str]) -> TaskData:
    """The task with its labels counted as in ``classes``: a file with fewer classes counts its own otherwise.

    Raises:
        DataError: a class that is none of them.
    """
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


def _turned(part: Examples) -> Examples:
    images = np.ascontiguousarray(np.rot90(part.columns["input"], axes=(1, 2)))
    return Examples({**part.columns, "input": images})
