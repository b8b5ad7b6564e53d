"""The claims of ALIGN, on made-up scenes whose noise is known (the arms: :mod:`brickwork.studies.align.setups`).

Every model is searched on 500 clean pairs that it has not seen; points are recall@1, the mean of both directions.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np

from brickwork.data.config import CaptionFilter
from brickwork.data.generators.scenes import SHAPES, Noise, scene_pairs
from brickwork.evaluation.cross_modal import PROMPTS, zero_shot
from brickwork.evaluation.probes import knn_probe, linear_probe
from brickwork.studies.align.setups import (
    cca_recall,
    labelled_scenes,
    recall,
    recolouring,
    run_of,
    validation_recall,
    vectors,
)
from brickwork.studies.criterion import decide
from brickwork.studies.old import Claim, ClaimResult, Scale, Trained, Workbench, arm_cost
from brickwork.studies.tuning import tuned
from brickwork.systems.align.caption_filters import filter_captions
from brickwork.training.run import RunConfig

_UNIT = "points of recall@1"
_POOL = "mismatched=0.2,boilerplate=0.3,rare=0.1"
_POOL_NOISE = Noise(mismatched=0.2, boilerplate=0.3, rare=0.1)
_SINGLE = ("{}",)


def _pairs(scale: Scale) -> int:
    return 500 if scale == "smoke" else 1000


def _needs(scale: Scale) -> str:
    """What the spec's calibration has and the smallest scale lacks."""
    return "700 steps and 1,000 clean pairs, as the scale small has" if scale == "smoke" else ""


