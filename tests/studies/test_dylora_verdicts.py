"""The claims of dylora on known numbers: each gives each of its verdicts."""

from types import SimpleNamespace

import pytest
from known_lab import known, verdict

from brickwork.studies import dylora
from brickwork.studies.bench import Trained


def accuracy(values, wobble=None):
    """Accuracy by arm, the same at every rank unless the arm has a table."""
    return known(values, wobble, keys=lambda ranks, rows=1000: ranks)


@pytest.fixture
def judged(monkeypatch):
    def judge(id, values, wobble=None, truncated=None, **more):
        monkeypatch.setattr(dylora, "accuracies", accuracy(values, wobble))
        monkeypatch.setattr(dylora, "truncated", accuracy(truncated or {}))
        monkeypatch.setattr(dylora, "_unadapted", lambda trained: 0.0)
        points = [SimpleNamespace(rank=b, parameters=b) for b in range(1, 65)]
        return verdict("dylora", id, curve=lambda examples, ranks: points, **more)

    return judge


LOW_AT_2 = {b: 70.0 if b == 2 else 90.0 for b in range(1, 9)}


@pytest.mark.parametrize(
    ("ours", "wobble", "cut", "result"),
    [
        (90.0, 0.5, 70.0, "supported"),
        (90.0, 5.0, 78.0, "undecided"),  # 12 ± 12 points
        (90.0, 0.5, 85.0, "refuted"),
        (LOW_AT_2, 0.5, 50.0, "refuted"),  # better, but rank 2 keeps 78 % of rank 8
    ],
)
def test_c1_one_training_serves_all(judged, ours, wobble, cut, result):
    values = {"DyLoRA": ours, "DyLoRA frozen": 0.0}
    assert judged("C1", values, {"DyLoRA": wobble}, {"LoRA 8": cut}).verdict == result


@pytest.mark.parametrize(
    ("ours", "wobble", "result"),
    [(79.0, 0.1, "supported"), (78.5, 1.0, "undecided"), (77.0, 0.1, "refuted"), (60.0, 0.1, "refuted")],
)
def test_c2_no_loss_against_separate(judged, ours, wobble, result):
    """Ranks 1 and 2 do not count: they are far below here."""
    at = {1: 0.0, 2: 0.0, 4: ours, 8: ours, **dict.fromkeys((3, 5, 6, 7), 0.0)}
    values = {"DyLoRA": at, **{f"LoRA {b}": 80.0 for b in (1, 2, 4, 8)}}
    assert judged("C2", values, {"DyLoRA": wobble}).verdict == result


@pytest.mark.parametrize(
    ("ours", "wobble", "result"),
    [(1.1, 0.01, "supported"), (1.2, 0.1, "undecided"), (2.4, 0.1, "refuted")],
)
def test_c3_seven_searches_against_one(monkeypatch, ours, wobble, result):
    """S = 7 / ours; the limit is 5.6."""
    separate = {f"LoRA {b}": 1.0 for b in dylora.SEARCH}
    monkeypatch.setattr(dylora, "seconds", known({**separate, "DyLoRA": ours}, {"DyLoRA": wobble}))
    outcome = verdict("dylora", "C3")
    assert outcome.verdict == result
    assert outcome.effects[0] == pytest.approx(7 / ours)


@pytest.mark.parametrize(
    ("high", "wobble", "result"),
    [(92.0, 0.0, "supported"), (94.0, 0.0, "refuted"), (87.0, 0.0, "refuted")],
)
def test_c4_a_wide_range(judged, high, wobble, result):
    """All ranks at 90, the largest at ``high``: too far above, or a fall; below 4 nothing counts but a fall."""
    at = {1: 10.0, 2: 20.0, 4: 90.0, 8: 90.0, 16: 90.0, 32: 90.0, 64: high}
    assert judged("C4", {"DyLoRA": at}, truncated={"LoRA 64": 0.0}).verdict == result


def test_c4_is_undecided_where_the_spans_of_seeds_differ(monkeypatch):
    def spans(trained, ranks, rows=1000):
        return {b: 90.0 + (b == 64) * (1.0, 2.0, 5.0)[trained.seed] for b in ranks}

    monkeypatch.setattr(dylora, "truncated", accuracy({"LoRA 64": 0.0}))
    monkeypatch.setattr(dylora, "accuracies", spans)
    assert verdict("dylora", "C4").verdict == "undecided"


