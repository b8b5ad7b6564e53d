"""The claims of multimodn on known numbers: each gives each of its verdicts."""

from types import SimpleNamespace

import pytest
from known_lab import DISTURBANCES, known, verdict

from brickwork.studies.multimodn import claims, setups
from brickwork.studies.multimodn.setups import MNAR, TASKS


@pytest.mark.parametrize(
    ("tumour", "passed", "wobble", "result"),
    [
        (89.5, 89.0, 0.1, "supported"),
        (88.5, 89.0, 1.0, "undecided"),
        (85.0, 99.0, 0.1, "refuted"),  # better on the mean, and 5 points worse on one task
    ],
)
def test_c1_as_good_as_parallel(monkeypatch, tumour, passed, wobble, result):
    def estimates(trained, target):
        ours = {"tumour": tumour, "odd": 90.0, "passed": passed}[target] + wobble * DISTURBANCES[trained.seed]
        return {
            "AUROC": ours if trained.system.arm == "multimodn" else 90.0,
            "low": 0.0,
            "high": 0.0,
            "BAC": 0.0,
        }

    monkeypatch.setattr(setups, "estimates", estimates)
    assert verdict("multimodn", "C1").verdict == result
    smoke = verdict("multimodn", "C1", scale="smoke").verdict
    assert smoke == ("not at this scale" if result == "refuted" else result)


@pytest.mark.parametrize(
    ("together", "wobble", "result"),
    [(89.0, 0.1, "supported"), (88.5, 1.0, "undecided"), (87.0, 0.1, "refuted")],
)
def test_c2_many_tasks(monkeypatch, together, wobble, result):
    values = {"together": together, **{f"{task} alone": 90.0 for task in TASKS}}
    monkeypatch.setattr(setups, "areas", known(values, {"together": wobble}, keys=lambda tasks: tasks))
    assert verdict("multimodn", "C2").verdict == result


@pytest.mark.parametrize(
    ("rho", "noise", "wobble", "result"),
    [
        (0.8, 0.01, 0.001, "supported"),
        (0.6, 0.01, 0.1, "undecided"),
        (0.3, 0.01, 0.001, "refuted"),
        (0.8, 0.05, 0.001, "refuted"),
    ],
)
def test_c3_importance_is_right(monkeypatch, rho, noise, wobble, result):
    """What is read alone, from the initial state, is not judged."""

    def agreement(trained):
        return {"importance": rho + wobble * DISTURBANCES[trained.seed], "importance alone": -1.0}

    def worth(trained):
        kinds = {"importance": noise, "importance alone": 0.5}
        return {(task, "noise", kind): value for task in TASKS for kind, value in kinds.items()}

    monkeypatch.setattr(setups, "rank_agreement", agreement)
    monkeypatch.setattr(setups, "worth", worth)
    assert verdict("multimodn", "C3").verdict == result


@pytest.mark.parametrize(
    ("areas", "wobble", "result"),
    [
        ((50.0, 70.0, 80.0), 0.1, "supported"),
        ((50.0, 51.0, 80.0), 0.3, "undecided"),  # one modality: 51 ± 0.7, but the rise of 1 ± 0.7 and more
        ((50.0, 45.0, 80.0), 0.1, "refuted"),  # below chance
        ((50.0, 80.0, 70.0), 0.1, "refuted"),  # the second modality makes it worse
    ],
)
def test_c4_any_subset(monkeypatch, areas, wobble, result):
    def subsets(trained):
        moved = wobble * DISTURBANCES[trained.seed] * (trained.system.arm != "parallel")
        kept = ((0, ""), (1, "a"), (1, "b"), (2, "a b"))
        low = 0.8 * (areas[1] == 51.0)  # the other subset of one
        return {
            (count, names, "odd"): areas[count] + moved * (count > 0) - low * (names == "b")
            for count, names in kept
        }

    monkeypatch.setattr(setups, "subset_areas", subsets)
    outcome = verdict("multimodn", "C4", scale="smoke", layout=SimpleNamespace(names=("a", "b")))
    assert outcome.verdict == ("not at this scale" if result == "refuted" else result)
    assert outcome.effects[0] == pytest.approx(min(areas[1] - 0.8 * (areas[1] == 51.0), areas[2]) - 50)


