"""How codes lie, against closed forms and brute force."""

import math

import numpy as np
import pytest

from brickwork.evaluation.codes import effective_rank, ksg_information, leave_one_out_accuracy, mean_cosine


def test_mean_cosine_by_hand():
    codes = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    cosines = unit @ unit.T
    assert mean_cosine(codes) == pytest.approx(cosines[~np.eye(20, dtype=bool)].mean(), abs=1e-6)


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_effective_rank_of_equal_directions_is_their_number(rank):
    codes = np.zeros((2 * rank, 8), np.float32)
    codes[np.arange(rank), np.arange(rank)] = 1
    codes[rank + np.arange(rank), np.arange(rank)] = -1  # centred, and every direction as long
    assert effective_rank(codes) == pytest.approx(rank, rel=1e-6)
    assert effective_rank(np.ones((4, 3), np.float32)) == 1


def test_leave_one_out_is_sklearns():
    from sklearn.model_selection import LeaveOneOut, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=60)
    codes = (rng.normal(size=(60, 4)) + labels[:, None]).astype(np.float32)
    model = KNeighborsClassifier(1, metric="cosine")
    expected = cross_val_score(model, codes, labels, cv=LeaveOneOut()).mean()
    assert leave_one_out_accuracy(codes, labels) == pytest.approx(expected)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_information_of_correlated_gaussians(rho):
    """I = −½ log(1 − ρ²): 0.83 nats at ρ = 0.9."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 1))
    y = rho * x + math.sqrt(1 - rho**2) * rng.normal(size=(3000, 1))
    assert ksg_information(x, y) == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.05)


def test_information_adds_up_over_independent_numbers_and_is_symmetric():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3000, 2))
    y = 0.8 * x + 0.6 * rng.normal(size=(3000, 2))
    assert ksg_information(x, y) == pytest.approx(-math.log(0.36), abs=0.1)
    assert ksg_information(x, y) == pytest.approx(ksg_information(y, x))
