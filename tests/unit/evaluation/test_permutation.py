"""Shuffled labels against scipy's tests."""

import numpy as np
from scipy import stats

from brickwork.evaluation.permutation import benjamini_hochberg, permutation_p


def test_p_values_are_those_of_scipy():
    """Independent shuffles: scipy's permutation test with all assignments; BH: scipy's adjustment."""
    rng = np.random.default_rng(0)
    damage = rng.exponential(size=(8, 5)) + np.outer([1] * 4 + [0] * 4, np.linspace(0, 1, 5))
    behaves = np.array([True] * 4 + [False] * 4)
    p = permutation_p(damage, behaves, list(range(8)), permutations=20_000, seed=0)

    def difference(a, b, axis=0):
        return a.mean(axis) - b.mean(axis)

    exact = stats.permutation_test(
        (damage[:4], damage[4:]), difference, alternative="greater", n_resamples=np.inf, vectorized=True
    )
    np.testing.assert_allclose(p, exact.pvalue, atol=0.012)
    pairs = stats.permutation_test(
        (damage[:4], damage[4:]),
        difference,
        alternative="greater",
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    p = permutation_p(damage, behaves, [0, 1, 2, 3] * 2, permutations=20_000, seed=0)
    np.testing.assert_allclose(p, pairs.pvalue, atol=0.012)
    q = rng.uniform(size=30)
    np.testing.assert_allclose(benjamini_hochberg(q), stats.false_discovery_control(q))


def test_a_null_gives_even_p_values():
    rng = np.random.default_rng(1)
    damage = rng.exponential(size=(40, 200))
    p = permutation_p(damage, rng.permutation(40) < 20, list(range(40)), permutations=999, seed=0)
    assert stats.kstest(p, "uniform").pvalue > 0.01
