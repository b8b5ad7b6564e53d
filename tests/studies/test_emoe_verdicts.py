"""The claims of emoe on known numbers: each gives each of its verdicts."""

import pytest
from known_lab import known, verdict

from brickwork.studies.emoe import claims as study

TESTS = ("ID", "typos", "newsgroups")


def everywhere(value, inside=None):
    return {test: value if test != "ID" or inside is None else inside for test in TESTS}


def arms(**values):
    numbers = {name: everywhere(80.0) for name in (*study.ARMS, "lowest")}
    return numbers | {name.replace("_", " "): everywhere(value) for name, value in values.items()}


def set_up(monkeypatch, numbers, wobble=None, whole=None, share=None):
    """``whole``, ``share``: accuracies of EMoE served whole and of the dense model served in groups, if others."""
    plain = known(numbers, wobble)

    def measure(trained, served="as trained"):
        other = {"whole": whole, "share": share}.get(served)
        return plain(trained) if other is None else everywhere(other)

    monkeypatch.setattr(study, "accuracies", measure)


@pytest.mark.parametrize(
    ("emoe", "wobble", "result"),
    [(81.0, 0.1, "supported"), (81.0, 1.0, "undecided"), (79.0, 0.1, "refuted")],
)
def test_c1_better_than_dense(monkeypatch, emoe, wobble, result):
    set_up(monkeypatch, arms(EMoE=emoe), {"EMoE": wobble})
    outcome = verdict("emoe", "C1")
    assert outcome.verdict == result
    assert outcome.effect == pytest.approx(emoe - 80)


def test_c1_is_decided_outside_of_the_training_data(monkeypatch):
    set_up(monkeypatch, {**arms(), "EMoE": everywhere(79.0, inside=95.0)}, {"EMoE": 0.1})
    assert verdict("emoe", "C1").verdict == "refuted"


@pytest.mark.parametrize(
    ("random", "dropout", "result"),
    [(79.0, 79.0, "supported"), (79.0, 81.0, "refuted"), (81.0, 79.0, "refuted"), (79.95, 79.0, "undecided")],
)
def test_a1_clusters_and_tokens_choice_matter(monkeypatch, random, dropout, result):
    set_up(monkeypatch, arms(random_groups=random, group_dropout=dropout), {"EMoE": 0.1})
    assert verdict("emoe", "A1").verdict == result


@pytest.mark.parametrize(
    ("whole", "result"),
    [(80.0, "supported"), (80.5, "refuted"), (79.5, "refuted"), (80.25, "undecided")],
)
def test_c2_served_whole(monkeypatch, whole, result):
    set_up(monkeypatch, arms(), {"EMoE": 0.05}, whole=whole)
    outcome = verdict("emoe", "C2")
    assert outcome.verdict == result
    assert outcome.effect == pytest.approx(whole - 80)


@pytest.mark.parametrize(
    ("highest", "lowest", "result"),
    [(80.5, 79.0, "supported"), (80.2, 79.9, "refuted"), (79.0, 78.0, "refuted"), (82.0, 81.0, "refuted")],
)
def test_c3_the_choice_matters(monkeypatch, highest, lowest, result):
    set_up(monkeypatch, arms(EMoE=highest, lowest=lowest), {"EMoE": 0.02})
    assert verdict("emoe", "C3").verdict == result


@pytest.mark.parametrize(("good", "result"), [(5, "supported"), (4, "refuted")])
def test_c4_the_median_of_the_grid(monkeypatch, good, result):
    grid = [f"E={e}, k={e // s}" for e in (8, 16, 32) for s in (8, 4, 2)]
    numbers = {"dense": everywhere(80.0)}
    numbers |= {name: everywhere(80.5 if place < good else 79.0) for place, name in enumerate(grid)}
    set_up(monkeypatch, numbers, dict.fromkeys(grid, 0.01))
    assert verdict("emoe", "C4").verdict == result


@pytest.mark.parametrize(
    ("control", "value", "result"),
    [
        ("", 0.1, "supported"),
        ("untrained recall", -0.1, "refuted"),
        ("random mass", -0.1, "refuted"),
        ("untrained co-activation", 0.0, "undecided"),
    ],
)
def test_s1_every_measure_against_every_control(monkeypatch, control, value, result):
    def gains(lab, name, seed):
        measures = ("co-activation", "mass", "recall")
        every = {f"{c} {m}": 0.1 for c in ("random", "untrained") for m in measures}
        moved = {control: value} if control and name == "smollm2" else {}
        return {m: v + 0.001 * (seed - 1) for m, v in {**every, **moved}.items()}

    monkeypatch.setattr(study, "structure_gains", gains)
    assert verdict("emoe", "S1").verdict == result
