"""The claims of cmim on known numbers: each gives each of its verdicts."""

import numpy as np
import pytest
from known_lab import DISTURBANCES, known, verdict

from brickwork.studies.cmim import claims, setups, toy
from brickwork.studies.cmim.setups import READ_OUTS

SIZES = ("B=2", "B=8", "B=1024")


@pytest.fixture
def judged(monkeypatch):
    """The result of a claim whose arms have ``values``: score → number for each."""

    def judge(id, values, wobble=None, name="scores"):
        monkeypatch.setattr(claims, "best_temperature", lambda lab, objective: 0.1)
        monkeypatch.setattr(claims, name, known(values, wobble))
        return verdict("cmim", id)

    return judge


@pytest.mark.parametrize(
    ("mean", "total", "wobble", "result"),
    [
        (1.02, 5.0, 0.001, "supported"),
        (1.04, 5.0, 0.01, "undecided"),
        (1.10, 5.0, 0.001, "refuted"),
        (1.02, 3.0, 0.001, "refuted"),  # the sum form changes by 200 % only
    ],
)
def test_c1_number_of_negatives(monkeypatch, mean, total, wobble, result):
    """Changes from B = 2 to 1024, of the codes that change most."""

    def terms(forms):
        moved = mean + wobble * DISTURBANCES[forms["mean form"].seed]
        largest = {("normal", "mean"): 1.0, ("cone", "mean"): moved}
        return {
            (codes, form, size): largest.get((codes, form), total) if size == "B=1024" else 1.0
            for codes in ("normal", "cone")
            for form in ("mean", "sum")
            for size in SIZES
        }

    monkeypatch.setattr(claims, "expected_terms", terms)
    outcome = verdict("cmim", "C1")
    assert outcome.verdict == result
    assert outcome.effects[0] == pytest.approx(100 * (mean - 1))


def read(near, others=50.0, **more):
    return dict.fromkeys(READ_OUTS, others) | {"5-NN cosine": near} | more


@pytest.mark.parametrize(
    ("ours", "wobble", "result"), [(2.0, 0.1, "supported"), (4.0, 1.0, "undecided"), (8.0, 0.1, "refuted")]
)
def test_c2_batch_robustness(monkeypatch, ours, wobble, result):
    """InfoNCE with views ranges over 10 points, so the limit is 5."""
    ranges = {"cMIM": ours, "MIM": 1.0, "MIM + InfoNCE": 0.0, "InfoNCE": 20.0, "InfoNCE, shifted views": 10.0}

    def scores(trained):
        arm, size = trained.system.arm, trained.system.run.train.batch_size
        moved = wobble * DISTURBANCES[trained.seed] * (arm == "cMIM")
        return {"5-NN cosine": 50.0 + (ranges[arm] + moved) * (size == 256)}

    monkeypatch.setattr(claims, "scores", scores)
    assert verdict("cmim", "C2").verdict == result


@pytest.mark.parametrize(
    ("near", "others", "wobble", "result"),
    [
        (52.0, 50.0, 0.1, "supported"),
        (50.5, 50.0, 1.0, "undecided"),
        (49.9, 49.9, 0.01, "refuted"),  # better at none
        (52.0, 49.0, 0.1, "refuted"),  # worse by a point at three
    ],
)
def test_c3_against_mim(judged, near, others, wobble, result):
    arms = {f"cMIM, τ={t}": read(near, others) for t in setups.TEMPERATURES}
    values = {"MIM": read(50.0), "AE": read(99.0), "VAE": read(99.0), **arms}
    assert judged("C3", values, dict.fromkeys(arms, wobble)).verdict == result


@pytest.mark.parametrize(
    ("ours", "wobble", "result"), [(55.0, 0.1, "supported"), (51.0, 1.0, "undecided"), (49.0, 0.1, "refuted")]
)
def test_c4_against_info_nce(judged, ours, wobble, result):
    others = {"MIM + InfoNCE": read(99.0), "InfoNCE, shifted views": read(99.0), "MIM": read(54.0)}
    outcome = judged("C4", {"cMIM": read(ours), "InfoNCE": read(50.0), **others}, {"cMIM": wobble})
    assert outcome.verdict == result
    assert "MIM alone, without any contrastive term, is +4.0 points from InfoNCE" in outcome.note


