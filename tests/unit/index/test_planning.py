"""The measured choice: recall and time on an index, then what ``recall=`` and ``budget_ms=`` pick from them."""

import json

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from brickwork.core.errors import ConfigError
from brickwork.index.planning import (
    Frontier,
    Point,
    choose_kind,
    measure_frontier,
    overlap,
    pareto,
    pick,
    sample_queries,
    stage_dim,
    with_top,
)
from brickwork.index.search import FlatVectors
from brickwork.index.shortlists import build_shortlist, run_plan
from brickwork.index.types import Plan


def point(recall, milliseconds, keep=100, kind="ivf"):
    return Point(
        plan=Plan(stages=((8, keep), (32, 10)), kind=kind), recall=recall, milliseconds=milliseconds, bytes=1
    )


FRONTIER = Frontier(
    points=(
        point(0.90, 1.0),
        point(0.85, 2.0),  # slower and worse than the first
        point(0.97, 3.0, keep=200),
        point(0.97, 4.0),
        point(1.0, 50.0, kind="flat"),
    ),
    top=10,
    num_vectors=1000,
    num_queries=100,
)


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    made = rng.standard_normal((2000, 32)) * np.linspace(2, 0.3, 32)
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def test_the_front_is_what_no_other_point_beats():
    assert [(p.recall, p.milliseconds) for p in pareto(FRONTIER.points)] == [
        (0.90, 1.0),
        (0.97, 3.0),
        (1.0, 50.0),
    ]


@pytest.mark.parametrize(
    ("asked", "milliseconds"),
    [
        ({"recall": 0.8}, 1.0),
        ({"recall": 0.91}, 3.0),
        ({"recall": 1.0}, 50.0),
        ({"budget_ms": 1.0}, 1.0),
        ({"budget_ms": 20.0}, 3.0),
        ({"recall": 0.95, "budget_ms": 5.0}, 3.0),
    ],
)
def test_the_cheapest_that_is_good_enough_or_the_best_that_is_fast_enough(asked, milliseconds):
    assert pick(FRONTIER, **asked).milliseconds == milliseconds


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "say recall= or budget_ms="),
        ({"recall": 1.2}, "recall=1.2 is outside"),
        ({"recall": float("nan")}, "recall=nan is outside"),
        ({"budget_ms": 0.0}, "budget_ms=0.0 must be more than 0"),
        ({"budget_ms": 0.5}, "takes 0.5 ms; the fastest is ivf with 1.00 ms at recall 0.900"),
        (
            {"recall": 0.99, "budget_ms": 10.0},
            "takes flat with 50.00 ms at recall 1.000, more than budget_ms=10; within 10 ms the best is ivf with 3.00",
        ),
        ({"recall": 0.99, "budget_ms": 0.1}, "more than budget_ms=0.1$"),
    ],
)
def test_what_does_not_fit_says_what_comes_nearest(asked, message):
    with pytest.raises(ConfigError, match=message):
        pick(FRONTIER, **asked)


def test_a_recall_that_was_not_reached_names_the_best():
    without_exact = Frontier(points=FRONTIER.points[:4], top=10, num_vectors=1000, num_queries=100)
    with pytest.raises(
        ConfigError, match=r"no plan of this index reaches recall 0.99; the best is ivf with 3.00 ms"
    ):
        pick(without_exact, recall=0.99)


def test_more_results_want_more_candidates_and_fewer_no_less():
    assert pick(FRONTIER, recall=0.9, top=25).plan.stages == ((8, 250), (32, 25))
    assert pick(FRONTIER, recall=0.9, top=3).plan.stages == ((8, 100), (32, 3))
    assert with_top(Plan(stages=((32, 10),)), 10, 40).stages == ((32, 40),)


def test_overlap_is_the_mean_share_of_the_true_rows():
    results = np.array([[1, 2, 3], [4, -1, -1]])
    truth = np.array([[3, 2, 9], [4, 5, 6]])
    assert overlap(results, truth) == pytest.approx((2 / 3 + 1 / 3) / 2)


