"""The claims of erw on known numbers: each gives each of its verdicts; and its measures against sums by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from known_lab import DISTURBANCES, known, verdict

from brickwork.api import train as api
from brickwork.representation.contract import build_system
from brickwork.studies.bench import Bench, Trained
from brickwork.studies.erw import claims as study
from brickwork.studies.erw import setups
from brickwork.studies.study import Lab
from brickwork.training.run import load_data


def set_up(monkeypatch, frechet, wobble=0.05, shares=None, others=None):
    """``frechet``: the distance of arms that move with the seed, ``others``: of those that do not; ``shares``: of
    operations."""
    values = dict.fromkeys(setups.ARMS, 5.0) | frechet | (others or {})
    numbers = {
        name: {"frechet": value, "velocity": 0.3, "TFLOP": 10.0, "encoder TFLOP": 2.0}
        for name, value in values.items()
    }
    monkeypatch.setattr(study, "results", known(numbers, dict.fromkeys(frechet, wobble)))
    monkeypatch.setattr(study, "judge_of", lambda lab: SimpleNamespace(accuracy=0.97))

    def speed(together):
        seed = next(iter(together.values())).seed
        found = {"SiT": 1.0, "REPA": 1.0, "ERW": 1.0, **(shares or {})}
        moved = {name: value + wobble * DISTURBANCES[seed] for name, value in found.items()}
        return moved | {f"{name}, without": value - 0.1 for name, value in moved.items()}

    monkeypatch.setattr(study, "speed", speed)


@pytest.mark.parametrize(("share", "result"), [(0.6, "supported"), (0.85, "undecided"), (1.1, "refuted")])
def test_c1_operations(monkeypatch, share, result):
    set_up(monkeypatch, {}, shares={"ERW": share})
    outcome = verdict("erw", "C1")
    assert outcome.verdict == result
    assert outcome.effect == pytest.approx(share)
    assert f"Not counting the warm-up: {share - 0.1:.2f}" in outcome.note


@pytest.mark.parametrize(
    ("repa", "sit", "result"),
    [(5.0, 6.0, "supported"), (3.0, 6.0, "refuted"), (5.0, 3.0, "refuted"), (4.05, 6.0, "undecided")],
)
def test_c2_better_than_both(monkeypatch, repa, sit, result):
    set_up(monkeypatch, {"ERW": 4.0}, wobble=0.1, others={"REPA": repa, "SiT": sit})
    assert verdict("erw", "C2").verdict == result


@pytest.mark.parametrize(
    ("claim", "arms"),
    [
        ("C4", ("ERW, late blocks",)),
        ("A1", ("ERW, random encoder", "ERW, pixels")),
        ("C5", ("ERW, λ stays",)),
    ],
)
@pytest.mark.parametrize(("gain", "result"), [(-1.0, "supported"), (-0.05, "undecided"), (1.0, "refuted")])
def test_controls(monkeypatch, claim, arms, gain, result):
    set_up(monkeypatch, {"ERW": 5.0 + gain}, wobble=0.1)
    outcome = verdict("erw", claim)
    assert outcome.verdict == result
    assert outcome.effect == pytest.approx(gain)
    # Every control counts: one that is better than ERW refutes.
    for arm in arms:
        set_up(monkeypatch, {"ERW": 4.0, arm: 3.0}, wobble=0.0)
        assert verdict("erw", claim).verdict == "refuted"


@pytest.mark.parametrize(
    ("lowest", "end", "result"), [(0.2, 0.3, "supported"), (0.2, 0.2, "undecided"), (0.5, 0.6, "refuted")]
)
def test_c8_dip(monkeypatch, lowest, end, result):
    set_up(monkeypatch, {})
    wobble = 0.05 if result == "undecided" else 0.0

    def course(trained):
        moved = wobble * DISTURBANCES[trained.seed]
        return {"after the warm-up": 0.4, "lowest after it": lowest, "at the end": end + moved}

    monkeypatch.setattr(study, "course_of_likeness", course)
    assert verdict("erw", "C8").verdict == result


# ---- measures ------------------------------------------------------------------------------------------------------


def test_the_cost_to_reach_a_distance_lies_on_the_line_between_checkpoints():
    curve = [(1.0, 10.0, 0.0), (3.0, 6.0, 0.0), (4.0, 2.0, 0.0)]
    assert setups.cost_to_reach(curve, 8.0) == 2.0
    assert setups.cost_to_reach(curve, 3.0) == 3.75
    assert setups.cost_to_reach(curve, 12.0) == 1.0
    assert setups.cost_to_reach(curve, 1.0) == float("inf")


def test_speed_counts_the_warm_up_and_tells_what_it_is_without():
    def course(curve, warm):
        spent = SimpleNamespace(parts=torch.tensor([0.0, warm * 1e12, 0.0], dtype=torch.float64))
        return Trained(setups.Course(SimpleNamespace(spent=spent), tuple(curve), ()), None, 0, 0, 0.0)

    together = {
        "SiT": course([(5.0, 8.0, 0.0), (10.0, 4.0, 0.0)], 0.0),
        "ERW": course([(4.0, 8.0, 0.0), (8.0, 4.0, 0.0)], 2.0),
        "never": course([(10.0, 9.0, 0.0)], 0.0),
    }
    found = setups.speed(together)
    assert found["SiT"] == 1.0
    assert found["ERW"] == pytest.approx(0.8)
    assert found["ERW, without"] == pytest.approx(0.6)
    assert found["never"] == 2.0


@pytest.mark.parametrize("name", setups.ARMS)
def test_every_arm_has_the_operations_of_plain_training(name):
    run = setups.base("smoke")
    arm = setups.ARMS[name]
    run = replace(run, model=replace(run.model, **{"align": 0.5, **arm.model}))
    data = load_data("erw", run.data, 0)
    system = build_system("erw", run.model, data, 0)
    planned = setups.planned(run, arm, system, "smoke")
    generator, steps = system.generator, {stage.name: stage.steps for stage in planned.stages}
    head = 16 * sum(2 * p.numel() for p in system.projector.parameters() if p.ndim > 1)
    warm = steps.get("warm-up", 0) * (generator.flops(2, whole=False) + head)
    full = steps["full"] * (generator.flops(4) + (head if system.config.align else 0))
    budget = 200 * generator.flops(4)
    assert warm + full == pytest.approx(budget, rel=0.01)
    assert warm / budget == pytest.approx(0.2 if arm.warms else 0.0, abs=0.01)
    assert ("teacher" in steps) == (system.config.chosen == "simclr")


def test_likeness_is_one_for_the_target_itself():
    run = api.recipe("erw", "smoke")
    data = load_data("erw", run.data, 0)
    system = build_system("erw", run.model, data, 0).eval()
    look = data.validation.select(range(40))
    target = system.target({**system.collate(look.columns), "step": 0})
    # Fresh blocks are the identity; zeros beside the target change no inner product.
    system.generator.embed = lambda x: torch.cat([target, torch.zeros_like(target)], dim=-1)
    np.testing.assert_allclose(setups.alike(system, look), 1.0, atol=1e-6)


def test_the_judge_is_one_and_tells_digits_apart():
    lab = Lab("smoke", (0,), Bench())
    judge = setups.judge_of(lab)
    assert judge is setups.judge_of(lab)
    assert judge.accuracy > 0.8
    data = load_data("erw", setups.base("smoke").data, 0)
    images = np.asarray(data.test.columns["input"])
    same = Trained(SimpleNamespace(classes=["a"], generate_images=lambda *a, **k: images), data, 0, 0, 0.0)
    assert judge.distance(same.system, data.test, len(images), steps=1) == pytest.approx(0, abs=1e-6)
