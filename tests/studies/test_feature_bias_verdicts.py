"""The claims of feature-bias on known numbers, and its measures on networks whose answers are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from known_lab import DISTURBANCES, verdict

from brickwork.studies.bench import Trained
from brickwork.studies.feature_bias import claims as study
from brickwork.studies.feature_bias.measures import downstream_uses, growth, pushes

PAIRS = ("majority5 + xor2", "copy + parity3")


def shares(easy, hard, accuracy=1.0, equal=0.05):
    return {
        "accuracy": accuracy,
        "easy before": easy,
        "hard before": hard,
        "easy last": easy,
        "hard last": hard,
        "equal last": equal,
    }


@pytest.mark.parametrize(
    ("easy", "hard", "accuracy", "equal", "wobble", "result"),
    [
        (0.5, 0.2, 1.0, 0.05, 0.001, "supported"),
        (0.3, 0.2, 1.0, 0.05, 0.001, "refuted"),  # .10 where .15 are asked
        (0.5, 0.2, 0.8, 0.05, 0.001, "refuted"),  # one was not learnt
        (0.5, 0.2, 1.0, 0.40, 0.001, "refuted"),  # equal features differ by more
        (0.4, 0.2, 1.0, 0.05, 0.05, "undecided"),  # .20 ± .12
    ],
)
def test_c1_simple_is_stronger(monkeypatch, easy, hard, accuracy, equal, wobble, result):
    numbers = dict.fromkeys(PAIRS, shares(easy, hard, accuracy, equal))
    monkeypatch.setattr(study, "layer_shares", jittered(numbers, "easy last", wobble))
    assert verdict("feature-bias", "C1").verdict == result


@pytest.mark.parametrize(
    ("doublings", "wobble", "result"),
    [(1.0, 0.1, "supported"), (-1.0, 0.1, "refuted"), (0.1, 0.1, "undecided")],
)
def test_c2_keeps_growing(monkeypatch, doublings, wobble, result):
    numbers = {key: {"doublings": doublings, "share": 0.7} for key in PAIRS}
    monkeypatch.setattr(study, "growth", jittered(numbers, "doublings", wobble))
    assert verdict("feature-bias", "C2").verdict == result


@pytest.mark.parametrize(
    ("first", "accuracy", "result"), [(0.4, 1.0, "supported"), (0.1, 1.0, "refuted"), (0.4, 0.9, "refuted")]
)
def test_c3_hard_first(monkeypatch, first, accuracy, result):
    numbers = {
        "together": shares(0.5, 0.2),
        "hard first": shares(first, 0.2, accuracy),
        "equal, second first": shares(0.2, 0.3),
    }
    monkeypatch.setattr(study, "layer_shares", jittered(numbers, "easy last", 0.001))
    outcome = verdict("feature-bias", "C3")
    assert outcome.verdict == result
    assert "first has +0.100 more" in outcome.note


@pytest.mark.parametrize(
    ("before", "last", "others", "result"),
    [(0.05, 0.0, 0.0, "supported"), (0.0, 0.05, 0.0, "supported"), (0.05, 0.05, 0.04, "refuted")],
)
def test_c4_parts_of_hard(monkeypatch, before, last, others, result):
    own = {
        "accuracy": 1.0,
        "pairs before": before,
        "pairs last": last,
        "others before": others,
        "others last": others,
    }
    monkeypatch.setattr(study, "parts", jittered({"copy + parity4": own}, "pairs last", 0.0001))
    assert verdict("feature-bias", "C4").verdict == result


@pytest.mark.parametrize(
    ("common", "masked", "zeroed", "accuracy", "result"),
    [
        (0.5, 0.1, 0.1, 1.0, "supported"),
        (0.5, 0.1, 0.3, 1.0, "refuted"),
        (0.5, 0.3, 0.1, 1.0, "refuted"),
        (0.5, 0.0, 0.0, 0.8, "refuted"),  # the rare one was not learnt
    ],
)
def test_c5_common_is_stronger(monkeypatch, common, masked, zeroed, accuracy, result):
    numbers = {
        "equal": shares(0.3, 0.3),
        "label": shares(common, masked, accuracy),
        "input": shares(common, zeroed, accuracy),
    }
    monkeypatch.setattr(study, "layer_shares", jittered(numbers, "easy last", 0.001))
    assert verdict("feature-bias", "C5").verdict == result


@pytest.mark.parametrize(
    ("rho", "wobble", "result"), [(-0.5, 0.1, "supported"), (0.5, 0.1, "refuted"), (-0.1, 0.1, "undecided")]
)
def test_c6_earlier_is_stronger(monkeypatch, rho, wobble, result):
    numbers = {"in order": {"accuracy": 1.0, "correlation": rho, **{f"place {n}": 0.1 for n in (1, 2, 3, 4)}}}
    monkeypatch.setattr(study, "by_place", jittered(numbers, "correlation", wobble))
    assert verdict("feature-bias", "C6").verdict == result


@pytest.mark.parametrize(
    ("shallow", "deep", "dropped", "result"),
    [(0.1, 0.3, -0.1, "supported"), (0.3, 0.1, -0.1, "refuted"), (0.1, 0.3, 0.1, "refuted")],
)
def test_c7_depth_and_dropout(monkeypatch, shallow, deep, dropped, result):
    gaps = {
        "2 layers": shallow,
        "4 layers": 0.2,
        "6 layers": deep,
        "Adam, dropout 0.0": 0.1,
        "Adam, dropout 0.3": dropped,
    }
    numbers = {arm: shares(0.3 + gap, 0.3) for arm, gap in gaps.items()}
    # One seed's disturbance is the same in all arms, so that only differences within an arm move.
    monkeypatch.setattr(study, "layer_shares", jittered(numbers, "easy last", 0.001))
    assert verdict("feature-bias", "C7").verdict == result


@pytest.mark.parametrize(
    ("easy", "hard", "reliance", "result"),
    [(1.0, 3.0, 0.9, "supported"), (3.0, 1.0, 0.9, "refuted"), (1.0, 3.0, 0.5, "refuted")],
)
def test_c8_downstream(monkeypatch, easy, hard, reliance, result):
    own = {"accuracy": 1.0, "components easy": easy, "components hard": hard, "reliance": reliance}
    monkeypatch.setattr(study, "downstream_uses", jittered(dict.fromkeys(PAIRS, own), "components hard", 0.1))
    assert verdict("feature-bias", "C8").verdict == result


@pytest.mark.parametrize(
    ("easy", "hard", "kept", "result"),
    [(0.6, 0.5, 1.0, "supported"), (0.5, 0.6, 1.0, "refuted"), (0.6, 0.5, 0.8, "refuted")],
)
def test_c9_steering(monkeypatch, easy, hard, kept, result):
    own = dict.fromkeys(("size easy", "size hard"), 1.0) | {"push easy": easy, "push hard": hard}
    own |= {"kept easy": 1.0, "kept hard": kept}
    monkeypatch.setattr(study, "pushes", jittered(dict.fromkeys(PAIRS, own), "push easy", 0.001))
    assert verdict("feature-bias", "C9").verdict == result


def jittered(numbers, key, wobble):
    """Known numbers of which one is disturbed by the seed."""

    def measure(trained):
        own = dict(numbers[trained.system.arm])
        own[key] += wobble * DISTURBANCES[trained.seed]
        return own

    return measure


def trained_as(system):
    return Trained(system, SimpleNamespace(test=None), 0, 10, 1.0, 0.1)


class Networks:
    """One network whose last layer holds ±3 of the easy feature along the first axis, ±1 of the hard along the second."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.truth = rng.integers(0, 2, (1, 2000, 2)).astype(bool)
        sign = 2.0 * self.truth[0] - 1
        phi = np.zeros((1, 2000, 5))
        phi[0, :, 0], phi[0, :, 1] = 3 * sign[:, 0], sign[:, 1]
        self.phi = phi + 0.01 * rng.normal(size=phi.shape)
        out = torch.zeros(1, 2, 5)
        out[0, 0, 0], out[0, 1, 1] = 1.0, 3.0
        weights = {"out/weight": out}
        self.banks = {"task": SimpleNamespace(networks=SimpleNamespace(weights=weights))}
        self.out = out.numpy()

    def responses(self, held):
        return self.phi @ self.out.transpose(0, 2, 1), self.truth, [self.phi]

    def accuracy(self, held):
        return np.ones((1, 2))


