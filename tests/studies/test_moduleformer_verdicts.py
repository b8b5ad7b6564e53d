"""The claims of moduleformer on known numbers: each gives each of its verdicts."""

from types import SimpleNamespace

import pytest
from known_lab import DISTURBANCES, KnownBench, KnownLab, known, verdict

from brickwork.studies.moduleformer import setups, surgery


@pytest.mark.parametrize(
    ("equal", "third", "wobble", "result"),
    [
        (1.53, 1.51, 0.001, "supported"),
        (1.53, 1.51, 0.05, "undecided"),
        (1.51, 1.51, 0.001, "refuted"),  # 0.01 nats better, and 0.02 are asked
        (1.53, 1.49, 0.001, "refuted"),  # a third more FLOPs make a dense model better
    ],
)
@pytest.mark.parametrize("scale", ["small", "gpu"])
def test_c1_quality_per_flop(monkeypatch, equal, third, wobble, result, scale):
    nats = {"mixture": 1.5, "dense, equal FLOPs": equal, "dense, 4/3": third, "dense, twice": 1.4}
    monkeypatch.setattr(setups, "held_out_nats", known(nats, {"mixture": wobble}))
    monkeypatch.setattr(setups, "tuned", lambda lab, **model: None)
    monkeypatch.setattr(setups, "dense_width", lambda lab, factor: 1)
    decoder = SimpleNamespace(layer_flops=lambda context: 1)
    parts = {"decoder": decoder, "config": SimpleNamespace(context=2), "parameters": list}
    outcome = verdict("moduleformer", "C1", scale=scale, **parts)
    # Below the sheet's size what is missed is excused; at its size nothing is.
    assert outcome.verdict == ("not at this scale" if (result, scale) == ("refuted", "small") else result)
    assert outcome.effect == pytest.approx(equal - 1.5)


def test_dense_widths_have_the_flops_that_they_are_asked_for(monkeypatch):
    """Brute force: the first width whose FLOPs reach those of the mixture times the factor."""
    flops = {"mixture": 1000, **{width: 100 + 30 * width for width in range(1, 200)}}

    class DataBench(KnownBench):
        def data(self, run):
            return None

    def build(slug, config, task, seed):
        width = "mixture" if config.feed_forward_modules else config.hidden
        return SimpleNamespace(decoder=SimpleNamespace(layer_flops=lambda context: flops[width]))

    monkeypatch.setattr(setups, "build_system", build)
    lab = KnownLab("smoke", (0,), DataBench())
    for factor in (1.0, 4 / 3, 2.0):
        expected = min(w for w, f in flops.items() if w != "mixture" and f >= factor * 1000)
        assert setups.dense_width(lab, factor) == expected


GOOD = {"dead": 0.0, "marginal_entropy": 0.95, "token_entropy": 0.4, "nats": 1.5}


@pytest.mark.parametrize(
    ("change", "wobble", "result"),
    [
        ({}, 0.001, "supported"),
        ({}, 0.01, "undecided"),  # the share of dead modules, 0 ± 2.5 %
        ({"dead": 0.16}, 0.001, "refuted"),
        ({"marginal_entropy": 0.8}, 0.001, "refuted"),
        ({"token_entropy": 0.6}, 0.001, "refuted"),
        ({"nats": 1.53}, 0.001, "refuted"),
        ({"nats": 1.47}, 0.001, "refuted"),  # not at equal loss either
    ],
)
def test_c4a_balance(monkeypatch, change, wobble, result):
    values = {"mutual information": GOOD | change, "Switch": GOOD | {"token_entropy": 0.5}, "none": GOOD}
    monkeypatch.setattr(setups, "usage", known(values, {"mutual information": wobble}))
    assert verdict("moduleformer", "C4a", scale="gpu").verdict == result


