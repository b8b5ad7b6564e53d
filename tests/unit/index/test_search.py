"""Elastic search against sorts of all cosines written out in numpy (float64)."""

import numpy as np
import pytest

from brickwork.core.elastic import ElasticAxes
from brickwork.index.search import FlatVectors, default_funnel, scan_cost, shortlist_dim

AXES = ElasticAxes(dims=(8, 16, 32, 64), layers=(1,))


@pytest.fixture
def vectors():
    raw = np.random.default_rng(0).standard_normal((300, 64))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(params=[1, 40])  # FAISS takes other kernels for many queries
def queries(request):
    return np.random.default_rng(1).standard_normal((request.param, 64)).astype(np.float32)


def cosines(queries, vectors, dim):
    left, right = queries[:, :dim].astype(np.float64), vectors[:, :dim].astype(np.float64)
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return left @ right.T


def funnel_oracle(queries, vectors, stages):
    """Each query alone: sort the survivors by their cosine on the prefix, keep the first."""
    scores, rows = [], []
    for query in queries:
        alive = np.arange(len(vectors))
        for dim, keep in stages:
            results = cosines(query[None], vectors[alive], dim)[0]
            order = np.argsort(-results, kind="stable")[:keep]
            alive, last = alive[order], results[order]
        scores.append(last)
        rows.append(alive)
    return np.array(scores), np.array(rows)


@pytest.mark.parametrize(
    "stages",
    [
        [(64, 10)],
        [(8, 10)],
        [(13, 7)],
        [(8, 50), (64, 10)],
        [(8, 80), (16, 40), (32, 20), (64, 10)],
        [(64, 1000)],
        [(8, 1000), (64, 1000)],
    ],
)
def test_every_search_equals_the_sort(vectors, queries, stages):
    scores, rows = FlatVectors(vectors).search(queries, stages)
    expected_scores, expected_rows = funnel_oracle(queries, vectors, stages)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-6)


def test_a_shortlist_of_everything_is_the_full_search(vectors, queries):
    flat = FlatVectors(vectors)
    np.testing.assert_array_equal(
        flat.search(queries, [(8, 300), (64, 10)])[1], flat.search(queries, [(64, 10)])[1]
    )


def test_equal_documents_come_in_their_order(queries):
    vectors = np.tile(np.eye(1, 64, dtype=np.float32), (20, 1))
    _, rows = FlatVectors(vectors).search(queries, [(8, 20), (64, 20)])
    np.testing.assert_array_equal(rows, np.tile(np.arange(20), (len(queries), 1)))


def test_prefixes_are_contiguous_unit_vectors_and_made_once(vectors):
    flat = FlatVectors(vectors)
    prefix = flat.prefix(8)
    assert prefix.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(prefix, axis=1), 1, atol=1e-6)
    assert flat.prefix(8) is prefix
    assert flat.prefix(64) is vectors


def test_cost_is_the_paper_s_formula():
    # Sheet, section 3: N·D_s + K·D_r multiply-adds; a number has 4 bytes. 1.281 M × 16 + 200 × 2048.
    cost = scan_cost(1_281_000, [(16, 200), (2048, 10)])
    assert cost.flops == 2 * (1_281_000 * 16 + 200 * 2048)
    assert cost.bytes_scanned == 4 * (1_281_000 * 16 + 200 * 2048)
    assert scan_cost(50, [(16, 200), (2048, 10)]).flops == 2 * (50 * 16 + 50 * 2048)


def test_default_stages():
    assert shortlist_dim(AXES) == 8
    assert shortlist_dim(ElasticAxes(dims=(24, 48, 96, 192, 384), layers=(6,))) == 48
    assert default_funnel(AXES, 64, 10) == [(8, 200), (16, 100), (32, 50), (64, 10)]
    assert default_funnel(AXES, 64, 40) == [(8, 800), (16, 400), (32, 200), (64, 40)]
    assert default_funnel(AXES, 8, 10) == [(8, 10)]
    # The paper's own funnel: 200 … 25 over 8 … 64, and 10 at 128 are the wanted ones.
    paper = ElasticAxes(dims=(8, 16, 32, 64), layers=(1,))
    assert [keep for _, keep in default_funnel(paper, 64, 5)][:3] == [200, 100, 50]