def test_recall_is_measured_against_the_exact_nearest_without_the_document_itself(vectors):
    shortlist = build_shortlist("binary", vectors, 16)
    rows = sample_queries(len(vectors), 50)
    assert len(set(rows.tolist())) == 50
    frontier = measure_frontier(FlatVectors(vectors), [shortlist], rows, top=5)
    # scikit-learn's nearest by cosine, the document itself dropped
    nearest = NearestNeighbors(n_neighbors=6, metric="cosine").fit(vectors).kneighbors(vectors[rows])[1]
    truth = np.array([[r for r in results if r != own][:5] for results, own in zip(nearest, rows)])
    by_keep = {p.plan.stages[0][1]: p for p in frontier.points if p.plan.kind == "binary"}
    assert sorted(by_keep) == [25, 50, 100, 200, 400]
    for keep, measured in by_keep.items():
        plan = Plan(stages=((16, keep * 6 // 5), (32, 6)), kind="binary")
        results = run_plan(FlatVectors(vectors), shortlist, vectors[rows], plan)[1]
        results = [[r for r in row if r != own][:5] for row, own in zip(results, rows)]
        wanted = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(results, truth.tolist())])
        assert measured.recall == pytest.approx(wanted)
        assert measured.milliseconds > 0
        assert measured.bytes == 2000 * 2
    recalls = [by_keep[keep].recall for keep in sorted(by_keep)]
    assert recalls == sorted(recalls)
    assert recalls[0] < recalls[-1]
    (exact,) = (p for p in frontier.points if p.plan.kind == "flat")
    assert (exact.recall, exact.plan.stages) == (1.0, ((32, 5),))
    assert (frontier.num_vectors, frontier.num_queries, frontier.top) == (2000, 50, 5)


def test_queries_that_are_no_documents_are_compared_as_they_are(vectors):
    frontier = measure_frontier(
        FlatVectors(vectors[100:]), [build_shortlist("flat", vectors[100:], 32)], vectors[:20]
    )
    assert all(p.recall == 1.0 for p in frontier.points)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_tiny_collections_are_measured_too(vectors, rows):
    few = vectors[:rows]
    frontier = measure_frontier(FlatVectors(few), [build_shortlist("flat", few, 32)], sample_queries(rows))
    assert [p.recall for p in frontier.points] == [1.0] * len(frontier.points)
    assert frontier.num_queries == rows


def test_every_effort_is_tried(vectors):
    shortlist = build_shortlist("ivf", vectors, 16)
    frontier = measure_frontier(FlatVectors(vectors), [shortlist], sample_queries(2000, 20))
    assert {p.plan.effort for p in frontier.points} == {None, *shortlist.efforts()}
    widest = {p.plan.effort: p.recall for p in frontier.points if p.plan.stages[0][1] == 50}
    assert widest[32] > widest[4]


def test_a_frontier_survives_json():
    text = json.dumps(FRONTIER.to_dict())
    assert Frontier.from_dict(json.loads(text)) == FRONTIER
    with pytest.raises(ConfigError, match="recall"):
        Frontier.from_dict(json.loads(text.replace('"recall": 0.97', '"recall": "much"')))


def test_the_rule_for_auto_explains_itself():
    dims = (24, 48, 96, 192, 384)
    kind, reason = choose_kind(5_000, 384, dims)
    assert kind == "flat"
    assert "5,000 vectors" in reason
    kind, reason = choose_kind(1_000_000, 384, dims)
    assert kind == "ivf"
    assert "1,000,000 vectors of 384 dimensions" in reason
    assert "first 384 dimensions" in reason
    kind, reason = choose_kind(1_000_000, 384, dims, expected_queries=10)
    assert kind == "flat"
    assert "10 queries" in reason


@pytest.mark.parametrize(
    ("kind", "dims", "wanted"),
    [("flat", (24, 48, 96, 192, 384), 96), ("ivf", (24, 48, 96, 192, 384), 384), ("ivf", (384,), 384)],
)
def test_the_first_stage_takes_a_trained_prefix(kind, dims, wanted):
    assert stage_dim(kind, dims) == wanted
