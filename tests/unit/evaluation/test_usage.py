"""Information between modules and labels against scikit-learn, its test by brute force, calibration by hand."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from brickwork.evaluation.usage import (
    information_auc,
    information_test,
    module_shares,
    normalised_information,
    routing_calibration,
)


def test_information_is_that_of_scikit_learn():
    """Each assignment as one pair of module and label."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 5, (12, 4)).astype(float)
    labels = [str(n % 3) for n in range(12)]
    pairs = [(m, labels[r]) for r in range(12) for m in range(4) for _ in range(int(counts[r, m]))]
    modules, names = zip(*pairs)
    expected = normalized_mutual_info_score(names, modules)
    assert normalised_information(counts, labels) == pytest.approx(expected, abs=1e-12)


def test_information_at_its_ends():
    assert normalised_information(np.array([[5.0, 0], [0, 5.0]]), ["a", "b"]) == pytest.approx(1)
    assert normalised_information(np.array([[3.0, 3], [3, 3]]), ["a", "b"]) == pytest.approx(0, abs=1e-12)
    assert normalised_information(np.array([[3.0, 3], [3, 3]]), ["a", "a"]) == pytest.approx(0, abs=1e-12)


def test_p_value_is_that_of_all_permutations():
    """Six rows have 720 orders; the estimate is within 4 standard errors of the exact share."""
    counts = np.array([[4.0, 1], [3, 1], [4, 2], [1, 3], [2, 4], [0, 2]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    observed = normalised_information(counts, labels.tolist())
    every = [normalised_information(counts, list(order)) for order in itertools.permutations(labels.tolist())]
    exact = np.mean([value >= observed - 1e-12 for value in every])
    results = information_test(counts, labels.tolist(), permutations=2000)
    assert results.information == pytest.approx(observed)
    assert abs(results.p_value - exact) < 4 * np.sqrt(exact * (1 - exact) / 2000) + 1 / 2000
    assert results.by_chance == pytest.approx(np.mean(every), abs=0.02)


def test_p_values_without_any_relation_are_even():
    """Of 40 tables without a relation about a tenth is below 0.1; never below 1/(1 + permutations)."""
    rng = np.random.default_rng(1)
    values = [
        information_test(rng.integers(0, 5, (30, 4)).astype(float), [0, 1] * 15, permutations=99).p_value
        for _ in range(40)
    ]
    assert sum(value <= 0.1 for value in values) <= 10
    assert min(values) >= 0.01


def test_probe_tells_what_can_be_told():
    rng = np.random.default_rng(0)
    labels = [0, 1] * 50
    random = rng.integers(1, 9, (100, 4)).astype(float)
    assert 0.3 < information_auc(random, labels) < 0.7
    random[1::2, 0] += 30
    assert information_auc(random, labels) > 0.99


def test_shares():
    np.testing.assert_allclose(module_shares(np.array([[1.0, 3.0], [0, 0]])), [[0.25, 0.75], [0.5, 0.5]])


def test_calibration_by_hand():
    weights = np.array([0.95, 0.95, 0.15, 0.15])
    results = routing_calibration(weights, [True, False, False, False])
    assert results.bins == ((pytest.approx(0.15), 0.0, 2), (pytest.approx(0.95), 0.5, 2))
    assert results.error == pytest.approx(0.5 * 0.15 + 0.5 * 0.45)
    assert routing_calibration(np.array([1.0]), [True]).error == 0
