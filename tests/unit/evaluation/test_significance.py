"""Bootstrap against scipy.stats.bootstrap, intervals over seeds against scipy's t."""

import numpy as np
import pytest
from scipy import stats

from brickwork.evaluation.significance import paired_bootstrap, paired_bootstrap_columns, seed_interval


def test_interval_equals_scipys_percentile_bootstrap():
    rng = np.random.default_rng(0)
    before, after = rng.random(80), rng.random(80) + 0.1
    ours = paired_bootstrap(before, after, num_resamples=20_000)
    theirs = stats.bootstrap(
        (after - before,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.mean == pytest.approx((after - before).mean())
    # Both are Monte Carlo: agreement to a few per cent of the width.
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


def test_interval_and_p_follow_the_normal_law():
    # Closed form for the mean of many values: mean ± 1.96 s/√n and the two-sided normal p-value.
    rng = np.random.default_rng(2)
    difference = rng.standard_normal(400) * 0.5 + 0.04
    results = paired_bootstrap(np.zeros(400), difference)
    error = difference.std() / 20
    assert results.high - results.low == pytest.approx(2 * 1.96 * error, rel=0.04)
    assert results.p == pytest.approx(2 * stats.norm.sf(abs(difference.mean()) / error), rel=0.25, abs=0.003)


def test_no_difference_and_a_certain_one():
    same = paired_bootstrap(np.full(10, 0.3), np.full(10, 0.3))
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)
    certain = paired_bootstrap(np.zeros(10), np.ones(10))
    assert (certain.low, certain.high) == (1, 1)
    assert certain.p == pytest.approx(2 / 10_001)


def test_columns_equal_single_calls_and_chunking_changes_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    differences = rng.standard_normal((50, 3))

    def rows(results):
        return [[d.mean, d.low, d.high, d.p] for d in results]

    together = rows(paired_bootstrap_columns(differences, num_resamples=500))
    alone = [paired_bootstrap(np.zeros(50), differences[:, i], num_resamples=500) for i in range(3)]
    np.testing.assert_allclose(together, rows(alone), atol=1e-12)
    monkeypatch.setattr("brickwork.evaluation.significance._CHUNK_NUMBERS", 50 * 7)
    np.testing.assert_allclose(
        rows(paired_bootstrap_columns(differences, num_resamples=500)), together, atol=1e-12
    )


def test_no_query_is_an_error():
    with pytest.raises(ValueError, match="at least one query"):
        paired_bootstrap(np.zeros(0), np.zeros(0))


def test_seed_interval_equals_scipy():
    values = [0.31, 0.35, 0.30, 0.36]
    results = seed_interval(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (results.low, results.high) == (pytest.approx(low), pytest.approx(high))
    assert results.num_seeds == 4


def test_one_seed_has_no_interval():
    results = seed_interval([0.5])
    assert (results.mean, results.low, results.high) == (0.5, None, None)