@pytest.mark.parametrize(
    ("ours", "wobble", "result"),
    [(101.0, 0.1, "supported"), (101.0, 1.0, "undecided"), (105.0, 0.1, "refuted")],
)
def test_c5_reconstruction(judged, ours, wobble, result):
    values = {name: {"nll": 100.0, "kl": 1.0} for name in ("MIM", "VAE", "AE")}
    assert judged("C5", {"cMIM": {"nll": ours, "kl": 1.0}, **values}, {"cMIM": wobble}).verdict == result


@pytest.mark.parametrize(
    ("gain", "wobble", "result"), [(1.0, 0.1, "supported"), (0.5, 3.0, "undecided"), (-1.0, 0.1, "refuted")]
)
def test_c6_informative_images(monkeypatch, gain, wobble, result):
    """The VAE, which loses 50 points here, does not count."""

    def vectors(trained):
        moved = wobble * DISTURBANCES[trained.seed]
        change = -50.0 if trained.system.arm == "VAE" else gain + moved
        return {"μ": 80.0, "h, PCA": 80.0 + change}

    monkeypatch.setattr(claims, "of_images", vectors)
    assert verdict("cmim", "C6").verdict == result


@pytest.mark.parametrize(
    ("rmse", "wobble", "result"),
    [(0.9, 0.001, "supported"), (0.94, 0.02, "undecided"), (0.98, 0.001, "refuted")],
)
def test_c7_informative_molecules(monkeypatch, rmse, wobble, result):
    def vectors(trained, rows):
        moved = wobble * DISTURBANCES[trained.seed]
        return {"μ": 1.0, "h, PCA": rmse + moved, "untrained, PCA": 0.8}

    monkeypatch.setattr(claims, "of_molecules", vectors)
    monkeypatch.setattr(claims, "token_counts_rmse", lambda seeds, rows: (1.0, 2.0))
    assert verdict("cmim", "C7").verdict == result


@pytest.mark.parametrize(
    ("information", "near", "wobble", "result"),
    [
        (2.0, 70.0, 0.1, "supported"),
        (1.2, 70.0, 0.5, "undecided"),
        (0.5, 70.0, 0.1, "refuted"),
        (2.0, 50.0, 0.1, "refuted"),  # more information, fewer right neighbours
    ],
)
def test_c8_no_collapse(monkeypatch, information, near, wobble, result):
    values = {kind: {"I(x; z)": 1.0, "5-NN": 60.0} for kind in ("A-MIM", "VAE", "AE")}
    values["MIM"] = {"I(x; z)": information, "5-NN": near}
    monkeypatch.setattr(claims, "point_scores", known(values, {"MIM": wobble}))
    assert verdict("cmim", "C8").verdict == result


@pytest.mark.parametrize(
    ("cosine", "rank", "wobble", "result"),
    [
        (0.1, 12.0, 0.01, "supported"),
        (0.28, 12.0, 0.05, "undecided"),
        (0.4, 12.0, 0.01, "refuted"),
        (0.1, 9.0, 0.01, "refuted"),  # other directions, but fewer
    ],
)
def test_c9_angles(judged, cosine, rank, wobble, result):
    arms = {f"cMIM, τ={t}": {"mean_cosine": cosine, "rank": rank} for t in setups.TEMPERATURES}
    values = {"MIM": {"mean_cosine": 0.3, "rank": 10.0}, **arms}
    assert judged("C9", values, dict.fromkeys(arms, wobble)).verdict == result


def test_an_auto_encoder_has_no_spread_to_sample():
    points, _ = toy.mixture(50, 0)
    models = {kind: toy.PointModel(20, 2, kind) for kind in ("AE", "VAE")}
    codes = {kind: [toy.codes_of(model, points, seed) for seed in (0, 1)] for kind, model in models.items()}
    assert np.array_equal(*codes["AE"])
    assert not np.array_equal(*codes["VAE"])
