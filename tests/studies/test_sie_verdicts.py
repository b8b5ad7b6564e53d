"""The claims of sie on known numbers, and its measures on models whose answers are known."""

import numpy as np
import pytest
import torch
from known_lab import known, verdict

from brickwork.data.types import TaskData
from brickwork.studies.bench import Trained
from brickwork.studies.sie import claims as study
from brickwork.studies.sie import measures
from brickwork.systems.sie.data import RENDERED, Known, examples

ARMS = ("SIE", "VICReg", "SimCLR", "AugSelf", "EquiMod")


@pytest.mark.parametrize(
    ("hues", "wobble", "result"),
    [(0.9, 0.01, "supported"), (0.3, 0.01, "refuted"), (0.6, 0.1, "undecided")],
)
def test_c1_told(monkeypatch, hues, wobble, result):
    numbers = {"rotation": 0.2, "rotation and hues": hues}
    monkeypatch.setattr(study, "colour_r2", known(numbers, {"rotation": wobble}))
    assert verdict("sie", "C1").verdict == result


@pytest.mark.parametrize(
    ("hyper", "mlp", "result"),
    [(2.0, 1.0, "supported"), (1.2, 1.0, "refuted"), (2.0, 2.5, "refuted"), (1.0, 1.0, "refuted")],
)
def test_c2_no_collapse(monkeypatch, hyper, mlp, result):
    numbers = {"hypernetwork": hyper, "MLP": mlp, "shuffled": 1.0}
    monkeypatch.setattr(study, "use_of_g", known(numbers, {"MLP": 0.01}))
    assert verdict("sie", "C2").verdict == result


@pytest.mark.parametrize(
    ("sie", "classes", "result"),
    [(0.7, 80.0, "supported"), (0.45, 80.0, "refuted"), (0.7, 70.0, "refuted")],
)
def test_c3_equivariance(monkeypatch, sie, classes, result):
    r2 = {arm: {"r2": 0.4, "paper": 0.5, "floor": 0.23} for arm in ARMS}
    r2["SIE"] = {"r2": sie, "paper": sie, "floor": 0.23}
    monkeypatch.setattr(study, "rotation_r2", known(r2, {"SIE": 0.01}))
    monkeypatch.setattr(study, "top1", known({**dict.fromkeys(ARMS, 82.0), "SIE": classes}, {"SIE": 0.1}))
    assert verdict("sie", "C3").verdict == result


@pytest.mark.parametrize(
    ("equi", "inv", "right", "result"),
    [(0.7, 0.3, 5.0, "supported"), (0.4, 0.3, 5.0, "refuted"), (0.7, 0.3, -5.0, "refuted")],
)
def test_c3b_split(monkeypatch, equi, inv, right, result):
    def by_part(numbers):
        return lambda trained, part: numbers[part][trained.seed]

    r2 = {"equivariant": equi, "invariant": inv}
    wobbling = {
        p: [{"r2": v + d, "paper": v, "floor": 0.2} for d in (0.0, 0.01, -0.01)] for p, v in r2.items()
    }
    wobbling["invariant"] = [{"r2": inv, "paper": inv, "floor": 0.2}] * 3
    monkeypatch.setattr(study, "rotation_r2", by_part(wobbling))
    monkeypatch.setattr(
        study,
        "top1",
        by_part({"invariant": [80 + right, 80.1 + right, 79.9 + right], "equivariant": [80.0] * 3}),
    )
    assert verdict("sie", "C3b").verdict == result


def ranks(own, unmoved=0.2, chance=0.1, **more):
    return {"steering_mrr": own, "unmoved_mrr": unmoved, "chance_mrr": chance, "steering_hit@1": own, **more}


@pytest.mark.parametrize(
    ("own", "unmoved", "mod", "pre", "result"),
    [
        (0.5, 0.2, 0.3, 0.3, "supported"),
        (0.15, 0.12, 0.1, 0.3, "refuted"),  # less than twice chance
        (0.5, 0.6, 0.3, 0.3, "refuted"),  # unmoved vectors do as well
        (0.5, 0.2, 0.6, 0.3, "refuted"),  # so does EquiMod
        (0.5, 0.2, 0.3, 0.7, "refuted"),  # the rotation found is worse
    ],
)
def test_c4_moved(monkeypatch, own, unmoved, mod, pre, result):
    errors = {"pre": pre, "unmoved_pre": 0.5, "chance_pre": 0.6}
    by_seed = [
        {
            "SIE": ranks(own + d, unmoved, **{**errors, "pre": pre + d}),
            "EquiMod": ranks(mod, unmoved, **errors),
        }
        for d in (0.0, 0.01, -0.01)
    ]
    monkeypatch.setattr(study, "steering", lambda trained: by_seed[trained.seed][trained.system.arm])
    assert verdict("sie", "C4").verdict == result


# ---- measures ------------------------------------------------------------------------------------------------------


class TurnsKnown:
    """A model whose vector is what it is shown: sine and cosine of a hue in the equivariant half, noise in the other."""

    def __init__(self):
        self.changes = (RENDERED["floor_hue"],)
        self.columns = [0]

    def r(self, images):
        turn = torch.from_numpy(images[:, 0, 0].astype(np.float32)) / 255 * 2 * torch.pi
        noise = torch.randn(len(images), 2, generator=torch.Generator().manual_seed(len(images)))
        return torch.cat([noise, turn[:, :1].cos(), turn[:, :1].sin()], 1)

    def halves(self, r):
        return r[:, :2], r[:, 2:]

    def z_equivariant(self, r):
        return r[:, 2:]

    def g(self, before, after):
        turn = torch.from_numpy(2 * np.pi * (after - before)[:, 0]).float()
        return torch.stack([turn.cos(), turn.sin()], 1)

    def predictor(self, z, g):
        return torch.stack([g[:, 0] * z[:, 0] - g[:, 1] * z[:, 1], g[:, 1] * z[:, 0] + g[:, 0] * z[:, 1]], 1)


@pytest.fixture
def trained():
    rng = np.random.default_rng(0)
    hues = rng.integers(0, 256, 400)
    images = np.repeat(hues.astype(np.uint8)[:, None, None, None], 3, 3)
    owners, labels = np.repeat(np.arange(40), 10), np.repeat(np.arange(40) % 2, 10)
    made = examples(images, hues[:, None] / 255, owners, labels)
    half = [row for row, owner in enumerate(made.columns["object"]) if owner < 30]
    rest = [row for row, owner in enumerate(made.columns["object"]) if owner >= 30]
    parts = {"train": made.select(half), "validation": made.select([]), "test": made.select(rest)}
    known_columns = Known(("floor_hue",), (RENDERED["floor_hue"],))
    data = TaskData(name="hues", kind="views", modality="image", details=known_columns, **parts)
    return Trained(TurnsKnown(), data, 0, 10, 1.0, 0.1)


def test_a_probe_reads_what_is_there_and_nothing_else(trained):
    assert measures.rotation_r2(trained, "equivariant")["r2"] > 0.9
    nothing = measures.rotation_r2(trained, "invariant")
    assert nothing["r2"] < 0.1
    assert nothing["paper"] == pytest.approx(nothing["floor"], abs=0.1)


def test_the_use_of_g_of_a_rotation_is_large_and_of_a_copy_one(trained, monkeypatch):
    assert measures.use_of_g(trained) > 1e6
    monkeypatch.setattr(trained.system, "predictor", lambda z, g: z)
    assert measures.use_of_g(trained) == pytest.approx(1.0)


def test_classes_that_are_not_there_are_guessed(trained):
    assert measures.top1(trained, "whole") == pytest.approx(50, abs=15)
