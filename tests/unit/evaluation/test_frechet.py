"""Fréchet distance, against its closed forms and scipy's root of a matrix."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from brickwork.evaluation.frechet import frechet_distance


def vectors(rows, dim, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, dim)) @ rng.normal(size=(dim, dim)) + rng.normal(size=dim)


def test_the_root_is_scipys():
    x, y = vectors(50, 4, 0), vectors(70, 4, 1)
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = sqrtm(cov_x @ cov_y).real
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(cov_x + cov_y - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_one_dimension_has_a_closed_form():
    """(μ − ν)² + (σ − τ)²."""
    x, y = vectors(30, 1, 2), vectors(40, 1, 3)
    expected = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_a_shift_is_its_squared_length_whatever_the_rank():
    x = vectors(5, 20, 4)  # fewer vectors than dimensions
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-6)
    assert frechet_distance(x, x + 0.5) == pytest.approx(20 * 0.25, abs=1e-6)
    with pytest.raises(ValueError, match="two or more"):
        frechet_distance(x[:1], x)
