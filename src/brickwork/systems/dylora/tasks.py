"""The data of a run: anything with labels, and the sets that the claims are checked on."""

from dataclasses import replace

import numpy as np

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


def _turned(part: Examples) -> Examples:
    images = np.ascontiguousarray(np.rot90(part.columns["input"], axes=(1, 2)))
    return Examples({**part.columns, "input": images})
