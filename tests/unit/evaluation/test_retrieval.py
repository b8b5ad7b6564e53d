"""Retrieval measures against trec_eval (pytrec_eval) and against loops written out from the definitions."""

import warnings

import numpy as np
import pytest

from brickwork.core.errors import ConfigError
from brickwork.evaluation.retrieval import gains_of, parse_metric, score

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytrec_eval = pytest.importorskip("pytrec_eval")


def random_case(seed, queries=40, documents=60, depth=25, graded=True):
    rng = np.random.default_rng(seed)
    ranked = np.stack([rng.permutation(documents)[:depth] for _ in range(queries)])
    relevant = []
    for _ in range(queries):
        chosen = rng.choice(documents, size=rng.integers(1, 12), replace=False)
        relevant.append({int(d): int(rng.integers(1, 4)) if graded else 1 for d in chosen})
    return ranked, relevant


def trec(ranked, relevant, measure):
    """pytrec_eval's value of a measure for every query."""
    qrel = {str(q): {str(d): g for d, g in gains.items()} for q, gains in enumerate(relevant)}
    run = {
        str(q): {str(d): float(len(row) - r) for r, d in enumerate(row) if d >= 0}
        for q, row in enumerate(ranked)
    }
    results = pytrec_eval.RelevanceEvaluator(qrel, {measure}).evaluate(run)
    name = measure.replace(".", "_")
    return np.array([results[str(q)][name] if str(q) in results else 0.0 for q in range(len(ranked))])


@pytest.mark.parametrize("k", [1, 5, 10, 20])
@pytest.mark.parametrize(
    ("ours", "theirs"), [("ndcg", "ndcg_cut"), ("recall", "recall"), ("precision", "P"), ("map", "map_cut")]
)
def test_equals_trec_eval(ours, theirs, k):
    ranked, relevant = random_case(k)
    ranked[3, 4:] = -1  # fewer documents found than asked for
    np.testing.assert_allclose(
        score(ranked, relevant, [f"{ours}@{k}"])[f"{ours}@{k}"],
        trec(ranked, relevant, f"{theirs}.{k}"),
        atol=1e-9,
    )


def test_mrr_equals_trec_eval_when_nothing_is_cut():
    ranked, relevant = random_case(7)
    ours = score(ranked, relevant, ["mrr@25"])["mrr@25"]
    np.testing.assert_allclose(ours, trec(ranked, relevant, "recip_rank"), atol=1e-9)


def test_mrr_is_zero_beyond_k():
    # By hand: the only relevant document is at rank 3.
    results = score(np.array([[5, 6, 7]]), [{7: 1}], ["mrr@2", "mrr@3"])
    assert results["mrr@2"][0] == 0
    assert results["mrr@3"][0] == pytest.approx(1 / 3)


def test_map_of_the_paper_equals_its_loop():
    ranked, relevant = random_case(9, graded=False)
    expected = []
    for row, gains in zip(ranked, relevant):
        hits, total = 0, 0.0
        for r, document in enumerate(row[:10], 1):
            if int(document) in gains:
                hits += 1
                total += hits / r
        expected.append(total / 10)
    np.testing.assert_allclose(
        score(ranked, relevant, ["map_paper@10"])["map_paper@10"], expected, atol=1e-12
    )


def test_fewer_documents_than_k_keep_the_denominator():
    # By hand: 2 documents in all, both relevant; precision@10 divides by 10, recall by 2.
    results = score(np.array([[0, 1]]), [{0: 1, 1: 1}], ["precision@10", "recall@10", "ndcg@10"])
    assert results["precision@10"][0] == pytest.approx(0.2)
    assert results["recall@10"][0] == 1
    assert results["ndcg@10"][0] == pytest.approx(1)


def test_queries_without_relevant_documents_score_zero():
    metrics = ["ndcg@5", "recall@5", "mrr@5", "map@5", "precision@5", "map_paper@5"]
    for relevant in ([{}], [{1: 0}], [{1: -1}]):
        assert all(v[0] == 0 for v in score(np.array([[1, 2, 3]]), relevant, metrics).values())


def test_gains_of_missing_documents_are_zero():
    # −1 must not be read as document 0 or as the last document.
    np.testing.assert_array_equal(gains_of(np.array([[-1, 0, 2]]), [{0: 3, 2: 1}]), [[0, 3, 1]])


def test_wrong_metrics_are_named():
    with pytest.raises(ConfigError, match="did you mean 'ndcg'"):
        parse_metric("ndgc@10")
    with pytest.raises(ConfigError, match="name@k"):
        parse_metric("ndcg")
