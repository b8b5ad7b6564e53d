"""The models that the claims compare, and how they are read.

Every arm is this system with other ``dims`` and ``weights``: same data, seeds, steps and optimiser. The learning rate
is chosen for each arm from the same three, on validation data, by the sizes that the arm was trained for (the paper
re-tuned nothing for MRL). AdamW does not notice that a sum of k losses has a larger gradient. Accuracies are in percent.
"""

import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from brickwork.studies.bench import Trained
from brickwork.studies.study import Scale

if TYPE_CHECKING:
    from brickwork.data.types import Examples, RetrievalSet
    from brickwork.index.search import FlatVectors, Stage
    from brickwork.training.run import RunConfig

Search = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Queries (Q, D) → scores and rows (Q, keep)."""
_SPLITS = 10  # random splits of the test set into a part for thresholds and a part for results
_TOP = 10

# ---- set-ups ---------------------------------------------------------------------------------------------------


def digits() -> "RunConfig":
    """Digits of scikit-learn, an MLP 64-256-256-64, 40 epochs; half of the images are held out."""
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
    """CIFAR-10 (JPEG), averaged to 16 × 16, an MLP 768-512-512-128, 8 epochs.

    An MLP, since 35 trainings of a convolutional network do not fit into the time of this scale.
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
    """Tiny-ImageNet-100 averaged to 16 × 16, small residual network of 128 dimensions, 100 classes, 8 epochs."""
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
    """Omniglot (35 × 35, 183 characters of 6 alphabets), an MLP to 64 dimensions, 30 epochs."""
    run = digits()
    return replace(
        run,
        recipe="claims: omniglot_small",
        data=replace(run.data, source="omniglot_small"),
        train=replace(run.train, steps=1200, learning_rate=1e-3),
    )


def mnist(scale: Scale) -> "RunConfig":
    """MNIST as the database, an MLP to 256 dimensions."""
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


def fixed_features(run: "RunConfig") -> dict[str, dict[str, Any]]:
    """FF-m for every m: the backbone keeps its width D, the loss reads m dimensions. The last is the ordinary model."""
    *dims, full = run.model.dims
    smaller = {f"FF-{m}": {"dims": (m, full), "weights": (1.0, 0.0)} for m in dims}
    return {**smaller, f"FF-{full}": {"dims": (full,)}}


def validation_score(trained: Trained) -> float:
    """Mean over the sizes that were trained: accuracy of the head, or recall@10 of pairs, on validation data."""
    sizes = list(trained.system.trained)
    if trained.system.head is None:
        from brickwork.data.retrieval import retrieval_from_pairs

        pairs = retrieval_from_pairs("validation", trained.data.validation)
        return fmean(_recalls(trained, pairs, sizes).values())
    inputs, labels = _rows(trained.data.validation)
    features = vectors(trained, inputs)
    return fmean([head_accuracy(trained, features, labels, m) for m in sizes])


# ---- what is measured ------------------------------------------------------------------------------------------


def vectors(trained: Trained, inputs: Any) -> np.ndarray:
    """Full-width vectors, not normalised."""
    return trained.system.representation().encode(inputs, normalize=False, precision="fp32")


def _rows(part: "Examples", rows: int | None = None) -> tuple[Any, np.ndarray]:
    """Inputs and labels of the first ``rows`` examples (sets are shuffled), or of all."""
    return part.columns["input"][:rows], np.asarray(part.columns["label"])[:rows]


def test_vectors(trained: Trained) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and labels of the first 4000 rows of the test part."""
    inputs, labels = _rows(trained.data.test, 4000)
    return vectors(trained, inputs), labels


def train_vectors(trained: Trained) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and labels of the first 5000 training rows."""
    inputs, labels = _rows(trained.data.train, 5000)
    return vectors(trained, inputs), labels


def head_logits(trained: Trained, features: np.ndarray, dim: int) -> np.ndarray:
    """What the trained linear head says about a prefix. Shapes: (N, D) → (N, C)."""
    import torch

    with torch.no_grad():
        return trained.system.head.at(torch.from_numpy(features[:, :dim])).numpy()


