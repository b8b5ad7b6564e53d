"""The claims of m2mKD on known numbers: each gives each of its verdicts; and budgets against sums by hand."""

import pytest
from known_lab import known, verdict

from brickwork.studies.bench import Bench
from brickwork.studies.m2mkd import claims as study
from brickwork.studies.m2mkd import setups
from brickwork.studies.m2mkd.apart import Apart, SlotTrained
from brickwork.studies.study import Lab

OTHERS = ("authors' reduction", "teacher's answers alone", "stitches kept", "not refitted")


def set_up(monkeypatch, clean, corrupted=None):
    """``clean`` and ``corrupted``: percent of arms; m2mKD moves with the seed by 0.2."""
    corrupted = corrupted or {}
    numbers = {
        name: {"clean": clean.get(name, 60.0), "corrupted": corrupted.get(name, 40.0)}
        for name in (*study.EVERYWHERE, *OTHERS)
    }
    monkeypatch.setattr(study, "accuracies", known(numbers, {setups.M2MKD: 0.2}))
    monkeypatch.setattr(study, "arms", lambda lab, run, *names: lab.arms({name: {} for name in names}))
    monkeypatch.setattr(study, "_costs", lambda lab, run: [])


@pytest.mark.parametrize("claim", ["C4", "C1"])
@pytest.mark.parametrize(("own", "result"), [(61.0, "supported"), (60.3, "undecided"), (58.0, "refuted")])
def test_the_papers_comparison(monkeypatch, own, result, claim):
    """Only against the steps of the assembled student, whatever the others do."""
    set_up(monkeypatch, {setups.M2MKD: own, setups.SAME_COMPUTE: 70.0})
    outcome = verdict("m2mkd", claim)
    assert outcome.verdict == result
    assert outcome.effect == pytest.approx(own - 60.0)


@pytest.mark.parametrize(
    ("compute", "said"),
    [(70.0, "explained by more computation"), (60.8, "no gain is decided"), (60.0, "it is there as well")],
)
def test_what_is_said_of_equal_operations(monkeypatch, compute, said):
    """By the interval: ± 0.5 points about the means."""
    set_up(monkeypatch, {setups.M2MKD: 61.0, setups.SAME_COMPUTE: compute})
    assert said in verdict("m2mkd", "C4").note


@pytest.mark.parametrize(
    ("steps", "compute", "result"),
    [(60.0, 60.0, "supported"), (63.0, 60.0, "refuted"), (60.0, 63.0, "refuted"), (60.0, 61.8, "undecided")],
)
def test_a1_at_equal_budgets(monkeypatch, steps, compute, result):
    set_up(monkeypatch, {setups.M2MKD: 62.0, setups.SAME_STEPS: steps, setups.SAME_COMPUTE: compute})
    outcome = verdict("m2mkd", "A1")
    assert outcome.verdict == result
    assert outcome.effect == pytest.approx(62.0 - compute)


@pytest.mark.parametrize(
    ("alone", "whole", "result"),
    [(60.0, 60.0, "supported"), (63.0, 60.0, "refuted"), (60.0, 63.0, "refuted")],
)
def test_a2_what_helps(monkeypatch, alone, whole, result):
    set_up(monkeypatch, {setups.M2MKD: 62.0, setups.ALONE: alone, setups.WHOLE_KD: whole})
    assert verdict("m2mkd", "A2").verdict == result


@pytest.mark.parametrize(("own", "result"), [(43.0, "supported"), (40.8, "refuted"), (37.0, "refuted")])
@pytest.mark.parametrize("claim", ["C2", "A3"])
def test_outside(monkeypatch, own, result, claim):
    """Clean images +3: +3 outside keeps it, +0.8 is a gain and loses more than a point of it."""
    set_up(monkeypatch, {setups.M2MKD: 63.0}, {setups.M2MKD: own})
    assert verdict("m2mkd", claim).verdict == result


