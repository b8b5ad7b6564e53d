"""The claims of stationary-compat on known numbers: each gives each of its verdicts."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from known_lab import DISTURBANCES, verdict

from brickwork.evaluation.compatibility import CompatibilityMatrix
from brickwork.studies.bench import Bench, Trained
from brickwork.studies.stationary_compat import claims, measures, series
from brickwork.studies.stationary_compat import setups as arms
from brickwork.studies.study import Lab

SETS = ("open set", "all classes")
QUALITIES = {"AC": 0.5, "AA": 60.0, "cross": 50.0, "self": 80.0, "cross − old self": -30.0}


@pytest.fixture
def judged(monkeypatch):
    def judge(id, changes, wobble=0.1, *, moves="", scale="small", **others):
        """``changes``: (arm, set, quality) → number; the numbers of the arm ``moves`` move with the seed."""

        def compatibility(trained):
            arm = trained.system.arm
            moved = wobble * DISTURBANCES[trained.seed] * (arm == moves)
            every = {(name, quality): value for name in SETS for quality, value in QUALITIES.items()}
            own = {(s, q): v for (a, s, q), v in changes.items() if a == arm}
            return {place: value + moved for place, value in {**every, **own}.items()}

        monkeypatch.setattr(claims, "compatibility", compatibility)
        for name, measure in others.items():
            monkeypatch.setattr(claims, name, measure)
        return verdict("stationary-compat", id, scale=scale)

    return judge


def at(arm, quality, open_set, every):
    return {(arm, "open set", quality): open_set, (arm, "all classes", quality): every}


@pytest.mark.parametrize(
    ("id", "arm", "least"),
    [("C1", arms.INDEPENDENT_SIMPLEX.name, 15.0), ("C2", arms.HOC.name, 3.0)],
)
@pytest.mark.parametrize(
    ("open_set", "every", "own", "wobble", "result"),
    [
        (2.0, 2.0, -0.5, 0.1, "supported"),
        (2.0, 2.0, -0.5, 3.0, "undecided"),
        (2.0, 0.1, 5.0, 0.1, "undecided"),
        (-2.0, 2.0, 5.0, 0.1, "refuted"),
        (2.0, -2.0, 5.0, 0.1, "refuted"),
        (2.0, 2.0, -2.0, 0.1, "refuted"),  # self-tests fall
    ],
)
def test_c1_and_c2_cross_tests(judged, id, arm, least, open_set, every, own, wobble, result):
    """``open_set`` and ``every`` are beyond the least gain."""
    changes = at(arm, "cross", 50 + least + open_set, 50 + least + every) | at(
        arm, "self", 80 + own, 80 + own
    )
    outcome = judged(id, changes, wobble, moves=arm)
    assert outcome.verdict == result
    assert outcome.effects[0] == pytest.approx(least + open_set)


@pytest.mark.parametrize(
    ("open_set", "every", "wobble", "result"),
    [(25.0, 25.0, 0.1, "supported"), (25.0, 23.0, 2.0, "undecided"), (25.0, 5.0, 0.1, "refuted")],
)
def test_c1b_inequalities(judged, open_set, every, wobble, result):
    def kept(trained):
        if trained.system.arm != arms.INDEPENDENT_SIMPLEX.name:
            return {("open set", "share"): 12.0, ("all classes", "share"): 12.0}
        moved = wobble * DISTURBANCES[trained.seed]
        return {("open set", "share"): open_set + moved, ("all classes", "share"): every + moved}

    def cosines(trained):
        return {(s, f"{who}, same class"): 0.5 for s in SETS for who in ("old", "new")}

    assert judged("C1b", {}, kept_triplets=kept, cosines=cosines).verdict == result


CELLS = ("K = 128, batch 64", "K = 128, batch 16", "K = 32, batch 64", "K = 32, batch 16")


@pytest.mark.parametrize(
    ("gains", "wobble", "result", "depends"),
    [
        ((3.0, 2.0, 1.0, 1.0), 0.1, "supported", False),
        ((3.0, 2.0, 1.0, 0.1), 0.1, "undecided", False),
        ((3.0, 2.0, 1.0, -1.0), 0.1, "refuted", True),
        ((-3.0, -2.0, -1.0, -1.0), 0.1, "refuted", False),
    ],
)
def test_c2m_depends(judged, gains, wobble, result, depends):
    changes = {(f"{cell}, zero", "open set", "cross"): 50 + gain for cell, gain in zip(CELLS, gains)}
    outcome = judged("C2m", changes, wobble, moves=f"{CELLS[3]}, zero")
    assert outcome.verdict == result
    assert ("depends" in outcome.note) == depends
    assert outcome.effects[0] == pytest.approx(sum(gains) / 4)


@pytest.mark.parametrize(("id", "searched"), [("C3", "all classes"), ("C4", "open set")])
@pytest.mark.parametrize(
    ("gain", "compatible", "wobble", "result"),
    [
        (20.0, 0.3, 0.1, "supported"),
        (17.0, 5.0, 1.0, "undecided"),
        (10.0, 0.3, 0.1, "refuted"),
        (20.0, -0.3, 0.1, "refuted"),
    ],
)
def test_c3_and_c4_replacements(judged, id, searched, gain, compatible, wobble, result):
    arm = claims._OURS.name
    changes = {(arm, searched, "AA"): 60 + gain, (arm, searched, "AC"): 0.5 + compatible}
    assert judged(id, changes, wobble, moves=arm).verdict == result


def after(left, er, improved, wobble):
    def measure(trained):
        ours = trained.system.arm == claims._OURS.name
        moved = wobble * DISTURBANCES[trained.seed] * ours
        return {
            "cross": 50.0 if ours else er,
            "left": (left if ours else 10.0) + moved,
            "improved": (improved if ours else 0.0) + moved,
            "chance": 10.0,
        }

    return measure


@pytest.mark.parametrize(
    ("left", "er", "wobble", "result"),
    [
        (80.0, 15.0, 1.0, "supported"),
        (80.0, 15.0, 8.0, "undecided"),
        (60.0, 15.0, 1.0, "refuted"),
        (80.0, 25.0, 1.0, "refuted"),
    ],
)
def test_c3b_right_after(judged, left, er, wobble, result):
    assert judged("C3b", {}, after_replacements=after(left, er, 0.0, wobble)).verdict == result


@pytest.mark.parametrize(
    ("improved", "wobble", "scale", "result"),
    [
        (60.0, 1.0, "small", "supported"),
        (60.0, 8.0, "small", "undecided"),
        (0.0, 0.0, "small", "refuted"),
        (0.0, 0.0, "smoke", "not at this scale"),
    ],
)
def test_c3c_better_at_once(judged, improved, wobble, scale, result):
    outcome = judged("C3c", {}, after_replacements=after(80.0, 10.0, improved, wobble), scale=scale)
    assert outcome.verdict == result


@pytest.mark.parametrize(
    ("other", "wobble", "result"),
    [(61.0, 0.1, "supported"), (61.5, 1.0, "undecided"), (64.0, 0.1, "refuted")],
)
def test_a1_other_weights(judged, other, wobble, result):
    changes = at("λ = 0.9", "AA", other, other) | at("s = 16", "AA", 90.0, 90.0)  # s is not in the criterion
    outcome = judged("A1", changes, wobble, moves="λ = 0.9")
    assert outcome.verdict == result
    assert "The best other is λ = 0.9" in outcome.note


# ---- what the arms are and what is measured ------------------------------------------------------------------------


def test_models_from_nothing_take_longer_and_the_scale_is_of_the_simplex_alone():
    short, long = arms.one_more_class("small").run.train, arms.from_nothing("small").run.train
    assert (short.steps, long.steps) == (600, 1500)
    assert replace(long, steps=600) == short
    assert arms.with_scale(arms.HOC_EXCLUDE, 16.0).options == {"mask": "exclude", "logit_scale": 16.0}
    assert arms.with_scale(arms.TUNED_LEARNED, 16.0) == arms.TUNED_LEARNED


def test_a_series_is_trained_at_the_rate_that_suits_it_and_tells_the_rates(monkeypatch):
    setup = arms.one_more_class("small")
    lab = Lab("small", (1, 2), Bench())

    class Known:
        def __init__(self, bench, setup, method, rate, seed):
            self.made = Trained(SimpleNamespace(rate=rate), None, seed, 10, 1.0, rate)

        def series(self):
            return self.made

    monkeypatch.setattr(series, "Trainer", Known)
    monkeypatch.setattr(series, "own_accuracy", lambda trained: -abs(trained.system.rate - 8 * 0.002))
    trained = series.series(lab, setup, arms.HOC)
    assert trained(2).system.rate == pytest.approx(8 * 0.002)
    assert trained(2) is trained(2)
    assert trained(1).rates == pytest.approx([0.002 * 2.0**n for n in range(-1, 5)])


def test_cosines_of_two_models_by_hand(monkeypatch):
    """Queries of classes 0 and 1; the new model has turned the query of class 1 onto class 0."""
    eye = np.eye(2)
    table = {"all classes": (([eye, eye[[0, 0]]], np.array([0, 1])), ([eye, eye], np.array([0, 1])))}
    monkeypatch.setattr(measures, "sides", lambda trained: table)
    assert measures.cosines(Trained(None, None, 0, 1, 1.0)) == {
        ("all classes", "old, same class"): 1.0,
        ("all classes", "old, other class"): 0.0,
        ("all classes", "new, same class"): 0.5,
        ("all classes", "new, other class"): 0.5,
    }


def test_what_is_left_right_after_a_replacement(monkeypatch):
    values = ((0.8,), (0.7, 0.9), (0.4, 0.9, 0.9))
    matrix = CompatibilityMatrix(names=("a", "b", "c"), values=values, metric="accuracy", chance=0.1)
    monkeypatch.setattr(measures, "matrices", lambda trained: {"all classes": matrix})
    system = SimpleNamespace(setup=SimpleNamespace(servers={0: (), 2: ()}))
    assert measures.after_replacements(Trained(system, None, 0, 1, 1.0)) == pytest.approx(
        {"cross": 65.0, "left": 75.0, "improved": 50.0, "chance": 10.0}
    )
