"""The claims of feature-bias on known numbers, and its measures on networks whose answers are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from known_lab import DISTURBANCES, verdict

from brickwork.studies.bench import Trained
from brickwork.studies.feature_bias import claims as study
from brickwork.studies.feature_bias.images import Convolutions, draw_images, pooled_shares
from brickwork.studies.feature_bias.likeness import likeness
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
        (0.5, 0.2, 0.8, 0.05, 0.001, "undecided"),  # one was not learnt
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
    ("first", "accuracy", "result"), [(0.4, 1.0, "supported"), (0.1, 1.0, "refuted"), (0.4, 0.9, "undecided")]
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
        (0.5, 0.0, 0.0, 0.8, "undecided"),  # the rare one was not learnt
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
    ("plain", "residual", "accuracy", "result"),
    [
        ((0.4, 0.1), (0.1, 0.4), 1.0, "supported"),
        ((0.4, 0.1), (0.4, 0.2), 1.0, "supported"),  # wide gains, though local still has more
        ((0.1, 0.4), (0.4, 0.1), 1.0, "refuted"),
        ((0.4, 0.1), (0.1, 0.4), 0.9, "undecided"),  # one was not learnt
    ],
)
def test_c7b_residual_prefers_wide(monkeypatch, plain, residual, accuracy, result):
    numbers = {
        arm: {"local": local, "wide": wide, "accuracy": accuracy}
        for arm, (local, wide) in {"plain": plain, "residual": residual}.items()
    }
    monkeypatch.setattr(study, "pooled_shares", jittered(numbers, "wide", 0.001))
    assert verdict("feature-bias", "C7b").verdict == result


@pytest.mark.parametrize(
    ("easy", "hard", "accuracy", "wobble", "result"),
    [
        (0.8, 0.3, 1.0, 0.01, "supported"),
        (0.3, 0.8, 1.0, 0.01, "refuted"),
        (0.8, 0.3, 0.9, 0.01, "undecided"),
        (0.8, 0.7, 1.0, 0.1, "undecided"),
    ],
)
def test_c8b_alike(monkeypatch, easy, hard, accuracy, wobble, result):
    def measure(arms):
        assert set(arms) == {"both", "easy", "hard"}
        moved = easy + wobble * DISTURBANCES[arms["both"].seed]
        values = {"both, easy": moved, "both, hard": hard, "both, both": 0.6, "easy, hard": 0.0}
        return values | {"accuracy": accuracy}

    monkeypatch.setattr(study, "likeness", measure)
    outcome = verdict("feature-bias", "C8b")
    assert outcome.verdict == result
    assert f"{0.6 - easy:+.3f} more alike" in outcome.note


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


# ---- images ------------------------------------------------------------------------------------------------------


def test_images_show_what_they_are_said_to():
    """A blob of pure red or blue; a ring is dark for two pixels around its middle, where a cross is bright."""
    images, truth = draw_images(300, np.random.default_rng(1))
    pure = [(image == 1).sum((1, 2)) for image in images]
    assert {(int(p[0]) >= 9, int(p[2]) >= 9) for p in pure} == {(True, False), (False, True)}
    assert [bool(p[2] >= 9) for p in pure] == truth[:, 0].tolist()
    grey = images.min(1) > 0.35  # of the shape alone: the patch has a channel at 0
    ring = np.array([_is_ring(rows) for rows in grey])
    assert (ring == truth[:, 1]).mean() > 0.97
    assert np.abs(np.corrcoef(truth.T)[0, 1]) < 0.15


def _is_ring(rows):
    """The middle of the box around the shape is dark."""
    down, across = np.nonzero(rows)
    middle = (down.min() + down.max()) / 2, (across.min() + across.max()) / 2
    return np.hypot(down - middle[0], across - middle[1]).min() > 2


def test_shares_of_a_pooled_layer_are_those_of_its_axes():
    """±3 of the patch's colour and ±1 of the shape, read off the image by hand: shares .9 and .1."""
    _, truth = draw_images(2048, np.random.default_rng(0))
    signs = torch.tensor(2.0 * truth - 1)
    pooled = torch.stack([3 * signs[:, 0], signs[:, 1]], 1)
    result = pooled_shares(trained_as(lambda images: (signs.float(), pooled)))
    assert result["accuracy"] == 1.0
    assert result["local"] == pytest.approx(0.9, abs=0.01)
    assert result["wide"] == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("residual", [True, False])
def test_convolutions_without_their_blocks_are_the_way_around(residual):
    model = Convolutions(residual).eval()
    images = torch.from_numpy(draw_images(4, np.random.default_rng(0))[0])
    with torch.no_grad():
        for block in model.blocks:
            for parameter in block.parameters():
                parameter.zero_()
        pooled = model(images)[1]
        x = torch.relu(model.stem(images))
        for around in model.around if residual else ():
            x = torch.relu(around(x))
    wanted = x.mean((-2, -1)) if residual else torch.zeros_like(pooled)
    torch.testing.assert_close(pooled, wanted)


# ---- likeness ----------------------------------------------------------------------------------------------------


class Known:
    """Two networks whose last layer holds the bits at ``places``, each by its role."""

    def __init__(self, places):
        self.bits, self.config = 6, SimpleNamespace(replicas=2)
        self.places = list(places)
        self.banks = {"task": lambda own: (None, None, [own[..., self.places].float()])}

    def accuracy(self, held):
        return np.array([[1.0, 0.7], [1.0, 0.8]])


def test_networks_that_hold_the_same_are_most_alike():
    """By scipy: Spearman's correlation of Euclidean distances."""
    from scipy.spatial.distance import pdist
    from scipy.stats import spearmanr

    both, easy, hard = (trained_as(Known(places)) for places in ((0, 1, 2, 3), (0, 1, 2), (3,)))
    result = likeness({"both": both, "easy": easy, "hard": hard})
    assert result["both, both"] == pytest.approx(1)
    bits = np.random.default_rng(0).integers(0, 2, (300, 6))
    for name, places in (("easy", [0, 1, 2]), ("hard", [3])):
        wanted = spearmanr(pdist(bits[:, :4]), pdist(bits[:, places])).statistic
        assert result[f"both, {name}"] == pytest.approx(wanted)
    assert result["accuracy"] == pytest.approx(0.75)  # of both its least, of hard its second
    alone = likeness({"both": trained_as(Known((0,))), "easy": easy, "hard": hard})
    assert alone["both, easy"] > alone["both, hard"]
