"""The models that the claims compare, and how they are read.

Every arm is this system with other ``dims`` and ``weights``: same data, seeds, steps and optimiser. The learning rate
is chosen for each arm from the same grid, on validation data, by the sizes that the arm was trained for (the paper
re-tuned nothing for MRL). AdamW does not notice that a sum of k losses has a larger gradient. Accuracies are in percent.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from brickwork.studies.bench import Trained, changed
from brickwork.studies.study import Scale
from brickwork.systems.matryoshka import recipes
from brickwork.systems.matryoshka.cascade import CascadePolicy
from brickwork.training.run import RunConfig

if TYPE_CHECKING:
    from brickwork.data.types import Examples
    from brickwork.index.search import FlatVectors, Stage

Search = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Queries (Q, D) → scores and rows (Q, keep)."""
_SPLITS = 10  # random splits of the test set into a part for thresholds and a part for results
_TOP = 10
_TEST_ROWS = 4000  # at most; no validation part is as large

# ---- set-ups ---------------------------------------------------------------------------------------------------


def _set_up(
    run: RunConfig, name: str, model: dict[str, Any], data: dict[str, Any], **train: Any
) -> RunConfig:
    """``run`` with other values, under the name of a set-up; nothing is saved or validated on the way."""
    train |= {"save_every": 0, "validate_every": 0}
    return changed(run, recipe=f"claims: {name}", model=model, data=data, train=train)


def digits() -> RunConfig:
    """Digits of scikit-learn, an MLP 64-256-256-64, 40 epochs; half of the images are held out."""
    model = {"encoder": {"embedding_dim": 64, "width": 256, "depth": 2}, "dims": (4, 8, 16, 32, 64)}
    return _set_up(recipes.smoke(), "digits", model, {"test_share": 0.45}, steps=560)


def cifar10() -> RunConfig:
    """CIFAR-10 (JPEG), averaged to 16 × 16, an MLP 768-512-512-128, 8 epochs.

    An MLP, since 35 trainings of a convolutional network do not fit into the time of this scale.
    """
    model = {"encoder": {"architecture": "mlp", "width": 512, "depth": 2, "shrink": 2}}
    return _set_up(recipes.images(), "cifar10", model, {}, steps=3000, learning_rate=1e-3, precision="fp32")


def tiny_imagenet() -> RunConfig:
    """Tiny-ImageNet-100 averaged to 16 × 16, small residual network of 128 dimensions, 100 classes, 8 epochs."""
    model = {"encoder": {"width": 8, "shrink": 4}, "dims": (8, 32, 128)}
    data = {"source": "tiny_imagenet100"}
    return _set_up(recipes.images(), "tiny_imagenet100", model, data, steps=1200, precision="fp32")


def omniglot() -> RunConfig:
    """Omniglot (35 × 35, 183 characters of 6 alphabets), an MLP to 64 dimensions, 30 epochs."""
    data = {"source": "omniglot_small"}
    return _set_up(digits(), "omniglot_small", {}, data, steps=1200, learning_rate=1e-3)


def characters() -> RunConfig:
    """Omniglot, an MLP 1225-512-512-128: 183 characters are more classes than there are dimensions, so that widths differ
    (a model of 8 is right for 16 % of the test part, one of 128 or 256 for about 47 %)."""
    model = {"encoder": {"embedding_dim": 128, "width": 512}, "dims": (8, 32, 128)}
    return _set_up(omniglot(), "characters", model, {}, learning_rate=2e-3)


def mnist(scale: Scale) -> RunConfig:
    """MNIST (at smoke scikit-learn's digits) as the database, an MLP to 256 dimensions."""
    model = {"encoder": {"embedding_dim": 256}, "dims": (8, 16, 32, 64, 128, 256)}
    if scale == "smoke":
        return _set_up(digits(), "mnist", model, {"validation_share": 0.05}, learning_rate=1e-3)
    data = {"source": "mnist", "validation_share": 0.0}
    return _set_up(digits(), "mnist", model, data, steps=800, batch_size=128, learning_rate=1e-3)