def test_components_and_reliance_of_a_layer_that_is_known():
    result = downstream_uses(trained_as(Networks()))
    assert result["components easy"] == 1
    assert result["components hard"] == 2
    assert result["reliance"] > 0.95  # three times as far from the border along the easy axis


def test_a_push_along_the_own_axis_flips_at_half_the_distance_of_the_means():
    """From −3 to +3 is α = 1, the border α = ½; the other axis is not touched. Lengths are ½ of 6 and of 2."""
    result = pushes(trained_as(Networks()))
    assert result["push easy"] == pytest.approx(0.5, abs=0.02)
    assert result["push hard"] == pytest.approx(0.5, abs=0.02)
    assert result["size easy"] == pytest.approx(3, abs=0.1)
    assert result["size hard"] == pytest.approx(1, abs=0.05)
    assert result["kept easy"] == result["kept hard"] == 1


def test_growth_counts_doublings_from_mastery_and_leaves_out_what_was_not_measured():
    watched = torch.full((4, 1, 2, 2), -1.0)
    for row, (easy, hard, accuracy) in enumerate([(0.5, 0.0, 0.8), (1.0, 0.0, 0.995), (4.0, 4.0, 1.0)]):
        watched[row, 0, 0] = torch.tensor([easy, hard])
        watched[row, 0, 1] = torch.tensor([accuracy, 0.9])
    result = growth(trained_as(SimpleNamespace(watched=watched)))
    assert result == pytest.approx({"doublings": 2.0, "share": 0.5})
