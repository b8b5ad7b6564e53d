"""The claims of Matryoshka Representation Learning, each with its baselines under equal budgets.

The arms and measures are those of :mod:`brickwork.studies.matryoshka.setups`.

* MRL: all prefixes. MRL-E: the same with tied heads.
* FF-m, fixed feature: the loss on the first m dimensions only; FF-D is the ordinary model.
* truncation, SVD, random features: of the ordinary model.
"""

from brickwork.studies.effects import Effect, Measured, average
from brickwork.studies.matryoshka.setups import (
    cascaded,
    cifar10,
    corrupted,
    digits,
    few_shots,
    fixed_features,
    linear,
    mnist,
    nearest,
    omniglot,
    recalls,
    searches,
    text,
    tiny_imagenet,
    validation_score,
)
from brickwork.studies.study import ClaimResult, Lab, claim


@claim(
    "C1",
    "Prefixes are as accurate as models trained for that size alone, and far better than truncation",
    paper="ImageNet-1K, ResNet-50: MRL − FF between −0.1 and +1.3 points at 8 … 2048; SVD of FF-2048 at 8: 2.3 %",
    criterion="mean of MRL − FF over m ≥ classes − 1 at least −1.0 point of linear accuracy, and MRL at least "
    "5 points of 1-NN above truncation at the smallest m",
)
def accuracy_of_prefixes(lab: Lab) -> ClaimResult:
    run = digits() if lab.smoke else cifar10()
    dims, fixed = run.model.dims, fixed_features(run)
    arms = lab.arms(run, {"MRL": {}, **fixed, "MRL-E": {"head": "tied"}}, tuned_by=validation_score)
    at = _one_ff(arms.measure(linear, key="dim"), "linear ")
    at |= _one_ff(arms.only("MRL", *fixed).measure(nearest, key="dim"), "1-NN ")
    for control in ("truncation", "SVD", "random"):
        ordinary = arms.only(f"FF-{dims[-1]}").measure(nearest, control, dims, key="dim")
        at |= ordinary.named(f"1-NN {control}")
    enough = (arms["MRL"][0].data.num_classes or 0) - 1
    gap = average(at["linear MRL", m] - at["linear FF", m] for m in dims if m >= enough)
    cut = at["1-NN MRL", dims[0]] - at["1-NN truncation", dims[0]]
    weak = [m for m in dims if m < enough]
    return lab.verdict(
        gap,
        gap.mean >= -1.0 and cut.mean >= 5.0,
        above=-1.0,
        unit="points of linear accuracy, MRL − FF",
        table=at.rows("dim"),
        note=f"At m={dims[0]}, the 1-NN accuracy of MRL − that of truncating the ordinary model is {cut.mean:+.1f} points. "
        + (f"m={weak} are below classes − 1: known weaker, not in the mean." if weak else ""),
        needs="more than an MLP trained for minutes: at toy scale the paper's relation does not hold by itself "
        "(spec sheet, section 5)",
    )


@claim(
    "C2",
    "A cascade over prefixes classifies as well as the full embedding with a much smaller expected size",
    paper="ImageNet-1K: up to 14 times smaller (about 37 expected dims against FF-512 at 76.3 %)",
    criterion="(smallest FF dim as accurate as the cascade) / (expected dim) at least 2, at an accuracy within "
    "0.5 points of the better full-size model, on held-out examples",
)
def cascade(lab: Lab) -> ClaimResult:
    """As in the authors' cascade, logits of images are the mean over the image and its mirror image, for every arm."""
    run = digits() if lab.smoke else tiny_imagenet()
    arms = lab.arms(run, {"MRL": {}, **fixed_features(run)}, tuned_by=validation_score)
    at = arms.each(cascaded, not lab.smoke, key="number")  # a mirrored digit is none
    ratio, best = at["ratio"], at["best full-size accuracy"]
    close = min((at["cascade accuracy"] - best).values) >= -0.5
    return lab.verdict(
        ratio,
        ratio.mean >= 2 and close,
        above=2.0,
        unit="times smaller",
        table=at.rows("seed"),
        note="" if close else "The cascade is more than 0.5 points below the better full-size model.",
        needs="about 100 classes: ten leave nothing to gain"
        if lab.smoke
        else f"a model that is trained as long as the spec sheet asks for: this one is right in {best.mean:.0f} % of "
        "the cases, and confidence means nothing there",
    )


