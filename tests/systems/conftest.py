"""Tiny tasks in memory, for every kind of data."""

from dataclasses import replace

import numpy as np
import pytest

from brickwork.data.generators.toy_text import toy_pairs
from brickwork.data.types import Examples, TaskData
from brickwork.encoders.config import TextEncoderConfig


def _task(kind: str, columns: dict, **more) -> TaskData:
    examples = Examples(columns)
    modality = "image" if isinstance(columns.get("input"), np.ndarray) else "text"
    return TaskData(
        name=kind, kind=kind, modality=modality, train=examples, validation=examples, test=examples, **more
    )


@pytest.fixture(scope="session")
def pairs() -> TaskData:
    anchors, positives = (list(column) for column in zip(*toy_pairs(64, 0)))
    return _task("pairs", {"anchor": anchors, "positive": positives, "group": list(range(64))})


@pytest.fixture(scope="session")
def triplets(pairs) -> TaskData:
    negative = [statement for _, statement in toy_pairs(64, 1)]
    examples = Examples({**pairs.train.columns, "negative": negative})
    return replace(pairs, name="triplets", kind="triplets", train=examples)


@pytest.fixture(scope="session")
def scored(pairs) -> TaskData:
    columns = pairs.train.columns
    score = [i / 63 for i in range(64)]
    return _task("scored", {"anchor": columns["anchor"], "positive": columns["positive"], "score": score})


@pytest.fixture(scope="session")
def images() -> TaskData:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 64)
    pixels = (rng.random((64, 8, 8, 1)) * 100 + 50 * labels[:, None, None, None]).astype(np.uint8)
    return _task("labelled", {"input": pixels, "label": labels}, num_classes=3, class_names=("a", "b", "c"))


@pytest.fixture(scope="session")
def labelled_texts(pairs) -> TaskData:
    texts = pairs.train.columns["anchor"]
    return _task("labelled", {"input": texts, "label": [i % 3 for i in range(64)]}, num_classes=3)


@pytest.fixture(scope="session")
def tiny_text() -> TextEncoderConfig:
    return TextEncoderConfig(
        backbone="scratch", width=32, num_layers=4, num_heads=2, mlp_width=48, vocab_size=320, max_tokens=32
    )