def head_accuracy(trained: Trained, features: np.ndarray, labels: np.ndarray, dim: int) -> float:
    """Top-1 of the trained linear head on a prefix."""
    return 100 * float((head_logits(trained, features, dim).argmax(1) == labels).mean())


def linear(trained: Trained, dims: Sequence[int]) -> dict[int, float]:
    """dim → accuracy of the head."""
    features, labels = trained.measured(test_vectors)
    return {m: head_accuracy(trained, features, labels, m) for m in dims}


def nearest(trained: Trained, dims: Sequence[int], control: str = "truncation") -> dict[int, float]:
    """dim → 1-NN accuracy of vectors that were shortened by ``control``: truncation, SVD or random features."""
    from brickwork.evaluation.probes import knn_probe
    from brickwork.studies.matryoshka.controls import random_features, svd, truncation

    left, known = trained.measured(train_vectors)
    right, labels = trained.measured(test_vectors)
    accuracy = {}
    for m in dims:
        if control == "SVD":
            cut = svd(left, m)
        else:
            cut = random_features(left.shape[1], m, trained.seed) if control == "random" else truncation(m)
        accuracy[m] = 100 * knn_probe(cut(left), known, cut(right), labels).accuracy
    return accuracy


def cascaded(models: Mapping[str, Trained], mirrored: bool) -> dict[str, float]:
    """The cascade over the prefixes of MRL against the FF models of the same seed: means over splits of the test part."""
    from brickwork.systems.matryoshka.cascade import CascadePolicy

    nested = models["MRL"]
    fixed = {int(name.removeprefix("FF-")): model for name, model in models.items() if name != "MRL"}
    dims, full = list(fixed), max(fixed)
    inputs, labels = _rows(nested.data.test, 4000)
    views = [inputs, inputs[:, :, ::-1]] if mirrored else [inputs]
    logits = _mean_logits(nested, views, dims)
    fixed_hits = {m: _mean_logits(fixed[m], views, [m])[m].argmax(1) == labels for m in dims}
    splits = []
    for split in range(_SPLITS):
        order = np.random.default_rng(1000 * nested.seed + split).permutation(len(labels))
        fit, rest = order[: len(order) // 3], order[len(order) // 3 :]
        policy = CascadePolicy.fit({m: x[fit] for m, x in logits.items()}, labels[fit])
        cap = _cheapest_cap(policy, {m: x[fit] for m, x in logits.items()}, labels[fit])
        result = policy.apply({m: x[rest] for m, x in logits.items()}, cap)
        accuracy = 100 * float((result.predictions == labels[rest]).mean())
        own = 100 * float((logits[full][rest].argmax(1) == labels[rest]).mean())
        ordinary = {m: 100 * float(hits[rest].mean()) for m, hits in fixed_hits.items()}
        as_good = next((m for m in dims if ordinary[m] >= accuracy), full)
        best, expected = max(own, ordinary[full]), result.expected_dim
        splits.append((as_good / expected, accuracy, best, expected, as_good))
    names = (
        "ratio",
        "cascade accuracy",
        "best full-size accuracy",
        "expected dim",
        "FF dim of equal accuracy",
    )
    return {name: fmean(column) for name, column in zip(names, zip(*splits))}


def _mean_logits(trained: Trained, views: Sequence[np.ndarray], dims: Sequence[int]) -> dict[int, np.ndarray]:
    """The head's logits by prefix, each the mean over views of the same images."""
    features = [vectors(trained, view) for view in views]
    return {m: np.mean([head_logits(trained, x, m) for x in features], axis=0) for m in dims}


def _cheapest_cap(policy: Any, logits: dict[int, np.ndarray], labels: np.ndarray) -> int:
    """The smallest longest prefix that costs at most 0.5 points on the part that thresholds were fitted on."""
    right = {
        cap: 100 * float((policy.apply(logits, cap).predictions == labels).mean()) for cap in policy.dims
    }
    return min(cap for cap in policy.dims if right[cap] >= max(right.values()) - 0.5)


def searches(trained: Trained) -> dict[tuple[str, str], float]:
    """(search, number) → mAP@10, operations and milliseconds: a full scan; D_s = 16, K = 200, reranked at full size; D_s
    alone; and both on an HNSW graph."""
    from brickwork.evaluation.retrieval import map_paper
    from brickwork.index.search import FlatVectors, scan_cost
    from brickwork.representation.truncate import truncate

    full = max(trained.system.trained)
    shortlist = [(16, 200), (full, _TOP)]
    scans = {
        "single shot": [(full, _TOP)],
        "shortlist + rerank": shortlist,
        "single shot at 16": [(16, _TOP)],
    }
    graphs = {"HNSW": [(full, _TOP)], "HNSW, shortlist + rerank": shortlist}
    inputs, known = _rows(trained.data.train)
    database = FlatVectors(truncate(vectors(trained, inputs), full))
    inputs, labels = _rows(trained.data.test, 2000)
    queries = truncate(vectors(trained, inputs), full)
    ways: dict[str, Search] = {
        **{name: functools.partial(database.search, stages=stages) for name, stages in scans.items()},
        **{name: _graph_search(database, stages) for name, stages in graphs.items()},
    }
    results: dict[tuple[str, str], float] = {}
    for name, search in ways.items():
        hits = (known[search(queries)[1]] == labels[:, None]).astype(np.float64)
        results[name, "mAP@10"] = 100 * float(map_paper(hits, [], _TOP).mean())
        if name in scans:
            results[name, "MFLOPs"] = scan_cost(len(known), scans[name]).flops / 1e6
        results[name, "milliseconds"] = _milliseconds_a_query(search, queries)
    return results


def _graph_search(database: "FlatVectors", stages: Sequence["Stage"]) -> Search:
    """Search whose first stage walks an HNSW graph over the prefix instead of scanning it; M = 32 as in the paper."""
    import faiss

    from brickwork.representation.truncate import truncate

    (dim, keep), *later = stages
    graph = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efSearch = 256
    graph.add(database.prefix(dim))

    def search(queries: np.ndarray) -> tuple[Any, np.ndarray]:
        scores, rows = graph.search(truncate(queries, dim), keep)
        for size, kept in later:
            scores, rows = database.rerank(queries, rows, size, kept)
        return scores, rows

    return search


def _milliseconds_a_query(search: "Search", queries: np.ndarray) -> float:
    """The median over the first 100 queries, one at a time."""
    seconds = []
    for row in range(min(100, len(queries))):
        start = time.perf_counter()
        search(queries[row : row + 1])
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


@functools.cache
def _novel(source: str) -> tuple[Any, np.ndarray]:
    from brickwork.data.sets.images import load_images

    return _rows(load_images(source, "novel"))


def few_shots(trained: Trained, dims: Sequence[int], source: str) -> dict[tuple[int, str], float]:
    """(dim, part) → accuracy by nearest class mean on classes that were not trained on."""
    from brickwork.studies.matryoshka.long_tail import few_shot_accuracy, long_tail_accuracy

    inputs, labels = _novel(source)
    features, seed = vectors(trained, inputs), trained.seed
    accuracy: dict[tuple[int, str], float] = {}
    for m in dims:
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

    inputs, labels = _rows(trained.data.test, 4000)
    return {
        name: head_accuracy(trained, vectors(trained, images), labels, max(trained.system.trained))
        for name, images in corruptions(inputs, trained.seed).items()
    }


def recalls(trained: Trained, dims: Sequence[int]) -> dict[int, float]:
    """dim → recall@10 in percent of the test pairs."""
    return _recalls(trained, next(iter(trained.data.retrieval.values())), dims)


def _recalls(trained: Trained, retrieval: "RetrievalSet", dims: Sequence[int]) -> dict[int, float]:
    from brickwork.evaluation.grid import evaluate_grid

    cells = evaluate_grid(
        trained.system.representation(), retrieval, dims, metrics=("recall@10",), measure=False
    ).cells
    return {cell.dim: 100 * cell.mean("recall@10") for cell in cells}