def text(scale: Scale) -> RunConfig:
    """Text pairs, the mean of token vectors from scratch: the made-up language, or AG News titles and descriptions."""
    run = recipes.static()
    if scale == "smoke":
        encoder, dims = {"width": 64, "max_tokens": 64, "vocab_size": 500}, (8, 16, 32, 64)
        data = {"source": "toy", "limit": 5000}
        return _set_up(run, "text", {"encoder": encoder, "dims": dims}, data, steps=60, batch_size=32)
    model = {
        "encoder": {"width": 256, "max_tokens": 64, "vocab_size": 8000},
        "dims": (8, 16, 32, 64, 128, 256),
    }
    return _set_up(run, "text", model, {"source": "ag_news"}, steps=200, batch_size=128)


# ---- the arms --------------------------------------------------------------------------------------------------


def fixed_features(run: RunConfig) -> dict[str, dict[str, Any]]:
    """FF-m for every m: the backbone keeps its width D, the loss reads m dimensions. The last is the ordinary model."""
    *dims, full = run.model.dims
    smaller = {f"FF-{m}": {"dims": (m, full), "weights": (1.0, 0.0)} for m in dims}
    return {**smaller, f"FF-{full}": {"dims": (full,)}}


def validation_score(trained: Trained) -> float:
    """Mean over the sizes that were trained: accuracy of the head, or recall@10 of pairs, on validation data."""
    measure = recalls if trained.system.head is None else linear
    return fmean(measure(trained, part="validation").values())


# ---- what is measured ------------------------------------------------------------------------------------------


def vectors(trained: Trained, inputs: Any) -> np.ndarray:
    """Full-width vectors, not normalised."""
    return trained.system.representation().encode(inputs, normalize=False, precision="fp32")


def _rows(part: "Examples", rows: int | None = None) -> tuple[Any, np.ndarray]:
    """Inputs and labels of the first ``rows`` examples (sets are shuffled), or of all."""
    return part.columns["input"][:rows], np.asarray(part.columns["label"])[:rows]


