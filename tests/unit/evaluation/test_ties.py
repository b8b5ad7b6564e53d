"""Measures where documents are equally near: against the mean over every order."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from brickwork.evaluation.retrieval import score
from brickwork.evaluation.ties import expected_average_precision, expected_ndcg


def orders(levels):
    """All orders of documents in which nearer levels come first."""
    blocks = [np.flatnonzero(levels == level).tolist() for level in np.unique(levels)]
    for parts in itertools.product(*(itertools.permutations(block) for block in blocks)):
        yield [document for part in parts for document in part]


CASES = [
    np.array([0, 0, 0, 2, 2, 3]),
    np.array([1, 1, 1, 1, 1, 1]),
    np.array([5, 4, 3, 2, 1, 0]),
    np.array([3, 0, 3, 0, 7, 3]),
]


@pytest.mark.parametrize("levels", CASES)
@pytest.mark.parametrize(
    "relevant", [[1, 0, 1, 0, 1, 1], [0, 0, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]]
)
def test_expected_average_precision_is_the_mean_over_all_orders(levels, relevant):
    relevant = np.array(relevant, bool)
    means = []
    for order in orders(levels):
        hits = relevant[order]
        ranks = np.flatnonzero(hits) + 1
        means.append(np.mean(np.arange(1, len(ranks) + 1) / ranks) if len(ranks) else 0.0)
    found = expected_average_precision(levels[None], relevant[None])
    np.testing.assert_allclose(found, [np.mean(means)], rtol=1e-12)


@pytest.mark.parametrize("levels", CASES)
@pytest.mark.parametrize("k", [1, 3, 6, 10])
def test_expected_ndcg_is_the_mean_over_all_orders(levels, k):
    gains = np.array([0, 2, 1, 0, 3, 0])
    relevance = [{i: int(g) for i, g in enumerate(gains)}]
    means = [score(np.array([order]), relevance, [f"ndcg@{k}"])[f"ndcg@{k}"][0] for order in orders(levels)]
    found = expected_ndcg(levels[None], gains[None].astype(float), k)
    np.testing.assert_allclose(found, [np.mean(means)], rtol=1e-12)


def test_without_ties_it_is_scikit_learns():
    rng = np.random.default_rng(0)
    levels = np.stack([rng.permutation(200) for _ in range(5)])
    relevant = rng.random((5, 200)) < 0.2
    expected = [average_precision_score(r, -d) for r, d in zip(relevant, levels)]
    np.testing.assert_allclose(expected_average_precision(levels, relevant), expected, rtol=1e-12)


def test_queries_do_not_touch_each_other():
    rng = np.random.default_rng(1)
    levels, relevant = rng.integers(0, 33, (6, 300)), rng.random((6, 300)) < 0.1
    gains = relevant * rng.integers(1, 4, (6, 300)).astype(float)
    together = expected_average_precision(levels, relevant), expected_ndcg(levels, gains, 10)
    for q in range(6):
        one = slice(q, q + 1)
        np.testing.assert_allclose(expected_average_precision(levels[one], relevant[one]), together[0][one])
        np.testing.assert_allclose(expected_ndcg(levels[one], gains[one], 10), together[1][one])


def test_a_query_without_a_relevant_document_scores_0():
    levels = np.zeros((1, 4), int)
    assert expected_average_precision(levels, np.zeros((1, 4), bool)).tolist() == [0]
    assert expected_ndcg(levels, np.zeros((1, 4)), 10).tolist() == [0]
