"""The claims of global-workspace on known numbers: each gives each of its verdicts."""

from types import SimpleNamespace

import pytest
from known_lab import DISTURBANCES, KnownBench, known, verdict

from brickwork.studies.bench import PILOT_SEED, Bench, Trained
from brickwork.studies.global_workspace import claims, setups
from brickwork.studies.global_workspace.setups import ROUTE, SEEN, UNSEEN, UNSEEN_OLD_SUM
from brickwork.studies.study import Lab


@pytest.fixture
def judged(monkeypatch):
    def judge(id, number, wobble=0.1, moves="workspace", scale="small", size=None):
        """``number(arm, score)``; the scores of arms that begin with ``moves`` move with the seed."""

        def scored(trained):
            arm = trained.system.arm
            moved = wobble * DISTURBANCES[trained.seed] * arm.startswith(moves)
            return {name: number(arm, name) + moved for name in (SEEN, UNSEEN, UNSEEN_OLD_SUM, ROUTE)}

        def parameters(trained):
            return (size or {}).get(trained.system.arm.split(", ")[0], 5000)

        monkeypatch.setattr(claims, "scored", scored)
        monkeypatch.setattr(claims, "parameters", parameters)
        monkeypatch.setattr(setups, "parameters", parameters)
        return verdict("global-workspace", id, scale=scale)

    return judge


@pytest.mark.parametrize(
    ("worst", "route", "wobble", "result"),
    [
        (97.0, 95.0, 0.1, "supported"),
        (97.0, 95.0, 2.0, "undecided"),
        (90.0, 95.0, 0.1, "refuted"),  # one split; the mean over splits is above 95
        (97.0, 80.0, 0.1, "refuted"),
    ],
)
def test_c1_the_program(judged, worst, route, wobble, result):
    def number(arm, score):
        if arm.startswith("workspace, hard"):
            return 0.0
        return {UNSEEN: worst, ROUTE: route}.get(score, 100.0) if arm == "workspace, sum" else 100.0

    assert judged("C1", number, wobble).verdict == result


@pytest.mark.parametrize(
    ("ours", "lstm", "wobble", "result"),
    [
        (90.0, 10.0, 0.1, "supported"),
        (88.0, 45.0, 2.0, "undecided"),
        (80.0, 10.0, 0.1, "refuted"),
        (90.0, 60.0, 0.1, "refuted"),
    ],
)
def test_c2_images(judged, ours, lstm, wobble, result):
    def number(arm, score):
        return (ours if arm.startswith("workspace") else lstm) if score == UNSEEN else 100.0

    assert judged("C2", number, wobble).verdict == result


@pytest.mark.parametrize(
    ("name", "best", "wobble", "lstm", "result"),
    [
        ("LSTM, interp", 60.0, 0.1, 23_000, "supported"),
        ("LSTM, interp", 75.0, 3.0, 23_000, "undecided"),
        ("Transformer, 10 × steps, mod10/interp", 85.0, 0.1, 23_000, "refuted"),
        ("LSTM, interp", 60.0, 0.1, 4_000, "refuted"),  # smaller than the workspace
    ],
)
def test_c3i_interpolation(judged, name, best, wobble, lstm, result):
    def number(arm, score):
        return 100.0 if arm.startswith("workspace") else best if arm == name else 20.0

    size = {"LSTM": lstm, "Transformer": 18_000}
    outcome = judged("C3i", number, wobble, moves=name, size=size)
    assert outcome.verdict == result
    assert outcome.effects[0] == 100 - best


@pytest.mark.parametrize(
    ("ours", "baseline", "wobble", "result"),
    [
        (99.0, 40.0, 0.1, "supported"),  # 40 on one of three tasks is 13 in the mean
        (99.0, 55.0, 5.0, "undecided"),
        (90.0, 0.0, 0.1, "refuted"),
        (99.0, 80.0, 0.1, "refuted"),
    ],
)
def test_c3x_extrapolation(judged, ours, baseline, wobble, result):
    def number(arm, score):
        if arm.startswith("workspace"):
            return ours if arm == "workspace, mod10/bigA" else 100.0
        return baseline if arm == "tied Transformer, matched, mod10/sum" else 0.0

    outcome = judged("C3x", number, wobble, moves="tied Transformer")
    assert outcome.verdict == result


