"""The claims of configurable-foundation-models on known numbers: each gives each of its verdicts."""

import pytest
from known_lab import known, verdict

from brickwork.studies.configurable_foundation_models import claims, emergent
from brickwork.systems.configurable_foundation_models.erasing import SHARES

SLUG = "configurable-foundation-models"


def library(monkeypatch, name, numbers, wobble=0.0):
    monkeypatch.setattr(claims, name, known({"library": numbers}, {"library": wobble}))


def model(monkeypatch, name, numbers, wobble=0.0):
    monkeypatch.setattr(emergent, name, known({"language model": numbers}, {"language model": wobble}))


@pytest.mark.parametrize(
    ("right", "kept", "wobble", "result"),
    [
        (0.95, 0.98, 0.001, "supported"),
        (0.85, 0.98, 0.001, "refuted"),
        (0.95, 0.9, 0.001, "refuted"),
        (0.91, 0.98, 0.02, "undecided"),
    ],
)
def test_r1(monkeypatch, right, kept, wobble, result):
    numbers = {
        "right": right,
        "left to the base": 0.05,
        "gain of right bricks": 1.0,
        "gain of routed bricks": kept,
    }
    library(monkeypatch, "_routing", numbers, wobble)
    assert verdict(SLUG, "R1").verdict == result


@pytest.mark.parametrize(
    ("best", "dare", "result"), [(0.9, 0.905, "supported"), (1.1, 0.905, "refuted"), (0.9, 0.92, "refuted")]
)
def test_m1(monkeypatch, best, dare, result):
    numbers = {
        "average": 1.0,
        "better of task arithmetic and TIES": best,
        "DARE": dare,
        "task arithmetic": 0.9,
    }
    library(monkeypatch, "_merging", numbers)
    assert verdict(SLUG, "M1").verdict == result


@pytest.mark.parametrize(
    ("own", "same", "result"), [(0.5, 1.0, "supported"), (0.05, 1.0, "refuted"), (0.5, 0.0, "refuted")]
)
def test_u1(monkeypatch, own, same, result):
    numbers = {"cost to the erased domain": own, "cost to the others": 0.1, "the same bits afterwards": same}
    library(monkeypatch, "_erasing", numbers)
    assert verdict(SLUG, "U1").verdict == result


@pytest.mark.parametrize(
    ("forgotten", "gained", "wobble", "result"),
    [
        (0.001, 0.1, 0.001, "supported"),
        (0.03, 0.1, 0.001, "refuted"),
        (0.001, -0.1, 0.001, "refuted"),
        (0.019, 0.1, 0.01, "undecided"),
    ],
)
def test_g1(monkeypatch, forgotten, gained, wobble, result):
    library(
        monkeypatch,
        "_growing",
        {"forgotten by the others": forgotten, "gained by the new domain": gained},
        wobble,
    )
    outcome = verdict(SLUG, "G1")
    assert outcome.verdict == result
    assert outcome.effect == pytest.approx(forgotten)


@pytest.mark.parametrize(
    ("activation", "magnitude", "random", "scale", "result"),
    [
        (0.04, 0.03, 1.0, "gpu", "supported"),
        (0.06, 0.05, 1.0, "gpu", "refuted"),  # too dear
        (0.06, 0.05, 1.0, "small", "supported"),  # which is not asked of a small model
        (0.03, 0.04, 1.0, "gpu", "refuted"),  # activation is the better indicator
        (0.04, 0.03, 0.1, "gpu", "refuted"),  # chance is nearly as good
        (0.04, 0.03, 0.1, "small", "not at this scale"),
    ],
)
def test_c1(monkeypatch, activation, magnitude, random, scale, result):
    by = {"activation": activation, "magnitude": magnitude, "random": random}
    model(monkeypatch, "thinned", {(name, share): value for name, value in by.items() for share in SHARES})
    assert verdict(SLUG, "C1", scale=scale).verdict == result


@pytest.mark.parametrize(
    ("change", "result"),
    [
        ({}, "supported"),
        ({"domains with a specialist": 4 / 7}, "refuted"),
        ({"layers: best above chance": -0.1}, "refuted"),
        ({"layers: mean off chance": 0.05}, "refuted"),
        ({"layers: best above the quantile": 0.5}, "refuted"),
    ],
)
def test_c2(monkeypatch, change, result):
    numbers = {
        "domains with a specialist": 1.0,
        "layers: best above chance": 0.3,
        "layers: mean off chance": 0.01,
        "layers: best above the quantile": 1.0,
    }
    model(monkeypatch, "specialists", {**numbers, **change})
    assert verdict(SLUG, "C2", scale="gpu").verdict == result


@pytest.mark.parametrize(
    ("own", "bare", "result"), [(1.0, 1.0, "supported"), (0.5, 1.0, "refuted"), (1.0, 0.5, "refuted")]
)
def test_c3(monkeypatch, own, bare, result):
    numbers = {
        "own_above_others": own,
        "own_above_others/no_residents": bare,
        "erased_own/no_residents": 50.0,
        "erased_others/no_residents": 10.0,
    }
    model(monkeypatch, "erased", numbers)
    model(monkeypatch, "cells", {("code", "code"): 50.0, ("code", "prose"): 10.0})
    outcome = verdict(SLUG, "C3", scale="gpu")
    assert outcome.verdict == result
    assert outcome.effect == pytest.approx(40.0)
    assert {"erased": "code", "code": 50.0, "prose": 10.0} in outcome.table


@pytest.mark.parametrize(
    ("pairs", "shuffled", "result"),
    [(0.9, 0.055, "supported"), (0.5, 0.055, "refuted"), (0.9, 0.07, "refuted"), (0.9, 0.03, "refuted")],
)
def test_c3b(monkeypatch, pairs, shuffled, result):
    numbers = {
        "pairs at most at chance": pairs,
        "overlap": 0.01,
        "overlap of shuffled labels": shuffled,
        "chance": 0.05,
    }
    model(monkeypatch, "shared", numbers)
    assert verdict(SLUG, "C3b", scale="gpu").verdict == result


@pytest.mark.parametrize(
    ("own", "chance", "result"),
    [(0.01, 0.0, "supported"), (0.004, 0.0, "refuted"), (0.01, 0.003, "refuted")],
)
def test_c3c(monkeypatch, own, chance, result):
    model(monkeypatch, "gathered", {"similar keys": own, "random groups": chance})
    assert verdict(SLUG, "C3c", scale="gpu").verdict == result