@pytest.fixture
def missing(monkeypatch):
    """The result of a claim on values missing not at random: arm → what flipping costs, on all sets or by set."""

    def judge(id, costs, wobble=0.1, warned=True):
        def tests(trained, source, rate):
            cost = costs.get(trained.system.arm, 0.0)
            cost = cost[source] if isinstance(cost, dict) else cost
            flip = 90.0 - cost + wobble * DISTURBANCES[trained.seed]
            return {
                (source, rate, name): value
                for name, value in (("full", 90.0), ("same", 90.0), ("flip", flip))
            }

        monkeypatch.setattr(setups, "three_tests", tests)
        monkeypatch.setattr(setups, "warned", lambda trained: warned)
        return verdict("multimodn", id)

    return judge


@pytest.mark.parametrize(
    ("ours", "theirs", "wobble", "result"),
    [
        (1.0, 20.0, 0.1, "supported"),
        (1.0, 20.0, 1.0, "undecided"),
        (30.0, 20.0, 0.1, "refuted"),
        (1.0, 5.0, 0.1, "refuted"),  # P-Fusion does not collapse
    ],
)
def test_c5_resistant(missing, ours, theirs, wobble, result):
    assert missing("C5", {"multimodn": ours, "parallel": theirs}, wobble).verdict == result


def on_last(value, others=0.0):
    return dict.fromkeys(MNAR, others) | {"student_performance": value}


@pytest.mark.parametrize(
    ("cost", "wobble", "result"),
    [
        (0.0, 0.1, "supported"),
        (1.0, 1.0, "undecided"),
        (on_last(5.0), 0.1, "refuted"),
        (on_last(-5.0), 0.1, "refuted"),
    ],
)
def test_c5a_as_released(missing, cost, wobble, result):
    assert missing("C5a", {"multimodn batch sigmoid": cost}, wobble).verdict == result


@pytest.mark.parametrize(
    ("cost", "wobble", "warned", "result"),
    [
        (20.0, 0.1, True, "supported"),
        (11.0, 1.0, True, "undecided"),
        (on_last(5.0, 50.0), 0.1, True, "refuted"),
        (20.0, 0.1, False, "refuted"),
    ],
)
def test_c5b_skipping_samples_collapses(missing, cost, wobble, warned, result):
    assert missing("C5b", {"multimodn": cost}, wobble, warned).verdict == result


@pytest.mark.parametrize(
    ("cost", "wobble", "result"),
    [(5.0, 0.1, "supported"), (12.0, 2.0, "undecided"), (on_last(20.0), 0.1, "refuted")],
)
def test_c5c_dropout_repairs(missing, cost, wobble, result):
    assert missing("C5c", {"multimodn dropout": cost}, wobble).verdict == result


def test_flipped_takes_the_modality_from_the_other_class(monkeypatch):
    """``same`` deletes it for class 1, as in training, ``flip`` for class 0."""
    asked = []

    def simulate(examples, layout, missing, seed):
        asked.append((missing.modality, missing.label))
        return examples

    monkeypatch.setattr(setups, "simulate", simulate)
    monkeypatch.setattr(
        setups, "last_outputs", lambda *args: ([0, 1], setups.np.array([[0.9, 0.1], [0.2, 0.8]]))
    )
    monkeypatch.setattr(setups, "auroc", lambda *args: 1.0)
    monkeypatch.setattr(setups, "balanced_accuracy", lambda *args: 1.0)
    data = SimpleNamespace(test=None, details=None)
    trained = setups.Trained(SimpleNamespace(skip="sample"), data, 0, 10, 1.0)
    setups.three_tests(trained, "breast_cancer", 0.8)
    assert asked == [("error", 1), ("error", 0)]
    assert claims.MNAR is setups.MNAR
