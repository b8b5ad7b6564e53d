"""The claims of ALIGN, on made-up scenes whose noise is known (the arms: :mod:`brickwork.studies.align.setups`).

Every model is searched on 500 clean pairs that it has not seen; points are recall@1, the mean of both directions.
"""

from itertools import pairwise
from typing import Any

from brickwork.studies.align.setups import (
    POOL,
    cca_recall,
    kept_by_filter,
    named_shapes,
    pairs_at,
    recall,
    recoloured,
    scenes,
    shape_probe,
    stopped_well,
    untrained,
    validation_recall,
)
from brickwork.studies.effects import Effect, combined
from brickwork.studies.study import Arms, ClaimResult, Lab, claim

_UNIT = "points of recall@1"
_HALF = {"mismatched": 0.5}
_CLEAN = "InfoNCE, clean"
_NEEDS = "700 steps and 1,000 clean pairs, as the scale small has"  # the spec's calibration


def _with_interval(effect: Effect) -> str:
    low, high = effect.interval or (float("nan"), float("nan"))
    return f"{effect.mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def _clean(lab: Lab) -> Arms:
    return lab.arms({_CLEAN: scenes(lab.scale, 4 * pairs_at(lab.scale))})


@claim(
    "C1",
    "The scale of the corpus makes up for its noise",
    paper="COCO I2T R@1 18.9 with CC3M, 52.0 with 10 % and 55.4 with all of 1.8 B noisy pairs",
    criterion="at every noise recall is higher with the most pairs than with the fewest, and 16 times the pairs with 50 % "
    "(8 times with 25 %) mismatched reach the clean set; the number of steps is chosen for each arm on validation pairs, "
    "from the same grid",
    needs=_NEEDS,
)
def scale_against_noise(lab: Lab) -> ClaimResult:
    """Past its plateau a curve need not rise from each size to the next, as the sheet asks; the note says which do not."""
    base = pairs_at(lab.scale)
    factors = (1, 4, 16) if lab.smoke else (1, 2, 4, 8, 16, 32)
    noises = (0.0, 0.5) if lab.smoke else (0.0, 0.25, 0.5, 0.75)
    arm = {(n, f): f"{n:.0%} mismatched, ×{f}" for n in noises for f in factors}
    runs = {name: scenes(lab.scale, f * base, {"mismatched": n}) for (n, f), name in arm.items()}
    runs["clean, 4 times the units"] = scenes(lab.scale, base, width=384)
    chosen = {name: stopped_well(lab, run) for name, run in runs.items()}
    at = lab.arms(chosen).measure(recall)
    clean = at[arm[0.0, 1]]
    rise = combined(min, (at[arm[n, factors[-1]]] - at[arm[n, 1]] for n in noises))
    even = {(n, f): at[arm[n, f]] - clean for n, f in ((0.25, 8), (0.5, 16)) if n in noises}
    mean = {place: at[name].mean for place, name in arm.items()}
    first = {n: next((f"×{f}" for f in factors if mean[n, f] >= clean.mean), "none") for n in noises[1:]}
    falls = [
        f"{n:.0%} from ×{a} to ×{b} ({mean[n, b] - mean[n, a]:+.1f})"
        for n in noises
        for a, b in pairwise(factors)
        if mean[n, b] <= mean[n, a]
    ]
    return lab.verdict(
        even[0.5, 16],
        {"least rise from the fewest to the most pairs": rise > 0}
        | {f"×{f} with {n:.0%} mismatched − clean": gain >= 0 for (n, f), gain in even.items()},
        unit=f"{_UNIT}, 16 × the pairs with 50 % mismatched − the clean set",
        table=[
            {"pairs": f * base, "measured": measured}
            | {f"{n:.0%} mismatched": number(arm[n, f]) for n in noises}
            for measured, number in (
                ("recall@1", lambda name: round(at[name].mean, 1)),
                ("steps", lambda name: chosen[name].train.steps),
            )
            for f in factors
        ],
        note=f"Break-even of the means with {base:,} clean pairs, by share of mismatched ones: "
        f"{', '.join(f'{n:.0%} {f}' for n, f in first.items())}. Means that do not rise: {', '.join(falls) or 'none'}. "
        "On the clean set, images through 4 times as "
        f"many units: {at['clean, 4 times the units'].mean:.1f} against {clean.mean:.1f} (the paper's larger model loses "
        "on its smallest set).",
    )


