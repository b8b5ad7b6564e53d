"""Exact search against numpy's sort of all scores."""

import numpy as np
import pytest

from brickwork.representation.nearest import top_k


@pytest.mark.parametrize("num_queries", [3, 50])
def test_equal_scores_come_by_row(num_queries):
    # Small integers make many exact ties; the oracle is numpy's stable sort.
    rng = np.random.default_rng(0)
    queries = rng.integers(-2, 3, (num_queries, 4)).astype(np.float32)
    documents = rng.integers(-2, 3, (30, 4)).astype(np.float32)
    scores, rows = top_k(queries, documents, 30)
    expected = np.argsort(-(queries @ documents.T), axis=1, kind="stable")
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(scores, np.take_along_axis(queries @ documents.T, expected, axis=1))


@pytest.mark.parametrize("num_queries", [3, 50])  # few queries take another path than many
def test_top_k_with_less_and_more_than_there_is(num_queries):
    rng = np.random.default_rng(1)
    queries, documents = rng.standard_normal((num_queries, 8)), rng.standard_normal((20, 8))
    exact = np.argsort(-(queries.astype(np.float32) @ documents.astype(np.float32).T), axis=1)
    np.testing.assert_array_equal(top_k(queries, documents, 5)[1], exact[:, :5])
    assert top_k(queries, documents, 50)[1].shape == (num_queries, 20)
    assert top_k(queries[:0], documents, 5)[1].shape == (0, 5)
    assert top_k(queries, documents[:0], 5)[1].shape == (num_queries, 0)
