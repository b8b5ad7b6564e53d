"""The claims of Matryoshka Representation Learning, each with its baselines under equal budgets.

The arms are those of :mod:`brickwork.studies.matryoshka.setups`.

* MRL: all prefixes. MRL-E: the same with tied heads.
* FF-m, fixed feature: the loss on the first m features only; FF-D is the ordinary model.
* truncation, SVD, random features: of the ordinary model.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from brickwork.studies.criterion import decide
from brickwork.studies.matryoshka.setups import (
    Search,
    cheapest_cap,
    cifar10,
    digits,
    family_costs,
    full_vectors,
    graph_search,
    head_accuracy,
    held_out,
    mean_by_dim,
    mean_logits,
    milliseconds_a_query,
    mnist,
    omniglot,
    recall,
    text,
    tiny_imagenet,
    train_arm,
    train_family,
    train_ordinary,
)
from brickwork.studies.old import Claim, ClaimResult, Scale, Workbench, arm_cost, judge

if TYPE_CHECKING:
    import numpy as np

_SPLITS = 10  # random splits of the test set into a part for thresholds and a part for results
_TOP = 10


def accuracy_of_prefixes(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C1: Linear-head and 1-NN accuracy per m, against FF-m, truncation, SVD and random features."""
    import numpy as np

    from brickwork.evaluation.probes import knn_probe
    from brickwork.studies.matryoshka.controls import random_features, svd

    run = digits() if scale == "smoke" else cifar10()
    nested, fixed = train_family(bench, run, seeds)
    tied = [train_arm(bench, run, seed, head="tied") for seed in seeds]
    dims, full = run.model.dims, run.model.dims[-1]
    rows: list[dict[str, Any]] = []
    for i, seed in enumerate(seeds):
        arms = {"MRL": nested[i], "MRL-E": tied[i], "ordinary": fixed[full][i]}
        train = nested[i].data.train.take(range(min(5000, len(nested[i].data.train))))
        inputs, labels = held_out(nested[i])
        left = {name: full_vectors(arm, train["input"]) for name, arm in arms.items()}
        right = {name: full_vectors(arm, inputs) for name, arm in arms.items()}
        known = np.asarray(train["label"])

        def nearest(a: "np.ndarray", b: "np.ndarray", known: Any = known, labels: Any = labels) -> float:
            return 100 * knn_probe(a, known, b, labels).accuracy

        for m in dims:
            own = fixed[m][i]
            own_left, own_right = full_vectors(own, train["input"]), full_vectors(own, inputs)
            reduce = {"SVD": svd(left["ordinary"], m), "random": random_features(full, m, seed)}
            rows.append(
                {
                    "seed": seed,
                    "dim": m,
                    "linear MRL": head_accuracy(nested[i], right["MRL"], labels, m),
                    "linear FF": head_accuracy(own, own_right, labels, m),
                    "linear MRL-E": head_accuracy(tied[i], right["MRL-E"], labels, m),
                    "1-NN MRL": nearest(left["MRL"][:, :m], right["MRL"][:, :m]),
                    "1-NN FF": nearest(own_left[:, :m], own_right[:, :m]),
                    "1-NN truncation": nearest(left["ordinary"][:, :m], right["ordinary"][:, :m]),
                    **{
                        f"1-NN {name}": nearest(cut(left["ordinary"]), cut(right["ordinary"]))
                        for name, cut in reduce.items()
                    },
                }
            )
    enough = (nested[0].data.num_classes or 0) - 1
    gaps = [
        fmean([r["linear MRL"] - r["linear FF"] for r in rows if r["seed"] == seed and r["dim"] >= enough])
        for seed in seeds
    ]
    cut = fmean([r["1-NN MRL"] - r["1-NN truncation"] for r in rows if r["dim"] == dims[0]])
    weak = [m for m in dims if m < enough]
    return decide(
        gaps,
        fmean(gaps) >= -1.0 and cut >= 5.0,
        unit="points of linear accuracy, MRL − FF",
        arms=[*family_costs(nested, fixed), arm_cost("MRL-E", tied)],
        table=mean_by_dim(rows),
        note=f"At m={dims[0]}, MRL is {cut:+.1f} points of 1-NN above truncating the ordinary model. "
        + (f"m={weak} are below classes − 1: known weaker, not in the mean." if weak else ""),
        needs="more than a perceptron trained for minutes: at toy scale the paper's relation does not hold by itself "
        "(spec sheet, section 5)",
    )


