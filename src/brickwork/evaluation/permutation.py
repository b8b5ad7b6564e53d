"""Whether a part of a model matters more for inputs with a behaviour (or of a domain) than for those without: shuffled
labels.

Shape legend: E inputs, N parts (heads, groups of neurons, modules), P shuffles.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float


def permutation_p(
    damage: Float[np.ndarray, "inputs parts"],
    behaves: Bool[np.ndarray, " inputs"],
    groups: Sequence[int],
    *,
    permutations: int,
    seed: int,
) -> Float[np.ndarray, " parts"]:
    """P(mean damage with − without the behaviour is as large, labels shuffled), one-sided: (1 + count) / (1 + P).

    Labels are shuffled inside ``groups`` where each has both, so that what a pair shares counts for nothing; else among all.
    """
    rng = np.random.default_rng(seed)
    label = behaves.astype(np.float64)
    keys = np.asarray(groups)
    own = [np.flatnonzero(keys == key) for key in np.unique(keys)]
    if any(len(set(behaves[rows])) < 2 for rows in own):
        own = [np.arange(len(label))]
    shuffled = np.empty((permutations, len(label)))
    for rows in own:
        shuffled[:, rows] = rng.permuted(np.tile(label[rows], (permutations, 1)), axis=1)
    observed = _difference(label[None], damage)[0]
    null = _difference(shuffled, damage)
    return (1 + (null >= observed - 1e-12).sum(0)) / (1 + permutations)


def _difference(labels: np.ndarray, damage: np.ndarray) -> np.ndarray:
    """Mean with − mean without, for each row of labels."""
    count = labels.sum(1, keepdims=True)
    return labels @ damage / count - (1 - labels) @ damage / (labels.shape[1] - count)


def benjamini_hochberg(p: Float[np.ndarray, " parts"]) -> Float[np.ndarray, " parts"]:
    """q: the smallest share of false findings at which each would be one (Benjamini, Hochberg 1995)."""
    order = np.argsort(p)
    ranked = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.minimum.accumulate(ranked[::-1])[::-1]
    q = np.empty_like(p)
    q[order] = np.minimum(adjusted, 1)
    return q