def _encoded(trained: Trained, part: str, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and labels of the first rows of a part of the data."""
    inputs, labels = _rows(getattr(trained.data, part), rows)
    return vectors(trained, inputs), labels


def head_logits(trained: Trained, features: np.ndarray, dim: int) -> np.ndarray:
    """The logits of the trained linear head on a prefix. Shapes: (N, D) → (N, C)."""
    import torch

    with torch.no_grad():
        return trained.system.head.at(torch.from_numpy(features[:, :dim])).numpy()


def head_accuracy(trained: Trained, features: np.ndarray, labels: np.ndarray, dim: int) -> float:
    """Top-1 of the trained linear head on a prefix."""
    return 100 * float((head_logits(trained, features, dim).argmax(1) == labels).mean())


def linear(trained: Trained, part: str = "test") -> dict[int, float]:
    """dim → accuracy of the head, for every size that was trained."""
    features, labels = trained.measured(_encoded, part, _TEST_ROWS)
    return {m: head_accuracy(trained, features, labels, m) for m in trained.system.trained}


def nearest(
    trained: Trained, control: str = "truncation", dims: Sequence[int] | None = None
) -> dict[int, float]:
    """dim → 1-NN accuracy of vectors shortened by ``control`` (truncation, SVD or random features) to ``dims``, or to every
    size that was trained."""
    from brickwork.evaluation.probes import knn_probe
    from brickwork.studies.matryoshka.controls import Reducer, random_features, svd, truncation

    train, train_labels = trained.measured(_encoded, "train", 5000)
    test, test_labels = trained.measured(_encoded, "test", _TEST_ROWS)
    reducers: dict[str, Callable[[int], Reducer]] = {
        "truncation": truncation,
        "SVD": functools.partial(svd, train),
        "random": lambda m: random_features(train.shape[1], m, trained.seed),
    }
    accuracy = {}
    for m in dims or trained.system.trained:
        cut = reducers[control](m)
        accuracy[m] = 100 * knn_probe(cut(train), train_labels, cut(test), test_labels).accuracy
    return accuracy


def cascaded(models: Mapping[str, Trained]) -> dict[str, float]:
    """The cascade over the prefixes of MRL against the FF models of the same seed: means over splits of the test part."""
    nested = models["MRL"]
    dims = list(nested.system.trained)
    full = dims[-1]
    _, labels = _rows(nested.data.test, _TEST_ROWS)
    logits = _test_logits(nested, dims)
    fixed_right = {m: _test_logits(models[f"FF-{m}"], [m])[m].argmax(1) == labels for m in dims}
    splits = []
    for split in range(_SPLITS):
        order = np.random.default_rng(1000 * nested.seed + split).permutation(len(labels))
        fit, rest = order[: len(order) // 3], order[len(order) // 3 :]
        fit_logits = {m: x[fit] for m, x in logits.items()}
        policy = CascadePolicy.fit(fit_logits, labels[fit])
        cap = _cheapest_cap(policy, fit_logits, labels[fit])
        result = policy.apply({m: x[rest] for m, x in logits.items()}, cap)
        accuracy = 100 * float((result.predictions == labels[rest]).mean())
        own = 100 * float((logits[full][rest].argmax(1) == labels[rest]).mean())
        ordinary = {m: 100 * float(right[rest].mean()) for m, right in fixed_right.items()}
        as_good = next((m for m in dims if ordinary[m] >= accuracy), full)
        scores = {
            "ratio": as_good / result.expected_dim,
            "cascade accuracy": accuracy,
            "best full-size accuracy": max(own, ordinary[full]),
            "expected dim": result.expected_dim,
            "FF dim of equal accuracy": as_good,
        }
        splits.append(scores)
    return {name: fmean(scores[name] for scores in splits) for name in splits[0]}


def _test_logits(trained: Trained, dims: Sequence[int]) -> dict[int, np.ndarray]:
    """The head's logits of the test part by prefix."""
    features, _ = trained.measured(_encoded, "test", _TEST_ROWS)
    return {m: head_logits(trained, features, m) for m in dims}


def _cheapest_cap(policy: CascadePolicy, logits: dict[int, np.ndarray], labels: np.ndarray) -> int:
    """The smallest longest prefix that costs at most 0.5 points on the part that thresholds were fitted on."""
    right = {m: 100 * float((policy.apply(logits, m).predictions == labels).mean()) for m in policy.dims}
    return min(m for m in policy.dims if right[m] >= max(right.values()) - 0.5)


def searches(trained: Trained) -> dict[tuple[str, str], float]:
    """(search, number) → mAP@10, millions of operations and milliseconds of a query.

    Exact scans and HNSW graphs, each at full size, with a shortlist (D_s = 16, K = 200) that is reranked at full size, and
    at 16 dimensions alone.
    """
    from brickwork.evaluation.grid import median_milliseconds
    from brickwork.evaluation.retrieval import map_paper
    from brickwork.index.search import FlatVectors, scan_cost
    from brickwork.representation.truncate import truncate

    full = max(trained.system.trained)
    stages: dict[str, list[Stage]] = {
        "": [(full, _TOP)],
        ", shortlist + rerank": [(16, 200), (full, _TOP)],
        " at 16": [(16, _TOP)],
    }
    features, stored_labels = _encoded(trained, "train", len(trained.data.train))
    database = FlatVectors(truncate(features, full))
    features, labels = _encoded(trained, "test", 2000)
    queries = truncate(features, full)
    results: dict[tuple[str, str], float] = {}
    for name, way in stages.items():
        graph = GraphSearch(database, way)
        scan = functools.partial(database.search, stages=way)
        for kind, search in (("scan", scan), ("HNSW", graph)):
            hits = (stored_labels[search(queries)[1]] == labels[:, None]).astype(np.float64)
            results[kind + name, "mAP@10"] = 100 * float(map_paper(hits, [], _TOP).mean())
            flops = graph.flops if kind == "HNSW" else scan_cost(len(stored_labels), way).flops
            results[kind + name, "MFLOPs"] = flops / 1e6
            results[kind + name, "milliseconds"] = median_milliseconds(search, list(queries[:100, None]))
    return results


class GraphSearch:
    """Search whose first stage walks an HNSW graph over the prefix instead of scanning it; M = 32 as in the paper."""

    def __init__(self, database: "FlatVectors", stages: Sequence["Stage"]):
        import faiss

        self.database, self.stages = database, stages
        dim, _ = stages[0]
        self.graph = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
        self.graph.hnsw.efSearch = 256
        self.graph.add(database.prefix(dim))
        self.flops = (
            0.0  # a query of the last search: two for each dimension of each vector that it was compared with
        )

    def __call__(self, queries: np.ndarray) -> tuple[Any, np.ndarray]:
        """Scores and rows (Q, keep)."""
        import faiss

        from brickwork.representation.truncate import truncate

        (dim, keep), *later = self.stages
        counts: Any = faiss.cvar
        counts.hnsw_stats.reset()
        scores, rows = self.graph.search(truncate(queries, dim), keep)
        compared = dim * counts.hnsw_stats.ndis / len(queries)
        for size, kept in later:
            compared += size * rows.shape[1]
            scores, rows = self.database.rerank(queries, rows, size, kept)
        self.flops = 2 * compared
        return scores, rows


@functools.cache
def _novel(source: str) -> tuple[Any, np.ndarray]:
    from brickwork.data.sets.images import load_images

    return _rows(load_images(source, "novel"))


def few_shots(trained: Trained, source: str) -> dict[tuple[int, str], float]:
    """(dim, part) → accuracy by nearest class mean on classes that were not trained on, for every size that was trained."""
    from brickwork.studies.matryoshka.long_tail import few_shot_accuracy, long_tail_accuracy

    inputs, labels = _novel(source)
    features, seed = vectors(trained, inputs), trained.seed
    accuracy: dict[tuple[int, str], float] = {}
    for m in trained.system.trained:
        x = features[:, :m]
        if source == "omniglot_small":
            for shots in (1, 5):
                right = few_shot_accuracy(x, labels, ways=20, shots=shots, draws=20, seed=seed)
                accuracy[m, f"{shots}-shot"] = 100 * right
        else:
            parts = long_tail_accuracy(x, labels, num_classes=40, draws=10, seed=seed)
            accuracy |= {(m, "head"): 100 * parts.head, (m, "tail"): 100 * parts.tail}
    return accuracy


def corrupted(trained: Trained) -> dict[str, float]:
    """Corruption → accuracy of the head at full size."""
    from brickwork.data.generators.corruptions import corruptions

    inputs, labels = _rows(trained.data.test, _TEST_ROWS)
    return {
        name: head_accuracy(trained, vectors(trained, images), labels, max(trained.system.trained))
        for name, images in corruptions(inputs, trained.seed).items()
    }


def recalls(trained: Trained, part: str = "test", dims: Sequence[int] | None = None) -> dict[int, float]:
    """dim → recall@10 in percent of the pairs of a part of the data, for ``dims`` or every size that was trained."""
    from brickwork.data.retrieval import retrieval_from_pairs
    from brickwork.evaluation.grid import evaluate_grid

    pairs = next(iter(trained.data.retrieval.values()))
    if part == "validation":
        pairs = retrieval_from_pairs("validation", trained.data.validation)
    dims = dims or list(trained.system.trained)
    representation = trained.system.representation()
    cells = evaluate_grid(representation, pairs, dims, metrics=("recall@10",), measure=False).cells
    return {cell.dim: 100 * cell.mean("recall@10") for cell in cells}
