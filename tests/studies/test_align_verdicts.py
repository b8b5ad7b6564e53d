"""The claims of align on known numbers: each gives each of its verdicts."""

from dataclasses import replace

import numpy as np
import pytest
from known_lab import KnownBench, known, verdict

from brickwork.studies.align import claims, setups
from brickwork.studies.bench import Trained
from brickwork.studies.study import Lab

CLEAN = "InfoNCE, clean"


@pytest.fixture
def judged(monkeypatch):
    def judge(id, values, wobble=None, *, measure="recall", scale="small", **measures):
        for name, numbers in {measure: known(values, wobble), **measures}.items():
            monkeypatch.setattr(claims, name, numbers)
        return verdict("align", id, scale=scale)

    return judge


def curves(noise, steps, base=50.0):
    """Recall of the grid of C1: what 1, 2, 4, … times the pairs give at a share of noise, and 60 elsewhere."""
    arms = {"clean, 4 times the units": 40.0}
    for n in (0.0, 0.25, 0.5, 0.75):
        for f, own in zip(
            (1, 2, 4, 8, 16, 32), steps if n == noise else (base, 60.0, 60.0, 60.0, 60.0, 70.0)
        ):
            arms[f"{n:.0%} mismatched, ×{f}"] = own
    return arms


@pytest.mark.parametrize(
    ("noise", "steps", "wobble", "result"),
    [
        (0.5, (10, 20, 30, 40, 55, 60), 0.1, "supported"),
        (0.5, (10, 20, 30, 40, 55, 54), 0.1, "supported"),  # a plateau
        (0.5, (10, 20, 30, 40, 51, 60), 5.0, "undecided"),
        (0.5, (10, 20, 30, 40, 45, 60), 0.1, "refuted"),
        (0.25, (10, 20, 30, 45, 60, 60), 0.1, "refuted"),  # ×8 is below clean
        (0.75, (30, 20, 30, 25, 25, 20), 0.1, "refuted"),  # falls with more pairs
    ],
)
def test_c1_scale_against_noise(judged, noise, steps, wobble, result):
    outcome = judged("C1", curves(noise, steps), {"50% mismatched, ×16": wobble})
    assert outcome.verdict == result
    assert outcome.effects[0] == curves(noise, steps)["50% mismatched, ×16"] - 50


def test_c1_at_smoke_has_an_excuse(judged):
    assert judged("C1", curves(0.5, (10, 20, 30, 40, 45, 60)), scale="smoke").verdict == "not at this scale"


@pytest.mark.parametrize(
    ("filtered", "oracle", "good", "wobble", "result"),
    [
        (56.0, 60.0, 0.99, 0.1, "supported"),
        (56.0, 60.0, 0.99, 2.0, "undecided"),
        (52.0, 53.0, 0.99, 0.1, "refuted"),
        (54.0, 60.0, 0.99, 0.1, "refuted"),  # 40 % of the oracle's gain
        (56.0, 60.0, 0.90, 0.1, "refuted"),
    ],
)
def test_c1c_filtering(judged, filtered, oracle, good, wobble, result):
    values = {"no filter": 50.0, "filter": filtered, "oracle": oracle}
    kept = known({"filter": {"good": good, "rare": 0.0}})
    assert judged("C1c", values, {"filter": wobble}, kept_by_filter=kept).verdict == result


@pytest.mark.parametrize(
    ("clean", "noisy", "wobble", "result"),
    [
        (59.5, 40.0, 0.1, "supported"),
        (59.5, 31.0, 2.0, "undecided"),
        (59.2, 40.0, 2.0, "undecided"),
        (58.0, 40.0, 0.1, "refuted"),
        (59.5, 29.0, 0.1, "refuted"),
    ],
)
def test_c2_contrastive_against_hinge(judged, clean, noisy, wobble, result):
    values = {f"{loss}, {kind}": x for loss in ("hinge", "SigLIP") for kind, x in SETS.items()}
    values |= {CLEAN: clean, "InfoNCE, half mismatched": noisy}
    classical = known({CLEAN: 30.0, "InfoNCE, half mismatched": 35.0})
    moved = dict.fromkeys((CLEAN, "InfoNCE, half mismatched"), wobble)
    outcome = judged("C2", values, moved, cca_recall=classical)
    assert outcome.verdict == result
    assert f"InfoNCE − CCA, half mismatched: {noisy - 35:+.1f} [" in outcome.note


