"""The models that the claims compare, and how they are read.

Every arm is this system with other ``dims`` and ``weights``: same data, seeds, steps and optimiser. The learning rate
is chosen for each arm from the same three, on validation data, by the sizes that the arm was trained for (the paper
re-tuned nothing for MRL). AdamW does not notice that a sum of k losses has a larger gradient.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from brickwork.studies.old import ArmCost, Scale, Trained, Workbench, arm_cost
from brickwork.studies.tuning import tuned

if TYPE_CHECKING:
    import numpy as np

    from brickwork.data.types import Examples, RetrievalSet
    from brickwork.index.search import FlatVectors, Stage
    from brickwork.training.run import RunConfig


Search = Callable[["np.ndarray"], tuple["np.ndarray", "np.ndarray"]]
"""Queries (Q, D) → scores and rows (Q, keep)."""

# ---- set-ups ---------------------------------------------------------------------------------------------------


def digits() -> "RunConfig":
    """Digits of scikit-learn, perceptron 64-256-256-64, 40 epochs; half of the images are held out."""
    from brickwork.systems.matryoshka.recipes import smoke

    run = smoke()
    encoder = replace(run.model.encoder, embedding_dim=64, width=256, depth=2)
    return replace(
        run,
        recipe="claims: digits",
        model=replace(run.model, encoder=encoder, dims=(4, 8, 16, 32, 64)),
        data=replace(run.data, test_share=0.45),
        train=replace(run.train, steps=560, save_every=0, validate_every=0),
    )


def cifar10() -> "RunConfig":
    """CIFAR-10 (JPEG), averaged to 16 × 16, perceptron 768-512-512-128, 8 epochs.

    A perceptron, since 35 trainings of a convolutional network do not fit into the time of this scale.
    """
    from brickwork.systems.matryoshka.recipes import images

    run = images()
    encoder = replace(run.model.encoder, architecture="mlp", width=512, depth=2, shrink=2)
    return replace(
        run,
        recipe="claims: cifar10",
        model=replace(run.model, encoder=encoder),
        train=replace(
            run.train, steps=3000, learning_rate=1e-3, precision="fp32", save_every=0, validate_every=0
        ),
    )


def tiny_imagenet() -> "RunConfig":
    """Tiny-ImageNet-100 averaged to 16 × 16, small residual network of 128 numbers, 100 classes, 8 epochs."""
    from brickwork.systems.matryoshka.recipes import images

    run = images()
    return replace(
        run,
        recipe="claims: tiny_imagenet100",
        model=replace(run.model, encoder=replace(run.model.encoder, width=8, shrink=4), dims=(8, 32, 128)),
        data=replace(run.data, source="tiny_imagenet100"),
        train=replace(run.train, steps=1200, precision="fp32", save_every=0, validate_every=0),
    )


def omniglot() -> "RunConfig":
    """Omniglot (35 × 35, 183 characters of 6 alphabets), perceptron to 64 numbers, 30 epochs."""
    run = digits()
    return replace(
        run,
        recipe="claims: omniglot_small",
        data=replace(run.data, source="omniglot_small"),
        train=replace(run.train, steps=1200, learning_rate=1e-3),
    )


def mnist(scale: Scale) -> "RunConfig":
    """MNIST as the database, perceptron to 256 numbers."""
    run = digits()
    encoder = replace(run.model.encoder, embedding_dim=256)
    small = scale != "smoke"
    return replace(
        run,
        recipe="claims: mnist",
        model=replace(run.model, encoder=encoder, dims=(8, 16, 32, 64, 128, 256)),
        data=replace(
            run.data, source="mnist" if small else "digits", validation_share=0.0 if small else 0.05
        ),
        train=replace(
            run.train, steps=800 if small else 560, batch_size=128 if small else 64, learning_rate=1e-3
        ),
    )


def text(scale: Scale) -> "RunConfig":
    """Text pairs, the mean of token vectors from scratch: the made-up language, or AG News titles and descriptions."""
    from brickwork.systems.matryoshka.recipes import static

    run = static()
    small = scale != "smoke"
    encoder = replace(
        run.model.encoder, width=256 if small else 64, max_tokens=64, vocab_size=8000 if small else 500
    )
    return replace(
        run,
        recipe="claims: text",
        model=replace(
            run.model, encoder=encoder, dims=(8, 16, 32, 64, 128, 256) if small else (8, 16, 32, 64)
        ),
        data=replace(run.data, source="ag_news") if small else replace(run.data, source="toy", limit=5000),
        train=replace(
            run.train,
            steps=200 if small else 60,
            batch_size=128 if small else 32,
            save_every=0,
            validate_every=0,
        ),
    )


# ---- the arms --------------------------------------------------------------------------------------------------


def train_arm(bench: Workbench, run: "RunConfig", seed: int, **model: Any) -> Trained:
    """The run with other fields of its model, at the rate that suits it; without any, MRL itself."""
    arm = replace(run, model=replace(run.model, **model))
    return bench.train(replace(tuned(bench, arm, validation_score), seed=seed))


def validation_score(trained: Trained) -> float:
    """Mean over the sizes that were trained: accuracy of the head, or recall@10 of pairs, on validation data."""
    sizes = list(trained.system.trained)
    if trained.system.head is None:
        from brickwork.data.retrieval import retrieval_from_pairs

        return fmean(
            recall(trained, retrieval_from_pairs("validation", trained.data.validation), sizes).values()
        )
    inputs, labels = rows_of(trained.data.validation)
    features = full_vectors(trained, inputs)
    return fmean([head_accuracy(trained, features, labels, m) for m in sizes])


def train_ordinary(bench: Workbench, run: "RunConfig", seed: int) -> Trained:
    """The loss at full width only."""
    return train_arm(bench, run, seed, dims=run.model.dims[-1:])


def train_fixed(bench: Workbench, run: "RunConfig", seed: int, dim: int) -> Trained:
    """FF-m: the backbone keeps its width D, the loss reads m features."""
    full = run.model.dims[-1]
    return (
        train_ordinary(bench, run, seed)
        if dim == full
        else train_arm(bench, run, seed, dims=(dim, full), weights=(1.0, 0.0))
    )


def train_family(
    bench: Workbench, run: "RunConfig", seeds: Sequence[int]
) -> tuple[list[Trained], dict[int, list[Trained]]]:
    """MRL for every seed, and FF-m for every m and seed."""
    nested = [train_arm(bench, run, seed) for seed in seeds]
    return nested, {m: [train_fixed(bench, run, seed, m) for seed in seeds] for m in run.model.dims}


def family_costs(nested: list[Trained], fixed: dict[int, list[Trained]]) -> list[ArmCost]:
    """What both sides cost, for the record."""
    return [arm_cost("MRL", nested), *(arm_cost(f"FF-{m}", arms) for m, arms in fixed.items())]


# ---- what is measured ------------------------------------------------------------------------------------------


def full_vectors(trained: Trained, inputs: Any) -> "np.ndarray":
    """Full-width vectors, not normalised."""
    return trained.system.representation().encode(inputs, normalize=False, precision="fp32")


def head_logits(trained: Trained, features: "np.ndarray", dim: int) -> "np.ndarray":
    """What the trained linear head says about a prefix. Shapes: (N, D) → (N, C)."""
    import torch

    with torch.no_grad():
        return trained.system.head.at(torch.from_numpy(features[:, :dim])).numpy()


def mean_logits(
    trained: Trained, views: Sequence["np.ndarray"], dims: Sequence[int]
) -> dict[int, "np.ndarray"]:
    """The head's logits by prefix, each the mean over views of the same images."""
    import numpy as np

    features = [full_vectors(trained, view) for view in views]
    return {m: np.mean([head_logits(trained, x, m) for x in features], axis=0) for m in dims}


