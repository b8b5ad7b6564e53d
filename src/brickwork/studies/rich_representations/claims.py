"""The claims of rich representations. Accuracies are in percent, gains are paired by seed: each seed is a whole ensemble of
its own networks, on the same images.

A claim about new labels says something only where training is of use for them: one network has to be at least
:data:`GATE` points better than the pixels themselves and than a network that was never trained. Where it is not, the setting
is invalid, and the claim is *not run*, whatever the numbers.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from brickwork.studies.bench import Trained
from brickwork.studies.effects import Effect, Measured, combined
from brickwork.studies.rich_representations.measures import (
    by_members,
    controls,
    drawn,
    episodes,
    facts,
    new_labels,
    old_labels,
    shots_of,
)
from brickwork.studies.rich_representations.setups import JOINED, arms, members_of, source, validation_score
from brickwork.studies.rich_representations.shifted import GROUP, shifted, trained_runs
from brickwork.studies.rich_representations.tuning import fine_tuned
from brickwork.studies.rich_representations.unlabelled import contrastive_members
from brickwork.studies.study import Arms, ClaimResult, Lab, claim

POINTS = "points of accuracy"
GATE = 5.0
KEY = ("vectors", "shots")
NEEDS = "a source on which training beats the pixels on new labels, which digits are not"


def gates(one: Effect, untrained: Effect, pixels: Effect) -> dict[str, Effect]:
    """What training brings on new labels."""
    return {"one − pixels": one - pixels, "one − untrained": one - untrained}


def gated(lab: Lab, result: ClaimResult, margins: Mapping[str, Effect]) -> ClaimResult:
    """The result, or *not run* where the setting is invalid."""
    shown = ", ".join(f"{name} {margin.mean:+.2f}" for name, margin in margins.items())
    note = f"{result.note} Gate ({GATE:g} points): {shown}."
    if lab.smoke or all(margin.mean >= GATE for margin in margins.values()):
        return replace(result, note=note)
    return replace(result, verdict="not run", note=f"Invalid setting. {note}")


@claim(
    "C1",
    "Joined networks hardly gain on the task that they were trained for, and much on a new one, at equal compute",
    paper="ImageNet ResNet-50, 1 → 5 networks: ImageNet 75.58 → 78.27, iNaturalist18 37.9 → 47.8, CIFAR-100 73.2 → 78.5; "
    "twice the width 37.3 and 72.7",
    criterion="new labels, all members − one: at least 3 points; old labels: at most 2.5; new labels, all members − jointly "
    "trained branches and − a network of as many parameters: at least 1",
    needs=NEEDS,
)
def new_task_gains(lab: Lab) -> ClaimResult:
    """Against one member, and against what else the same compute could have bought."""
    trained = arms(lab, JOINED, "longer", "jointly", "wide by parameters", "wide by features")
    at = trained.measure(new_labels, key=KEY) | trained.only(JOINED).measure(controls, key=KEY)
    old = trained.measure(old_labels, key="vectors")
    shots = max(at.labels("shots"))
    joined = at[JOINED, "all", shots]
    gain = joined - at[JOINED, "one", shots]
    source_gain = old[JOINED, "all"] - old[JOINED, "one"]
    padded = joined - at[JOINED, "untrained, as wide", shots]
    over = {name: joined - at[name, "all", shots] for name in trained if name != JOINED}
    result = lab.verdict(
        gain,
        {
            "new labels": gain >= 3,
            "old labels": source_gain <= 2.5,
            "over jointly": over["jointly"] >= 1,
            "over wide by parameters": over["wide by parameters"] >= 1,
        },
        unit=f"{POINTS} on new labels, {members_of(lab.scale)} members − one",
        table=[*at.rows("arm", "vectors", sd=True), *_costs(trained, old)],
        note=f"Old labels {source_gain.mean:+.2f}. Over the others at equal compute: "
        + ", ".join(f"{name} {effect.mean:+.2f}" for name, effect in over.items())
        + f"; over as wide untrained networks {padded.mean:+.2f}. {_setting(lab)}",
    )
    return gated(lab, result, _gates(at, shots))


def _with_controls(trained: Arms) -> Measured:
    return trained.measure(new_labels, key=KEY) | trained.measure(controls, key=KEY)


def _gates(at: Measured, shots: int) -> dict[str, Effect]:
    return gates(*(at[JOINED, name, shots] for name in ("one", "untrained", "pixels")))


def _costs(trained: Any, old: Measured) -> list[dict[str, Any]]:
    """Parameters, features, rank and CKA beside the accuracies on old labels."""
    measured = trained.measure(facts, key="what")
    rows = measured.rows("arm")
    for row in rows:
        row |= {f"old labels, {name}": round(old[row["arm"], name].mean, 2) for name in ("one", "all")}
    return rows


@claim(
    "C1b",
    "Each further network adds to what the vectors hold for a new task",
    paper="iNaturalist18 with 1, 2, 4, 5, 10 networks: 37.9, 43.3, 46.6, 47.8, 49.6",
    criterion="new labels, k + 1 members − k at least 0 for every k",
    needs=NEEDS,
)
def each_member_adds(lab: Lab) -> ClaimResult:
    trained = arms(lab, JOINED)
    at = trained.measure(by_members, key="members")
    steps = [at[JOINED, k + 1] - at[JOINED, k] for k in range(1, members_of(lab.scale))]
    least = combined(min, steps)
    return gated(
        lab,
        lab.verdict(
            least,
            {f"member {k}": step >= 0 for k, step in enumerate(steps, 2)},
            unit=f"{POINTS} on new labels, the smallest gain by one member more",
            table=at.rows("members", sd=True),
            note=_setting(lab),
        ),
        _gates(_with_controls(trained), _most_shots(trained[JOINED])),
    )


def _most_shots(trained: tuple[Trained, ...]) -> int:
    return max(shots_of(drawn(trained[0])[1]))


@claim(
    "C2",
    "Fine-tuning members apart, then one head on all (two stages), is better than fine-tuning them as one network",
    paper="iNaturalist18, 10 networks: as one 64.4, in two stages 69.1, one network 64.2; CIFAR-100 86.7, 88.5, 85.6",
    criterion="new labels: in two stages − as one network at least 0.5 points, − one network at least 1, at equal compute",
    needs=NEEDS,
)
def two_stages(lab: Lab) -> ClaimResult:
    """The members of C1, on the classes that are new to them."""
    start = arms(lab, JOINED)
    tuned = lab.arms(
        {
            name: partial(fine_tuned, lab, start[JOINED], name)
            for name in ("one network", "as one", "two stages", "averaged heads")
        }
    )
    at = tuned.measure(_tuned_accuracy)
    gain = at["two stages"] - at["as one"]
    over_one = at["two stages"] - at["one network"]
    over_heads = at["two stages"] - at["averaged heads"]
    return gated(
        lab,
        lab.verdict(
            gain,
            {"over as one": gain >= 0.5, "over one network": over_one >= 1},
            unit=f"{POINTS} on new labels, fine-tuned in two stages − as one network",
            table=at.rows("arm", sd=True),
            note=f"Over one network {over_one.mean:+.2f}; over the averaged heads {over_heads.mean:+.2f}. {_setting(lab)}",
            costs=dict(tuned),
        ),
        _gates(_with_controls(start), _most_shots(start[JOINED])),
    )


def _tuned_accuracy(trained: Trained) -> float:
    return 100 * float(trained.system.evaluate(trained.data.test)["accuracy"])


@claim(
    "C3",
    "It holds for networks that learn without labels",
    paper="SwAV ResNet-50, 1 → 5 networks: ImageNet 74.3 → 77.4, CIFAR-100 81.1 against 79.5 for twice the width",
    criterion="new labels, three SimCLR networks − one at least 1.5 points",
    needs=NEEDS,
)
def without_labels(lab: Lab) -> ClaimResult:
    trained = lab.arms({"SimCLR": partial(contrastive_members, lab)})
    at = _with_controls(trained)
    shots = max(at.labels("shots"))
    gain = at["SimCLR", "all", shots] - at["SimCLR", "one", shots]
    padded = at["SimCLR", "all", shots] - at["SimCLR", "untrained, as wide", shots]
    return gated(
        lab,
        lab.verdict(
            gain,
            {"gain": gain >= 1.5},
            unit=f"{POINTS} on new labels, three SimCLR networks − one",
            table=at.rows("vectors", sd=True),
            note=f"Over as wide untrained networks {padded.mean:+.2f}. {_setting(lab)}",
        ),
        gates(*(at["SimCLR", name, shots] for name in ("one", "untrained", "pixels"))),
    )


@claim(
    "C4",
    "Few-shot classification gains most; snapshots of one training bring part of it",
    paper="miniImageNet, 5-way 1-shot: one 57.5, five 63.6, five snapshots 62.9; CUB 69.2, 76.2, 73.7",
    criterion="5-way 1-shot: members − one at least 2 points; snapshots − one above 0, and "
    "members − snapshots at least 0",
    needs=NEEDS,
)
def few_shots(lab: Lab) -> ClaimResult:
    run = source(lab.scale)
    rate = lab.bench.tuned(_single(lab), validation_score).train.learning_rate
    train = replace(run.train, learning_rate=rate)
    snapshots = replace(
        run, model=replace(run.model, episodes="snapshots"), train=replace(train, schedule="constant")
    )
    trained = lab.arms(
        {JOINED: _same(lab), "snapshots": lambda seed: lab.bench.train(replace(snapshots, seed=seed))}
    )
    ways = 5
    one_shot = trained.measure(episodes, ways, 1, key="vectors")
    five = trained.measure(episodes, ways, 5, key="vectors")
    one = one_shot[JOINED, "one"]
    gain = one_shot[JOINED, "all"] - one
    from_snapshots = one_shot["snapshots", "all"] - one
    return gated(
        lab,
        lab.verdict(
            gain,
            {
                "members": gain >= 2,
                "snapshots": from_snapshots > 0,
                "members over snapshots": gain - from_snapshots >= 0,
            },
            unit=f"{POINTS}, {ways}-way 1-shot, members − one",
            table=[
                {"shots": shots, **row}
                for shots, at in ((1, one_shot), (5, five))
                for row in at.rows("arm", sd=True)
            ],
            note=f"Snapshots − one {from_snapshots.mean:+.2f}. {_setting(lab)}",
        ),
        gates(*(one_shot[JOINED, name] for name in ("one", "untrained", "pixels"))),
    )


def _single(lab: Lab) -> Any:
    run = source(lab.scale)
    short = replace(run.train, steps=run.train.steps // members_of(lab.scale))
    return replace(run, model=replace(run.model, members=1), train=short)


def _same(lab: Lab) -> Any:
    """Seed → the members of C1."""
    by_seed = dict(zip(lab.seeds, arms(lab, JOINED)[JOINED]))
    return by_seed.__getitem__


@claim(
    "C5",
    "Under a shift, results vary less from run to run the more networks are joined, and are not worse",
    paper="Camelyon17, 1 → 20 networks: 69.6 ± 10.5 → 76.4 ± 0.5",
    criterion="coloured MNIST, a head of least mean risk: standard deviation over networks at least twice that over joined "
    "ones; mean of joined − one at least 0",
    needs="20 networks; there are 6",
)
def varies_less(lab: Lab) -> ClaimResult:
    trained = lab.arms({"coloured MNIST": partial(trained_runs, lab)})
    at = trained.measure(shifted, 3 if lab.smoke else GROUP, key=("what", "head"))
    arm = "coloured MNIST"
    ratio = at[arm, "one, sd", "ERM"] / at[arm, "joined, sd", "ERM"]
    mean = at[arm, "joined, mean", "ERM"] - at[arm, "one, mean", "ERM"]
    rex = at[arm, "joined, mean", "V-REx"] - at[arm, "joined, mean", "ERM"]
    return lab.verdict(
        ratio,
        {"spread": ratio >= 2, "mean": mean >= 0},
        unit="standard deviation of one network / of joined ones, where the colour misleads",
        table=at.rows("what", sd=True),
        note=f"Mean, joined − one {mean.mean:+.2f} points; V-REx − ERM on joined ones {rex.mean:+.2f}. The colour is in "
        "every network: nothing here takes it away.",
    )


@claim(
    "C6",
    "One network that is distilled from all keeps part of the gain, at no cost when it is used",
    paper="five networks: iNaturalist18 one 37.9, distilled 40.8, joined 47.8; CIFAR-100 73.2, 76.5, 78.5",
    criterion="new labels: distilled − one above 0, joined − distilled at least 0",
    needs=NEEDS,
)
def distilled(lab: Lab) -> ClaimResult:
    """The student has as many steps as each of its teachers, so that the first of these is its comparison."""
    run = source(lab.scale)
    count = members_of(lab.scale)
    rate = lab.bench.tuned(_single(lab), validation_score).train.learning_rate
    train = replace(run.train, steps=run.train.steps // count * (count + 1), learning_rate=rate)
    runs = {
        f"τ = {tau:g}": replace(
            run, model=replace(run.model, distil=True, head_share=None, temperature=tau), train=train
        )
        for tau in ((10.0,) if lab.smoke else (1.0, 4.0, 10.0))
    }
    trained = lab.arms(runs)
    at = trained.measure(student_labels, key="vectors")
    paper = "τ = 10"
    gain = at[paper, "distilled"] - at[paper, "one"]
    left = at[paper, "all"] - at[paper, "distilled"]
    others = ", ".join(f"{name} {(at[name, 'distilled'] - at[name, 'one']).mean:+.2f}" for name in runs)
    return gated(
        lab,
        lab.verdict(
            gain,
            {"over one": gain > 0, "below all": left >= 0},
            unit=f"{POINTS} on new labels, distilled (τ = 10) − one network",
            table=at.rows("arm", sd=True),
            note=f"Joined − distilled {left.mean:+.2f}; distilled − one: {others}. {_setting(lab)}",
        ),
        gates(*(at[paper, name] for name in ("one", "untrained", "pixels"))),
    )


def student_labels(trained: Trained) -> dict[str, float]:
    """Accuracy on new labels with the most shots: one teacher, all, and the student."""
    at = new_labels(trained) | controls(trained)
    shots = max(shots for _, shots in at)
    result = {name: value for (name, s), value in at.items() if s == shots}
    student = replace(trained, system=_Student(trained.system))
    alone = new_labels(student)
    return {**result, "distilled": alone["one", shots]}


class _Student:
    """The student of a distilled system, as the measures take one network."""

    def __init__(self, system: Any):
        self.classes, self.members = system.classes, _Members([system.encoder])


class _Members:
    def __init__(self, members: list[Any]):
        self.members = members


def _setting(lab: Lab) -> str:
    run = source(lab.scale)
    if lab.smoke:
        return "Digits 0 to 4, then 5 to 9; perceptrons of one hidden layer."
    steps = run.train.steps // members_of(lab.scale)
    return (
        f"Omniglot (small): 143 characters, then {run.data.new_classes} others from 5 drawings each, at 17 × 17; residual "
        f"networks of 8 to 32 channels, {steps} steps of {run.train.batch_size} each."
    )
