"""A made-up but plausible report, whole: what the tests render and what a designer looks at.

`python tests/unit/inspection/sample.py FOLDER` writes it as FOLDER/report.html.
"""

import math
import random
import sys

from brickwork.inspection.report_data import (
    CorpusMap,
    CostPoint,
    Costs,
    Curve,
    ExampleSearch,
    Finding,
    GridCell,
    Hit,
    MapCluster,
    MapPoint,
    QualityPart,
    ReportData,
    SearchSide,
)

DIMS, LAYERS = (24, 48, 96, 192, 384), (1, 2, 3, 4, 5, 6)
GROUPS = (
    ("array", "dtype", "axis"), ("socket", "connection", "server"), ("token", "vocabulary", "encode"),
    ("path", "directory", "file"), ("gradient", "tensor", "optimizer"), ("date", "timezone", "calendar"),
    ("graph", "node", "edge"), ("parse", "xml", "element"), ("thread", "lock", "queue"),
)  # fmt: skip


def grid(best: float, rng: random.Random) -> tuple[GridCell, ...]:
    cells = []
    for layers in LAYERS:
        for dim in DIMS:
            width, depth = math.log2(dim / 12) / 5, layers / 6
            after = best * (0.62 + 0.25 * width**0.5 + 0.13 * depth) + rng.uniform(-0.004, 0.004)
            before = best * 0.93 * width**0.55 * (0.25 + 0.75 * depth**1.4) + rng.uniform(-0.004, 0.004)
            spread = 0.012
            cells.append(
                GridCell(
                    dim=dim,
                    layers=layers,
                    after=after,
                    before=before,
                    low=after - before - spread,
                    high=after - before + spread,
                )
            )
    return tuple(cells)


def retrieval_part(name: str, best: float, description: str, seed: int) -> QualityPart:
    cells = grid(best, random.Random(seed))
    full = cells[-1]
    controls = {"BM25": best * 0.84, "TF-IDF": best * 0.74}
    metrics = {
        metric: {"before": full.before * k, "after": full.after * k} | {n: v * k for n, v in controls.items()}
        for metric, k in (("nDCG@10", 1.0), ("Recall@10", 1.12), ("MRR", 0.93))
    }
    return QualityPart(
        name=name,
        description=description,
        cells=cells,
        sample="1500 queries, 6210 documents.",
        baselines=controls,
        other_metrics=metrics,
    )


def corpus_points(rng: random.Random, scale: int) -> CorpusMap:
    points, clusters = [], []
    for group, words in enumerate(GROUPS):
        angle, radius = 2 * math.pi * group / len(GROUPS), rng.uniform(25, 46)
        x, y = radius * math.cos(angle), radius * math.sin(angle)
        size = rng.randint(scale, 3 * scale)
        clusters.append(MapCluster(x=x, y=y, size=size, words=words))
        for i in range(size):
            spot = (rng.gauss(x, 7), rng.gauss(y, 6))
            points.append(
                MapPoint(x=spot[0], y=spot[1], cluster=group, title=f"{words[0]}.{rng.choice(words)}_{i}")
            )
    return CorpusMap(points=tuple(points), clusters=tuple(clusters), method="t-SNE")


def search(query: str, titles: list[str], rng: random.Random) -> ExampleSearch:
    def side(label: str, dim: int, layers: int, milliseconds: float, names: list[str]) -> SearchSide:
        hits = [
            Hit(
                title=name,
                score=0.81 - 0.04 * i,
                source=name.rsplit(".", 1)[0].replace(".", "/") + ".py",
                text="Return a new object with the given part replaced. The original is left as it was, and "
                "values out of range raise an error that names the argument & shows <what> was given.",
                relevant=i == 0 or None,
            )
            for i, name in enumerate(names)
        ]
        return SearchSide(label=label, dim=dim, layers=layers, milliseconds=milliseconds, hits=tuple(hits))

    swapped = [titles[0], titles[2], titles[1], "os.path.splitdrive"]
    return ExampleSearch(
        query=query,
        sides=(side("full", 384, 6, 9.4, titles[:4]), side("cut", 48, 3, 3.1, swapped)),
    )