def held_out(trained: Trained, rows: int = 4000) -> tuple[Any, "np.ndarray"]:
    """Inputs and labels of the first ``rows`` of the test part (sets are shuffled)."""
    return rows_of(trained.data.test, rows)


def rows_of(part: "Examples", rows: int | None = None) -> tuple[Any, "np.ndarray"]:
    """Inputs and labels of the first ``rows`` examples, or of all."""
    import numpy as np

    return part.columns["input"][:rows], np.asarray(part.columns["label"])[:rows]


def graph_search(database: "FlatVectors", stages: Sequence["Stage"]) -> "Search":
    """Search whose first stage walks an HNSW graph over the prefix instead of scanning it; M = 32 as in the paper."""
    import faiss

    from brickwork.representation.truncate import truncate

    (dim, keep), *later = stages
    graph = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efSearch = 256
    graph.add(database.prefix(dim))

    def search(queries: "np.ndarray") -> tuple[Any, "np.ndarray"]:
        scores, rows = graph.search(truncate(queries, dim), keep)
        for size, kept in later:
            scores, rows = database.rerank(queries, rows, size, kept)
        return scores, rows

    return search


def milliseconds_a_query(search: "Search", queries: "np.ndarray") -> float:
    """The median over the first 100 queries, one at a time."""
    import statistics
    import time

    seconds = []
    for row in range(min(100, len(queries))):
        start = time.perf_counter()
        search(queries[row : row + 1])
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def recall(trained: Trained, retrieval: "RetrievalSet", dims: Sequence[int]) -> dict[int, float]:
    """Recall@10 in percent, by prefix."""
    from brickwork.evaluation.grid import evaluate_grid

    grid = evaluate_grid(
        trained.system.representation(), retrieval, dims, metrics=("recall@10",), measure=False
    )
    return {cell.dim: 100 * cell.mean("recall@10") for cell in grid.cells}


def head_accuracy(trained: Trained, features: "np.ndarray", labels: "np.ndarray", dim: int) -> float:
    """Top-1 of the trained linear head on a prefix, in percent."""
    return 100 * float((head_logits(trained, features, dim).argmax(1) == labels).mean())


def cheapest_cap(policy: Any, logits: dict[int, "np.ndarray"], labels: "np.ndarray") -> int:
    """The smallest longest prefix that costs at most 0.5 points on the part that thresholds were fitted on."""
    right = {
        cap: 100 * float((policy.apply(logits, cap).predictions == labels).mean()) for cap in policy.dims
    }
    return min(cap for cap in policy.dims if right[cap] >= max(right.values()) - 0.5)


def mean_by_dim(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds, one row for each m."""
    names = [name for name in rows[0] if name not in ("seed", "dim")]
    dims = dict.fromkeys(row["dim"] for row in rows)
    return [
        {"dim": m, **{n: round(fmean([r[n] for r in rows if r["dim"] == m]), 2) for n in names}} for m in dims
    ]
