"""A few examples of each class, kept for later: what a model that learns new classes is reminded of the old ones with."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from brickwork.data.splits import stable_hash
from brickwork.data.types import Examples


def exemplars(examples: Examples, per_class: int, seed: int) -> Examples:
    """At most ``per_class`` labelled examples of each class, chosen by a hash of the row and ``seed``, in their order."""
    labels = np.asarray(examples.columns["label"])
    kept: list[int] = []
    for label in np.unique(labels).tolist():
        rows = np.flatnonzero(labels == label).tolist()
        kept += sorted(rows, key=lambda row: stable_hash(seed, row))[:per_class]
    return examples.select(sorted(kept))


def of_classes(examples: Examples, classes: Iterable[int]) -> Examples:
    """The labelled examples whose class is one of ``classes``, in their order."""
    labels = np.asarray(examples.columns["label"])
    return examples.select(np.flatnonzero(np.isin(labels, list(classes))).tolist())


def joined(first: Examples, *others: Examples) -> Examples:
    """All rows, one after the other; every part has the columns of the first."""
    columns: dict[str, Any] = {}
    for name, column in first.columns.items():
        parts = [column, *(other.columns[name] for other in others)]
        if isinstance(column, np.ndarray):
            columns[name] = np.concatenate([np.asarray(part) for part in parts])
        else:
            columns[name] = [value for part in parts for value in part]
    return Examples(columns)
