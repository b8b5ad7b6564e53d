"""The cascade against a brute-force search over thresholds and a loop over examples."""

from itertools import pairwise

import numpy as np
import pytest

from brickwork.systems.matryoshka.cascade import CascadePolicy

DIMS = (2, 4, 8)


def sample(seed: int, rows: int = 80):
    """Logits that get better with the prefix."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 5, rows)
    right = np.eye(5)[labels]
    return {m: right * np.log2(m) + generator.normal(size=(rows, 5)) for m in DIMS}, labels


def probabilities(logits):
    e = np.exp(logits)
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("seed", range(4))
def test_thresholds_are_the_best_of_the_grid_pair_by_pair(seed):
    logits, labels = sample(seed)
    policy = CascadePolicy.fit(logits, labels)
    for j, (m, following) in enumerate(pairwise(DIMS)):
        best, best_right = None, -1
        for t in np.linspace(0.1, 1, 100):
            right = 0
            for i in range(len(labels)):
                p = probabilities(logits[m][i : i + 1])[0]
                used = p if p.max() > t else logits[following][i]
                right += int(np.argmax(used) == labels[i])
            if right > best_right:  # the smallest of equals
                best, best_right = t, right
        assert policy.thresholds[j] == pytest.approx(best)


@pytest.mark.parametrize("cap", [None, 2, 4, 8])
def test_each_example_stops_at_the_first_sure_prefix(cap):
    logits, labels = sample(9)
    policy = CascadePolicy(DIMS, (0.6, 0.5))
    result = policy.apply(logits, cap)
    last = DIMS.index(cap) if cap else 2
    for i in range(len(labels)):
        j = 0
        while j < last and probabilities(logits[DIMS[j]][i : i + 1]).max() <= policy.thresholds[j]:
            j += 1
        assert result.chosen[i] == j
        assert result.predictions[i] == np.argmax(logits[DIMS[j]][i])
    assert result.expected_dim == pytest.approx(np.mean([DIMS[j] for j in result.chosen]))
    assert cap == 2 or len(set(result.chosen)) > 1


def test_extreme_thresholds():
    logits, _ = sample(1)
    assert CascadePolicy(DIMS, (0.0, 0.0)).apply(logits).expected_dim == 2
    assert CascadePolicy(DIMS, (1.0, 1.0)).apply(logits).expected_dim == 8


def test_unknown_cap():
    with pytest.raises(ValueError, match="cap 3"):
        CascadePolicy(DIMS, (0.5, 0.5)).apply(sample(0)[0], cap=3)
