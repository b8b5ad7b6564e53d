"""The claims of MultiModN, with P-Fusion tuned as MultiModN is, and the findings on missing values.

The arms are those of :mod:`brickwork.studies.multimodn.setups`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import pairwise
from operator import or_
from typing import Any

from brickwork.studies.bench import Trained
from brickwork.studies.effects import Effect, Fact, Measured, average, combined
from brickwork.studies.multimodn import setups
from brickwork.studies.multimodn.setups import MNAR, TASKS, at_its_rate, set_up, variant
from brickwork.studies.study import ClaimResult, Criterion, Lab, claim

_LONGER = "trainings as long as the spec sheet's 40 epochs, which scale small has"


@claim(
    "C1",
    "Fusing one after the other does not cost accuracy against fusing side by side (P-Fusion)",
    paper="10 tasks of MIMIC, EDU and Weather2k: overlapping 95 % intervals of AUROC and BAC",
    criterion="on every task AUROC is at most 2 points below that of P-Fusion",
    needs=_LONGER,
)
def as_good_as_parallel(lab: Lab) -> ClaimResult:
    sets = {"tumour": "breast_cancer", "odd": "digits_quadrants"}
    if not lab.smoke:
        sets["passed"] = "student_performance"
    fusions = ("multimodn", "parallel")
    gaps: dict[str, Effect] = {}
    costs: dict[str, list[Trained]] = {fusion: [] for fusion in fusions}
    table: list[dict[str, Any]] = []
    for target, source in sets.items():
        run = set_up(lab.scale, source, [target])
        arms = lab.arms({fusion: at_its_rate(lab, variant(run, fusion)) for fusion in fusions})
        at = arms.measure(setups.estimates, target, key="what")
        gaps[target] = at["multimodn", "AUROC"] - at["parallel", "AUROC"]
        for fusion in fusions:
            costs[fusion] += arms[fusion]
        for row in at.rows("seed"):
            cells = {"seed": row["seed"], "task": target}
            for fusion in fusions:
                cells[fusion] = row[f"{fusion} AUROC"]
                cells[f"{fusion} 95 %"] = [row[f"{fusion} low"], row[f"{fusion} high"]]
                cells[f"{fusion} BAC"] = row[f"{fusion} BAC"]
            table.append(cells)
    return lab.verdict(
        average(gaps.values()),
        {task: gap >= -2 for task, gap in gaps.items()},
        unit="points of AUROC, MultiModN − P-Fusion, mean over tasks",
        costs=costs,
        table=table,
        note="The table has bootstrap intervals over the rows of the test part.",
    )


@claim(
    "C2",
    "Several tasks learnt together are as good as each learnt alone",
    paper="MIMIC: multi-task within the intervals of single-task",
    criterion="mean AUROC over the tasks, together − alone, at least −2 points",
)
def many_tasks(lab: Lab) -> ClaimResult:
    targets = {"together": (), **{f"{task} alone": (task,) for task in TASKS}}
    runs = {arm: set_up(lab.scale, "digits_quadrants", tasks) for arm, tasks in targets.items()}
    arms = lab.arms({arm: at_its_rate(lab, variant(run, "multimodn")) for arm, run in runs.items()})
    at = arms.only("together").measure(setups.areas, TASKS, key="task")
    for task in TASKS:
        at |= arms.only(f"{task} alone").measure(setups.areas, (task,), key="task").named("alone")
    gain = average(at["together", task] - at["alone", task] for task in TASKS)
    return lab.verdict(
        gain,
        {"gain": gain >= -2},
        unit="points of AUROC, together − alone, mean over three tasks",
        table=at.rows("seed", "task"),
    )


@claim(
    "C3",
    "The change of a prediction from step to step says what a modality is worth",
    paper="importance and cumulative contributions are shown, not tested",
    criterion="mean Spearman correlation of importance with the AUROC lost without a modality above 0.5, and a modality "
    "of noise moves probabilities by less than 0.02 on average",
)
def importance_is_right(lab: Lab) -> ClaimResult:
    run = variant(set_up(lab.scale, "digits_and_noise"), "multimodn")
    arms = lab.arms(multimodn=at_its_rate(lab, run))
    at = arms.measure(setups.worth, key=("task", "modality", "what"))
    agreements = arms.measure(setups.rank_agreement, key="what")
    agreement, alone = (agreements["multimodn", what] for what in ("importance", "importance alone"))
    noise, noise_alone = (at.over(modality="noise", what=w) for w in ("importance", "importance alone"))
    return lab.verdict(
        agreement,
        {"Spearman's ρ": agreement > 0.5, "change of P by noise": noise < 0.02},
        unit="Spearman's ρ of importance and loss of AUROC over five modalities, mean over three tasks",
        table=at.rows("seed", "task", "modality", digits=4),
        note="Importance is the mean change of a probability from one state to the next, as the paper has it. Read alone "
        f"from the initial state, where only the first modality stood in training: ρ {alone.mean:.2f}, noise moves a "
        f"probability by {noise_alone.mean:.3f}.",
    )


@claim(
    "C4",
    "Any subset of modalities can be read at test, without training again",
    paper="predictions after every modality; no table of subsets",
    criterion="mean AUROC rises with the number of modalities, and no subset (of one or more, in any order) is below 50 on "
    "any task",
    needs=_LONGER,
)
def any_subset(lab: Lab) -> ClaimResult:
    """At small also other orders, at the rate of the first."""
    run = set_up(lab.scale, "digits_quadrants")
    ours, theirs = variant(run, "multimodn"), variant(run, "parallel")
    arms = lab.arms({"multimodn": at_its_rate(lab, ours), "parallel": at_its_rate(lab, theirs)})
    names = arms["multimodn"][0].system.layout.names
    if not lab.smoke:
        for order in ((2, 0, 3, 1), (3, 1, 0, 2), (1, 2, 3, 0)):
            fusion = replace(ours.model.fusion, order=tuple(names[i] for i in order))
            reordered = replace(ours, model=replace(ours.model, fusion=fusion))
            arms |= lab.arms({f"order {order}": at_its_rate(lab, reordered, like=ours)})
    at = arms.measure(setups.subset_areas, key=("modalities", "kept", "task"))
    orders = tuple(arm for arm in arms if arm != "parallel")
    counts = range(len(names) + 1)
    curve = [at.over(arm=orders, modalities=count) for count in counts]
    rises = combined(min, (after - before for before, after in pairwise(curve)))
    some = at.where(modalities=counts[1:])  # with none at all it is 50
    worst = combined(min, some.where(arm=orders).effects.values())
    behind = at.over(arm="multimodn", modalities=counts[1:-1]) - at.over(
        arm="parallel", modalities=counts[1:-1]
    )
    means = []
    for arm in arms:
        by_count = (f"{at.over(arm=arm, modalities=count).mean:.1f}" for count in counts)
        means.append(f"{arm} {', '.join(by_count)}")
    return lab.verdict(
        worst - 50,
        {"smallest rise with one modality more": rises >= 0, "worst subset": worst >= 50},
        unit="points of AUROC above chance of the worst subset and task",
        table=at.rows("arm", "seed", "modalities", "kept"),
        note=f"Mean AUROC with 0 to 4 modalities: {'; '.join(means)}. Over the subsets of 1 to 3 MultiModN − P-Fusion is "
        f"{behind.mean:+.2f} points.",
    )


# ---- C5: values missing not at random --------------------------------------------------------------------------

_MAIN = ("multimodn", "multimodn batch sigmoid", "multimodn dropout", "parallel", "parallel dropout")
_CROSSED = ("multimodn sigmoid", "multimodn batch", "parallel learned")
_RATE = 0.8


@claim(
    "C5",
    "MultiModN, skipping what a sample lacks, resists values missing not at random; P-Fusion collapses",
    paper="abstract: 'inherently MNAR-resistant'; P-Fusion fails catastrophically on flipped patterns",
    criterion="flipped − same of AUROC: P-Fusion below −10 points, MultiModN above −2, mean over three sets",
)
def resistant(lab: Lab) -> ClaimResult:
    at, trained = _not_at_random(lab, *_MAIN, *_CROSSED)
    ours, theirs = (average(_flipped_minus_same(at, arm).values()) for arm in ("multimodn", "parallel"))
    return lab.verdict(
        ours - theirs,
        {"P-Fusion": theirs < -10, "MultiModN": ours > -2},
        unit="points of AUROC (flipped − same), MultiModN − P-Fusion",
        costs={arm: trained[arm] for arm in ("multimodn", "parallel")},
        table=at.rows("arm", "set", "rate", "seed"),
        note=_in_words(at),
    )


@claim(
    "C5a",
    "As released (whole batches skipped, sigmoids in the cross-entropy), the flipped pattern costs nothing, because a "
    "modality that somebody lacks is read for nearly nobody",
    paper="the authors' code; the spec sheet's measurement: .944 / .943 and .995 / .995",
    criterion="on every set AUROC changes by at most 2 points between same and flipped pattern",
)
def as_released(lab: Lab) -> ClaimResult:
    arm = "multimodn batch sigmoid"
    at, trained = _not_at_random(lab, arm, "multimodn batch", "multimodn sigmoid")
    gaps = _flipped_minus_same(at, arm)
    criterion = {f"{source}, loss": gap >= -2 for source, gap in gaps.items()}
    criterion |= {f"{source}, gain": gap <= 2 for source, gap in gaps.items()}
    note = "Both patterns are read in batches, too: in nearly every one somebody lacks the modality, so both tests are read "
    note += "without it. That is how the paper's resistance comes about; nothing learns to resist."
    return _verdict(lab, at, {arm: trained[arm]}, criterion, note)


@claim(
    "C5b",
    "With samples skipped, the absence of a modality is learnt as a sign of the label (and the tool warns)",
    paper="not in the paper; the spec sheet's measurement: .988 / .231 and .999 / .815",
    criterion="on every set flipped is more than 10 points of AUROC below same, and every training gets the warning",
)
def skipping_samples_collapses(lab: Lab) -> ClaimResult:
    arm = "multimodn"
    at, trained = _not_at_random(lab, arm, "parallel")
    every = all(t.measured(setups.warned) for t in trained[arm])
    criterion: dict[str, Criterion] = {
        source: gap < -10 for source, gap in _flipped_minus_same(at, arm).items()
    }
    criterion["every training is warned of"] = Fact(every, "counted")
    return _verdict(lab, at, {arm: trained[arm]}, criterion)


@claim(
    "C5c",
    "Modality dropout of one half repairs most of it",
    paper="not in the paper; the spec sheet's measurement: flipped / same .90 and .99",
    criterion="on every set the AUROC flipped is at least 0.85 of that of the same pattern",
)
def dropout_repairs(lab: Lab) -> ClaimResult:
    arm = "multimodn dropout"
    at, trained = _not_at_random(lab, arm, "parallel dropout")
    shares = {s: at[arm, s, _RATE, "flip"] / at[arm, s, _RATE, "same"] for s in at.labels("set")}
    note = "Where the other modalities can take the place of the missing one, that is; so it is no advice without a test."
    return _verdict(lab, at, trained, {source: share >= 0.85 for source, share in shares.items()}, note)


def _not_at_random(lab: Lab, *names: str) -> tuple[Measured, dict[str, list[Trained]]]:
    """The arms on every set with the modality missing from 80 % of class 1 (at small also from none): what three tests say
    of them, and the trainings at 80 %.
    """
    tables: list[Measured] = []
    trained: dict[str, list[Trained]] = {}
    for name in names:
        if lab.smoke and name in _CROSSED:
            continue
        for source, (target, modality) in MNAR.items():
            if lab.smoke and source == "student_performance":
                continue
            for rate in (_RATE,) if lab.smoke or name in _CROSSED else (0.0, _RATE):
                missing = {"modality": modality, "mechanism": "mnar", "rate": rate, "label": 1}
                run = variant(set_up(lab.scale, source, [target], 600, **missing), name)
                arms = lab.arms({name: at_its_rate(lab, run)})
                tables.append(arms.measure(setups.three_tests, source, rate, key=("set", "rate", "test")))
                if rate == _RATE:
                    trained.setdefault(name, []).extend(arms[name])
    return reduce(or_, tables), trained


def _flipped_minus_same(at: Measured, arm: str) -> dict[str, Effect]:
    """The change of AUROC on each set."""
    return {
        source: at[arm, source, _RATE, "flip"] - at[arm, source, _RATE, "same"] for source in at.labels("set")
    }


def _verdict(
    lab: Lab,
    at: Measured,
    costs: Mapping[str, Sequence[Trained]],
    criterion: Mapping[str, Criterion],
    note: str = "",
) -> ClaimResult:
    """A claim about the first arm of ``costs``; the table has them all."""
    return lab.verdict(
        average(_flipped_minus_same(at, next(iter(costs))).values()),
        criterion,
        unit="points of AUROC, flipped − same",
        costs=costs,
        table=at.where(arm=tuple(costs)).rows("arm", "set", "rate", "seed"),
        note=f"{note} {_in_words(at)}".strip(),
    )


def _in_words(at: Measured) -> str:
    arms = []
    for arm in at.labels("arm"):
        sets = []
        for source in at.labels("set"):
            areas = (f"{at[arm, source, _RATE, test].mean:.1f}" for test in ("full", "same", "flip"))
            sets.append(f"{source} {' / '.join(areas)}")
        arms.append(f"{arm}: {', '.join(sets)}")
    return f"AUROC full / same / flipped at 80 %: {'; '.join(arms)}."
