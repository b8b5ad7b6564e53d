"""Few-shot classification by nearest class mean: classes with equally many examples, or with a long tail."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from brickwork.evaluation.probes import nearest_class_mean

MOST_SHOTS = 20
TAIL_BELOW = 5  # a class with fewer shots belongs to the tail


@dataclass(frozen=True)
class LongTailAccuracy:
    """Accuracy on the classes with many shots, and on those with few."""

    head: float
    tail: float


def long_tail_shots(num_classes: int) -> Int[np.ndarray, " classes"]:
    """Support examples of each class, falling exponentially from ``MOST_SHOTS`` to 1."""
    steps = np.arange(num_classes) / max(1, num_classes - 1)
    return np.round(MOST_SHOTS ** (1.0 - steps)).astype(np.int64)


def long_tail_accuracy(
    features: Float[np.ndarray, "n dim"],
    labels: Int[np.ndarray, " n"],
    *,
    num_classes: int,
    draws: int,
    seed: int,
) -> LongTailAccuracy:
    """Nearest class mean over ``draws`` random choices of classes and support examples; queries are the rest.

    Two calls with one seed draw the same, so that two embeddings of the same rows can be compared in pairs.

    Raises:
        ValueError: fewer classes than ``num_classes`` have more than ``MOST_SHOTS`` examples.
    """
    classes, counts = np.unique(labels, return_counts=True)
    eligible = classes[counts > MOST_SHOTS]
    if len(eligible) < num_classes:
        raise ValueError(f"{num_classes} classes of {MOST_SHOTS + 1} are needed; there are {len(eligible)}")
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        support, queries, few = [], [], []
        for chosen, count in zip(rng.permutation(eligible)[:num_classes], long_tail_shots(num_classes)):
            rows = rng.permutation(np.flatnonzero(labels == chosen))
            support.append(rows[:count])
            queries.append(rows[MOST_SHOTS:])
            few.append(np.full(len(rows) - MOST_SHOTS, count < TAIL_BELOW))
        s, q, tail = np.concatenate(support), np.concatenate(queries), np.concatenate(few)
        right = nearest_class_mean(features[s], labels[s], features[q]) == labels[q]
        found.append((right[~tail].mean(), right[tail].mean()))
    head, tail_mean = np.mean(found, axis=0)
    return LongTailAccuracy(float(head), float(tail_mean))


def few_shot_accuracy(
    features: Float[np.ndarray, "n dim"],
    labels: Int[np.ndarray, " n"],
    *,
    ways: int,
    shots: int,
    draws: int,
    seed: int,
) -> float:
    """Accuracy of ``ways``-way classification from ``shots`` examples a class, mean over ``draws``.

    Each draw chooses classes and examples; the rest of the chosen classes are queries. Two calls with one seed
    draw the same.

    Raises:
        ValueError: fewer than ``ways`` classes have more than ``shots`` examples.
    """
    classes, counts = np.unique(labels, return_counts=True)
    eligible = classes[counts > shots]
    if len(eligible) < ways:
        raise ValueError(f"{ways} classes of {shots + 1} are needed; there are {len(eligible)}")
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        rows = [rng.permutation(np.flatnonzero(labels == c)) for c in rng.permutation(eligible)[:ways]]
        support = np.concatenate([r[:shots] for r in rows])
        queries = np.concatenate([r[shots:] for r in rows])
        right = nearest_class_mean(features[support], labels[support], features[queries]) == labels[queries]
        found.append(right.mean())
    return float(np.mean(found))
