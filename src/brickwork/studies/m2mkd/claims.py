"""The claims of m2mKD. Accuracies are in percent; gains are paired by seed, each arm at the learning rate that its
validation images chose from one grid."""

from typing import Any

from brickwork.studies.bench import changed
from brickwork.studies.effects import Effect, Fact, Measured, combined
from brickwork.studies.m2mkd.apart import train_apart
from brickwork.studies.m2mkd.setups import (
    ALONE,
    M2MKD,
    OF_TEACHER,
    PRIORS,
    SAME_COMPUTE,
    SAME_END,
    SAME_STEPS,
    WHOLE_KD,
    accuracies,
    arms,
    arms_by_prior,
    base,
    base_of_circuits,
    by_prior,
    flops,
    hybrids,
    runs,
    slots_of,
)
from brickwork.studies.study import ClaimResult, Lab, claim
from brickwork.systems.m2mkd.config import Experts

POINTS = "points of accuracy"
KEY = "images"
EVERYWHERE = (M2MKD, SAME_END, SAME_STEPS, SAME_COMPUTE, WHOLE_KD, ALONE)


@claim(
    "C4",
    "A sparse student that learnt slot by slot is better than one from end to end",
    paper="V-MoE-Base on ImageNet-1k: +3.5 points, against end to end with the same steps of the assembled student",
    criterion="m2mKD − end to end with the steps of the assembled student: above 0",
)
def better_than_end_to_end(lab: Lab) -> ClaimResult:
    return _better_than_end_to_end(lab, base(lab.scale))


@claim(
    "A1",
    "The gain is more than the computation that slots and teacher have cost",
    paper="not compared: teacher and slots are not counted",
    criterion="m2mKD − end to end with all steps of the student, and − end to end with as many operations as m2mKD with its "
    "teacher: both above 0",
)
def more_than_its_compute(lab: Lab) -> ClaimResult:
    at = arms(lab, base(lab.scale), *EVERYWHERE).measure(accuracies, key=KEY)
    steps, compute = _gain(at, SAME_STEPS), _gain(at, SAME_COMPUTE)
    return lab.verdict(
        compute,
        {"at equal steps of the student": steps > 0, "at equal operations": compute > 0},
        unit=f"{POINTS}, m2mKD − end to end with as many operations",
        table=[*at.rows(KEY, sd=True), *_costs(lab, base(lab.scale))],
        note=f"{_others(at)} {_setting(base(lab.scale))}",
    )


@claim(
    "A2",
    "It is the teacher in the slots that helps, and not slots, or a teacher, alone",
    paper="not compared in what could be read",
    criterion="m2mKD − slots without a teacher, and − whole-network distillation with the same teacher and as many steps: "
    "both above 0",
)
def teacher_in_slots(lab: Lab) -> ClaimResult:
    at = arms(lab, base(lab.scale), *EVERYWHERE).measure(accuracies, key=KEY)
    alone, whole = _gain(at, ALONE), _gain(at, WHOLE_KD)
    return lab.verdict(
        alone,
        {"over slots without a teacher": alone > 0, "over whole-network distillation": whole > 0},
        unit=f"{POINTS}, m2mKD − slots without a teacher",
        table=at.rows(KEY, sd=True),
        note=f"{_others(at)} {_setting(base(lab.scale))}",
    )


@claim(
    "A3",
    "The gain of a sparse student holds outside of the training data",
    paper="not compared; of circuits see C2",
    criterion="m2mKD − end to end with the steps of the assembled student on corrupted images: above 0, and at least the "
    "gain on clean ones − 1 point",
)
def sparse_outside_of_the_training_data(lab: Lab) -> ClaimResult:
    return _outside(lab, base(lab.scale))


@claim(
    "C1",
    "A circuit that learnt slot by slot is better than one from end to end",
    paper="NAC on Tiny-ImageNet: up to +5.6 points, against end to end with the same steps of the assembled student",
    criterion="m2mKD − end to end with the steps of the assembled student: above 0",
)
def circuits_better_than_end_to_end(lab: Lab) -> ClaimResult:
    return _better_than_end_to_end(lab, base_of_circuits(lab.scale))


