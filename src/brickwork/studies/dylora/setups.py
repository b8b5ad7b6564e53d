"""The models that the claims compare, and how they are read.

Every arm adapts the same backbone with the same data, seeds, steps and optimiser. The learning rate of the main arms is
chosen for each from the same three, on validation data, by the ranks that the arm was trained for; the variants of an
ablation take the rate of the arm that they vary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from brickwork.studies.bench import Scale, Trained, Workbench
from brickwork.studies.tuning import tuned

if TYPE_CHECKING:
    from brickwork.training.run import RunConfig

Curve = dict[int, float]
"""Rank → accuracy in percent."""
SEARCH = (1, 2, 4, 8, 16, 32, 64)
"""The ranks that one would search with ordinary LoRA (claim C3)."""


def digits(scale: Scale, rank: int = 8) -> "RunConfig":
    """Digits turned by a quarter, a perceptron that knows upright 0 … 4, all three linear layers; 40 epochs at small."""
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


def sentences() -> "RunConfig":
    """Questions of TREC by type, MiniLM, queries and values, 120 steps of 16, 32 tokens."""
    from brickwork.systems.dylora.recipes import small

    run = small()
    return replace(
        run,
        recipe="claims: trec6",
        model=replace(run.model, max_tokens=32),
        train=replace(
            run.train, steps=120, batch_size=16, precision="fp32", save_every=0, validate_every=0
        ),
    )  # fmt: skip


def variant(run: "RunConfig", **model: Any) -> "RunConfig":
    """The run with other fields of its model."""
    return replace(run, model=replace(run.model, **model))


def lora(run: "RunConfig", rank: int) -> "RunConfig":
    """Ordinary LoRA at one rank."""
    return variant(run, rank=rank, sampler="full")


def train_tuned(bench: Workbench, run: "RunConfig", seeds: Sequence[int]) -> list[Trained]:
    """Every seed at the rate that suits the arm."""
    best = tuned(bench, run, validation_score)
    return [bench.train(replace(best, seed=seed)) for seed in seeds]


def train_at(bench: Workbench, run: "RunConfig", rate: float, seeds: Sequence[int]) -> list[Trained]:
    """Every seed at a given rate."""
    return [
        bench.train(replace(run, seed=seed, train=replace(run.train, learning_rate=rate))) for seed in seeds
    ]


def validation_score(trained: Trained) -> float:
    """Mean accuracy on validation data over the ranks that the arm was trained for."""
    sizes = trained.system.config.sizes()
    points = trained.system.curve(trained.data.validation, sizes)
    return sum(point.accuracy for point in points) / len(points)


def accuracies(trained: Trained, ranks: Sequence[int], rows: int = 1000) -> Curve:
    """Accuracy at each rank on (the first ``rows`` of) the test part."""
    test = trained.data.test.select(range(min(rows, len(trained.data.test))))
    return {point.rank: 100 * point.accuracy for point in trained.system.curve(test, ranks)}


def truncated(trained: Trained, ranks: Sequence[int], rows: int = 1000) -> Curve:
    """Ordinary LoRA cut to each rank, scaled by α/b or as it was trained (α/r): whichever is better at that rank."""
    found = []
    layers = trained.system.adapters.layers.values()
    for scaling in ("alpha/b", "alpha/r"):
        before = [layer.scaling for layer in layers]
        for layer in layers:
            layer.scaling = scaling
        found.append(accuracies(trained, ranks, rows))
        for layer, scale in zip(layers, before):
            layer.scaling = scale
    return {b: max(curve[b] for curve in found) for b in ranks}


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean over seeds at each rank."""
    return {b: sum(curve[b] for curve in curves) / len(curves) for b in curves[0]}


def spread(curves: Sequence[Curve], rank: int) -> float:
    """Standard deviation over seeds at one rank; 0 for one seed."""
    from statistics import stdev

    return stdev(curve[rank] for curve in curves) if len(curves) > 1 else 0.0


def rows_of(curves: Mapping[str, Sequence[Curve]]) -> list[dict[str, Any]]:
    """One row for each rank: the mean of every arm, and its standard deviation over seeds."""
    ranks = sorted({b for found in curves.values() for b in found[0]})
    table = []
    for b in ranks:
        row: dict[str, Any] = {"rank": b}
        for name, found in curves.items():
            if b in found[0]:
                row[name] = round(mean_curve(found)[b], 2)
                row[f"{name} sd"] = round(spread(found, b), 2)
        table.append(row)
    return table