@claim(
    "C1c",
    "Frequency rules alone clean a raw pool",
    paper="the rules are described, their effect is not isolated",
    criterion="≥ 3 points of recall@1 over no filter, ≥ 50 % of an oracle's gain, ≥ 95 % of the good pairs kept; the "
    "number of steps is chosen for each arm on validation pairs, from the same grid",
    needs=_NEEDS,
)
def filtering(lab: Lab) -> ClaimResult:
    pool = 4 * pairs_at(lab.scale)
    runs = {
        "no filter": scenes(lab.scale, pool, POOL),
        "filter": scenes(lab.scale, pool, POOL, filtered=True),
        "oracle": scenes(lab.scale, round(pool * (1 - sum(POOL.values())))),
    }
    chosen = {name: stopped_well(lab, run) for name, run in runs.items()}
    arms = lab.arms(chosen)
    at = arms.measure(recall)
    gain, gap = at["filter"] - at["no filter"], at["oracle"] - at["no filter"]
    kept = arms.only("filter").measure(kept_by_filter, pool, key="kept of")
    points = [
        {
            "arm": name,
            "recall@1": round(at[name].mean, 1),
            "pairs": len(arms[name][0].data.train),
            "steps": chosen[name].train.steps,
        }
        for name in arms
    ]
    shares = [{"kept of": row["kept of"], "share": row["filter"]} for row in kept.rows("kept of", digits=3)]
    return lab.verdict(
        gain,
        {
            "gain": gain >= 3,
            "gain − half of the oracle's": gain - 0.5 * gap >= 0,
            "share of good pairs kept": kept["filter", "good"] >= 0.95,
        },
        unit=f"{_UNIT}, with − without the filter, each at its own number of steps",
        table=[*points, *shares],
        note=f"The oracle's gain is {gap.mean:+.1f} points. The filter keeps {kept['filter', 'good'].mean:.1%} of the good "
        "pairs. It cannot see mismatched pairs, which are frequent enough in every word. The oracle trains on as many "
        "clean pairs as the pool has.",
    )


@claim(
    "C2",
    "For a simple dual encoder the contrastive loss is enough: as good as a hinge loss, and better on noisy pairs",
    paper="zero-shot Flickr30k R@1 88.6 / 75.7, above cross-attention models",
    criterion="InfoNCE is no more than 1 point below the hinge loss on clean pairs, and above it with half of them "
    "mismatched",
    needs=_NEEDS,
)
def simple_dual_encoder(lab: Lab) -> ClaimResult:
    pairs = 4 * pairs_at(lab.scale)
    losses = {"InfoNCE": "info_nce", "hinge": "hinge", "SigLIP": "siglip"}
    sets: dict[str, Any] = {"clean": {}, "half mismatched": _HALF}
    runs = {
        f"{loss}, {kind}": scenes(lab.scale, pairs, noise, objective=objective)
        for kind, noise in sets.items()
        for loss, objective in losses.items()
    }
    arms = lab.arms(runs, tuned_by=validation_recall)
    at = arms.measure(recall)
    classical = arms.only(*(f"InfoNCE, {kind}" for kind in sets)).measure(cca_recall)
    clean, noisy = (at[f"InfoNCE, {kind}"] - at[f"hinge, {kind}"] for kind in sets)
    table = [
        {"pairs": kind, **{loss: round(at[f"{loss}, {kind}"].mean, 1) for loss in losses}}
        | {"CCA": round(classical[f"InfoNCE, {kind}"].mean, 1)}
        for kind in sets
    ]
    beside = " ".join(
        f"InfoNCE − CCA, {kind}: {_with_interval(at[f'InfoNCE, {kind}'] - classical[f'InfoNCE, {kind}'])} points; "
        f"InfoNCE − SigLIP: {_with_interval(at[f'InfoNCE, {kind}'] - at[f'SigLIP, {kind}'])}."
        for kind in sets
    )
    return lab.verdict(
        noisy,
        {"clean": clean >= -1, "half mismatched": noisy > 0},
        unit=f"{_UNIT}, InfoNCE − hinge with half of the pairs mismatched",
        table=table,
        note=f"{beside} CCA is the closed form, without training (pixels and bags of words). Each loss has its own "
        "learning rate; all treat equal texts alike. The hinge is over all negatives, both ways.",
    )


@claim(
    "C3",
    "It classifies images by the names of the classes alone",
    paper="ImageNet 76.4 % zero-shot; prompt ensembles +2.9 points",
    criterion="≥ 70 % of a linear probe's accuracy, and the ensemble of prompts no more than 0.5 points below the name "
    "alone",
    needs=_NEEDS,
)
def names_alone(lab: Lab) -> ClaimResult:
    at = _clean(lab).measure(named_shapes, key="by")
    ensemble = at[_CLEAN, "8 prompts"]
    share, gain = ensemble * 100 / at[_CLEAN, "500 labels"], ensemble - at[_CLEAN, "name alone"]
    return lab.verdict(
        share,
        {"share": share >= 70, "8 prompts − the name alone": gain >= -0.5},
        unit="% of the linear probe's accuracy, by 8 prompts without a label",
        table=at.rows("seed", digits=1),
        note="The probe learns from 500 labels; accuracies are of 3,500 other images.",
    )