@claim(
    "C2",
    "The gain of circuits holds outside of the training data",
    paper="NAC on Tiny-ImageNet-R: up to +4.2 points, IID +5.6; here on images with noise, blur and shift",
    criterion="m2mKD − end to end with the steps of the assembled student on corrupted images: above 0, and at least the "
    "gain on clean ones − 1 point",
)
def circuits_outside_of_the_training_data(lab: Lab) -> ClaimResult:
    return _outside(lab, base_of_circuits(lab.scale))


@claim(
    "C6b",
    "The gain of circuits does not hang on the graph that they begin as",
    paper="four graphs are set up; figures by graph could not be read",
    criterion="m2mKD − end to end with the steps of the assembled student, of circuits with the same graph: above 0 with "
    "three of the four graphs (the third largest gain decides)",
)
def with_each_graph(lab: Lab) -> ClaimResult:
    at = arms_by_prior(lab).measure(accuracies, key=KEY)
    gains = {
        prior: at[by_prior(M2MKD, prior), "clean"] - at[by_prior(SAME_END, prior), "clean"]
        for prior in PRIORS
    }
    third = sorted(gains.values(), key=lambda gain: gain.mean)[1]
    shown = ", ".join(f"{prior.replace('_', ' ')} {gain.mean:+.2f}" for prior, gain in gains.items())
    return lab.verdict(
        third,
        {"with three of four": third > 0},
        unit=f"{POINTS}, m2mKD − end to end, with the graph of the third largest gain",
        table=at.rows(KEY, sd=True),
        note=f"Gains: {shown}. {_setting(base_of_circuits(lab.scale))}",
    )


@claim(
    "C6a",
    "Slots can be trained at the same time",
    paper="independent by construction",
    criterion="each slot in a process of its own has, to the bit, the weights that it has one after the other",
)
def at_the_same_time(lab: Lab) -> ClaimResult:
    run = base(lab.scale)
    (prepared,) = lab.arms({"teacher and meta network": _prepared(run)}).values()
    results = [train_apart(one, run, lab.bench.max_steps) for one in prepared]
    longest = Measured(
        lab.seeds,
        ("seconds of",),
        {
            ("longest slot",): Effect(tuple(max(one.seconds for one in r.at_once) for r in results)),
            ("in turn",): Effect(tuple(r.seconds_in_turn for r in results)),
            ("at once",): Effect(tuple(r.seconds_at_once for r in results)),
        },
    )
    return lab.verdict(
        longest["longest slot"],
        {"the same bits": Fact(all(r.identical for r in results), "bits, with fixed seeds")},
        unit="seconds of the longest slot, in a process of its own",
        table=longest.rows("seconds of"),
        note=f"All in turn {longest['in turn'].mean:.1f} s; at once, with the start of the processes, "
        f"{longest['at once'].mean:.1f} s. {_setting(base(lab.scale))}",
    )


@claim(
    "Ablations",
    "Both parts of the loss count in a slot, with the divergence as a mean over images",
    paper="α = 0.5; the released code divides by images × classes",
    criterion="α = 0.5 with the mean over images − no teacher's answers: at least 0; the others are reported",
)
def parts_of_the_method(lab: Lab) -> ClaimResult:
    names = (M2MKD, ALONE, "teacher's answers alone", "authors' reduction", "stitches kept", "not refitted")
    at = arms(lab, base(lab.scale), *names).measure(accuracies, key=KEY)
    gain = _gain(at, ALONE)
    shown = ", ".join(f"{name} {-_gain(at, name).mean:+.2f}" for name in names[2:])
    return lab.verdict(
        gain,
        {"gain": gain >= 0},
        unit=f"{POINTS}, α = 0.5 − no teacher",
        table=at.rows(KEY, sd=True),
        note=f"Against m2mKD as it stands: {shown}. {_setting(base(lab.scale))}",
    )