def scale_against_noise(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C1: recall over pairs × noise, and how many times the data buys back what noise takes."""
    base = _pairs(scale)
    factors = (1, 4, 16) if scale == "smoke" else (1, 2, 4, 8, 16, 32)
    noises = (0.0, 0.5) if scale == "smoke" else (0.0, 0.25, 0.5, 0.75)

    def arm(seed: int, factor: int, noise: float) -> Trained:
        return bench.train(run_of(scale, seed, factor * base, f"mismatched={noise}" if noise else ""))

    grid = {
        (noise, factor): [recall(arm(seed, factor, noise)) for seed in seeds]
        for noise in noises
        for factor in factors
    }
    mean = {place: fmean(values) for place, values in grid.items()}
    rising = {n: all(mean[n, a] < mean[n, b] for a, b in pairwise(factors)) for n in noises}
    even = {n: next((f for f in factors if mean[n, f] >= mean[0.0, 1]), None) for n in noises if n > 0}
    limits = {0.25: 8, 0.5: 16}
    reached = {n: 0 < (even[n] or 0) <= limit for n, limit in limits.items() if n in even}
    effects = [noisy - clean for noisy, clean in zip(grid[0.5, 16], grid[0.0, 1])]
    table = [
        {"pairs": factor * base, **{f"{n:.0%} mismatched": round(mean[n, factor], 1) for n in noises}}
        for factor in factors
    ]
    small, large = (
        [recall(bench.train(run_of(scale, seed, base, width=width))) for seed in seeds] for width in (96, 384)
    )
    told = ", ".join(
        f"{n:.0%}: {f'×{f}' if f else 'none up to ×' + str(factors[-1])}" for n, f in even.items()
    )
    return decide(
        effects,
        all(rising.values()) and all(reached.values()),
        unit=f"{_UNIT}, 16 × the pairs with 50 % mismatched − the clean set",
        arms=[arm_cost("one arm of the grid", [arm(seed, 16, 0.5) for seed in seeds])],
        table=table,
        needs=_needs(scale),
        note=f"Break-even with {base:,} clean pairs, by share of mismatched ones: {told}. Curves that do not rise: "
        f"{', '.join(f'{n:.0%}' for n in noises if not rising[n]) or 'none'}. On the clean set, pictures through 4 times as "
        f"many units: {fmean(large):.1f} against {fmean(small):.1f} (the paper's larger model loses on its smallest set).",
    )


def filtering(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C1c: the same raw pool with and without the filter, and with an oracle's; what the filter keeps of the good."""
    pool = 4 * _pairs(scale)
    good = round(pool * (1 - sum(vars(_POOL_NOISE).values())))
    arms = {
        "no filter": [bench.train(run_of(scale, seed, pool, _POOL)) for seed in seeds],
        "filter": [bench.train(run_of(scale, seed, pool, _POOL, filtered=True)) for seed in seeds],
        "oracle": [bench.train(run_of(scale, seed, good)) for seed in seeds],
    }
    points = {name: [recall(trained) for trained in found] for name, found in arms.items()}
    gains = [a - b for a, b in zip(points["filter"], points["no filter"])]
    gap = fmean(points["oracle"]) - fmean(points["no filter"])
    rules = run_of(scale, 0, pool, _POOL, filtered=True).data.captions
    kept = [_kept(seed, pool, rules) for seed in seeds]
    share = fmean([found["good"] for found in kept])
    recovered = fmean(gains) / gap if gap > 0 else float("nan")
    return decide(
        gains,
        fmean(gains) >= 3 and recovered >= 0.5 and share >= 0.95,
        unit=f"{_UNIT}, with − without the filter, equal steps",
        arms=[arm_cost(name, found) for name, found in arms.items()],
        table=[
            {"arm": name, "recall@1": round(fmean(values), 1), "pairs": len(arms[name][0].data.train)}
            for name, values in points.items()
        ]
        + [{"kept of": kind, "share": round(fmean([k[kind] for k in kept]), 3)} for kind in kept[0]],
        needs=_needs(scale),
        note=f"The filter recovers {recovered:.0%} of the oracle's gain and keeps {share:.1%} of the good pairs. It "
        "cannot see mismatched pairs, which are frequent enough in every word. The oracle trains on as many clean pairs as "
        "the pool has.",
    )


def _kept(seed: int, pool: int, rules: CaptionFilter) -> dict[str, float]:
    _, texts, _, fate = scene_pairs(pool, seed, _POOL_NOISE)
    rows, _ = filter_captions(texts, range(pool), rules)
    left = [fate[row] for row in rows]
    return {kind: left.count(kind) / fate.count(kind) for kind in sorted(set(fate))}


def simple_dual_encoder(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C2: InfoNCE against hinge, SigLIP and canonical correlations, clean and with half of the pairs mismatched."""
    pairs = 4 * _pairs(scale)
    table, arms, points = [], [], {}
    models: dict[str, dict[str, Any]] = {
        "InfoNCE": {},
        "hinge": {"objective": "hinge"},
        "SigLIP": {"objective": "siglip"},
    }
    for noise in ("", "mismatched=0.5"):
        row: dict[str, Any] = {"pairs": "half mismatched" if noise else "clean"}
        for name, model in models.items():
            runs = [
                tuned(bench, run_of(scale, seed, pairs, noise, **model), validation_recall) for seed in seeds
            ]
            trained = [bench.train(run) for run in runs]
            points[name, noise] = [recall(one) for one in trained]
            arms.append(arm_cost(f"{name}, {row['pairs']}", trained))
            row[name] = round(fmean(points[name, noise]), 1)
        row["CCA"] = round(fmean([cca_recall(bench, run_of(scale, seed, pairs, noise)) for seed in seeds]), 1)
        table.append(row)
    clean, noisy = (
        [a - b for a, b in zip(points["InfoNCE", noise], points["hinge", noise])]
        for noise in ("", "mismatched=0.5")
    )
    return decide(
        noisy,
        fmean(clean) >= -1 and fmean(noisy) > 0,
        unit=f"{_UNIT}, InfoNCE − hinge with half of the pairs mismatched",
        arms=arms,
        table=table,
        needs=_needs(scale),
        note=f"On clean pairs the difference is {fmean(clean):+.1f}. Each loss has its own learning rate of three; all "
        "treat equal texts alike. The hinge is over all negatives, both ways.",
    )


def names_alone(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C3: eight shapes by their names alone, against a linear probe on 500 labels and one label a class."""
    pairs = 4 * _pairs(scale)
    trained = [bench.train(run_of(scale, seed, pairs)) for seed in seeds]
    table, shares, gains = [], [], []
    for seed, one in zip(seeds, trained):
        images, labels = labelled_scenes(1000, seed)
        model = one.system.representation()
        shown = model.encode(images, precision="fp32")
        single, ensemble = (
            100 * float((zero_shot(model, SHAPES, shown[500:], prompts)[0] == labels[500:]).mean())
            for prompts in (_SINGLE, PROMPTS)
        )
        probe = 100 * linear_probe(shown[:500], labels[:500], shown[500:], labels[500:]).accuracy
        first = [int(np.flatnonzero(labels[:500] == number)[0]) for number in range(len(SHAPES))]
        nearest = 100 * knn_probe(shown[first], labels[first], shown[500:], labels[500:], k=1).accuracy
        shares.append(100 * ensemble / probe)
        gains.append(ensemble - single)
        row = {"name alone": single, "8 prompts": ensemble, "1 label a class": nearest, "500 labels": probe}
        table.append({"seed": seed, **{name: round(value, 1) for name, value in row.items()}})
    return decide(
        shares,
        fmean(shares) >= 70 and fmean(gains) >= -0.5,
        unit="% of the linear probe's accuracy, by 8 prompts without a label",
        arms=[arm_cost("InfoNCE, clean", trained)],
        table=table,
        needs=_needs(scale),
        note=f"Eight prompts against the name alone: {fmean(gains):+.1f} points.",
    )


def transfer(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C4: a linear probe for shapes, on frozen vectors of pictures, before and after training on half-wrong texts."""
    pairs = 4 * _pairs(scale)
    trained = [bench.train(run_of(scale, seed, pairs, "mismatched=0.5")) for seed in seeds]
    gains, table = [], []
    for seed, one in zip(seeds, trained):
        images, labels = labelled_scenes(1000, seed)
        untrained = _untrained(bench, run_of(scale, seed, pairs, "mismatched=0.5"))
        accuracy = {}
        for name, shown in (
            ("trained", vectors(one, images, ["a"])[0]),
            ("untrained", vectors(untrained, images, ["a"])[0]),
            ("pixels", images[:, ::2, ::2].reshape(len(images), -1).astype(np.float32)),
        ):
            accuracy[name] = 100 * linear_probe(shown[:500], labels[:500], shown[500:], labels[500:]).accuracy
        gains.append(accuracy["trained"] - max(accuracy["untrained"], accuracy["pixels"]))
        table.append({"seed": seed, **{name: round(value, 1) for name, value in accuracy.items()}})
    return decide(
        gains,
        fmean(gains) > 0,
        unit="points of a linear probe for shapes, trained on noisy pairs − the better of untrained vectors and pixels",
        arms=[arm_cost("InfoNCE, half mismatched", trained)],
        table=table,
        needs=_needs(scale),
        note="The paper transfers to ImageNet and 19 other tasks; here it is one attribute of the same kind of pictures.",
    )


def _untrained(bench: Workbench, run: RunConfig) -> Trained:
    return bench.train(replace(run, train=replace(run.train, steps=1, learning_rate=1e-9)))


def picture_and_word(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C5: a picture and the name of another colour find the same picture in that colour."""
    pairs = 4 * _pairs(scale)
    trained = [bench.train(run_of(scale, seed, pairs)) for seed in seeds]
    gains, table = [], []
    for seed, one in zip(seeds, trained):
        images, wanted, gallery, answers = recolouring(100 if scale == "smoke" else 500, seed)
        shown, said = vectors(one, images, wanted)
        choices, _ = vectors(one, gallery, ["a"])
        right = {
            name: 100 * float(((query @ choices.T).argmax(1) == answers).mean())
            for name, query in (("picture + word", shown + said), ("picture", shown), ("word", said))
        }
        gains.append(right["picture + word"] - max(right["picture"], right["word"]))
        table.append(
            {"seed": seed, "to choose from": len(gallery), **{k: round(v, 1) for k, v in right.items()}}
        )
    return decide(
        gains,
        fmean(gains) > 10,
        unit="points of precision@1, picture + word − the better of the two alone",
        arms=[arm_cost("InfoNCE, clean", trained)],
        table=table,
        needs=_needs(scale),
    )


def ablations(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """X: width, negatives, temperature; label smoothing at 50 % noise is reported."""
    pairs = 4 * _pairs(scale)

    def points(noise: str = "", **model: Any) -> list[float]:
        return [recall(bench.train(run_of(scale, seed, pairs, noise, **model))) for seed in seeds]

    image = run_of(scale, 0, pairs).model.image
    full, narrow, quarter = points(), points(image=replace(image, embedding_dim=4)), points(negatives=32)
    found = {
        "as it is (32 numbers, learned temperature from 0.07, 128 in a batch)": full,
        "64 numbers": points(image=replace(image, embedding_dim=64)),
        "16 numbers": points(image=replace(image, embedding_dim=16)),
        "4 numbers": narrow,
        "half of the negatives": points(negatives=64),
        "a quarter of the negatives": quarter,
        "temperature fixed at 1/64": points(temperature=1 / 64, learn_temperature=False),
        "temperature fixed at 1/16": points(temperature=1 / 16, learn_temperature=False),
        "temperature fixed at 1": points(temperature=1.0, learn_temperature=False),
        "equal texts as negatives": points(duplicates="negatives"),
        "half mismatched": points("mismatched=0.5"),
        "half mismatched, without label smoothing": points("mismatched=0.5", label_smoothing=0.0),
    }
    mean = {arm: fmean(values) for arm, values in found.items()}
    worst = min(("1/64", "1/16", "1"), key=lambda t: mean[f"temperature fixed at {t}"])
    return decide(
        [a - b for a, b in zip(full, narrow)],
        fmean(full) > fmean(narrow) and fmean(full) > fmean(quarter) and worst == "1",
        unit=f"{_UNIT}, 32 numbers − 4 numbers",
        arms=[arm_cost("as it is", [bench.train(run_of(scale, seed, pairs)) for seed in seeds])],
        table=[{"arm": name, "recall@1": round(value, 1)} for name, value in mean.items()],
        needs=_needs(scale),
        note="With fewer negatives the batch stays as large and is split into parts.",
    )


CLAIMS = (
    Claim(
        id="C1",
        statement="The scale of the corpus makes up for its noise",
        paper="COCO I2T R@1 18.9 with CC3M, 52.0 with 10 % and 55.4 with all of 1.8 B noisy pairs",
        criterion="recall rises with the pairs at every noise, and 16 times the pairs with 50 % (8 times with 25 %) "
        "mismatched reach the clean set",
        run=scale_against_noise,
    ),
    Claim(
        id="C1c",
        statement="Frequency rules alone clean a raw pool",
        paper="the rules are described, their effect is not isolated",
        criterion="≥ 3 points of recall@1 over no filter at equal steps, ≥ 50 % of an oracle's gain, ≥ 95 % of the good "
        "pairs kept",
        run=filtering,
    ),
    Claim(
        id="C2",
        statement="A simple dual encoder with a contrastive loss is enough",
        paper="zero-shot Flickr30k R@1 88.6 / 75.7, above cross-attention models",
        criterion="InfoNCE is no more than 1 point below the hinge loss on clean pairs, and above it with half of them "
        "mismatched",
        run=simple_dual_encoder,
    ),
    Claim(
        id="C3",
        statement="It classifies pictures by the names of the classes alone",
        paper="ImageNet 76.4 % zero-shot; prompt ensembles +2.9 points",
        criterion="≥ 70 % of a linear probe's accuracy, and the ensemble of prompts no more than 0.5 points below the name "
        "alone",
        run=names_alone,
    ),
    Claim(
        id="C4",
        statement="What pictures learn from noisy texts transfers",
        paper="ImageNet 85.5 % with frozen features, 88.64 % fine-tuned",
        criterion="a linear probe on vectors trained with half of the pairs mismatched beats untrained vectors and pixels",
        run=transfer,
    ),
    Claim(
        id="C5",
        statement="A picture plus a word finds the picture that both describe",
        paper="shown by examples (a panda + “Australia” finds a koala)",
        criterion="precision@1 of picture + word is more than 10 points above picture alone and word alone",
        run=picture_and_word,
    ),
    Claim(
        id="X",
        statement="Fewer numbers and fewer negatives hurt, and so does a large fixed temperature",
        paper="ablations of section 5.4: width 640 to 80, 50 % and 25 % of the negatives, τ fixed at 1/64 to 1",
        criterion="32 numbers above 4, all negatives above a quarter of them, and τ = 1 the worst of 1/64, 1/16 and 1",
        run=ablations,
    ),
)