@claim(
    "C4",
    "What the image encoder learns from noisy texts transfers",
    paper="ImageNet 85.5 % with frozen features, 88.64 % fine-tuned",
    criterion="a linear probe on vectors trained with half of the pairs mismatched beats untrained vectors and all pixels",
    needs=_NEEDS,
)
def transfer(lab: Lab) -> ClaimResult:
    run = scenes(lab.scale, 4 * pairs_at(lab.scale), _HALF)
    arms = lab.arms({"InfoNCE, half mismatched": run})
    at = arms.measure(shape_probe, key="what").named("trained")
    at |= lab.arms(untrained=untrained(run)).measure(shape_probe, key="what")
    at |= arms.measure(shape_probe, "pixels", key="what").named("pixels")
    over = {name: at["trained", "shape"] - at[name, "shape"] for name in ("untrained", "pixels")}
    gain = combined(min, over.values())
    return lab.verdict(
        gain,
        {f"trained − {name}": effect > 0 for name, effect in over.items()},
        unit="points of a linear probe for shapes, trained on noisy pairs − the better of untrained vectors and pixels",
        table=at.rows("seed", digits=1),
        costs=arms,
        note="The paper transfers to ImageNet and 19 other tasks; here it is one attribute of the same kind of images.",
    )


@claim(
    "C5",
    "An image plus a word finds the image that both describe",
    paper="shown by examples (a panda + “Australia” finds a koala)",
    criterion="precision@1 of image + word is more than 10 points above image alone and word alone",
    needs=_NEEDS,
)
def image_and_word(lab: Lab) -> ClaimResult:
    at = _clean(lab).measure(recoloured, 100 if lab.smoke else 500, key="question")
    gain = at[_CLEAN, "picture + word"] - combined(max, [at[_CLEAN, "picture"], at[_CLEAN, "word"]])
    return lab.verdict(
        gain,
        {"gain": gain > 10},
        unit="points of precision@1, image + word − the better of the two alone",
        table=at.rows("seed", digits=1),
    )


@claim(
    "X",
    "Fewer dimensions and fewer negatives hurt, and so does a large fixed temperature",
    paper="ablations of section 5.4: width 640 to 80, 50 % and 25 % of the negatives, τ fixed at 1/64 to 1",
    criterion="32 dimensions above 4, all negatives above a quarter of them, and τ = 1 the worst of 1/64, 1/16 and 1",
    needs=_NEEDS,
)
def ablations(lab: Lab) -> ClaimResult:
    full, narrow = "as it is (32 dimensions, learned temperature from 0.07, 128 in a batch)", "4 dimensions"
    fixed = {
        "temperature fixed at 1/64": 1 / 64,
        "temperature fixed at 1/16": 1 / 16,
        "temperature fixed at 1": 1.0,
    }
    changes: dict[str, dict[str, Any]] = {
        full: {},
        "64 dimensions": {"embedding_dim": 64},
        "16 dimensions": {"embedding_dim": 16},
        narrow: {"embedding_dim": 4},
        "half of the negatives": {"negatives": 64},
        "a quarter of the negatives": {"negatives": 32},
        **{name: {"temperature": t, "learn_temperature": False} for name, t in fixed.items()},
        "equal texts as negatives": {"duplicates": "negatives"},
        "half mismatched": {"noise": _HALF},
        "half mismatched, without label smoothing": {"noise": _HALF, "label_smoothing": 0.0},
    }
    pairs = 4 * pairs_at(lab.scale)
    runs = {name: scenes(lab.scale, pairs, **change) for name, change in changes.items()}
    at = lab.arms(runs, tuned_by=validation_recall).measure(recall)
    small, large = (at[name] for name in fixed if "1/" in name), at["temperature fixed at 1"]
    dims = at[full] - at[narrow]
    return lab.verdict(
        dims,
        {
            "32 − 4 dimensions": dims > 0,
            "all − a quarter of the negatives": at[full] - at["a quarter of the negatives"] > 0,
            "the worse of τ = 1/64 and 1/16 − τ = 1": combined(min, small) - large > 0,
        },
        unit=f"{_UNIT}, 32 dimensions − 4 dimensions",
        table=[{"arm": name, "recall@1": round(at[name].mean, 1)} for name in changes],
        note="With fewer negatives the batch stays as large and is split into parts.",
    )