def whole(scale: int = 50) -> ReportData:
    """The report; ``scale`` is the size of the smallest group on the map."""
    rng = random.Random(0)
    documentation = retrieval_part(
        "documentation search", 0.74, "From a one-line summary to the rest of the documentation.", 1
    )
    code = retrieval_part("code search", 0.61, "From a one-line summary to the source without it.", 2)
    costs = []
    for cell in documentation.cells:
        flops = 2 * 1.8e6 * cell.layers * 16 + 2 * 6210 * cell.dim
        costs.append(
            CostPoint(
                dim=cell.dim,
                layers=cell.layers,
                quality=cell.after,
                flops_per_query=flops,
                bytes_per_vector=4 * cell.dim,
                milliseconds=1.1 + 0.9 * cell.layers + cell.dim / 260,
            )
        )
    steps = tuple(range(1, 301))
    every = tuple(range(0, 301, 25))
    loss = tuple(2.1 * math.exp(-s / 90) + 1.1 + rng.gauss(0, 0.06) for s in steps)
    full = tuple(0.66 + 0.08 * (1 - math.exp(-s / 80)) for s in every)
    cut = tuple(0.31 + 0.32 * (1 - math.exp(-s / 70)) for s in every)
    return ReportData(
        title="An elastic encoder for Python documentation",
        subtitle="matryoshka-2d on MiniLM-L6, trained on the documented functions and classes of this "
        "environment, split by module.",
        created="2026-11-23",
        finding=Finding(
            sentence="Cut to 3 of 6 layers and 48 of 384 dimensions, the trained model finds more than the "
            "whole model did before training, at an eighth of the memory.",
            effect=0.031,
            low=0.019,
            high=0.043,
            explanation="nDCG@10 on documentation search, trained at 48 dims / 3 layers minus untrained at "
            "full size; paired bootstrap over 1,500 queries.",
        ),
        facts={
            "training": "300 steps in 2 min 41 s",
            "examples": "38,416 pairs",
            "speed": "119 pairs/s",
            "model": "22.6 M parameters",
            "machine": "2 cores, AVX-512 BF16",
            "seed": "0",
        },
        quality=(documentation, code),
        costs=Costs(points=tuple(costs), name="documentation search"),
        curves=(
            Curve(name="loss", steps=steps, values=loss, panel="loss"),
            Curve(name="384 dims / 6 layers", steps=every, values=full, panel="validation nDCG@10"),
            Curve(name="48 dims / 3 layers", steps=every, values=cut, panel="validation nDCG@10"),
        ),
        corpus_map=corpus_points(rng, scale),
        searches=(
            search(
                "split a file name into root and extension",
                [
                    "os.path.splitext",
                    "pathlib.PurePath.with_suffix",
                    "posixpath.splitext",
                    "pathlib.PurePath.stem",
                ],
                rng,
            ),
            search(
                "wait until all threads have arrived",
                [
                    "threading.Barrier.wait",
                    "asyncio.Barrier.wait",
                    "threading.Barrier.reset",
                    "queue.Queue.join",
                ],
                rng,
            ),
        ),
        commands=(
            (
                "Train on your own documents",
                "brickwork train matryoshka-2d --data my-documents/ --out runs/mine",
            ),
            ("Index them", "brickwork index runs/mine my-documents/ --out runs/mine/index"),
            ("Search", 'brickwork search runs/mine/index "how do I …" --dim 48 --layers 3'),
        ),
        environment={
            "python": "3.11.2",
            "torch": "2.13.0",
            "cpu": {"cores": 2, "features": ["avx512f", "amx"]},
        },
        configuration={"system": "matryoshka-2d", "train": {"steps": 300, "batch_size": 64}, "seed": 0},
    )


if __name__ == "__main__":
    from brickwork.inspection.report import write_report

    print(write_report(sys.argv[1], whole()))
