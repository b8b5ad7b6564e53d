"""The claims of MultiModN, with P-Fusion tuned as MultiModN is, and the findings on missing values.

The arms are those of :mod:`brickwork.studies.multimodn.setups`.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean
from typing import Any

from brickwork.studies.criterion import decide
from brickwork.studies.multimodn.setups import (
    MNAR,
    area,
    only,
    scores,
    set_up,
    subsets,
    three_tests,
    train_arm,
    variant,
)
from brickwork.studies.old import Claim, ClaimResult, Scale, Trained, Workbench, arm_cost, judge

_TASKS = ("odd", "large", "digit")
_LONGER = "trainings as long as the spec sheet's 40 epochs"


# ---- C1 --------------------------------------------------------------------------------------------------------


def as_good_as_parallel(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C1: AUROC of MultiModN − P-Fusion, a task at a time."""
    import numpy as np

    from brickwork.evaluation.classification import auroc_interval

    tasks = [("breast_cancer", "tumour"), ("digits_quadrants", "odd")]
    if scale != "smoke":
        tasks.append(("student_performance", "passed"))
    arms: dict[str, list[Trained]] = {"multimodn": [], "parallel": []}
    effects, table = [], []
    gaps: dict[str, list[float]] = {target: [] for _, target in tasks}
    for seed in seeds:
        for source, target in tasks:
            run = set_up(scale, source, [target])
            row: dict[str, Any] = {"seed": seed, "task": target}
            for name, trained in arms.items():
                arm = train_arm(bench, scale, variant(run, name), seed)
                trained.append(arm)
                said = arm.system.stages(arm.data.test)[target][-1]
                estimate = auroc_interval(np.asarray(arm.data.test.columns[f"target.{target}"]), said)
                row[name] = round(100 * estimate.value, 2)
                bounds = (estimate.low or 0.0, estimate.high or 0.0)
                row[f"{name} 95 %"] = [round(100 * bound, 2) for bound in bounds]
                row[f"{name} BAC"] = round(scores(arm, arm.data.test, target)[1], 2)
            gaps[target].append(float(row["multimodn"] - row["parallel"]))
            table.append(row)
        effects.append(fmean([gap[-1] for gap in gaps.values()]))
    means = {target: fmean(gap) for target, gap in gaps.items()}
    return decide(
        effects,
        min(means.values()) >= -2.0,
        unit="points of AUROC, MultiModN − P-Fusion, mean over tasks",
        arms=[arm_cost(name, trained) for name, trained in arms.items()],
        table=table,
        note="By task: "
        + ", ".join(f"{target} {gap:+.2f}" for target, gap in means.items())
        + ". The table has bootstrap intervals over the rows of the test part.",
        needs=_LONGER,
    )


# ---- C2 --------------------------------------------------------------------------------------------------------