@claim(
    "Alignment",
    "A slot of the student learns to do in the meta network what the teacher's does there",
    paper="the premise; hybrid accuracies are not reported",
    criterion="in every slot: the meta network with the student's slot at most 5 points below that with the teacher's, and "
    "above that with a slot that has learnt nothing",
)
def slots_align(lab: Lab) -> ClaimResult:
    """The worst slot decides."""
    at = arms(lab, base(lab.scale), M2MKD).measure(hybrids, key="network")
    names = [str(name) for name in at.labels("network")]
    places = [name.removeprefix("student_slot_") for name in slots_of(names, "student")]
    behind = combined(max, [at[M2MKD, f"teacher_slot_{k}"] - at[M2MKD, f"student_slot_{k}"] for k in places])
    learnt = combined(
        min, [at[M2MKD, f"student_slot_{k}"] - at[M2MKD, f"untrained_slot_{k}"] for k in places]
    )
    fits = combined(min, [at[M2MKD, f"teacher_slot_{k}"] - at[M2MKD, "meta"] for k in places])
    return lab.verdict(
        behind,
        {"behind the teacher's slot": behind <= 5, "above an untrained slot": learnt > 0},
        unit=f"{POINTS} of the meta network, with the teacher's slot − with the student's, the worst slot",
        table=at.rows("network", sd=True),
        note=f"The teacher's slots against the meta network's own layers, the worst: {fits.mean:+.2f}. "
        f"{_setting(base(lab.scale))}",
    )


def _better_than_end_to_end(lab: Lab, run: Any) -> ClaimResult:
    """The paper's comparison, in which the slots and the teacher are for free; what the same steps and operations give from
    end to end stands beside it."""
    at = arms(lab, run, *EVERYWHERE).measure(accuracies, key=KEY)
    gain = _gain(at, SAME_END)
    return lab.verdict(
        gain,
        {"gain": gain > 0},
        unit=f"{POINTS}, m2mKD − end to end with the steps of the assembled student",
        table=[*at.rows(KEY, sd=True), *_costs(lab, run)],
        note=f"{_others(at)} {_explained(at)} {_setting(run)}",
    )


def _outside(lab: Lab, run: Any) -> ClaimResult:
    at = arms(lab, run, M2MKD, SAME_END).measure(accuracies, key=KEY)
    outside, inside = _gain(at, SAME_END, "corrupted"), _gain(at, SAME_END)
    kept = outside - inside
    return lab.verdict(
        outside,
        {"gain": outside > 0, "against the gain on clean images": kept >= -1},
        unit=f"{POINTS} on corrupted images, m2mKD − end to end with the steps of the assembled student",
        table=at.rows(KEY, sd=True),
        note=f"On clean images {inside.mean:+.2f}. {_setting(run)}",
    )


# ---- words and numbers -----------------------------------------------------------------------------------------------


def _prepared(run: Any) -> Any:
    """Teacher and meta network of ``run`` alone, with their steps."""
    return changed(run, model={"prepare": True}, train={"steps": round(OF_TEACHER * run.train.steps)})


def _gain(at: Measured, arm: str, images: str = "clean") -> Any:
    return at[M2MKD, images] - at[arm, images]


def _others(at: Measured) -> str:
    """The gains over the other arms."""
    known = [name for name in EVERYWHERE if name not in (M2MKD, SAME_END)]
    return "Over the others: " + ", ".join(f"{name} {_gain(at, name).mean:+.2f}" for name in known) + "."


def _explained(at: Measured) -> str:
    """Whether the gain is there at equal computation, by the interval over seeds."""
    said = {
        "met": "At equal operations it is there as well.",
        "open": "At equal operations no gain is decided.",
        "missed": "At equal operations it is a loss: the gain is explained by more computation.",
    }
    return said[(_gain(at, SAME_COMPUTE) > 0).outcome]


def _costs(lab: Lab, run: Any) -> list[dict[str, Any]]:
    made = runs(lab, run)
    return [
        {
            KEY: "operations in 10⁹",
            **{name: round(flops(made[name], lab.bench) / 1e9, 1) for name in EVERYWHERE},
        }
    ]


def _setting(run: Any) -> str:
    student, slots = run.model.student, run.model.slots
    kind = (
        f"student {student.width} wide, {student.depth} blocks of {student.experts} experts, {slots} slots"
        if isinstance(student, Experts)
        else f"circuit {student.width} wide, {student.inputs}, {student.mediators} and {student.outputs} latents, "
        f"{slots - 2} propagators, {slots} slots"
    )
    return (
        f"{run.data.source}, {run.train.steps} steps of {run.train.batch_size} in all; {kind}; corrupted: noise, blur and "
        "shift."
    )
