"""The claims of matryoshka-2d on known numbers: each gives each of its verdicts."""

import pytest
from known_lab import DISTURBANCES, verdict

from brickwork.studies import matryoshka_2d as study

LAYERS, DIMS = study.sizes("small")


@pytest.fixture
def judged(monkeypatch):
    def judge(id, number, wobble=0.1, moves="2DMSE", **more):
        """``number(arm, layers, dim)``; the numbers of the arm ``moves`` move with the seed."""

        def grid(trained, dims):
            arm = trained.system.arm
            moved = wobble * DISTURBANCES[trained.seed] * (arm == moves)
            deepest = int(arm.split("×")[0][-1]) if arm.startswith("separate") else LAYERS
            places = [(n, d) for n in range(1, deepest + 1) for d in dims]
            return {(n, d): number(arm, n, d) + moved for n, d in places}

        monkeypatch.setattr(study, "grid", grid)
        return verdict("matryoshka-2d", id, **more)

    return judge


@pytest.mark.parametrize(
    ("over_ordinary", "over_1d", "wobble", "result"),
    [
        (5.0, 3.0, 0.1, "supported"),
        (5.0, 1.0, 1.0, "undecided"),  # the side condition has an interval of its own
        (5.0, -1.0, 0.1, "refuted"),
        (-5.0, 3.0, 0.1, "refuted"),
    ],
)
def test_c1_elastic_in_depth(judged, over_ordinary, over_1d, wobble, result):
    def number(arm, n, d):
        if arm == "1-D Matryoshka" and n == LAYERS:
            return 99.0  # at full depth it may be better
        if (n, d) == (LAYERS // 2, DIMS[-1] // 4) and arm == "ordinary":
            return 50.0 - over_ordinary
        return 50.0 - over_1d * (arm == "1-D Matryoshka")

    outcome = judged("C1", number, wobble)
    assert outcome.verdict == result
    assert outcome.effects[0] == over_ordinary


@pytest.mark.parametrize(
    ("gap", "wobble", "result"), [(2.0, 0.1, "supported"), (1.0, 1.0, "undecided"), (-3.0, 0.1, "refuted")]
)
def test_c2_against_separate_models(judged, gap, wobble, result):
    """A separate model counts at the size that it is for: of 2 or 4 layers, at a quarter or all of the dimensions."""

    def number(arm, n, d):
        if not arm.startswith("separate"):
            return 50.0 + gap
        return 50.0 if arm == f"separate {n}×{d}" else 1000.0

    outcome = judged("C2", number, wobble)
    assert outcome.verdict == result
    assert outcome.effects[0] == gap


@pytest.mark.parametrize(
    ("half", "off", "wobble", "result"),
    [
        (2.0, 0.1, 0.01, "supported"),
        (1.8, 0.1, 0.2, "undecided"),
        (1.5, 0.1, 0.01, "refuted"),
        (2.0, 0.4, 0.01, "refuted"),
        (2.0, -0.4, 0.01, "refuted"),
    ],
)
def test_c3_time_in_layers(monkeypatch, half, off, wobble, result):
    """Twice as fast at half of the layers, and at one depth ``off`` from what is expected."""

    def times(trained):
        speedups = dict.fromkeys(range(1, LAYERS + 1), half + wobble * DISTURBANCES[trained.seed])
        results = {}
        for n, speedup in speedups.items():
            expected = half / (1 + off) if n == 1 else half
            results |= {(n, "milliseconds"): 1.0, (n, "speed-up"): speedup, (n, "expected"): expected}
        return results

    monkeypatch.setattr(study, "encoding_times", times)
    assert verdict("matryoshka-2d", "C3").verdict == result


@pytest.mark.parametrize(
    ("gap", "wobble", "result"), [(-1.0, 0.1, "supported"), (-1.9, 1.0, "undecided"), (-3.0, 0.1, "refuted")]
)
def test_c4_full_size(judged, gap, wobble, result):
    def number(arm, n, d):
        return 50.0 + gap * (arm == "2DMSE") if (n, d) == (LAYERS, DIMS[-1]) else 90.0 * (arm == "ordinary")

    assert judged("C4", number, wobble).verdict == result


@pytest.mark.parametrize(
    ("changes", "wobble", "result"),
    [
        ({"log": 49.5, "linear": 49.0}, 0.1, "supported"),
        ({"log": 49.5, "linear": 49.0}, 1.0, "undecided"),
        ({"log": 49.5, "linear": 51.0}, 0.1, "refuted"),
        ({"log": 49.5, "linear": 45.0}, 0.1, "refuted"),  # it matters
        ({"log": 49.5, "linear": 49.0, "2DMSE, teacher not detached": 55.0}, 0.1, "refuted"),
    ],
)
def test_e_weighting(judged, changes, wobble, result):
    def number(arm, n, d):
        return changes.get(arm, 50.0) if n < LAYERS else 10.0

    assert judged("E", number, wobble, moves="uniform").verdict == result