def many_tasks(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C2: mean AUROC of three tasks learnt together − each alone."""
    together = [
        train_arm(bench, scale, variant(set_up(scale, "digits_quadrants"), "multimodn"), seed)
        for seed in seeds
    ]
    alone = {
        task: [
            train_arm(bench, scale, variant(set_up(scale, "digits_quadrants", [task]), "multimodn"), seed)
            for seed in seeds
        ]
        for task in _TASKS
    }
    table: list[dict[str, Any]] = []
    gaps: dict[int, list[float]] = {seed: [] for seed in seeds}
    for task, singles in alone.items():
        for seed, joint, own in zip(seeds, together, singles):
            both, one = round(area(joint, task), 2), round(area(own, task), 2)
            table.append({"seed": seed, "task": task, "together": both, "alone": one})
            gaps[seed].append(both - one)
    effects = [fmean(found) for found in gaps.values()]
    return judge(
        effects,
        at_least=-2.0,
        unit="points of AUROC, together − alone, mean over three tasks",
        arms=[arm_cost("together", together), *(arm_cost(f"{t} alone", arms) for t, arms in alone.items())],
        table=table,
    )


# ---- C3 --------------------------------------------------------------------------------------------------------


def importance_is_right(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C3: rank correlation of a modality's importance with what its removal costs; and a modality of noise."""
    from scipy.stats import spearmanr

    from brickwork.systems.multimodn.step_outputs import importance

    trained = [
        train_arm(bench, scale, variant(set_up(scale, "digits_and_noise"), "multimodn"), seed)
        for seed in seeds
    ]
    effects, table, noise = [], [], []
    for seed, arm in zip(seeds, trained):
        test, names, ranks = arm.data.test, arm.system.layout.names, []
        for task in _TASKS:
            whole, moved = area(arm, task), importance(arm.system, test, task)
            drops = {name: whole - scores(arm, only(test, [name], ()), task)[0] for name in names}
            ranks.append(float(spearmanr([moved[n][0] for n in names], [drops[n] for n in names]).statistic))
            noise.append(moved["noise"][0])
            for name in names:
                mean = float(arm.system.contributions(test, task)[:, list(names).index(name)].mean())
                table.append({
                    "seed": seed, "task": task, "modality": name, "importance": round(moved[name][0], 4),
                    "loss decrease": round(moved[name][1], 4), "mean contribution": round(mean, 4),
                    "AUROC lost without": round(drops[name], 2),
                })  # fmt: skip
        effects.append(fmean(ranks))
    return decide(
        effects,
        fmean(effects) > 0.5 and fmean(noise) < 0.02,
        unit="Spearman's ρ of importance and loss of AUROC over five modalities, mean over three tasks",
        arms=[arm_cost("multimodn", trained)],
        table=table,
        note=f"The modality of noise moves a probability by {fmean(noise):.3f} on average.",
    )


# ---- C4 --------------------------------------------------------------------------------------------------------


def any_subset(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C4: all subsets of modalities at test, without training again; at small also other orders and P-Fusion."""
    run = set_up(scale, "digits_quadrants")
    names = ("top_left", "top_right", "bottom_left", "bottom_right")
    arms = {name: variant(run, name) for name in ("multimodn", "parallel")}
    if scale != "smoke":
        for order in ((2, 0, 3, 1), (3, 1, 0, 2), (1, 2, 3, 0)):
            model = arms["multimodn"].model
            fusion = replace(model.fusion, order=tuple(names[i] for i in order))
            arms[f"order {order}"] = replace(run, model=replace(model, fusion=fusion))
    trained = {
        name: [
            train_arm(bench, scale, arm, seed, arms["multimodn"] if name.startswith("order") else None)
            for seed in seeds
        ]
        for name, arm in arms.items()
    }
    table: list[dict[str, Any]] = []
    for name, models in trained.items():
        for seed, arm in zip(seeds, models):
            for kept in subsets(names):
                part = only(arm.data.test, names, kept)
                values = {task: round(scores(arm, part, task)[0], 2) for task in _TASKS}
                table.append(
                    {"arm": name, "seed": seed, "modalities": len(kept), "kept": " ".join(kept), **values}
                )
    ours = [row for row in table if row["arm"] != "parallel"]
    curve = [
        fmean([r[t] for r in ours if r["modalities"] == m for t in _TASKS]) for m in range(len(names) + 1)
    ]
    worst = min(row[task] for row in ours for task in _TASKS)
    means = {
        name: [round(fmean([r[t] for r in table if r["arm"] == name and r["modalities"] == m for t in _TASKS]), 1)
               for m in range(len(names) + 1)]
        for name in arms
    }  # fmt: skip
    effects = [
        min(r[task] for r in table if r["arm"] == "multimodn" and r["seed"] == seed for task in _TASKS) - 50
        for seed in seeds
    ]
    return decide(
        effects,
        all(after >= before for before, after in pairwise(curve)) and worst >= 50.0,
        unit="points of AUROC above chance of the worst subset and task",
        arms=[arm_cost(name, models) for name, models in trained.items()],
        table=table,
        note="Mean AUROC with 0 to 4 modalities: "
        + "; ".join(f"{name} {', '.join(map(str, values))}" for name, values in means.items())
        + f". Worst of all orders: {worst:.1f}.",
        needs=_LONGER,
    )


# ---- C5 --------------------------------------------------------------------------------------------------------

_MAIN = ("multimodn", "multimodn batch sigmoid", "multimodn dropout", "parallel", "parallel dropout")
_CROSSED = ("multimodn sigmoid", "multimodn batch", "parallel learned")
_RATE = 0.8


def _missing_not_at_random(scale: Scale, seeds: Sequence[int], bench: Workbench) -> dict[str, Any]:
    """Every arm on both sets with the modality missing from 80 % of class 1 (at small also from none)."""

    def run() -> dict[str, Any]:
        table: list[dict[str, Any]] = []
        arms: dict[str, list[Trained]] = {}
        for name in _MAIN if scale == "smoke" else _MAIN + _CROSSED:
            for source, (target, modality) in MNAR.items():
                for rate in (_RATE,) if scale == "smoke" else (0.0, _RATE):
                    if name in _CROSSED and rate != _RATE:
                        continue
                    config = set_up(
                        scale, source, [target], 600, modality=modality, mechanism="mnar", rate=rate, label=1
                    )
                    trained = [train_arm(bench, scale, variant(config, name), seed) for seed in seeds]
                    if rate == _RATE:
                        arms.setdefault(name, []).extend(trained)
                    skip = "batch" if "batch" in name.split() else "sample"
                    for seed, arm in zip(seeds, trained):
                        found = three_tests(arm, source, rate, seed, skip)
                        table.append({
                            "arm": name, "set": source, "rate": rate, "seed": seed,
                            **{key: round(value, 2) for key, value in found.items()},
                        })  # fmt: skip
        return {"table": table, "arms": arms}

    return bench.memo(("missing not at random", scale, tuple(seeds)), run)


def _values(found: dict[str, Any], arm: str, source: str, what: str) -> list[float]:
    return [r[what] for r in found["table"] if (r["arm"], r["set"], r["rate"]) == (arm, source, _RATE)]


def _mean(found: dict[str, Any], arm: str, source: str, what: str) -> float:
    return fmean(_values(found, arm, source, what))


def _moved(found: dict[str, Any], arm: str) -> list[float]:
    """AUROC flipped − same, mean over the sets, for each seed."""
    gaps = [
        [b - a for a, b in zip(_values(found, arm, source, "same"), _values(found, arm, source, "flip"))]
        for source in MNAR
    ]
    return [fmean(pair) for pair in zip(*gaps)]


def _told(found: dict[str, Any], *arms: str) -> str:
    return (
        "AUROC full / same / flipped at 80 %: "
        + "; ".join(
            f"{arm}: "
            + ", ".join(
                f"{source} "
                + " / ".join(f"{_mean(found, arm, source, what):.1f}" for what in ("full", "same", "flip"))
                for source in MNAR
            )
            for arm in arms
            if any(row["arm"] == arm for row in found["table"])
        )
        + "."
    )


def _costs(found: dict[str, Any], *arms: str) -> list[Any]:
    return [arm_cost(name, trained) for name, trained in found["arms"].items() if name in arms]


def resistant(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C5, the paper's words: P-Fusion collapses when the pattern flips, MultiModN (skipping samples) does not."""
    found = _missing_not_at_random(scale, seeds, bench)
    ours, theirs = _moved(found, "multimodn"), _moved(found, "parallel")
    return decide(
        [a - b for a, b in zip(ours, theirs)],
        fmean(theirs) < -10 and fmean(ours) > -2,
        unit="points of AUROC (flipped − same), MultiModN − P-Fusion",
        arms=_costs(found, "multimodn", "parallel"),
        table=found["table"],
        note=_told(found, *_MAIN, *_CROSSED),
    )


def as_released(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C5a: the authors' code, which skips whole batches."""
    found, arm = _missing_not_at_random(scale, seeds, bench), "multimodn batch sigmoid"
    gaps = [_mean(found, arm, source, "flip") - _mean(found, arm, source, "same") for source in MNAR]
    return decide(
        _moved(found, arm),
        all(abs(gap) <= 2.0 for gap in gaps),
        unit="points of AUROC, flipped − same",
        arms=_costs(found, arm),
        table=[row for row in found["table"] if row["arm"] == arm],
        note=_told(found, arm, "multimodn batch", "multimodn sigmoid"),
    )


def skipping_samples_collapses(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C5b: with true skipping of samples the absence of a modality is learnt; and the warning comes."""
    from brickwork.systems.multimodn.missingness import find_dependence

    found, arm = _missing_not_at_random(scale, seeds, bench), "multimodn"
    gaps = [_mean(found, arm, source, "flip") - _mean(found, arm, source, "same") for source in MNAR]
    warned = all(find_dependence(t.data.train, t.system.layout) for t in found["arms"][arm])
    return decide(
        _moved(found, arm),
        warned and all(gap < -10 for gap in gaps),
        unit="points of AUROC, flipped − same",
        arms=_costs(found, arm),
        table=[row for row in found["table"] if row["arm"] == arm],
        note=f"The warning came {'for every' if warned else 'not for every'} training. {_told(found, arm, 'parallel')}",
    )


def dropout_repairs(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C5c: modality dropout while training."""
    found, arm = _missing_not_at_random(scale, seeds, bench), "multimodn dropout"
    shares = [_mean(found, arm, source, "flip") / _mean(found, arm, source, "same") for source in MNAR]
    return decide(
        _moved(found, arm),
        min(shares) >= 0.85,
        unit="points of AUROC, flipped − same",
        arms=_costs(found, arm, "parallel dropout"),
        table=[row for row in found["table"] if row["arm"].endswith("dropout")],
        note=f"Flipped / same: {', '.join(f'{share:.3f}' for share in shares)}. {_told(found, arm, 'parallel dropout')}",
    )


CLAIMS = (
    Claim(
        id="C1",
        statement="Fusing one after the other does not cost accuracy against fusing side by side (P-Fusion)",
        paper="10 tasks of MIMIC, EDU and Weather2k: overlapping 95 % intervals of AUROC and BAC",
        criterion="on every task the mean AUROC over seeds is at most 2 points below that of P-Fusion",
        run=as_good_as_parallel,
    ),
    Claim(
        id="C2",
        statement="Several tasks learnt together are as good as each learnt alone",
        paper="MIMIC: multi-task within the intervals of single-task",
        criterion="the 95 % interval over seeds of the mean AUROC, together − alone, lies at or above −2 points",
        run=many_tasks,
    ),
    Claim(
        id="C3",
        statement="The change of a prediction from step to step says what a modality is worth",
        paper="importance and cumulative contributions are shown, not tested",
        criterion="mean Spearman correlation of importance with the AUROC lost without a modality above 0.5, and a modality "
        "of noise moves probabilities by less than 0.02 on average",
        run=importance_is_right,
    ),
    Claim(
        id="C4",
        statement="Any subset of modalities can be read at test, without training again",
        paper="predictions after every modality; no table of subsets",
        criterion="mean AUROC rises with the number of modalities, and no subset in any order is below 50 on any task",
        run=any_subset,
    ),
    Claim(
        id="C5",
        statement="MultiModN, skipping what a sample lacks, resists values missing not at random; P-Fusion collapses",
        paper="abstract: 'inherently MNAR-resistant'; P-Fusion fails catastrophically on flipped patterns",
        criterion="flipped − same of AUROC: P-Fusion below −10 points, MultiModN above −2, mean over two sets",
        run=resistant,
    ),
    Claim(
        id="C5a",
        statement="As released (whole batches skipped, sigmoids in the cross-entropy), the flipped pattern costs nothing",
        paper="the authors' code; the spec sheet's measurement: .944 / .943 and .995 / .995",
        criterion="on both sets the mean AUROC changes by at most 2 points between same and flipped pattern",
        run=as_released,
    ),
    Claim(
        id="C5b",
        statement="With samples skipped, the absence of a modality is learnt as a sign of the label (and the tool warns)",
        paper="not in the paper; the spec sheet's measurement: .988 / .231 and .999 / .815",
        criterion="on both sets flipped is more than 10 points of AUROC below same, and every training gets the warning",
        run=skipping_samples_collapses,
    ),
    Claim(
        id="C5c",
        statement="Modality dropout of one half repairs most of it",
        paper="not in the paper; the spec sheet's measurement: flipped / same .90 and .99",
        criterion="on both sets the AUROC flipped is at least 0.85 of that of the same pattern",
        run=dropout_repairs,
    ),
)
