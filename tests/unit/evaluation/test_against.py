"""A model against what its user has without it: the outcome by a paired interval."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import bootstrap

from brickwork.evaluation.against import UNTOUCHED, against, against_cut
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


def test_equal_scores_are_called_the_same():
    """Not "not clearly different": a closed form gives the published model at full size by construction."""
    (one,) = against(grid([0.5, 0.7]), grid([0.5, 0.7]), {})
    assert one.outcome == "open"
    assert one.sentence == (
        "docs: nDCG@10 0.600, the same as the untouched model (0.600; +0.000 [+0.000, +0.000])"
    )
    (other,) = against(grid([0.5, 0.7]), grid([0.7, 0.5]), {})  # the same mean of other scores
    assert "not clearly different from" in other.sentence


def test_a_small_size_is_held_against_the_untouched_model_cut_to_the_same():
    def sized(small):
        one = grid([0.5, 0.5], (8, 64))
        return replace(one, cells=(replace(one.cells[0], scores={"ndcg@10": small}), one.cells[1]))

    cut = against_cut(sized((0.5, 0.25)), sized((0.25, 0.0)))
    assert (cut.ours, cut.theirs, cut.outcome) == (0.375, 0.125, "better")
    assert cut.sentence == (
        "docs, both cut to 8 dims and 2 layers: nDCG@10 0.375, better than the untouched model "
        "(0.125; +0.250 [+0.250, +0.250])"
    )
    assert against_cut(sized((0.5, 0.5)), grid([0.5, 0.5], (64,))) is None  # not measured there
    assert against_cut(grid([0.5, 0.5], (64,)), grid([0.5, 0.5], (64,))) is None  # there is no smaller size
