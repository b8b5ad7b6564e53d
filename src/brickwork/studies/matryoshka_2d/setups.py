"""The models that the claims of 2DMSE compare, and how they are measured.

Arms, all with the same data, seeds, steps, batch and optimiser; the learning rate is chosen for each arm from the same
three, on validation data, by the sizes that the arm was trained for:

* (a) ordinary: the loss on the last layer at full width;  (b) 1-D Matryoshka: on every prefix of the last layer
* (c) 2DMSE, this system's default;  (d) adaptive_layer;  (e) starbucks; and ESE
* (f) separate: an encoder of n layers (the first n of MiniLM, as the replications do), the loss on d features only

(a), (b) and (f) are the system ``matryoshka``. The measure is recall@1 among 500 held-out pairs, in percent.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from brickwork.core import registry
from brickwork.studies.bench import Scale, Trained, Workbench
from brickwork.studies.tuning import tuned

if TYPE_CHECKING:
    from brickwork.data.types import Examples, RetrievalSet
    from brickwork.training.run import RunConfig

_POOL = 500
_METRIC = "recall@1"
Grid = dict[tuple[int, int], float]
"""(layers, dim) → recall@1 in percent."""


# ---- the arms -------------------------------------------------------------------------------------------------


def text(scale: Scale) -> "RunConfig":
    """Small: MiniLM (6 layers, 384 numbers) on the Python corpus, as the paper starts from BERT; few steps of
    short texts, so that 65 trainings fit into an hour of two cores. Smoke: 4 layers of 64 from scratch,
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


def own_arm(bench: Workbench, scale: Scale, seed: int, **model: Any) -> Trained:
    run = text(scale)
    return train_tuned(bench, replace(run, model=replace(run.model, **model)), seed)


def train_tuned(bench: Workbench, run: "RunConfig", seed: int) -> Trained:
    return bench.train(replace(tuned(bench, run, validation_score), seed=seed))


def last_layer_arm(
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
    return train_tuned(bench, replace(run, system="matryoshka", model=config), seed)


def sizes(scale: Scale) -> tuple[int, tuple[int, ...]]:
    """N and the dims."""
    model = text(scale).model
    return model.encoder.num_layers, model.dims


def three_arms(bench: Workbench, scale: Scale, seeds: Sequence[int]) -> dict[str, list[Trained]]:
    _, dims = sizes(scale)
    return {
        "ordinary": [last_layer_arm(bench, scale, seed, dims=dims[-1:]) for seed in seeds],
        "1-D Matryoshka": [last_layer_arm(bench, scale, seed, dims=dims) for seed in seeds],
        "2DMSE": [own_arm(bench, scale, seed) for seed in seeds],
    }


# ---- what is measured -----------------------------------------------------------------------------------------


def pool(part: "Examples") -> "RetrievalSet":
    """The first 500 pairs of different groups: each anchor looks for its positive among all positives."""
    from brickwork.data.types import RetrievalSet

    test = part.columns
    groups = test.get("group", range(len(part)))
    first = {int(group): row for row, group in reversed(list(enumerate(groups)))}
    rows = sorted(first.values())[:_POOL]
    return RetrievalSet(
        name="held-out pairs",
        queries=[test["anchor"][row] for row in rows],
        documents=[test["positive"][row] for row in rows],
        relevant=[{place: 1} for place in range(len(rows))],
    )


def measured_grid(bench: Workbench, trained: Trained, dims: Sequence[int]) -> Grid:
    from brickwork.evaluation.grid import evaluate_grid

    def measure() -> Grid:
        representation = trained.system.representation()
        layers = range(1, trained.system.encoder.num_layers + 1)
        found = evaluate_grid(
            representation, pool(trained.data.test), dims, layers, metrics=(_METRIC,), measure=False
        )
        return {(cell.layers, cell.dim): 100 * cell.mean(_METRIC) for cell in found.cells}

    return bench.memo(("grid", id(trained), tuple(dims)), measure)


def validation_score(trained: Trained) -> float:
    """Mean recall@1 on validation data over the sizes that the arm was trained for."""
    from brickwork.evaluation.grid import evaluate_grid

    system = trained.system
    if hasattr(system, "trained"):  # the system matryoshka: prefixes of the last layer
        layers, dims = [system.encoder.num_layers], list(system.trained)
    else:
        layers, dims = list(system.axes.layers), list(system.axes.dims)
    found = evaluate_grid(
        system.representation(),
        pool(trained.data.validation),
        dims,
        layers,
        metrics=(_METRIC,),
        measure=False,
    )
    return fmean([cell.mean(_METRIC) for cell in found.cells])


def measured_grids(
    bench: Workbench, arms: dict[str, list[Trained]], dims: Sequence[int]
) -> dict[str, list[Grid]]:
    return {name: [measured_grid(bench, arm, dims) for arm in trained] for name, trained in arms.items()}


def mean_table(grids: dict[str, list[Grid]]) -> list[dict[str, Any]]:
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


def below_full_depth(grid: Grid, num_layers: int) -> float:
    """The mean over all cells of fewer than N layers."""
    return fmean([value for (layers, _), value in grid.items() if layers < num_layers])
