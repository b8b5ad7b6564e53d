"""The claims of rich-representations on known numbers: each gives each of its verdicts, and an invalid setting none."""

import pytest
from known_lab import known, verdict

from brickwork.studies.rich_representations import claims as study

SLUG = "rich-representations"
ARMS = ("members joined", "longer", "jointly", "wide by parameters", "wide by features")


def labels(one, every, pixels=40.0, untrained=45.0):
    values = {
        "one": one,
        "all": every,
        "untrained": untrained,
        "untrained, as wide": untrained,
        "pixels": pixels,
    }
    return {(name, 50): value for name, value in values.items()}


def new(others=63.0, joined=65.0, one=60.0, **gate):
    return {arm: labels(one, joined if arm == "members joined" else others, **gate) for arm in ARMS}


def set_up(monkeypatch, numbers, wobble=0.1, old=1.0):
    wobbles = dict.fromkeys(numbers, 0.0) | {"jointly": wobble, "wide by parameters": wobble}
    monkeypatch.setattr(study, "new_labels", known(numbers, wobbles))
    monkeypatch.setattr(study, "controls", known(numbers, wobbles))
    monkeypatch.setattr(
        study, "old_labels", known({arm: {"one": 80.0, "all": 80.0 + old} for arm in numbers})
    )
    monkeypatch.setattr(study, "facts", known({arm: {"parameters": 1.0} for arm in numbers}))
    monkeypatch.setattr(study, "_most_shots", lambda trained: 50)


@pytest.mark.parametrize(
    ("numbers", "wobble", "old", "result"),
    [
        (new(), 0.1, 1.0, "supported"),
        (new(), 1.0, 1.0, "undecided"),  # over the jointly trained: 2 ± 2.5
        (new(others=64.5), 0.1, 1.0, "refuted"),  # half a point over them
        (new(joined=62.0, others=60.0), 0.1, 1.0, "refuted"),  # two points over one
        (new(), 0.1, 4.0, "refuted"),  # the old labels gain too
        (new(pixels=56.0), 0.1, 1.0, "not run"),  # pixels are nearly as good
        (new(untrained=58.0), 0.1, 1.0, "not run"),
    ],
)
def test_c1_new_labels_gain(monkeypatch, numbers, wobble, old, result):
    set_up(monkeypatch, numbers, wobble, old)
    outcome = verdict(SLUG, "C1")
    assert outcome.verdict == result
    assert outcome.effect == pytest.approx(numbers["members joined"]["all", 50] - 60)
    assert outcome.note.startswith("Invalid setting.") == (result == "not run")


def test_an_invalid_setting_at_smoke_keeps_its_verdict(monkeypatch):
    set_up(monkeypatch, new(pixels=90.0))
    assert verdict(SLUG, "C1", scale="smoke").verdict == "supported"
    set_up(monkeypatch, new(joined=60.0, others=60.0))
    assert verdict(SLUG, "C1", scale="smoke").verdict == "not at this scale"


@pytest.mark.parametrize(
    ("values", "result"), [([50, 52, 53, 54, 55], "supported"), ([50, 52, 51, 54, 55], "refuted")]
)
def test_c1b_each_adds(monkeypatch, values, result):
    set_up(monkeypatch, new())
    monkeypatch.setattr(
        study, "by_members", known({"members joined": {k: float(v) for k, v in enumerate(values, 1)}})
    )
    assert verdict(SLUG, "C1b").verdict == result


@pytest.mark.parametrize(
    ("two", "wobble", "result"),
    [(72.0, 0.1, "supported"), (72.0, 2.0, "undecided"), (70.2, 0.1, "refuted")],
)
def test_c2_two_stages(monkeypatch, two, wobble, result):
    set_up(monkeypatch, new())
    numbers = {"two stages": two, "as one": 70.0, "one network": 70.0, "averaged heads": 71.0}
    monkeypatch.setattr(study, "_tuned_accuracy", known(numbers, {"two stages": wobble}))
    outcome = verdict(SLUG, "C2")
    assert outcome.verdict == result
    assert outcome.effect == pytest.approx(two - 70)


def test_c2_has_to_beat_one_network_too(monkeypatch):
    set_up(monkeypatch, new())
    numbers = {"two stages": 72.0, "as one": 70.0, "one network": 72.0, "averaged heads": 71.0}
    monkeypatch.setattr(study, "_tuned_accuracy", known(numbers))
    assert verdict(SLUG, "C2").verdict == "refuted"


@pytest.mark.parametrize(("every", "result"), [(62.0, "supported"), (61.0, "refuted")])
def test_c3_without_labels(monkeypatch, every, result):
    for measure in ("new_labels", "controls"):
        monkeypatch.setattr(study, measure, known({"SimCLR": labels(60.0, every)}))
    assert verdict(SLUG, "C3").verdict == result


@pytest.mark.parametrize(
    ("every", "snapshots", "result"),
    [
        (64.0, 62.0, "supported"),
        (61.0, 60.5, "refuted"),
        (64.0, 59.0, "refuted"),
        (64.0, 65.0, "refuted"),  # snapshots better than seeds
    ],
)
def test_c4_few_shots(monkeypatch, every, snapshots, result):
    plain = {"one": 60.0, "untrained": 50.0, "pixels": 50.0}
    numbers = {"members joined": {**plain, "all": every}, "snapshots": {**plain, "all": snapshots}}
    monkeypatch.setattr(study, "episodes", known(numbers))
    assert verdict(SLUG, "C4").verdict == result


@pytest.mark.parametrize(
    ("sd", "mean", "result"), [(1.0, 71.0, "supported"), (1.5, 71.0, "refuted"), (1.0, 69.0, "refuted")]
)
def test_c5_varies_less(monkeypatch, sd, mean, result):
    values = {
        (f"{name}, {what}", head): value
        for head in ("ERM", "V-REx")
        for name, what, value in (
            ("one", "sd", 2.5),
            ("one", "mean", 70.0),
            ("joined", "sd", sd),
            ("joined", "mean", mean),
        )
    }
    monkeypatch.setattr(study, "shifted", known({"coloured MNIST": values}))
    assert verdict(SLUG, "C5").verdict == result


@pytest.mark.parametrize(("student", "result"), [(62.0, "supported"), (60.0, "refuted"), (66.0, "refuted")])
def test_c6_distilled(monkeypatch, student, result):
    one = {"one": 60.0, "all": 65.0, "untrained": 45.0, "pixels": 40.0, "distilled": student}
    monkeypatch.setattr(study, "student_labels", known({f"τ = {tau}": one for tau in (1, 4, 10)}))
    assert verdict(SLUG, "C6").verdict == result
