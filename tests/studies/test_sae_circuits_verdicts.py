"""The claims of sae-circuits on known numbers: each gives each of its verdicts."""

import pytest
from known_lab import known, verdict

from brickwork.studies.sae_circuits import claims as study

TASKS = ("task ioi", "task greater-than", "task docstring")


def everywhere(numbers):
    return dict.fromkeys(TASKS, numbers)


@pytest.mark.parametrize(
    ("published", "attribution", "untrained", "difference", "wobble", "result"),
    [
        (0.9, 0.8, 0.7, 0.6, 0.001, "supported"),
        (0.9, 0.88, 0.7, 0.6, 0.001, "refuted"),  # .02 better than attribution, and .03 are asked
        (0.9, 0.8, 0.89, 0.6, 0.001, "refuted"),  # the training of the autoencoder hardly counts
        (0.9, 0.8, 0.7, 0.95, 0.001, "refuted"),  # one line is better
        (0.79, 0.6, 0.5, 0.4, 0.001, "refuted"),
        (0.81, 0.6, 0.5, 0.4, 0.02, "undecided"),
    ],
)
def test_c1_finds_heads(monkeypatch, published, attribution, untrained, difference, wobble, result):
    numbers = {
        "published": published,
        "attribution": attribution,
        "untrained": untrained,
        "mean difference": difference,
        "gates": published - 0.1,
        "oracle": 1.0,
    }
    monkeypatch.setattr(study, "aucs", known(everywhere(numbers), dict.fromkeys(TASKS, wobble)))
    outcome = verdict("sae-circuits", "C1")
    assert outcome.verdict == result
    assert outcome.effect == pytest.approx(published)


def test_c1_asks_for_more_than_learnt_gates(monkeypatch):
    numbers = {
        "published": 0.9,
        "attribution": 0.8,
        "untrained": 0.7,
        "mean difference": 0.6,
        "gates": 0.88,
        "oracle": 1.0,
    }
    monkeypatch.setattr(study, "aucs", known(everywhere(numbers), dict.fromkeys(TASKS, 0.001)))
    assert verdict("sae-circuits", "C1").verdict == "refuted"


@pytest.mark.parametrize(
    ("ablation", "search", "result"),
    [(100.0, 900.0, "supported"), (30.0, 900.0, "refuted"), (100.0, 30.0, "refuted")],
)
def test_c2_seconds(monkeypatch, ablation, search, result):
    numbers = {"codes": 2.0, "attribution": 0.1, "ablation": ablation, "ACDC": search}
    monkeypatch.setattr(study, "seconds", known(everywhere(numbers)))
    outcome = verdict("sae-circuits", "C2")
    assert outcome.verdict == result
    assert outcome.effect == pytest.approx(ablation / 2)


def by_change(values):
    """AUCs by the change that is measured."""

    def measure(trained, change):
        moved = {0: 0.0, 1: 0.001, 2: -0.001}[trained.seed]
        return values(dict(change)) + moved

    return measure


@pytest.mark.parametrize(("few", "every", "result"), [(0.80, 0.82, "supported"), (0.75, 0.82, "refuted")])
def test_c3_few_examples(monkeypatch, few, every, result):
    monkeypatch.setattr(
        study, "auc_with", by_change(lambda change: every if change["code_prompts"] > 10 else few)
    )
    monkeypatch.setattr(study, "auc_scored", known(everywhere({"10": 0.5, "all": 0.6})))
    outcome = verdict("sae-circuits", "C3")
    assert "10: 0.50, all: 0.60" in outcome.note
    assert outcome.verdict == result
    assert outcome.effect == pytest.approx(few - every)


@pytest.mark.parametrize(("step", "result"), [(0.02, "supported"), (0.2, "refuted")])
def test_c4_robust(monkeypatch, step, result):
    monkeypatch.setattr(study, "auc_with", by_change(lambda change: 0.8 + step * (change["latents"] == 200)))
    outcome = verdict("sae-circuits", "C4")
    assert outcome.verdict == result
    assert outcome.effect == pytest.approx(step / 2)  # half of the grid is a step higher


@pytest.mark.parametrize(("published", "result"), [(0.7, "supported"), (0.5, "refuted")])
def test_c5_keeps_behaviour(monkeypatch, published, result):
    numbers = {
        "published": published,
        "attribution": 0.6,
        "effect": 0.9,
        "mean difference": 0.5,
        "random": 0.3,
    }
    monkeypatch.setattr(study, "areas", known(everywhere(numbers)))
    monkeypatch.setattr(study, "enough", known(everywhere(dict.fromkeys(numbers, 0.75))))
    outcome = verdict("sae-circuits", "C5")
    assert outcome.verdict == result
    assert outcome.effect == pytest.approx(published - 0.6)


def test_the_excuse_is_for_the_hand_wired_model_only(monkeypatch):
    tasks = [f"task wired, noise {noise}" for noise in (0.25, 1.0, 2.0)]
    numbers = {"codes": 2.0, "attribution": 0.1, "ablation": 1.0, "ACDC": 9.0}
    monkeypatch.setattr(study, "seconds", known(dict.fromkeys(tasks, numbers)))
    assert verdict("sae-circuits", "C2", scale="smoke").verdict == "not at this scale"
