"""The vectors that benchmarks/search.py searches: a real corpus, and one million grown from it.

Real: the documentation and the source of the documented functions of the installed Python packages, each a document
of its own, encoded by a model that `brickwork demo` trained on the first 8,000 functions. Queries are the summaries
of functions whose modules the training did not see; relevant are that function's documentation and source.

One million: the real vectors and, between them, made ones. A made vector is a real one moved by a random
combination of the differences to its nearest neighbours, so that it stays on the surface that the real ones lie on.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from brickwork.core.files import read_json, write_json
from brickwork.data.readers.passages import cut_words
from brickwork.representation.nearest import top_k

TRAINED_FUNCTIONS = 8000  # what the recipe `demo` sees
PART = 4096
NEIGHBOURS = 32


@dataclass(frozen=True)
class Corpus:
    """Unit vectors of documents and queries, and for each query the rows of its relevant documents."""

    documents: Float[np.ndarray, "documents width"]
    queries: Float[np.ndarray, "queries width"]
    relevant: list[dict[int, int]]


def texts(num_queries: int, limit: int | None = None) -> tuple[list[str], list[str], list[dict[int, int]]]:
    """Documents, queries and judgements from the installed packages; documents that are equal count once."""
    from brickwork.data.sets.python_corpus import collect

    table = collect(limit).to_pydict()
    trained = set(table["module"][:TRAINED_FUNCTIONS])
    place: dict[str, int] = {}
    answers: dict[str, dict[int, int]] = {}
    for row, summary in enumerate(table["summary"]):
        found = [cut_words(table[kind][row], 200) for kind in ("body", "source") if table[kind][row]]
        rows = {place.setdefault(text, len(place)): 1 for text in found}
        if rows and row >= TRAINED_FUNCTIONS and table["module"][row] not in trained:
            answers.setdefault(summary, {}).update(rows)
    queries = random.Random(0).sample(sorted(answers), min(num_queries, len(answers)))
    return list(place), queries, [answers[query] for query in queries]


def real_corpus(model: Path, cache: Path, num_queries: int = 2000, limit: int | None = None) -> Corpus:
    """The real corpus, collected and encoded once: afterwards it is what ``cache`` holds for this model.

    Installing packages would change it; remove the folder in the cache to collect it again.
    """
    import brickwork

    representation = brickwork.load(model)
    folder = cache / f"{representation.fingerprint}-{num_queries}-{limit or 'all'}"
    if not (folder / "relevant.json").exists():
        documents, queries, relevant = texts(num_queries, limit)
        folder.mkdir(parents=True, exist_ok=True)
        for name, items in (("documents", documents), ("queries", queries)):
            parts = [items[start : start + PART] for start in range(0, len(items), PART)]
            vectors = np.concatenate([representation.encode(part) for part in parts])
            np.save(folder / f"{name}.npy", vectors.astype(np.float32))
        write_json(folder / "relevant.json", [sorted(rows) for rows in relevant])
    return Corpus(
        np.load(folder / "documents.npy"),
        np.load(folder / "queries.npy"),
        [dict.fromkeys(rows, 1) for rows in read_json(folder / "relevant.json")],
    )


def grow(
    real: Float[np.ndarray, "documents width"], count: int, spread: float, seed: int = 0
) -> Float[np.ndarray, "count width"]:
    """The real vectors first, then made ones, ``count`` in all.

    x = xᵢ + spread · Σₘ gₘ (nₘ(xᵢ) − xᵢ) / √NEIGHBOURS at unit length, g normal, nₘ the m-th nearest neighbour: a
    normal distribution around xᵢ with the covariance of its neighbourhood, ``spread`` times as wide.
    """
    from scipy.sparse import csr_array

    rng = np.random.default_rng(seed)
    near = top_k(real, real, NEIGHBOURS + 1)[1][:, 1:]
    grown = np.empty((count, real.shape[1]), dtype=np.float32)
    grown[: len(real)] = real
    for start in range(len(real), count, 50_000):
        size = min(50_000, count - start)
        base = rng.integers(0, len(real), size)
        weights = rng.normal(0, spread / NEIGHBOURS**0.5, (size, NEIGHBOURS)).astype(np.float32)
        values = np.hstack([weights, 1 - weights.sum(1, keepdims=True)])
        columns = np.hstack([near[base], base[:, None]])
        rows = np.arange(0, values.size + 1, NEIGHBOURS + 1)
        mixed = csr_array((values.ravel(), columns.ravel(), rows), shape=(size, len(real))) @ real
        grown[start : start + size] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    return grown


def local_dimension(vectors: Float[np.ndarray, "n width"], sample: int = 1000, k: int = 50) -> float:
    """The intrinsic dimension around a vector: the median maximum-likelihood estimate from its ``k`` nearest.

    Levina and Bickel, NIPS 2004, equation 8.
    """
    rows = np.random.default_rng(0).choice(len(vectors), sample, replace=False)
    cosines = top_k(vectors[rows], vectors, k + 1)[0][:, 1:]
    distances = np.sqrt(np.maximum(2 - 2 * cosines, 1e-9))
    return float(np.median(1 / np.log(distances[:, -1:] / distances[:, :-1]).mean(axis=1)))