@pytest.mark.parametrize(
    ("gains", "result"),
    [
        ((1.0, 2.0, 3.0, -5.0), "supported"),
        ((1.0, 2.0, 0.1, -5.0), "undecided"),
        ((3.0, 2.0, -1.0, -5.0), "refuted"),
    ],
)
def test_c6b_three_of_four_graphs(monkeypatch, gains, result):
    own = {setups.by_prior(setups.M2MKD, p): 60.0 + gain for p, gain in zip(setups.PRIORS, gains)}
    plain = {setups.by_prior(setups.SAME_END, p): 60.0 for p in setups.PRIORS}
    numbers = {name: {"clean": value, "corrupted": 0.0} for name, value in (own | plain).items()}
    monkeypatch.setattr(study, "accuracies", known(numbers, dict.fromkeys(own, 0.2)))
    monkeypatch.setattr(study, "arms_by_prior", lambda lab: lab.arms({name: {} for name in numbers}))
    outcome = verdict("m2mkd", "C6b")
    assert outcome.verdict == result
    assert outcome.effect == pytest.approx(sorted(gains)[1])
    assert f"ring of cliques {gains[3]:+.2f}" in outcome.note


@pytest.mark.parametrize(("alone", "result"), [(61.0, "supported"), (63.0, "refuted")])
def test_ablations(monkeypatch, alone, result):
    set_up(monkeypatch, {setups.M2MKD: 62.0, setups.ALONE: alone, "stitches kept": 63.0})
    outcome = verdict("m2mkd", "Ablations")
    assert outcome.verdict == result
    assert "stitches kept +1.00" in outcome.note


@pytest.mark.parametrize(
    ("student", "untrained", "result"),
    [((78.0, 79.0), 20.0, "supported"), ((78.0, 70.0), 20.0, "refuted"), ((78.0, 79.0), 79.5, "refuted")],
)
def test_alignment_of_the_worst_slot(monkeypatch, student, untrained, result):
    numbers = {
        "meta": 80.0,
        **{f"teacher_slot_{k}": 80.0 for k in (1, 2)},
        **{f"student_slot_{k}": value for k, value in enumerate(student, 1)},
        **{f"untrained_slot_{k}": untrained for k in (1, 2)},
    }
    monkeypatch.setattr(study, "arms", lambda lab, run, *names: lab.arms({name: {} for name in names}))
    monkeypatch.setattr(study, "hybrids", known({setups.M2MKD: numbers}))
    outcome = verdict("m2mkd", "Alignment")
    assert outcome.verdict == result
    assert outcome.effect == pytest.approx(80.0 - min(student))


@pytest.mark.parametrize(("other", "result"), [("a", "supported"), ("c", "refuted")])
def test_c6a_bits(monkeypatch, other, result):
    def trained(prepared, run, max_steps):
        first = (SlotTrained("a", 1.0), SlotTrained("b", 3.0))
        return Apart(first, (SlotTrained(other, 1.0), SlotTrained("b", 3.0)), 4.0, 3.5)

    monkeypatch.setattr(study, "train_apart", trained)
    outcome = verdict("m2mkd", "C6a", scale="smoke")
    assert outcome.verdict == result
    assert outcome.effect == 3.0


def test_budgets(monkeypatch):
    """Steps of the student by hand; and as many operations as m2mKD with its teacher, within a step."""
    lab, counted = Lab("smoke", (0,), Bench()), setups.flops
    monkeypatch.setattr(
        setups, "flops", lambda run, bench: bench.memo(("flops", repr(run)), lambda: counted(run, bench))
    )
    made = setups.runs(lab, setups.base_of_circuits("smoke"))
    steps = {name: run.train.steps for name, run in made.items()}
    whole = steps[setups.M2MKD]
    assert steps[setups.SAME_END] == round(0.3 * whole)
    assert steps[setups.SAME_STEPS] == round(0.6 * whole)
    cost = {name: setups.flops(made[name], lab.bench) for name in (setups.M2MKD, setups.SAME_COMPUTE)}
    step = cost[setups.SAME_COMPUTE] / steps[setups.SAME_COMPUTE]
    assert abs(cost[setups.M2MKD] - cost[setups.SAME_COMPUTE]) <= step
    # The meta network without a teacher is as wide, and the student has as many steps.
    assert made[setups.ALONE].model.teacher_width == made[setups.M2MKD].model.teacher_width
    own = {
        name: {s.name: s.steps for s in setups.planned_stages(made[name])}
        for name in (setups.M2MKD, setups.ALONE, setups.WHOLE_KD)
    }
    for stage in ("slot 1", "slot 2", "whole"):
        assert abs(own[setups.M2MKD][stage] - own[setups.ALONE][stage]) <= 1
    assert "fit meta" not in own[setups.WHOLE_KD]
    assert own[setups.WHOLE_KD]["teacher"] == own[setups.M2MKD]["teacher"]