@claim(
    "C3",
    "Shortlisting on a prefix and reranking at full size is as good as a full scan, and faster",
    paper="ImageNet-1K: mAP@10 65.27 against 65.20, 14 times faster by wall-clock (HNSW), 128 times in theory; "
    "ImageNet-4K: 6 times",
    criterion="at least 5 times fewer operations and at least 2 times faster, rerank included, with mAP@10 at most "
    "0.5 points lower",
)
def shortlist_and_rerank(lab: Lab) -> ClaimResult:
    at = lab.arms(mnist(lab.scale), MRL={}).measure(searches, key=("search", "number"))

    def scan_and_ours(number: str) -> tuple[Effect, Effect]:
        return at["MRL", "single shot", number], at["MRL", "shortlist + rerank", number]

    (scan, ours), (all_flops, our_flops) = scan_and_ours("milliseconds"), scan_and_ours("MFLOPs")
    quality, our_quality = scan_and_ours("mAP@10")
    speedup, flops = scan / ours, (all_flops / our_flops).mean
    drop = (our_quality - quality).mean
    return lab.verdict(
        speedup,
        flops >= 5 and speedup.mean >= 2 and drop >= -0.5,
        above=2.0,
        unit="times faster (wall-clock, one query, rerank included)",
        table=at.rows("seed", "search", digits=3),
        note=f"{flops:.1f} times fewer operations, rerank included; mAP@10 changes by {drop:+.2f} points. "
        "Both sides are exact scans (FAISS) on one machine; HNSW (M = 32, efSearch 256) stands beside them in the table.",
        needs="a database large enough that scanning it dominates" if lab.smoke else "",
    )


@claim(
    "C4",
    "Better few-shot classification of long-tail novel classes",
    paper="FLUID: up to 2 % on novel classes",
    criterion="the 95 % interval over seeds of the gain on tail classes (at smoke: with 1 and 5 shots) lies at or above 0",
)
def long_tail(lab: Lab) -> ClaimResult:
    """Nearest class mean on novel classes, MRL − FF: the tail (fewer than 5 of 20 … 1 shots) of 40 classes of images; at
    smoke 20 classes of characters with 1 and 5 shots."""
    run = omniglot() if lab.smoke else tiny_imagenet()
    dims, fixed = run.model.dims, fixed_features(run)
    arms = lab.arms(run, {"MRL": {}, **fixed}, tuned_by=validation_score)
    at = _one_ff(arms.measure(few_shots, run.data.source, key=("dim", "part"), arm="model"))
    parts = [part for part in at.labels("part") if part != "head"]
    gain = average(average(at["MRL", m, part] - at["FF", m, part] for part in parts) for m in dims)
    return lab.verdict(
        gain,
        gain.mean >= 0,
        unit=f"points on {'1 and 5 shots' if lab.smoke else 'tail classes'}, MRL − FF, mean over dims",
        table=at.rows("seed", "dim", "model"),
        note="The interval decides: if it contains 0, the claim is not confirmed here.",
    )


@claim(
    "C5",
    "As robust to shifted inputs as an ordinary embedding",
    paper="ImageNet-V2, -R, -A, -Sketch: within about 1 point of FF, sometimes better",
    criterion="mean difference under noise, blur and shift at full size at most 1.5 points in absolute value",
)
def robustness(lab: Lab) -> ClaimResult:
    run = digits() if lab.smoke else cifar10()
    arms = lab.arms(run, MRL={}, ordinary={"dims": run.model.dims[-1:]}, tuned_by=validation_score)
    at = arms.measure(corrupted, key="corruption")
    gaps = {name: at["MRL", name] - at["ordinary", name] for name in at.labels("corruption")}
    clean = gaps.pop("none")
    gap = average(gaps.values())
    return lab.verdict(
        gap,
        abs(gap.mean) <= 1.5,
        above=-1.5,
        below=1.5,
        unit="points under corruption, MRL − ordinary",
        table=at.rows("seed", "corruption"),
        note=f"Without corruption the difference is {clean.mean:+.2f} points.",
    )


@claim(
    "C6",
    "Works for text: a contrastive dual encoder keeps its quality on prefixes",
    paper="JFT ViT, ALIGN, BERT: within about 0.5 % at full size",
    criterion="recall@10 at an eighth of the dimensions at least 90 % of that at full size, and at least 10 points above "
    "truncating the ordinary model",
)
def text_pairs(lab: Lab) -> ClaimResult:
    run = text(lab.scale)
    dims = run.model.dims
    full, small = dims[-1], dims[-1] // 8
    arms = lab.arms(run, MRL={}, ordinary={"dims": dims[-1:]}, tuned_by=validation_score)
    at = arms.only("MRL").measure(recalls, key="dim")
    at |= arms.only("ordinary").measure(recalls, "test", dims, key="dim").named("truncation")
    gain, kept = at["MRL", small] - at["truncation", small], at["MRL", small] / at["MRL", full]
    return lab.verdict(
        gain,
        kept.mean >= 0.9 and gain.mean >= 10,
        unit=f"points of recall@10 at {small} of {full} dimensions, MRL − truncation",
        table=at.rows("seed", "dim"),
        note=f"At {small} dimensions MRL keeps {100 * kept.mean:.1f} % of its recall at {full}.",
    )


def _one_ff(at: Measured, prefix: str = "") -> Measured:
    """All FF-m as one arm, as each was measured at its own m; ``prefix`` comes before the names of the arms."""
    effects = {
        (prefix + ("FF" if arm.startswith("FF-") else arm), *key): effect
        for (arm, *key), effect in at.effects.items()
    }
    return Measured(at.seeds, at.names, effects)