@pytest.mark.parametrize(
    ("change", "wobble", "result"),
    [
        ({}, 0.001, "supported"),
        ({"gain": 0.01}, 0.01, "undecided"),
        ({"gain": -0.1}, 0.001, "refuted"),
        ({"AUC": 0.8}, 0.001, "refuted"),
        ({"p": 0.02}, 0.001, "refuted"),
    ],
)
def test_c4b_modularity(monkeypatch, change, wobble, result):
    def best(trained):
        values = {"gain": 0.1, "p": 0.002, "AUC": 0.95, "AUC at init": 0.9} | change
        return values | {"gain": values["gain"] + wobble * DISTURBANCES[trained.seed]}

    monkeypatch.setattr(setups, "tuned", lambda lab: None)
    monkeypatch.setattr(setups, "best_mixture", best)
    monkeypatch.setattr(setups, "specialisation", known({"mutual information": {("one", "NMI"): 0.1}}))
    assert verdict("moduleformer", "C4b", scale="gpu").verdict == result


@pytest.mark.parametrize(
    ("ours", "behind", "wobble", "result"),
    [
        (0.04, 0.0, 0.001, "supported"),
        (0.04, 0.0, 0.02, "undecided"),
        (0.06, 0.0, 0.001, "refuted"),  # more than half of 0.1
        (0.04, 0.1, 0.001, "refuted"),  # forgets little, and learns little
    ],
)
def test_c2_extend(monkeypatch, ours, behind, wobble, result):
    def forgetting(models):
        seed = models["adapters"].seed
        forgotten = {"all weights": 0.1, "adapters": 0.05, "new modules": ours + wobble * DISTURBANCES[seed]}
        at_end = {"all weights": 1.0, "adapters": 1.0, "new modules": 1.0 + behind}
        names = {"forgetting at equal code loss": forgotten, "code loss at the end": at_end}
        sizes = {(arm, "trained parameters"): 10.0 for arm in models}
        return sizes | {(arm, name): value[arm] for name, value in names.items() for arm in models}

    monkeypatch.setattr(surgery, "forgetting", forgetting)
    monkeypatch.setattr(surgery, "prose_then_code", lambda lab, way: None)
    assert verdict("moduleformer", "C2", scale="gpu", curve=[(0, 1.0, 2.0)]).verdict == result


@pytest.mark.parametrize(
    ("ours", "random", "plain", "wobble", "result"),
    [
        (0.05, 0.4, 0.1, 0.001, "supported"),
        (0.05, 0.4, 0.1, 0.03, "undecided"),
        (0.2, 1.0, 0.3, 0.001, "refuted"),  # more than 0.1
        (0.05, 0.1, 0.1, 0.001, "refuted"),  # random pruning is nearly as good
        (0.05, 0.4, 0.04, 0.001, "refuted"),  # concentration does not help
    ],
)
def test_c3_pruning(monkeypatch, ours, random, plain, wobble, result):
    def rises(rise):
        return {(0.5, "rise"): rise, (0.5, "rise at random"): random}

    values = {"plain": rises(plain), "concentrated": rises(ours)}
    monkeypatch.setattr(surgery, "rises", known(values, {"concentrated": wobble}))
    monkeypatch.setattr(surgery, "dense_rises", known({"dense": {(0.5, "rise"): 0.3}}))
    monkeypatch.setattr(surgery, "tuned_on_code", lambda lab, arm: None)
    assert verdict("moduleformer", "C3", scale="gpu").verdict == result


@pytest.mark.parametrize(
    ("rise", "rope", "wobble", "result"),
    [
        (-0.01, 0.3, 0.001, "supported"),
        (-0.01, 0.3, 0.05, "undecided"),
        (0.05, 0.3, 0.001, "refuted"),
        (-0.01, -0.02, 0.001, "refuted"),
    ],
)
def test_sb_longer_contexts(monkeypatch, rise, rope, wobble, result):
    def nats(trained):
        rises = {"stick-breaking": rise + wobble * DISTURBANCES[trained.seed], "RoPE": rope, "ALiBi": 0.0}
        return {"64 tokens": 1.5, "128 tokens": 1.5, "256 tokens": 1.5 + rises[trained.system.arm]}

    monkeypatch.setattr(setups, "last_nats", nats)
    assert verdict("moduleformer", "SB", scale="gpu").verdict == result
