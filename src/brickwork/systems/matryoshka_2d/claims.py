"""The claims of 2D Matryoshka Sentence Embeddings, with the control that the paper lacks: models trained for
one size.

Arms, all with the same data, seeds, steps, batch, optimiser and learning rate:

* (a) ordinary: the loss on the last layer at full width;  (b) 1-D Matryoshka: on every prefix of the last
layer
* (c) 2DMSE, this system's default;  (d) adaptive_layer;  (e) starbucks
* (f) separate: an encoder of n layers (the first n of MiniLM, as the replications do), the loss on d features
only

(a), (b) and (f) are the system ``matryoshka``. The measure is recall@1 among 500 held-out pairs, in percent.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from brickwork.core import registry
from brickwork.evaluation.claims import Claim, ClaimResult, Scale, Trained, Workbench, arm_cost
from brickwork.evaluation.criterion import decide

if TYPE_CHECKING:
    from brickwork.data.types import RetrievalSet, TaskData
    from brickwork.training.run import RunConfig

_POOL = 500
_METRIC = "recall@1"
Grid = dict[tuple[int, int], float]
"""(layers, dim) → recall@1 in percent."""


# ---- the arms
# --------------------------------------------------------------------------------------------------


def text(scale: Scale) -> "RunConfig":
    """Small: MiniLM (6 layers, 384 numbers) on the Python corpus, as the paper starts from BERT; few steps of
    short texts, so that 36 trainings fit into half an hour of two cores. Smoke: 4 layers of 64 from scratch,
    a made-up language.
    """
    from brickwork.systems.matryoshka_2d import recipes

    run = recipes.small() if scale != "smoke" else recipes.scratch()
    if scale == "smoke":
        encoder = replace(
            run.model.encoder,
            num_layers=4,
            width=64,
            num_heads=4,
            mlp_width=128,
            vocab_size=500,
            max_tokens=24,
        )
        model = replace(run.model, encoder=encoder, dims=(8, 16, 32, 64))
        data = replace(run.data, source="toy", limit=5000)
        train = replace(run.train, steps=60, learning_rate=1e-3, precision="fp32")
    else:
        model = replace(run.model, encoder=replace(run.model.encoder, num_layers=6, max_tokens=24))
        data = replace(run.data, limit=4000)
        train = replace(run.train, steps=60, learning_rate=1e-4)
    train = replace(train, batch_size=32, save_every=0, validate_every=0)
    return replace(run, recipe="claims: text", model=model, data=data, train=train)


def _own(bench: Workbench, scale: Scale, seed: int, **model: Any) -> Trained:
    run = text(scale)
    return bench.train(replace(run, seed=seed, model=replace(run.model, **model)))


def _last_layer(
    bench: Workbench, scale: Scale, seed: int, layers: int | None = None, **model: Any
) -> Trained:
    """An arm without depth: the system ``matryoshka`` on the same encoder (of ``layers`` layers), data and
    training.
    """
    run = text(scale)
    encoder = run.model.encoder if layers is None else replace(run.model.encoder, num_layers=layers)
    config = registry.load("matryoshka", "system").Config(
        encoder=encoder, temperature=run.model.temperature, **model
    )
    return bench.train(replace(run, system="matryoshka", seed=seed, model=config))


def _sizes(scale: Scale) -> tuple[int, tuple[int, ...]]:
    """N and the dims."""
    model = text(scale).model
    return model.encoder.num_layers, model.dims


def _three(bench: Workbench, scale: Scale, seeds: Sequence[int]) -> dict[str, list[Trained]]:
    _, dims = _sizes(scale)
    return {
        "ordinary": [_last_layer(bench, scale, seed, dims=dims[-1:]) for seed in seeds],
        "1-D Matryoshka": [_last_layer(bench, scale, seed, dims=dims) for seed in seeds],
        "2DMSE": [_own(bench, scale, seed) for seed in seeds],
    }


# ---- what is measured
# ------------------------------------------------------------------------------------------


def _held_out(data: "TaskData") -> "RetrievalSet":
    """The first 500 held-out pairs of different groups: each anchor looks for its positive among all
    positives.
    """
    from brickwork.data.types import RetrievalSet

    test = data.test.columns
    groups = test.get("group", range(len(data.test)))
    first = {int(group): row for row, group in reversed(list(enumerate(groups)))}
    rows = sorted(first.values())[:_POOL]
    return RetrievalSet(
        name="held-out pairs",
        queries=[test["anchor"][row] for row in rows],
        documents=[test["positive"][row] for row in rows],
        relevant=[{place: 1} for place in range(len(rows))],
    )


def _grid(bench: Workbench, trained: Trained, dims: Sequence[int]) -> Grid:
    from brickwork.evaluation.grid import evaluate_grid

    def measure() -> Grid:
        representation = trained.system.representation()
        layers = range(1, trained.system.encoder.num_layers + 1)
        found = evaluate_grid(
            representation, _held_out(trained.data), dims, layers, metrics=(_METRIC,), measure=False
        )
        return {(cell.layers, cell.dim): 100 * cell.mean(_METRIC) for cell in found.cells}

    return bench.memo(("grid", id(trained), tuple(dims)), measure)


def _grids(bench: Workbench, arms: dict[str, list[Trained]], dims: Sequence[int]) -> dict[str, list[Grid]]:
    return {name: [_grid(bench, arm, dims) for arm in trained] for name, trained in arms.items()}


def _table(grids: dict[str, list[Grid]]) -> list[dict[str, Any]]:
    """Means over seeds, one row for each cell."""
    cells = sorted({cell for grid in grids.values() for cell in grid[0]})
    return [
        {
            "layers": layers,
            "dim": dim,
            **{
                name: round(fmean([g[layers, dim] for g in grid]), 2)
                for name, grid in grids.items()
                if (layers, dim) in grid[0]
            },
        }
        for layers, dim in cells
    ]


def _below(grid: Grid, num_layers: int) -> float:
    """The mean over all cells of fewer than N layers."""
    return fmean([value for (layers, _), value in grid.items() if layers < num_layers])


# ---- the claims
# ------------------------------------------------------------------------------------------------


def elastic_in_depth(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C1: (c) − (a) at (N/2, D/4), and (c) against (b) at n < N."""
    num_layers, dims = _sizes(scale)
    arms = _three(bench, scale, seeds)
    grids = _grids(bench, arms, dims)
    cell = (num_layers // 2, dims[-1] // 4)
    gaps = [c[cell] - a[cell] for a, c in zip(grids["ordinary"], grids["2DMSE"])]
    spread = statistics.stdev(gaps) if len(gaps) > 1 else float("inf")
    over_1d = fmean(
        [
            _below(c, num_layers) - _below(b, num_layers)
            for b, c in zip(grids["1-D Matryoshka"], grids["2DMSE"])
        ]
    )
    return decide(
        gaps,
        fmean(gaps) > 2 * spread and over_1d > 0,
        unit=f"points of recall@1 at {cell[0]} of {num_layers} layers, {cell[1]} of {dims[-1]} numbers, 2DMSE − ordinary",
        arms=[arm_cost(name, trained) for name, trained in arms.items()],
        table=_table(grids),
        note=f"Over all cells below full depth, 2DMSE is {over_1d:+.1f} points above 1-D Matryoshka.",
    )


def beats_separate(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C2: (c) − (f), mean over n ∈ {2, 4} × d ∈ {D/4, D}."""
    num_layers, dims = _sizes(scale)
    full = dims[-1]
    cells = [(n, d) for n in (2, 4) if n < num_layers for d in (full // 4, full)]
    ours = [_own(bench, scale, seed) for seed in seeds]
    separate = {
        (n, d): [
            _last_layer(
                bench,
                scale,
                seed,
                layers=n,
                **({"dims": (d, full), "weights": (1.0, 0.0)} if d < full else {"dims": (full,)}),
            )
            for seed in seeds
        ]
        for n, d in cells
    }
    gaps, table = [], []
    for i, seed in enumerate(seeds):
        differences = []
        for n, d in cells:
            left, right = _grid(bench, ours[i], dims)[n, d], _grid(bench, separate[n, d][i], dims)[n, d]
            differences.append(left - right)
            table.append(
                {"seed": seed, "layers": n, "dim": d, "2DMSE": round(left, 2), "separate": round(right, 2)}
            )
        gaps.append(fmean(differences))
    within = "within" if fmean(gaps) >= -6 else "not within"
    return decide(
        gaps,
        fmean(gaps) > 0,
        unit="points of recall@1, 2DMSE − separately trained, mean over 4 sizes",
        arms=[arm_cost("2DMSE", ours)]
        + [arm_cost(f"separate {n}×{d}", arms) for (n, d), arms in separate.items()],
        table=table,
        note=f"Two independent replications found the opposite of the paper. 2DMSE is {within} 6 points of separate models, "
        "which cost one training for each size.",
    )


def linear_in_layers(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C3: t(N)/t(n) against (N + c)/(n + c), c being the embedding's cost in layers.

    One thread, and the time that it computed: equal to the time on the wall of an idle machine, and not changed by
    what else runs there.
    """
    import torch

    num_layers, _ = _sizes(scale)
    speedups, table, linear = [], [], True
    trained = [_own(bench, scale, seed) for seed in seeds]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for seed, arm in zip(seeds, trained):
        times = _encoding_seconds(arm, num_layers)
        c = times[0] / ((times[num_layers] - times[0]) / num_layers)
        for n in range(1, num_layers + 1):
            measured, expected = times[num_layers] / times[n], (num_layers + c) / (n + c)
            linear = linear and abs(measured / expected - 1) <= 0.25
            row = {"seed": seed, "layers": n, "milliseconds": round(1000 * times[n], 1)}
            table.append({**row, "speed-up": round(measured, 2), "expected": round(expected, 2)})
        speedups.append(times[num_layers] / times[num_layers // 2])
    torch.set_num_threads(threads)
    return decide(
        speedups,
        linear and fmean(speedups) >= 1.7,
        unit=f"times faster at {num_layers // 2} of {num_layers} layers (200 texts, one thread, without tokenising)",
        arms=[arm_cost("2DMSE", trained)],
        table=table,
        note="" if linear else "At some depth the time is more than 25 % away from linear.",
    )


def _encoding_seconds(trained: Trained, num_layers: int) -> dict[int, float]:
    """Seconds to encode 200 texts up to each layer (0: the embedding): best of 3 rounds over all depths in turn."""
    import time

    import torch

    encoder = trained.system.encoder
    texts = list(trained.data.test.columns["positive"][:200])
    batches = [encoder.tokenize(texts[start : start + 50]) for start in range(0, len(texts), 50)]
    times: dict[int, float] = {}
    with torch.inference_mode():
        encoder(batches[0], [num_layers])
        for _ in range(3):
            for n in range(num_layers + 1):
                start = time.thread_time()
                for tokens in batches:
                    encoder(tokens, [n])
                times[n] = min(times.get(n, math.inf), time.thread_time() - start)
    return times


def keeps_full_size(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C4: (c) − (a) at (N, D)."""
    num_layers, dims = _sizes(scale)
    arms = _three(bench, scale, seeds)
    del arms["1-D Matryoshka"]
    grids = _grids(bench, arms, dims)
    cell = (num_layers, dims[-1])
    gaps = [c[cell] - a[cell] for a, c in zip(grids["ordinary"], grids["2DMSE"])]
    return decide(
        gaps,
        fmean(gaps) >= -2,
        unit="points of recall@1 at full size, 2DMSE − ordinary",
        arms=[arm_cost(name, trained) for name, trained in arms.items()],
        table=[row for row in _table(grids) if (row["layers"], row["dim"]) == cell],
    )


def weighting_and_detaching(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """E: layer weighting of adaptive_layer, and the gradient into the teacher of 2DMSE, below full depth."""
    num_layers, dims = _sizes(scale)
    arms = {
        "uniform": [_own(bench, scale, seed, variant="adaptive_layer") for seed in seeds],
        "log": [_own(bench, scale, seed, variant="adaptive_layer", layer_weighting="log") for seed in seeds],
        "linear": [
            _own(bench, scale, seed, variant="adaptive_layer", layer_weighting="linear") for seed in seeds
        ],
        "starbucks": [_own(bench, scale, seed, variant="starbucks") for seed in seeds],
        "2DMSE": [_own(bench, scale, seed) for seed in seeds],
        "2DMSE, teacher not detached": [_own(bench, scale, seed, detach_teacher=False) for seed in seeds],
    }
    grids = _grids(bench, arms, dims)
    below = {name: [_below(grid, num_layers) for grid in grid_list] for name, grid_list in grids.items()}

    def over(left: str, right: str) -> list[float]:
        return [a - b for a, b in zip(below[left], below[right])]

    logarithmic, linear = fmean(over("uniform", "log")), fmean(over("uniform", "linear"))
    detached = fmean(over("2DMSE", "2DMSE, teacher not detached"))
    return decide(
        over("uniform", "linear"),
        logarithmic >= 0 and linear >= 0 and max(abs(logarithmic), abs(linear), abs(detached)) <= 2,
        unit="points of recall@1 below full depth, uniform − linear",
        arms=[arm_cost(name, trained) for name, trained in arms.items()],
        table=_table(grids),
        note=f"uniform − log {logarithmic:+.2f}, uniform − linear {linear:+.2f}, "
        f"detached − not detached {detached:+.2f} points.",
    )


CLAIMS = (
    Claim(
        id="C1",
        statement="One model is elastic in depth and width: shallow, short embeddings are far better than those of an "
        "ordinary or 1-D Matryoshka model",
        paper="BERT-base, replication by ielab, STS Pearson at 6 of 12 layers: ordinary .572, 1-D .583, 2DMSE .681",
        criterion="2DMSE − ordinary at (N/2, D/4) above 2 standard deviations over seeds, and 2DMSE above 1-D Matryoshka "
        "over all cells of fewer than N layers",
        run=elastic_in_depth,
    ),
    Claim(
        id="C2",
        statement="Cut to a size, it beats an ordinary model trained at that size",
        paper="claimed; contradicted by replications, e.g. 6 layers × 128: separate .766, 2DMSE .719 (Starbucks)",
        criterion="mean of 2DMSE − separate over 2 and 4 layers × D/4 and D above 0",
        run=beats_separate,
        scales=("small",),
    ),
    Claim(
        id="C3",
        statement="Encoding time grows linearly with the layers used",
        paper="half of the layers: about 2 times faster (sentence-transformers)",
        criterion="t(N)/t(n) within 25 % of (N + c)/(n + c) for every n, c the embedding's cost in layers, and at least "
        "1.7 at N/2",
        run=linear_in_layers,
    ),
    Claim(
        id="C4",
        statement="The full embedding does not suffer",
        paper="as good or slightly better; replication −1 to −2 points",
        criterion="2DMSE − ordinary at (N, D) at least −2 points",
        run=keeps_full_size,
    ),
    Claim(
        id="E",
        statement="Ours: uniform layer weighting is best below full depth, and weighting and detaching matter little",
        paper="sentence-transformers, STS-B: uniform wins at every truncated depth",
        criterion="uniform at least as good as log and linear below full depth; no effect (detaching included) above "
        "2 points",
        run=weighting_and_detaching,
    ),
)
