"""The study of DyLoRA, against ordinary LoRA under equal budgets.

* DyLoRA: a random rank each step, all rows up to it learn. Frozen: only the last of them.
* LoRA b: ordinary LoRA of rank b. Truncated: LoRA r cut to b afterwards, at the better of two scales.

Every arm, variants of an ablation among them, adapts the same backbone with the same data, seeds, steps and optimiser. Its
learning rate is chosen from the same grid, on validation data, by the ranks that it was trained for. Accuracies are in
percent, on the test part.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from brickwork.data.sets.sources import locate
from brickwork.encoders.packaged import PACKAGED, find_packaged
from brickwork.studies.bench import Trained
from brickwork.studies.effects import Effect, Measured, average, combined
from brickwork.studies.study import Arms, ClaimResult, Lab, Scale, claim
from brickwork.systems.dylora.ranks import usual_ranks

if TYPE_CHECKING:
    from brickwork.training.run import RunConfig

SEARCH = (1, 2, 4, 8, 16, 32, 64)
"""The ranks that one would search with ordinary LoRA (claim C3)."""
_RANKS = tuple(range(1, 9))
_POINTS = "points of accuracy"

# ---- the claims -------------------------------------------------------------------------------------------------


@claim(
    "C1",
    "One training serves all ranks; cutting an ordinary LoRA does not",
    paper="GLUE, RoBERTa: LoRA trained at rank 8 collapses at smaller ranks, DyLoRA stays near constant",
    criterion="mean of DyLoRA − truncated LoRA over b < 8 at least 10 points; DyLoRA at b ≥ 2 at least 0.9 of that at 8",
)
def one_training_serves_all(lab: Lab) -> ClaimResult:
    models: dict[str, Any] = {"DyLoRA": {}, "DyLoRA frozen": {"update": "frozen"}, "LoRA 8": LORA}
    arms = lab.arms(digits(lab.scale), models, tuned_by=validation_score)
    at = arms.only("DyLoRA", "DyLoRA frozen").measure(accuracies, _RANKS, key="rank")
    at |= _truncated(arms.only("LoRA 8"), _RANKS)
    gain = average(at["DyLoRA", b] - at["LoRA 8 truncated", b] for b in _RANKS[:-1])
    ours = arms["DyLoRA"][0]
    parameters = {p.rank: p.parameters for p in ours.system.curve(ours.data.validation, _RANKS)}
    return lab.verdict(
        gain,
        {"gain": gain >= 10, "kept": _kept(at, _RANKS[1:]) >= 0.9},
        unit=f"{_POINTS}, DyLoRA − LoRA 8 truncated, mean over ranks 1 … 7",
        table=[{**row, "parameters": parameters[row["rank"]]} for row in at.rows("rank", sd=True)],
        note=f"At ranks 1, 2, 4, 8: DyLoRA {_means(at, 'DyLoRA')}, frozen {_means(at, 'DyLoRA frozen')}, "
        f"LoRA 8 truncated {_means(at, 'LoRA 8 truncated')} %. "
        f"Backbone as it is, classifier untrained: {_unadapted(ours):.1f} %.",
    )


@claim(
    "C2",
    "No significant loss against LoRA trained at each rank",
    paper="abstract: without significantly compromising performance",
    criterion="DyLoRA at most 2 points below separate LoRA, mean of ranks 4 and 8",
)
def no_loss_against_separate(lab: Lab) -> ClaimResult:
    ranks, run = (1, 2, 4, 8), digits(lab.scale)
    separate: dict[str, Any] = {f"LoRA {b}": {**LORA, "rank": b} for b in ranks}
    arms = lab.arms(run, separate, DyLoRA={}, tuned_by=validation_score)
    at = arms.only("DyLoRA").measure(accuracies, _RANKS, key="rank").where(rank=ranks)
    for b in ranks:
        at |= arms.only(f"LoRA {b}").measure(accuracies, (b,), key="rank").named("separate LoRA")
    gap = {b: at["DyLoRA", b] - at["separate LoRA", b] for b in ranks}
    loss = average((gap[4], gap[8]))
    return lab.verdict(
        loss,
        {"difference": loss >= -2},
        unit=f"{_POINTS}, DyLoRA − separate LoRA, mean of ranks 4 and 8",
        table=at.rows("rank", sd=True),
        note=f"At rank 1 the difference is {gap[1].mean:+.1f} points (ranks 1, 2, 4, 8: DyLoRA {_means(at, 'DyLoRA')}, "
        f"separate {_means(at, 'separate LoRA')} %).",
    )


@claim(
    "C3",
    "A search over ranks is several times cheaper",
    paper="at least 4 to 7 times, depending on the task",
    criterion="S = Σ seconds(LoRA b) / seconds(DyLoRA) at least 0.8 × the number of ranks searched",
)
def search_cost(lab: Lab) -> ClaimResult:
    """Seconds of one LoRA training at every rank of the search over those of one DyLoRA training, in turn."""
    searched = tuple(b for b in SEARCH if not lab.smoke or b <= 8)
    run = digits(lab.scale, rank=searched[-1])
    # A name of its own, so that nothing trained for another claim at another time is taken for it. Only the adapters are
    # trained: what a step costs does not depend on what the backbone knows.
    run = replace(run, recipe="claims: time", stages=run.stages[1:], train=replace(run.train, steps=200))
    separate: dict[str, Any] = {f"LoRA {b}": {**LORA, "rank": b} for b in searched}
    at = lab.arms(run, separate, DyLoRA={}).measure(seconds)
    ratio = sum((at[arm] for arm in separate), Effect((0.0,) * len(lab.seeds))) / at["DyLoRA"]
    step = at["DyLoRA"] / at[f"LoRA {searched[-1]}"]
    least = 0.8 * len(searched)
    table = [
        {"seed": seed, "S": round(s, 2)} | {f"{arm} s": row[arm] for arm in ("DyLoRA", *separate)}
        for seed, s, row in zip(lab.seeds, ratio.values, at.rows("seed"))
    ]
    return lab.verdict(
        ratio,
        {"S": ratio >= least},
        unit=f"times the seconds: LoRA at ranks {', '.join(map(str, searched))} over one DyLoRA with r = {searched[-1]}",
        table=table,
        note=f"This is the cost of a search over {len(searched)} ranks, not the speed of a step: one step takes "
        f"{step.mean:.2f} times that of LoRA {searched[-1]}. 200 steps each, equal for all.",
    )


@claim(
    "C4",
    "Good on a much larger range of ranks than LoRA",
    paper="ranks up to 64 (RoBERTa, GLUE)",
    criterion="accuracies at b ≥ 4 within 3 points of each other, and no rank is below the one before it by more than "
    "one standard deviation over seeds",
)
def wide_range(lab: Lab) -> ClaimResult:
    rank = 16 if lab.smoke else 64
    ranks = usual_ranks(rank)
    models: dict[str, Any] = {"DyLoRA": {"rank": rank}, f"LoRA {rank}": {**LORA, "rank": rank}}
    arms = lab.arms(digits(lab.scale, rank), models, tuned_by=validation_score)
    at = arms.only("DyLoRA").measure(accuracies, ranks, key="rank")
    high = [at["DyLoRA", b] for b in ranks if b >= 4]
    span = combined(max, high) - combined(min, high)
    steps = [(at["DyLoRA", a], at["DyLoRA", b]) for a, b in pairwise(ranks)]
    fall = combined(max, (before - after - max(before.spread, after.spread) for before, after in steps))
    return lab.verdict(
        span,
        {"span": span <= 3, "largest fall beyond one standard deviation": fall <= 0},
        unit=f"points between the best and the worst of the ranks 4 … {rank}",
        table=(at | _truncated(arms.only(f"LoRA {rank}"), ranks)).rows("rank", sd=True),
    )


@claim(
    "C5a",
    "Works for language understanding with a published encoder",
    paper="RoBERTa-base on GLUE",
    criterion="at rank 8 at most 2 points below LoRA 8, and at b ≥ 2 at least 0.9 of rank 8",
    scales=("small",),
)
def language_understanding(lab: Lab) -> ClaimResult:
    ranks = usual_ranks(8)
    arms = lab.arms(sentences(), {"DyLoRA": {}, "LoRA 8": {**LORA, "rank": 8}}, tuned_by=validation_score)
    at = arms.only("DyLoRA").measure(accuracies, ranks, 500, key="rank")
    at |= _truncated(arms.only("LoRA 8"), ranks, 500)
    gap = at["DyLoRA", 8] - at["LoRA 8 truncated", 8]
    small = average(at["DyLoRA", b] - at["LoRA 8 truncated", b] for b in ranks[:-1])
    return lab.verdict(
        gap,
        {"difference": gap >= -2, "kept": _kept(at, ranks[1:]) >= 0.9},
        unit=f"{_POINTS} at rank 8, DyLoRA − LoRA 8, TREC",
        table=at.rows("rank", sd=True),
        note=f"At ranks 1, 2, 4, 8: DyLoRA {_means(at, 'DyLoRA')}, LoRA 8 truncated {_means(at, 'LoRA 8 truncated')} %. "
        f"Over the ranks below 8 DyLoRA − truncated is {small.mean:+.1f} points, against what C1 asks on digits: at least "
        "10. MiniLM and TREC in place of RoBERTa and GLUE; 120 steps.",
    )


@claim(
    "C5b",
    "Works for language generation",
    paper="GPT-2 medium on E2E, DART and WebNLG, by BLEU",
    criterion="of the nats per token that LoRA 8 gains over the untouched model, DyLoRA gains at least 0.98 at rank 8, and "
    "at b ≥ 2 at least 0.9 of what it gains at 8",
    scales=("small",),
)
def language_generation(lab: Lab) -> ClaimResult:
    if find_packaged("smollm2-135m") is None:
        return ClaimResult(
            verdict="not run", note=f"smollm2-135m: {PACKAGED['smollm2-135m'].install} brings it"
        )
    ranks = usual_ranks(8)
    arms = lab.arms(descriptions(), {"DyLoRA": {}, "LoRA 8": LORA}, tuned_by=validation_gain)
    at = arms.measure(nats_gained, ranks, key="rank")
    share = at["DyLoRA", 8] / at["LoRA 8", 8]
    gains = {arm: "/".join(f"{at[arm, b].mean:.3f}" for b in ranks) for arm in arms}
    return lab.verdict(
        share,
        {"share": share >= 0.98, "kept": _kept(at, ranks[1:]) >= 0.9},
        unit="of the nats per token that LoRA 8 gains, DyLoRA at rank 8, E2E small",
        table=at.rows("rank", sd=True),
        note=f"Nats per token gained over the untouched model at ranks 1, 2, 4, 8: DyLoRA {gains['DyLoRA']}, LoRA 8 cut to "
        f"these ranks {gains['LoRA 8']}. SmolLM2-135M-Instruct (weights of four bits, computed in float32) in place of "
        "GPT-2 medium; the references of E2E small alone, without what they are to say, so no BLEU; 90 steps of 4, "
        "each arm at its best rate on validation texts, 40 test texts of other restaurants. Web text of the model's "
        "own training may hold E2E; both arms start from it.",
    )


@claim(
    "A1",
    "Training all rows up to the rank is better than training the last one",
    paper="reported as a bit better; the released script uses frozen",
    criterion="all − frozen at least 3 points at ranks 4 … 8 (the sheet expects 3 to 5)",
)
def all_against_frozen(lab: Lab) -> ClaimResult:
    arms = lab.arms(digits(lab.scale), all={}, frozen={"update": "frozen"}, tuned_by=validation_score)
    at = arms.measure(accuracies, _RANKS, key="rank")
    gain = average(at["all", b] - at["frozen", b] for b in _RANKS[3:])
    unit = f"{_POINTS} at ranks 4 … 8, all − frozen"
    return lab.verdict(gain, {"gain": gain >= 3}, unit=unit, table=at.rows("rank", sd=True))


@claim(
    "A2",
    "A geometric distribution of ranks helps small ranks and hurts the largest",
    paper="an ablation; uniform in the released code",
    criterion="geometric (p = 0.3) − uniform above 0 at ranks 1 and 2, and below 0 at rank 8",
)
def geometric_against_uniform(lab: Lab) -> ClaimResult:
    models = {"geometric": {"sampler": "geometric"}, "sandwich": {"sampler": "sandwich"}}
    arms = lab.arms(digits(lab.scale), models, uniform={}, tuned_by=validation_score)
    at = arms.measure(accuracies, _RANKS, key="rank")
    low = average(at["geometric", b] - at["uniform", b] for b in (1, 2))
    high = at["geometric", 8] - at["uniform", 8]
    sandwich = average(at["sandwich", b] - at["uniform", b] for b in _RANKS)
    return lab.verdict(
        low,
        {"ranks 1 and 2": low > 0, "rank 8": high < 0},
        unit=f"{_POINTS} at ranks 1 and 2, geometric − uniform",
        table=at.rows("rank", sd=True),
        note=f"At rank 8 the difference is {high.mean:+.2f} points. Sandwich (r and one smaller rank each step, twice the "
        f"work of a step): {sandwich.mean:+.2f} over all ranks.",
    )


@claim(
    "A3",
    "Scaling by α/b is at least as good as by α/r",
    paper="eq. 7 uses α/b; not compared",
    criterion="the 95 % interval over seeds of the mean over ranks of α/b − α/r lies at or above 0",
)
def scalings(lab: Lab) -> ClaimResult:
    models: dict[str, Any] = {"α/b": {}, "α/r": {"scaling": "alpha/r"}, "α/√b": {"scaling": "alpha/sqrt(b)"}}
    arms = lab.arms(digits(lab.scale), models, tuned_by=validation_score)
    at = arms.measure(accuracies, _RANKS, key="rank")
    root = _over_ranks(at, "α/b", "α/√b")
    return _at_least_as_good(lab, at, "α/b", "α/r", "α/b − α/r", f"α/b − α/√b: {root.mean:+.2f} points.")


@claim(
    "A4",
    "A rank for each accumulated batch is at least as good as one for the whole update",
    paper="the author advises larger accumulation for stability (kohya-ss/sd-scripts #394)",
    criterion="the 95 % interval over seeds of the mean over ranks lies at or above 0",
)
def rank_for_each_batch(lab: Lab) -> ClaimResult:
    """Four batches of 8 an update: a rank for each − one for all."""
    run = digits(lab.scale)
    run = replace(run, train=replace(run.train, batch_size=8, accumulate=4))
    models: dict[str, Any] = {"a rank a batch": {}, "a rank an update": {"draw_every": 4}}
    arms = lab.arms(run, models, tuned_by=validation_score)
    at = arms.measure(accuracies, _RANKS, key="rank")
    what = "a rank for each of 4 batches − one for the update"
    return _at_least_as_good(lab, at, "a rank a batch", "a rank an update", what)


@claim(
    "A5",
    "Ours: frozen mode is at least as good when the frozen rows truly stand still",
    paper="not looked at: the released code gives them gradients of zero",
    criterion="the 95 % interval over seeds of the mean over ranks of stay − drift lies at or above 0",
)
def truly_frozen(lab: Lab) -> ClaimResult:
    run = digits(lab.scale)
    frozen = replace(run, model=replace(run.model, update="frozen"))
    arms = lab.arms(frozen, stay={}, drift={"idle": "drift"}, tuned_by=validation_score)
    at = arms.measure(accuracies, _RANKS, key="rank")
    note = "Gradients of zero, as in the released code, let AdamW's moments move rows that are called frozen."
    return _at_least_as_good(lab, at, "stay", "drift", "frozen: stay − drift", note)


def _at_least_as_good(
    lab: Lab, at: Measured, ours: str, theirs: str, what: str, note: str = ""
) -> ClaimResult:
    gain = _over_ranks(at, ours, theirs)
    unit = f"{_POINTS} over all ranks, {what}"
    return lab.verdict(gain, {"difference": gain >= 0}, unit=unit, table=at.rows("rank", sd=True), note=note)


def _kept(at: Measured, ranks: Sequence[int]) -> Effect:
    """The smallest share of its accuracy at rank 8 that DyLoRA has at one of ``ranks``."""
    return combined(min, (at["DyLoRA", b] / at["DyLoRA", 8] for b in ranks))


def _over_ranks(at: Measured, ours: str, theirs: str) -> Effect:
    return average(at[ours, b] - at[theirs, b] for b in at.labels("rank"))


def _means(at: Measured, arm: str) -> str:
    return "/".join(f"{at[arm, b].mean:.1f}" for b in (1, 2, 4, 8))


# ---- the arms ---------------------------------------------------------------------------------------------------

LORA = {"sampler": "full"}
"""What makes DyLoRA ordinary LoRA."""


def digits(scale: Scale, rank: int = 8) -> "RunConfig":
    """Digits turned by a quarter, an MLP that knows upright 0 … 4, all three linear layers; 40 epochs at small."""
    from brickwork.systems.dylora.recipes import BACKBONE_STEPS, smoke

    run = smoke()
    return replace(
        run,
        recipe="claims: digits",
        model=replace(run.model, rank=rank),
        data=replace(run.data, validation_share=0.1, test_share=0.45),
        train=replace(
            run.train,
            steps=BACKBONE_STEPS + (1040 if scale != "smoke" else 260),
            save_every=0,
            validate_every=0,
        ),
    )


def descriptions() -> "RunConfig":
    """Descriptions of restaurants (E2E small), SmolLM2-135M, queries and values, 90 steps of 4 texts.

    Raises:
        DataError: the set is not on this machine.
    """
    from brickwork.data.config import ColumnNames
    from brickwork.systems.dylora.recipes import language

    run = language()
    source = locate("data_to_text") / "data_to_text" / "e2e_dev_test.parquet"
    # A label, so that texts are read whole; descriptions of one restaurant stay in one part of the split.
    columns = ColumnNames(text="reference", label="split", group="meaning_representation")
    return replace(
        run,
        recipe="claims: e2e",
        data=replace(run.data, source=str(source), columns=columns, max_held_out=40, limit=None),
        model=replace(run.model, max_tokens=64),
        train=replace(run.train, steps=90, batch_size=4, precision="fp32", save_every=0, validate_every=0),
    )


def sentences() -> "RunConfig":
    """Questions of TREC by type, MiniLM, queries and values, 120 steps of 16, 32 tokens."""
    from brickwork.systems.dylora.recipes import small

    run = small()
    train = replace(
        run.train, steps=120, batch_size=16, precision="fp32", save_every=0, validate_every=0
    )  # fmt: skip
    return replace(run, recipe="claims: trec6", model=replace(run.model, max_tokens=32), train=train)


# ---- what is measured -------------------------------------------------------------------------------------------


def validation_score(trained: Trained) -> float:
    """Mean accuracy on validation data over the ranks that the arm was trained for."""
    points = trained.system.curve(trained.data.validation, trained.system.config.sizes())
    return sum(point.accuracy for point in points) / len(points)


def seconds(trained: Trained) -> float:
    """Of the training."""
    return trained.seconds


def accuracies(trained: Trained, ranks: Sequence[int], rows: int = 1000) -> dict[int, float]:
    """Rank → accuracy on (the first ``rows`` of) the test part."""
    test = trained.data.test.select(range(min(rows, len(trained.data.test))))
    return {point.rank: 100 * point.accuracy for point in trained.system.curve(test, ranks)}


def nats_gained(trained: Trained, ranks: Sequence[int]) -> dict[int, float]:
    """Rank → nats per token of the test part, the untouched model's − the adapted one's."""
    nats = trained.system.curve(trained.data.test, (0, *ranks))
    return {rank: nats[0] - nats[rank] for rank in ranks}


def validation_gain(trained: Trained) -> float:
    """The mean of minus the nats per token of validation data over the ranks that the arm was trained for."""
    nats = trained.system.curve(trained.data.validation, trained.system.config.sizes())
    return -sum(nats.values()) / len(nats)


def truncated(trained: Trained, ranks: Sequence[int], rows: int = 1000) -> dict[int, float]:
    """Ordinary LoRA cut to each rank, scaled by α/b or as it was trained (α/r): whichever is better at that rank."""
    layers = list(trained.system.adapters.layers.values())
    before = [layer.scaling for layer in layers]
    curves = []
    for scaling in ("alpha/b", "alpha/r"):
        for layer in layers:
            layer.scaling = scaling
        curves.append(accuracies(trained, ranks, rows))
    for layer, scaling in zip(layers, before):
        layer.scaling = scaling
    return {b: max(curve[b] for curve in curves) for b in ranks}


def _truncated(arms: Arms, ranks: Sequence[int], rows: int = 1000) -> Measured:
    (arm,) = arms
    return arms.measure(truncated, tuple(ranks), rows, key="rank").named(f"{arm} truncated")


def _unadapted(trained: Trained) -> float:
    """Without what the adapters and the classifier learnt."""
    system = copy.deepcopy(trained.system)
    with torch.no_grad():
        for row in system.adapters.segments.rows:
            row.zero_()
    system.start_stage("adapters")
    return accuracies(replace(trained, system=system), [1])[1]
