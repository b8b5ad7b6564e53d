"""The claims of DyLoRA, each against ordinary LoRA under equal budgets.

The arms are those of :mod:`brickwork.studies.dylora.setups`.

* DyLoRA: a random rank each step, all rows up to it learn. Frozen: only the last of them.
* LoRA b: ordinary LoRA of rank b. Truncated: LoRA r cut to b afterwards, at the better of two scales.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean

import torch

from brickwork.studies.bench import Claim, ClaimResult, Scale, Trained, Workbench, arm_cost, judge
from brickwork.studies.criterion import decide
from brickwork.studies.dylora.setups import (
    SEARCH,
    Curve,
    accuracies,
    digits,
    lora,
    mean_curve,
    rows_of,
    sentences,
    spread,
    train_at,
    train_tuned,
    truncated,
    variant,
)
from brickwork.systems.dylora.ranks import usual_ranks

_RANKS = tuple(range(1, 9))


def _main(scale: Scale, seeds: Sequence[int], bench: Workbench) -> tuple[list[Trained], list[Curve]]:
    """DyLoRA with r = 8 on digits, and its accuracies."""
    trained = train_tuned(bench, digits(scale), seeds)
    return trained, [accuracies(t, _RANKS) for t in trained]


def one_training_serves_all(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """Accuracy per rank of DyLoRA, its frozen mode, and LoRA 8 cut to the rank."""
    trained, ours = _main(scale, seeds, bench)
    frozen = train_tuned(bench, variant(digits(scale), update="frozen"), seeds)
    ordinary = train_tuned(bench, lora(digits(scale), 8), seeds)
    curves = {
        "DyLoRA": ours,
        "DyLoRA frozen": [accuracies(t, _RANKS) for t in frozen],
        "LoRA 8 truncated": [truncated(t, _RANKS) for t in ordinary],
    }
    gains = [
        fmean([a[b] - c[b] for b in _RANKS[:-1]])
        for a, c in zip(curves["DyLoRA"], curves["LoRA 8 truncated"])
    ]
    mean = mean_curve(ours)
    near = all(mean[b] >= 0.9 * mean[8] for b in _RANKS if b >= 2)
    parameters = {p.rank: p.parameters for p in trained[0].system.curve(trained[0].data.validation, _RANKS)}
    table = [{**row, "parameters": parameters[row["rank"]]} for row in rows_of(curves)]
    return decide(
        gains,
        fmean(gains) >= 10 and near,
        unit="points of accuracy, DyLoRA − LoRA 8 truncated, mean over ranks 1 … 7",
        arms=[arm_cost("DyLoRA", trained), arm_cost("DyLoRA frozen", frozen), arm_cost("LoRA 8", ordinary)],
        table=table,
        note=f"At ranks 1, 2, 4, 8: DyLoRA {_shown(mean)}, frozen {_shown(mean_curve(curves['DyLoRA frozen']))}, "
        f"LoRA 8 truncated {_shown(mean_curve(curves['LoRA 8 truncated']))} %. "
        f"Backbone as it is, classifier untrained: {_unadapted(trained[0]):.1f} %.",
    )


def _shown(curve: Curve) -> str:
    return "/".join(f"{curve[b]:.1f}" for b in (1, 2, 4, 8))


def _unadapted(trained: Trained) -> float:
    """Without what the adapters and the classifier learnt."""
    system = copy.deepcopy(trained.system)
    with torch.no_grad():
        for layer in system.adapters.layers.values():
            for up in layer.up:
                up.zero_()
    system.start_stage("adapters")
    return accuracies(replace(trained, system=system), [1])[1]


def no_loss_against_separate(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """DyLoRA − LoRA trained at that rank alone."""
    trained, ours = _main(scale, seeds, bench)
    separate = {b: train_tuned(bench, lora(digits(scale), b), seeds) for b in (1, 2, 4, 8)}
    theirs = [{b: accuracies(t[i], [b])[b] for b, t in separate.items()} for i in range(len(seeds))]
    gaps = [fmean([a[b] - c[b] for b in (4, 8)]) for a, c in zip(ours, theirs)]
    own = [{b: curve[b] for b in separate} for curve in ours]
    low = fmean([a[1] - c[1] for a, c in zip(own, theirs)])
    return decide(
        gaps,
        fmean(gaps) >= -2,
        unit="points of accuracy, DyLoRA − separate LoRA, mean of ranks 4 and 8",
        arms=[arm_cost("DyLoRA", trained), *(arm_cost(f"LoRA {b}", t) for b, t in separate.items())],
        table=rows_of({"DyLoRA": own, "separate LoRA": theirs}),
        note=f"At rank 1 the difference is {low:+.1f} points (ranks 1, 2, 4, 8: DyLoRA {_shown(mean_curve(own))}, "
        f"separate {_shown(mean_curve(theirs))} %).",
    )


def search_cost(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """Seconds of one LoRA training at every rank of the search over those of one DyLoRA training, in turn."""
    searched = tuple(b for b in SEARCH if scale != "smoke" or b <= 8)
    run = digits(scale, rank=searched[-1])
    # A name of its own, so that nothing trained for another claim at another time is taken for it.
    run = replace(run, recipe="claims: time", train=replace(run.train, steps=200))
    ratios, steps, table = [], [], []
    ours: list[Trained] = []
    separate: dict[int, list[Trained]] = {b: [] for b in searched}
    for seed in seeds:
        ours.append(bench.train(replace(run, seed=seed)))
        for b in searched:
            separate[b].append(bench.train(replace(lora(run, b), seed=seed)))
        seconds = {b: t[-1].seconds for b, t in separate.items()}
        ratios.append(sum(seconds.values()) / ours[-1].seconds)
        steps.append(ours[-1].seconds / seconds[searched[-1]])
        table.append({"seed": seed, "S": round(ratios[-1], 2), "DyLoRA s": round(ours[-1].seconds, 2)}
                     | {f"LoRA {b} s": round(s, 2) for b, s in seconds.items()})  # fmt: skip
    return decide(
        ratios,
        fmean(ratios) >= 0.8 * len(searched),
        unit=f"times the seconds: LoRA at ranks {', '.join(map(str, searched))} over one DyLoRA with r = {searched[-1]}",
        arms=[arm_cost("DyLoRA", ours), *(arm_cost(f"LoRA {b}", t) for b, t in separate.items())],
        table=table,
        note=f"This is the cost of a search over {len(searched)} ranks, not the speed of a step: one step takes "
        f"{fmean(steps):.2f} times that of LoRA {searched[-1]}. 200 steps each, equal for all.",
    )


def wide_range(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """Accuracy over ranks up to 16, at small to 64."""
    rank = 16 if scale == "smoke" else 64
    run, ranks = digits(scale, rank), usual_ranks(rank)
    rate = train_tuned(bench, digits(scale), seeds[:1])[0].learning_rate
    trained = train_at(bench, run, rate, seeds)
    ordinary = train_at(bench, lora(run, rank), rate, seeds)
    ours = [accuracies(t, ranks) for t in trained]
    mean = mean_curve(ours)
    high = [b for b in ranks if b >= 4]
    ranges = [max(c[b] for b in high) - min(c[b] for b in high) for c in ours]
    falls = max(mean[a] - mean[b] - max(spread(ours, a), spread(ours, b)) for a, b in pairwise(ranks))
    return decide(
        ranges,
        max(mean[b] for b in high) - min(mean[b] for b in high) <= 3 and falls <= 0,
        unit=f"points between the best and the worst of the ranks 4 … {rank}",
        arms=[arm_cost("DyLoRA", trained), arm_cost(f"LoRA {rank}", ordinary)],
        table=rows_of({"DyLoRA": ours, f"LoRA {rank} truncated": [truncated(t, ranks) for t in ordinary]}),
        note="The largest fall from a rank to the next, beyond one standard deviation: "
        f"{max(falls, 0):.1f} points.",
    )


def language_understanding(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """Questions of TREC with MiniLM: DyLoRA at each rank, against LoRA 8 and LoRA 8 truncated."""
    run, ranks = sentences(), usual_ranks(8)
    trained = [bench.train(replace(run, seed=seed)) for seed in seeds]
    ordinary = [bench.train(replace(lora(run, 8), seed=seed)) for seed in seeds]
    ours, theirs = [accuracies(t, ranks, 500) for t in trained], [truncated(t, ranks, 500) for t in ordinary]
    gaps = [a[8] - c[8] for a, c in zip(ours, theirs)]
    mean = mean_curve(ours)
    return decide(
        gaps,
        fmean(gaps) >= -2 and all(mean[b] >= 0.9 * mean[8] for b in ranks if b >= 2),
        unit="points of accuracy at rank 8, DyLoRA − LoRA 8, TREC",
        arms=[arm_cost("DyLoRA", trained), arm_cost("LoRA 8", ordinary)],
        table=rows_of({"DyLoRA": ours, "LoRA 8 truncated": theirs}),
        note=f"At ranks 1, 2, 4, 8: DyLoRA {_shown(mean)}, LoRA 8 truncated {_shown(mean_curve(theirs))} %. "
        "MiniLM and TREC in place of RoBERTa and GLUE; 120 steps; one learning rate, for both.",
    )


def language_generation(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """Not run: there is no pretrained language model to adapt."""
    return ClaimResult(
        verdict="not run",
        note="Needs a pretrained GPT-2 and a decoder with adapters; the authors never released their code for this part.",
    )


def _against(
    scale: Scale, seeds: Sequence[int], bench: Workbench, **model: object
) -> tuple[list[Trained], list[Curve], list[Curve], float]:
    """DyLoRA and a variant at its rate: trainings and curves of the variant, curves of DyLoRA, the rate."""
    trained, ours = _main(scale, seeds, bench)
    other = train_at(bench, variant(digits(scale), **model), trained[0].learning_rate, seeds)
    return other, [accuracies(t, _RANKS) for t in other], ours, trained[0].learning_rate


def all_against_frozen(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """Accuracy at ranks 4 … 8, all rows − only the last."""
    trained, ours = _main(scale, seeds, bench)
    frozen = train_tuned(bench, variant(digits(scale), update="frozen"), seeds)
    theirs = [accuracies(t, _RANKS) for t in frozen]
    gains = [fmean([a[b] - c[b] for b in _RANKS[3:]]) for a, c in zip(ours, theirs)]
    return decide(
        gains,
        fmean(gains) >= 3,
        unit="points of accuracy at ranks 4 … 8, all − frozen",
        arms=[arm_cost("all", trained), arm_cost("frozen", frozen)],
        table=rows_of({"all": ours, "frozen": theirs}),
    )


def geometric_against_uniform(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """Accuracy at ranks 1 and 2, and at 8, geometric − uniform."""
    other, theirs, ours, _ = _against(scale, seeds, bench, sampler="geometric")
    sandwich, both, _, _ = _against(scale, seeds, bench, sampler="sandwich")
    low = [fmean([c[b] - a[b] for b in (1, 2)]) for a, c in zip(ours, theirs)]
    high = fmean([c[8] - a[8] for a, c in zip(ours, theirs)])
    return decide(
        low,
        fmean(low) > 0 and high < 0,
        unit="points of accuracy at ranks 1 and 2, geometric − uniform",
        arms=[arm_cost("geometric", other), arm_cost("sandwich", sandwich)],
        table=rows_of({"uniform": ours, "geometric": theirs, "sandwich": both}),
        note=f"At rank 8 the difference is {high:+.2f} points. Sandwich (r and one smaller rank each step, twice the work "
        f"of a step): {fmean([fmean([c[b] - a[b] for b in _RANKS]) for a, c in zip(ours, both)]):+.2f} over all ranks.",
    )


def scalings(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """Mean accuracy over ranks, α/b − α/r."""
    other, theirs, ours, _ = _against(scale, seeds, bench, scaling="alpha/r")
    third, root, _, _ = _against(scale, seeds, bench, scaling="alpha/sqrt(b)")
    gains = _over_ranks(ours, theirs)
    return judge(
        gains,
        at_least=0.0,
        unit="points of accuracy over all ranks, α/b − α/r",
        arms=[arm_cost("α/r", other), arm_cost("α/√b", third)],
        table=rows_of({"α/b": ours, "α/r": theirs, "α/√b": root}),
        note=f"α/b − α/√b: {fmean(_over_ranks(ours, root)):+.2f} points. At the rate of α/b.",
    )


def rank_for_each_batch(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """Four batches of 8 an update: a rank for each − one for all."""
    run = digits(scale)
    run = replace(run, train=replace(run.train, batch_size=8, accumulate=4))
    rate = train_tuned(bench, digits(scale), seeds[:1])[0].learning_rate
    each = train_at(bench, run, rate, seeds)
    one = train_at(bench, variant(run, draw_every=4), rate, seeds)
    curves = {
        "a rank a batch": [accuracies(t, _RANKS) for t in each],
        "a rank an update": [accuracies(t, _RANKS) for t in one],
    }
    return judge(
        _over_ranks(*curves.values()),
        at_least=0.0,
        unit="points of accuracy over all ranks, a rank for each of 4 batches − one for the update",
        arms=[arm_cost(name, t) for name, t in (("a rank a batch", each), ("a rank an update", one))],
        table=rows_of(curves),
    )


def truly_frozen(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """Frozen mode: rows that stand still − rows that Adam moves on by its moments."""
    still = train_tuned(bench, variant(digits(scale), update="frozen"), seeds)
    other = train_at(
        bench, variant(digits(scale), update="frozen", idle="drift"), still[0].learning_rate, seeds
    )
    curves = {"stay": [accuracies(t, _RANKS) for t in still], "drift": [accuracies(t, _RANKS) for t in other]}
    return judge(
        _over_ranks(*curves.values()),
        at_least=0.0,
        unit="points of accuracy over all ranks, frozen: stay − drift",
        arms=[arm_cost("stay", still), arm_cost("drift", other)],
        table=rows_of(curves),
        note="Gradients of zero, as in the released code, let AdamW's moments move rows that are called frozen.",
    )


def _over_ranks(ours: Sequence[Curve], theirs: Sequence[Curve]) -> list[float]:
    return [fmean([a[b] - c[b] for b in a]) for a, c in zip(ours, theirs)]


CLAIMS = (
    Claim(
        id="C1",
        statement="One training serves all ranks; cutting an ordinary LoRA does not",
        paper="GLUE, RoBERTa: LoRA trained at rank 8 collapses at smaller ranks, DyLoRA stays near constant",
        criterion="mean of DyLoRA − truncated LoRA over b < 8 at least 10 points; DyLoRA at b ≥ 2 at least 0.9 of that at 8",
        run=one_training_serves_all,
    ),
    Claim(
        id="C2",
        statement="No significant loss against LoRA trained at each rank",
        paper="abstract: without significantly compromising performance",
        criterion="DyLoRA at most 2 points below separate LoRA, mean of ranks 4 and 8",
        run=no_loss_against_separate,
    ),
    Claim(
        id="C3",
        statement="A search over ranks is several times cheaper",
        paper="at least 4 to 7 times, depending on the task",
        criterion="S = Σ seconds(LoRA b) / seconds(DyLoRA) at least 0.8 × the number of ranks searched",
        run=search_cost,
    ),
    Claim(
        id="C4",
        statement="Good on a much larger range of ranks than LoRA",
        paper="ranks up to 64 (RoBERTa, GLUE)",
        criterion="mean accuracies at b ≥ 4 within 3 points of each other, and none falls from a rank to the next by more "
        "than one standard deviation over seeds",
        run=wide_range,
    ),
    Claim(
        id="C5a",
        statement="Works for language understanding with a published encoder",
        paper="RoBERTa-base on GLUE",
        criterion="at rank 8 at most 2 points below LoRA 8, and at b ≥ 2 at least 0.9 of rank 8",
        run=language_understanding,
        scales=("small",),
    ),
    Claim(
        id="C5b",
        statement="Works for language generation",
        paper="GPT-2 medium on E2E, DART and WebNLG",
        criterion="as C5a, by BLEU",
        run=language_generation,
        scales=("gpu",),
    ),
    Claim(
        id="A1",
        statement="Training all rows up to the rank is better than training the last one",
        paper="reported as a bit better; the released script uses frozen",
        criterion="all − frozen at least 3 points at ranks 4 … 8 (the sheet expects 3 to 5)",
        run=all_against_frozen,
    ),
    Claim(
        id="A2",
        statement="A geometric distribution of ranks helps small ranks and hurts the largest",
        paper="an ablation; uniform in the released code",
        criterion="geometric (p = 0.3) − uniform above 0 at ranks 1 and 2, and below 0 at rank 8",
        run=geometric_against_uniform,
    ),
    Claim(
        id="A3",
        statement="Scaling by α/b is at least as good as by α/r",
        paper="eq. 7 uses α/b; not compared",
        criterion="the 95 % interval over seeds of the mean over ranks of α/b − α/r lies at or above 0",
        run=scalings,
    ),
    Claim(
        id="A4",
        statement="A rank for each accumulated batch is at least as good as one for the whole update",
        paper="the author advises larger accumulation for stability (kohya-ss/sd-scripts #394)",
        criterion="the 95 % interval over seeds of the mean over ranks lies at or above 0",
        run=rank_for_each_batch,
    ),
    Claim(
        id="A5",
        statement="Ours: frozen mode is at least as good when the frozen rows truly stand still",
        paper="not looked at: the released code gives them gradients of zero",
        criterion="the 95 % interval over seeds of the mean over ranks of stay − drift lies at or above 0",
        run=truly_frozen,
    ),
)