SETS = {"clean": 60.0, "half mismatched": 30.0}


@pytest.mark.parametrize(
    ("ensemble", "single", "wobble", "result"),
    [
        (60.0, 59.0, 0.1, "supported"),
        (57.0, 56.0, 1.0, "undecided"),
        (50.0, 49.0, 0.1, "refuted"),
        (60.0, 62.0, 0.1, "refuted"),
    ],
)
def test_c3_names_alone(judged, ensemble, single, wobble, result):
    def measure(trained):
        moved = wobble * (trained.seed == 1) - wobble * (trained.seed == 2)
        return {
            "name alone": single,
            "8 prompts": ensemble + moved,
            "1 label a class": 0.0,
            "500 labels": 80.0,
        }

    assert judged("C3", {}, named_shapes=measure).verdict == result


@pytest.mark.parametrize(
    ("trained", "pixels", "untrained", "wobble", "result"),
    [
        (31.0, 29.0, 28.0, 0.1, "supported"),
        (31.0, 30.0, 28.0, 2.0, "undecided"),
        (28.0, 29.0, 20.0, 0.1, "refuted"),
        (28.0, 20.0, 29.0, 0.1, "refuted"),
    ],
)
def test_c4_transfer(judged, trained, pixels, untrained, wobble, result):
    def measure(model, of="vectors"):
        if of == "pixels":
            return {"shape": pixels}
        if model.system.arm == "untrained":
            return {"shape": untrained}
        return {"shape": trained + wobble * (model.seed == 1) - wobble * (model.seed == 2)}

    assert judged("C4", {}, shape_probe=measure).verdict == result


@pytest.mark.parametrize(
    ("both", "wobble", "result"),
    [(45.0, 1.0, "supported"), (45.0, 5.0, "undecided"), (38.0, 0.1, "refuted")],
)
def test_c5_image_and_word(judged, both, wobble, result):
    def measure(trained, questions):
        moved = wobble * (trained.seed == 1) - wobble * (trained.seed == 2)
        return {"to choose from": 100.0, "picture + word": both + moved, "picture": 30.0, "word": 10.0}

    assert judged("C5", {}, recoloured=measure).verdict == result


@pytest.mark.parametrize(
    ("changes", "wobble", "result"),
    [
        ({}, 0.1, "supported"),
        ({}, 10.0, "undecided"),
        ({"4 dimensions": 65.0}, 0.1, "refuted"),
        ({"a quarter of the negatives": 65.0}, 0.1, "refuted"),
        ({"temperature fixed at 1/16": 10.0}, 0.1, "refuted"),  # worse than τ = 1
    ],
)
def test_x_ablations(monkeypatch, changes, wobble, result):
    values = {
        "4 dimensions": 30.0,
        "a quarter of the negatives": 50.0,
        "temperature fixed at 1": 20.0,
        **changes,
    }

    def measure(trained):
        arm = trained.system.arm
        moved = wobble * ((trained.seed == 1) - (trained.seed == 2)) * arm.startswith("as it is")
        return values.get(arm, 60.0) + moved

    monkeypatch.setattr(claims, "recall", measure)
    assert verdict("align", "X").verdict == result


# ---- what the arms are --------------------------------------------------------------------------------------------


def test_the_pixel_baseline_reads_every_pixel(monkeypatch):
    """A shape that only pixels of odd rows show: every second pixel does not tell it."""
    images = np.zeros((40, 4, 4, 3), np.uint8)
    labels = np.arange(40) % 2
    images[labels == 1, 1, 1] = 200
    monkeypatch.setattr(setups, "labelled_scenes", lambda count, seed: (images, labels))
    monkeypatch.setattr(setups, "_probe", lambda x, labels: float((x[labels == 1] != x[0]).any()))
    assert setups.shape_probe(Trained(None, None, 0, 1, 1.0), "pixels") == {"shape": 1.0}
    assert setups.all_pixels(images).shape == (40, 48)


def test_the_steps_of_an_arm_are_those_that_suit_validation(monkeypatch):
    lab = Lab("small", (3, 4, 5), KnownBench())
    lab.bench.best = lambda key, choices, score: max(choices, key=score)
    lab.bench.train = lambda run: run
    monkeypatch.setattr(setups, "validation_recall", lambda run: -abs(run.train.steps - 170) - run.seed)
    run = setups.scenes("small", 100)
    assert setups.stopped_well(lab, run) == replace(run, train=replace(run.train, steps=175))
