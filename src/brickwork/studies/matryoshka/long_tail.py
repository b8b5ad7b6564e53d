"""Few-shot classification by nearest class mean: classes with equally many examples, or with a long tail.

Each draw chooses classes and support examples; the other examples of those classes are queries. Two calls with one seed draw
the same, so that two embeddings of the same rows can be compared in pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from brickwork.evaluation.probes import nearest_class_mean

MOST_SHOTS = 20
TAIL_BELOW = 5  # a class with fewer shots belongs to the tail

Features = Float[np.ndarray, "n dim"]
Labels = Int[np.ndarray, " n"]
Shots = Int[np.ndarray, " classes"]


@dataclass(frozen=True)
class LongTailAccuracy:
    """Accuracy on the classes with many shots, and on those with few."""

    head: float
    tail: float


def long_tail_shots(num_classes: int) -> Shots:
    """Support examples of each class, falling exponentially from ``MOST_SHOTS`` to 1."""
    steps = np.arange(num_classes) / max(1, num_classes - 1)
    return np.round(MOST_SHOTS ** (1.0 - steps)).astype(np.int64)


def long_tail_accuracy(
    features: Features, labels: Labels, *, num_classes: int, draws: int, seed: int
) -> LongTailAccuracy:
    """The mean over ``draws``, with :func:`long_tail_shots`.

    Raises:
        ValueError: fewer classes than ``num_classes`` have more than ``MOST_SHOTS`` examples.
    """
    scores = [
        (right[shots >= TAIL_BELOW].mean(), right[shots < TAIL_BELOW].mean())
        for right, shots in _draws(features, labels, long_tail_shots(num_classes), draws, seed)
    ]
    return LongTailAccuracy(*np.mean(scores, axis=0).tolist())


def few_shot_accuracy(
    features: Features, labels: Labels, *, ways: int, shots: int, draws: int, seed: int
) -> float:
    """The mean over ``draws`` of ``ways``-way classification from ``shots`` examples a class.

    Raises:
        ValueError: fewer than ``ways`` classes have more than ``shots`` examples.
    """
    every_draw = _draws(features, labels, np.full(ways, shots), draws, seed)
    return float(np.mean([right.mean() for right, _ in every_draw]))


def _draws(
    features: Features, labels: Labels, shots: Shots, draws: int, seed: int
) -> Iterator[tuple[Bool[np.ndarray, " queries"], Int[np.ndarray, " queries"]]]:
    """For each query of a draw: whether it is classified right, and how many shots its class has."""
    most = int(shots.max())
    classes, counts = np.unique(labels, return_counts=True)
    eligible = classes[counts > most]
    if len(eligible) < len(shots):
        raise ValueError(f"{len(shots)} classes of {most + 1} are needed; there are {len(eligible)}")
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        chosen = rng.permutation(eligible)[: len(shots)]
        rows = [rng.permutation(np.flatnonzero(labels == label)) for label in chosen]
        support = np.concatenate([r[:count] for r, count in zip(rows, shots)])
        queries = np.concatenate([r[most:] for r in rows])
        right = nearest_class_mean(features[support], labels[support], features[queries]) == labels[queries]
        yield right, np.repeat(shots, [len(r) - most for r in rows])