@pytest.mark.parametrize(
    ("joint", "seen", "wobble", "result"),
    [
        (20.0, 90.0, 1.0, "supported"),
        (60.0, 90.0, 20.0, "undecided"),
        (80.0, 90.0, 1.0, "refuted"),
        (20.0, 25.0, 1.0, "refuted"),  # it learns nothing at all
    ],
)
def test_j_joint_training(judged, joint, seen, wobble, result):
    def number(arm, score):
        return {SEEN: seen, UNSEEN: joint}.get(score, 0.0) if arm == "joint" else 90.0

    assert judged("J", number, wobble, moves="two phases").verdict == result


@pytest.mark.parametrize(
    ("serial", "wobble", "result"),
    [(99.0, 0.1, "supported"), (96.0, 2.0, "undecided"), (33.0, 0.1, "refuted")],
)
def test_b_counts_further(judged, serial, wobble, result):
    """One code is enough."""
    outcome = judged("B", lambda arm, score: serial if arm == "workspace, serial" else 0.0, wobble)
    assert outcome.verdict == result


@pytest.mark.parametrize(
    ("twice", "wobble", "result"),
    [(99.0, 0.1, "supported"), (96.0, 2.0, "undecided"), (80.0, 0.1, "refuted")],
)
def test_l_leaks(monkeypatch, twice, wobble, result):
    def held(trained, steps):
        moved = wobble * DISTURBANCES[trained.seed]
        values = {steps[0]: 100.0, steps[1]: twice + moved, steps[2]: 0.0}
        return {
            (gates, n, "accuracy"): value if gates == "soft" else 0.0
            for n, value in values.items()
            for gates in ("soft", "hard")
        }

    monkeypatch.setattr(claims, "held", held)
    assert verdict("global-workspace", "L").verdict == result


@pytest.mark.parametrize(
    ("alone", "on_pairs", "wobble", "result"),
    [
        (0.5, 0.4, 0.001, "supported"),
        (0.57, 0.4, 0.01, "undecided"),
        (0.59, 0.4, 0.001, "refuted"),
        (0.5, 0.59, 0.001, "refuted"),
    ],
)
def test_a_unpaired_rows(monkeypatch, alone, on_pairs, wobble, result):
    values = {"translation, pairs alone": on_pairs, "translation": alone, "all losses": 0.9}
    values = {name: {"R²": value} for name, value in {**values, "translation and cycles": 0.6}.items()}
    monkeypatch.setattr(claims, "translation", known(values, {"translation and cycles": wobble}))
    assert verdict("global-workspace", "A").verdict == result


# ---- how baselines are tuned ---------------------------------------------------------------------------------------


def test_a_baseline_is_tuned_on_another_split_than_it_is_scored_on(monkeypatch):
    """Best at a rate of 12e-3 with a decay of 1: the grid of rates is widened until that lies inside."""
    bench, seen = Bench(), []
    bench.data = KnownBench().data

    def train(run):
        seen.append((run.data.addition.modulo, run.data.addition.held_out, run.seed))
        return run

    bench.train = train
    monkeypatch.setattr(
        setups,
        "scored",
        lambda run: {
            UNSEEN: 50 - 1000 * abs(run.train.learning_rate - 12e-3) + run.train.weight_decay,
            SEEN: 100.0,
        },
    )
    run, setting = setups.tuned_baseline(
        Lab("small", (1, 2), bench), "mod10/corner", "mod10/interp", "LSTM, matched"
    )
    assert setting == "rate 0.012, decay 1"
    assert (run.data.addition.held_out, run.train.weight_decay) == ("corner", 1.0)
    assert set(seen) == {(10, "interp", PILOT_SEED)}


def test_the_weight_of_cycles_is_chosen_on_validation_rows(monkeypatch):
    lab = Lab("small", (1, 2), KnownBench())
    lab.bench.best = lambda key, choices, score: max(choices, key=score)
    lab.bench.train = lambda run: run
    monkeypatch.setattr(setups, "validated_translation", lambda run: -abs(run.model.task.cycle - 0.15))
    models, weight = setups.alignment(lab)
    cycles = models["translation and cycles"].model.task
    assert (weight, cycles.cycle, cycles.demi_cycle) == (0.1, 0.1, 0.1)
    assert (models["translation"].model.task.cycle, models["translation"].data.paired) == (0.0, 64)


def test_validated_translation_looks_at_validation_rows():
    rows = SimpleNamespace(train="train", validation="validation", test="test")
    system = SimpleNamespace(evaluate=lambda part: {"R²: mean": float(part == "validation")})
    assert setups.validated_translation(Trained(system, rows, 0, 1, 1.0)) == 1.0