def cascade(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C2: The smallest FF model that is as accurate as the cascade, over the cascade's expected size.

    As in the authors' cascade, logits of photos are the mean over the image and its mirror image, for every arm.
    """
    import numpy as np

    from brickwork.systems.matryoshka.cascade import CascadePolicy

    run = digits() if scale == "smoke" else tiny_imagenet()
    nested, fixed = train_family(bench, run, seeds)
    dims, full = run.model.dims, run.model.dims[-1]
    ratios, table, close = [], [], True
    accuracy: list[float] = []
    for i, seed in enumerate(seeds):
        inputs, labels = held_out(nested[i])
        views = [inputs] if scale == "smoke" else [inputs, inputs[:, :, ::-1]]  # a mirrored digit is none
        logits = mean_logits(nested[i], views, dims)
        of_fixed = {m: mean_logits(fixed[m][i], views, [m])[m].argmax(1) == labels for m in dims}
        found = []
        for split in range(_SPLITS):
            order = np.random.default_rng(1000 * seed + split).permutation(len(labels))
            fit, rest = order[: len(order) // 3], order[len(order) // 3 :]
            policy = CascadePolicy.fit({m: x[fit] for m, x in logits.items()}, labels[fit])
            cap = cheapest_cap(policy, {m: x[fit] for m, x in logits.items()}, labels[fit])
            result = policy.apply({m: x[rest] for m, x in logits.items()}, cap)
            right = 100 * float((result.predictions == labels[rest]).mean())
            own = 100 * float((logits[full][rest].argmax(1) == labels[rest]).mean())
            ordinary = {m: 100 * float(hits[rest].mean()) for m, hits in of_fixed.items()}
            as_good = next((m for m in dims if ordinary[m] >= right), full)
            found.append(
                (as_good / result.expected_dim, right, max(own, ordinary[full]), result.expected_dim, as_good)
            )
        ratio, right, best, expected, as_good = (fmean(column) for column in zip(*found))
        close = close and right >= best - 0.5
        accuracy.append(best)
        ratios.append(ratio)
        table.append(
            {
                "seed": seed,
                "ratio": round(ratio, 2),
                "cascade accuracy": round(right, 2),
                "best full-size accuracy": round(best, 2),
                "expected dim": round(expected, 1),
                "FF dim of equal accuracy": round(as_good, 1),
            }
        )
    return decide(
        ratios,
        fmean(ratios) >= 2 and close,
        unit="times smaller",
        arms=family_costs(nested, fixed),
        table=table,
        note="" if close else "The cascade is more than 0.5 points below the better full-size model.",
        needs="about 100 classes: ten leave nothing to gain"
        if scale == "smoke"
        else f"a model that is trained as long as the spec sheet asks for: this one is right in {fmean(accuracy):.0f} % of "
        "the cases, and confidence means nothing there",
    )


def shortlist_and_rerank(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C3: mAP@10, operations and wall-clock of D_s = 16, K = 200, rerank at full size, against one exact scan."""
    from functools import partial

    import numpy as np

    from brickwork.evaluation.retrieval import map_paper
    from brickwork.index.search import FlatVectors, scan_cost
    from brickwork.representation.truncate import truncate

    run = mnist(scale)
    nested = [bench.train(replace(run, seed=seed)) for seed in seeds]
    full = run.model.dims[-1]
    plans = {
        "single shot": [(full, _TOP)],
        "shortlist + rerank": [(16, 200), (full, _TOP)],
        "single shot at 16": [(16, _TOP)],
    }
    graphs = {"HNSW": [(full, _TOP)], "HNSW, shortlist + rerank": [(16, 200), (full, _TOP)]}
    drops, speedups, table = [], [], []
    for seed, trained in zip(seeds, nested):
        known = np.asarray(trained.data.train.columns["label"])
        inputs, labels = held_out(trained, 2000)
        database = FlatVectors(truncate(full_vectors(trained, trained.data.train.columns["input"]), full))
        queries = truncate(full_vectors(trained, inputs), full)
        searches: dict[str, Search] = {
            **{name: partial(database.search, stages=stages) for name, stages in plans.items()},
            **{name: graph_search(database, stages) for name, stages in graphs.items()},
        }
        measured: dict[str, tuple[float, float]] = {}
        for name, search in searches.items():
            _, ranked = search(queries)
            hits = (known[ranked] == labels[:, None]).astype(np.float64)
            quality = 100 * float(map_paper(hits, [], _TOP).mean())
            measured[name] = (quality, milliseconds_a_query(search, queries))
            table.append(
                {
                    "seed": seed,
                    "search": name,
                    "mAP@10": round(measured[name][0], 2),
                    "MFLOPs": round(scan_cost(len(known), plans[name]).flops / 1e6, 2)
                    if name in plans
                    else None,
                    "milliseconds": round(measured[name][1], 3),
                }
            )
        drops.append(measured["shortlist + rerank"][0] - measured["single shot"][0])
        speedups.append(measured["single shot"][1] / measured["shortlist + rerank"][1])
    size = len(nested[0].data.train)
    flops = scan_cost(size, plans["single shot"]).flops / scan_cost(size, plans["shortlist + rerank"]).flops
    return decide(
        speedups,
        flops >= 5 and fmean(speedups) >= 2 and fmean(drops) >= -0.5,
        unit="times faster (wall-clock, one query, rerank included)",
        arms=[arm_cost("MRL", nested)],
        table=table,
        note=f"{flops:.1f} times fewer operations, rerank included; mAP@10 changes by {fmean(drops):+.2f} points. "
        "Both sides are exact scans (FAISS) on one machine; HNSW (M = 32, efSearch 256) stands beside them in the table.",
        needs="a database large enough that scanning it dominates" if scale == "smoke" else "",
    )


def long_tail(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C4: Nearest class mean on novel classes, MRL − FF: the tail (fewer than 5 of 20 … 1 shots) of 40 classes of photos;
    at smoke 20 classes of characters with 1 and 5 shots.
    """
    import numpy as np

    from brickwork.data.sets.images import load_images
    from brickwork.studies.matryoshka.long_tail import few_shot_accuracy, long_tail_accuracy

    run = omniglot() if scale == "smoke" else tiny_imagenet()
    nested, fixed = train_family(bench, run, seeds)
    novel = load_images(run.data.source, "novel").columns
    inputs, labels = novel["input"], np.asarray(novel["label"])

    def scores(features: "np.ndarray", seed: int) -> dict[str, float]:
        if scale == "smoke":
            return {
                f"{shots}-shot": 100
                * few_shot_accuracy(features, labels, ways=20, shots=shots, draws=20, seed=seed)
                for shots in (1, 5)
            }
        found = long_tail_accuracy(features, labels, num_classes=40, draws=10, seed=seed)
        return {"head": 100 * found.head, "tail": 100 * found.tail}

    gains, table = [], []
    for i, seed in enumerate(seeds):
        ours = full_vectors(nested[i], inputs)
        differences = []
        for m in run.model.dims:
            found = {"MRL": scores(ours[:, :m], seed)}
            found["FF"] = scores(full_vectors(fixed[m][i], inputs)[:, :m], seed)
            for model, values in found.items():
                rounded = {name: round(value, 2) for name, value in values.items()}
                table.append({"seed": seed, "dim": m, "model": model, **rounded})
            counted = [name for name in found["MRL"] if name != "head"]
            differences.append(fmean([found["MRL"][name] - found["FF"][name] for name in counted]))
        gains.append(fmean(differences))
    what = "1 and 5 shots" if scale == "smoke" else "tail classes"
    return judge(
        gains,
        at_least=0.0,
        unit=f"points on {what}, MRL − FF, mean over dims",
        arms=family_costs(nested, fixed),
        table=table,
        note="The interval decides: if it contains 0, the claim is not confirmed here.",
    )


def robustness(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C5: Accuracy at full size on corrupted test images, MRL − ordinary."""
    from brickwork.data.generators.corruptions import corruptions

    run = digits() if scale == "smoke" else cifar10()
    full = run.model.dims[-1]
    nested = [train_arm(bench, run, seed) for seed in seeds]
    ordinary = [train_ordinary(bench, run, seed) for seed in seeds]
    gaps, table = [], []
    clean: list[float] = []
    for seed, a, b in zip(seeds, nested, ordinary):
        inputs, labels = held_out(a)
        differences: list[float] = []
        for name, images in corruptions(inputs, seed).items():
            ours, theirs = (head_accuracy(arm, full_vectors(arm, images), labels, full) for arm in (a, b))
            table.append(
                {"seed": seed, "corruption": name, "MRL": round(ours, 2), "ordinary": round(theirs, 2)}
            )
            (clean if name == "none" else differences).append(ours - theirs)
        gaps.append(fmean(differences))
    return decide(
        gaps,
        abs(fmean(gaps)) <= 1.5,
        unit="points under corruption, MRL − ordinary",
        arms=[arm_cost("MRL", nested), arm_cost("ordinary", ordinary)],
        table=table,
        note=f"Without corruption the difference is {fmean(clean):+.2f} points.",
    )


def text_pairs(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C6: Recall@10 of a text dual encoder at an eighth of its numbers, against truncating the ordinary one."""
    run = text(scale)
    nested = [train_arm(bench, run, seed) for seed in seeds]
    ordinary = [train_ordinary(bench, run, seed) for seed in seeds]
    full = run.model.dims[-1]
    gains, kept, table = [], [], []
    for seed, a, b in zip(seeds, nested, ordinary):
        retrieval = next(iter(a.data.retrieval.values()))
        ours, theirs = (recall(arm, retrieval, run.model.dims) for arm in (a, b))
        for m in run.model.dims:
            table.append(
                {"seed": seed, "dim": m, "MRL": round(ours[m], 2), "truncation": round(theirs[m], 2)}
            )
        gains.append(ours[full // 8] - theirs[full // 8])
        kept.append(ours[full // 8] / ours[full])
    return decide(
        gains,
        fmean(kept) >= 0.9 and fmean(gains) >= 10,
        unit=f"points of recall@10 at {full // 8} of {full} numbers, MRL − truncation",
        arms=[arm_cost("MRL", nested), arm_cost("ordinary", ordinary)],
        table=table,
        note=f"At {full // 8} numbers MRL keeps {100 * fmean(kept):.1f} % of its recall at {full}.",
    )


CLAIMS = (
    Claim(
        id="C1",
        statement="Prefixes are as accurate as models trained for that size alone, and far better than truncation",
        paper="ImageNet-1K, ResNet-50: MRL − FF between −0.1 and +1.3 points at 8 … 2048; SVD of FF-2048 at 8: 2.3 %",
        criterion="mean of MRL − FF over m ≥ classes − 1 at least −1.0 point of linear accuracy, and MRL at least "
        "5 points of 1-NN above truncation at the smallest m",
        run=accuracy_of_prefixes,
    ),
    Claim(
        id="C2",
        statement="A cascade over prefixes classifies as well as the full embedding with a much smaller expected size",
        paper="ImageNet-1K: up to 14 times smaller (about 37 expected dims against FF-512 at 76.3 %)",
        criterion="(smallest FF dim as accurate as the cascade) / (expected dim) at least 2, at an accuracy within "
        "0.5 points of the better full-size model, on held-out examples",
        run=cascade,
    ),
    Claim(
        id="C3",
        statement="Shortlisting on a prefix and reranking at full size is as good as a full scan, and faster",
        paper="ImageNet-1K: mAP@10 65.27 against 65.20, 14 times faster by wall-clock (HNSW), 128 times in theory; "
        "ImageNet-4K: 6 times",
        criterion="at least 5 times fewer operations and at least 2 times faster, rerank included, with mAP@10 at most "
        "0.5 points lower",
        run=shortlist_and_rerank,
    ),
    Claim(
        id="C4",
        statement="Better few-shot classification of long-tail novel classes",
        paper="FLUID: up to 2 % on novel classes",
        criterion="the 95 % interval over seeds of the gain on tail classes (at smoke: with 1 and 5 shots) lies at or "
        "above 0",
        run=long_tail,
    ),
    Claim(
        id="C5",
        statement="As robust to shifted inputs as an ordinary embedding",
        paper="ImageNet-V2, -R, -A, -Sketch: within about 1 point of FF, sometimes better",
        criterion="mean difference under noise, blur and shift at full size at most 1.5 points in absolute value",
        run=robustness,
    ),
    Claim(
        id="C6",
        statement="Works for text: a contrastive dual encoder keeps its quality on prefixes",
        paper="JFT ViT, ALIGN, BERT: within about 0.5 % at full size",
        criterion="recall@10 at an eighth of the numbers at least 90 % of that at full size, and at least 10 points above "
        "truncating the ordinary model",
        run=text_pairs,
    ),
)
