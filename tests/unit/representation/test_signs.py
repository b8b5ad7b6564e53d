"""Rows of signs: against matrices of ±1 and NumPy's sorting."""

import numpy as np
import pytest

from brickwork.representation.nearest import top_k
from brickwork.representation.signs import CANDIDATES, SignRows, as_signs, pack_signs

RNG = np.random.default_rng(0)
X = RNG.standard_normal((200, 44)).astype(np.float32)


@pytest.fixture
def rows():
    return SignRows(pack_signs(X), 44)


def test_rows_are_unit_vectors_of_signs(rows):
    expected = np.where(X > 0, 1, -1) / np.sqrt(44)
    np.testing.assert_allclose(np.asarray(rows), expected, rtol=1e-6)
    np.testing.assert_allclose(rows[np.array([5, 3, 5])], expected[[5, 3, 5]], rtol=1e-6)
    np.testing.assert_allclose(rows[X[:, 0] > 0], expected[X[:, 0] > 0], rtol=1e-6)
    assert rows.shape == (200, 44)
    assert rows.nbytes == 200 * 6


@pytest.mark.parametrize("dim", [1, 7, 8, 9, 16, 43, 44])
def test_prefixes(rows, dim):
    np.testing.assert_array_equal(np.asarray(rows.prefix(dim)), as_signs(X[:, :dim]))
    np.testing.assert_array_equal(np.asarray(rows[:, :dim]), as_signs(X[:, :dim]))
    np.testing.assert_array_equal(np.asarray(rows[10:20]), as_signs(X[10:20]))


@pytest.mark.parametrize("dim", [0, 45])
def test_prefixes_that_there_are_not(rows, dim):
    with pytest.raises(ValueError, match=f"dim={dim}"):
        rows.prefix(dim)


@pytest.mark.parametrize("k", [1, 10, 50, 200, 500])
def test_of_the_candidates_the_nearest_to_the_query_itself(rows, k):
    queries = RNG.standard_normal((6, 44)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    scores, found = top_k(queries, rows, k)
    cosines = queries @ np.asarray(rows).T
    equal = ((X > 0)[None] == (queries > 0)[:, None]).sum(-1)
    count = min(k, 200)
    assert found.shape == (6, count)
    np.testing.assert_allclose(scores, np.take_along_axis(cosines, found, 1), atol=1e-6)
    for q in range(6):
        last = np.sort(equal[q])[::-1][min(CANDIDATES * count, 200) - 1]
        assert (equal[q][found[q]] >= last).all()
        surely = np.flatnonzero(equal[q] > last)
        missing = np.setdiff1d(surely, found[q])
        assert (cosines[q][missing] <= scores[q, -1] + 1e-6).all()


def test_queries_of_signs_are_answered_by_equal_bits(rows):
    queries = as_signs(RNG.standard_normal((4, 44)))
    scores, _ = top_k(queries, rows, 10)
    equal = ((X > 0)[None] == (queries > 0)[:, None]).sum(-1)
    np.testing.assert_allclose(scores, np.sort(2 * equal / 44 - 1, axis=1)[:, ::-1][:, :10], atol=1e-6)


def test_a_number_of_0_has_the_bit_0():
    assert np.asarray(SignRows(pack_signs(np.zeros((1, 3), np.float32)), 3)).tolist() == [
        [pytest.approx(-(3**-0.5))] * 3
    ]
