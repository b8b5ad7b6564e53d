"""A model against what its user has without it: the outcome by a paired interval."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from brickwork.evaluation.against import UNTOUCHED, against
from brickwork.evaluation.grid import Cell, Cost, GridResult


def grid(scores, dims=(8,)):
    """A grid whose full size has these scores, and its smaller ones none."""
    cost = Cost(
        encode_flops=None, scan_flops=1, vector_bytes=1, encode_milliseconds=None, scan_milliseconds=None
    )
    cells = tuple(
        Cell(
            dim=dim,
            layers=2,
            scores={"ndcg@10": tuple(scores) if dim == max(dims) else (0.0,) * len(scores)},
            cost=cost,
        )
        for dim in dims
    )
    return GridResult(
        name="docs",
        fingerprint="x",
        num_queries=len(scores),
        num_documents=9,
        metrics=("ndcg@10",),
        cells=cells,
    )


@pytest.mark.parametrize(("shift", "outcome"), [(0.2, "better"), (0.0, "open"), (-0.2, "worse")])
def test_the_outcome_follows_from_the_paired_interval(shift, outcome):
    """The interval is that of scipy's bootstrap of the differences, to what 10,000 draws leave open."""
    rng = np.random.default_rng(0)
    theirs = rng.uniform(0.3, 0.7, 60)
    ours = theirs + shift + rng.normal(0, 0.1, 60)
    (one,) = against(grid(ours, (4, 8)), grid(theirs, (2, 8)), {})
    assert (one.other, one.outcome) == (UNTOUCHED, outcome)
    assert (one.ours, one.theirs) == (pytest.approx(ours.mean()), pytest.approx(theirs.mean()))
    known = bootstrap(
        (ours - theirs,), np.mean, method="percentile", n_resamples=10_000, rng=1
    ).confidence_interval
    assert (one.low, one.high) == pytest.approx((known.low, known.high), abs=2e-3)


def test_baselines_stand_beside_it_and_the_sentence_has_all_numbers():
    rows = against(
        grid([0.5, 0.5]), None, {"BM25": {"ndcg@10": (0.75, 0.75)}, "TF-IDF": {"ndcg@10": (0.5, 0.5)}}
    )
    assert [(r.other, r.outcome) for r in rows] == [("BM25", "worse"), ("TF-IDF", "open")]
    assert rows[0].sentence == "docs: nDCG@10 0.500, worse than BM25 (0.750; -0.250 [-0.250, -0.250])"