@pytest.mark.parametrize(
    ("ours", "wobble", "result"),
    [(89.0, 0.1, "supported"), (89.0, 1.0, "undecided"), (87.0, 0.1, "refuted")],
)
def test_c5a_language_understanding(judged, ours, wobble, result):
    assert judged("C5a", {"DyLoRA": ours}, {"DyLoRA": wobble}, truncated={"LoRA 8": 90.0}).verdict == result


@pytest.mark.parametrize(
    ("ours", "at_2", "wobble", "result"),
    [
        (1.0, 0.95, 0.001, "supported"),
        (1.0, 0.95, 0.1, "undecided"),
        (0.9, 0.9, 0.001, "refuted"),
        (1.0, 0.8, 0.001, "refuted"),  # rank 8 is as good, but rank 2 keeps 80 % of it
    ],
)
def test_c5b_language_generation(monkeypatch, ours, at_2, wobble, result):
    """The gains of LoRA 8 are 1 nat; rank 1 does not count."""
    at = {1: 0.1, 2: at_2, 4: ours, 8: ours}
    values = {"DyLoRA": at, "LoRA 8": 1.0}
    monkeypatch.setattr(dylora, "nats_gained", known(values, {"DyLoRA": wobble}, keys=lambda ranks: ranks))
    monkeypatch.setattr(dylora, "descriptions", lambda: None)
    monkeypatch.setattr(dylora, "find_packaged", lambda name: name)
    assert verdict("dylora", "C5b", scale="small").verdict == result
    monkeypatch.setattr(dylora, "find_packaged", lambda name: None)
    missing = verdict("dylora", "C5b", scale="small")
    assert missing.verdict == "not run"
    assert "pip install" in missing.note


def test_c5a_says_where_cutting_is_better(judged):
    note = judged("C5a", {"DyLoRA": 89.0}, truncated={"LoRA 8": 92.0}).note
    assert "DyLoRA − truncated is -3.0 points" in note


@pytest.mark.parametrize(
    ("gain", "wobble", "result"),
    [(4.0, 0.1, "supported"), (4.0, 2.0, "undecided"), (2.0, 0.1, "refuted")],
)
def test_a1_all_against_frozen(judged, gain, wobble, result):
    """Ranks 1 to 3 do not count."""
    ours = {b: 50.0 + gain * (b >= 4) for b in range(1, 9)}
    assert judged("A1", {"all": ours, "frozen": 50.0}, {"all": wobble}).verdict == result


@pytest.mark.parametrize(
    ("low", "high", "wobble", "result"),
    [
        (3.0, -2.0, 0.1, "supported"),
        (3.0, -2.0, 2.0, "undecided"),
        (-3.0, -2.0, 0.1, "refuted"),
        (3.0, 2.0, 0.1, "refuted"),  # better everywhere
    ],
)
def test_a2_geometric_against_uniform(judged, low, high, wobble, result):
    geometric = {b: 50.0 + (low if b <= 2 else high if b == 8 else 0.0) for b in range(1, 9)}
    values = {"geometric": geometric, "sandwich": 0.0, "uniform": 50.0}
    assert judged("A2", values, {"geometric": wobble}).verdict == result


@pytest.mark.parametrize(
    ("id", "ours", "theirs"),
    [
        ("A3", "α/b", ("α/r", "α/√b")),
        ("A4", "a rank a batch", ("a rank an update",)),
        ("A5", "stay", ("drift",)),
    ],
)
@pytest.mark.parametrize(
    ("gain", "wobble", "result"),
    [(1.0, 0.1, "supported"), (0.5, 1.0, "undecided"), (-1.0, 0.1, "refuted")],
)
def test_the_ablations(judged, id, ours, theirs, gain, wobble, result):
    values = {ours: 50.0 + gain, **dict.fromkeys(theirs, 50.0)}
    assert judged(id, values, {ours: wobble}).verdict == result


def test_truncated_lora_has_the_better_scale_at_each_rank(monkeypatch):
    layer = SimpleNamespace(scaling="as trained")
    system = SimpleNamespace(adapters=SimpleNamespace(layers={"one": layer}))
    trained = Trained(system, None, 0, 10, 1.0)
    curves = {"alpha/b": {1: 50.0, 8: 70.0}, "alpha/r": {1: 40.0, 8: 80.0}}
    monkeypatch.setattr(dylora, "accuracies", lambda trained, ranks, rows: curves[layer.scaling])
    assert dylora.truncated(trained, (1, 8)) == {1: 50.0, 8: 80.0}
    assert layer.scaling == "as trained"
