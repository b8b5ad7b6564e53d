"""Can a new model search what an old one has indexed: the compatibility matrix of a series of encoders, and its numbers.

Entry (i, j) is the quality of a search with queries by model i in a gallery by model j ≤ i: on the diagonal a model
with itself ("self-test"), below it a newer model against an older one's gallery ("cross-test").
Shen et al., CVPR 2020 (the criterion); Biondi et al., arXiv 2405.02581, section 4 (AC and AA).
Shape legend: T models, Q queries, N gallery rows, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from brickwork.core.errors import ConfigError, DataError
from brickwork.core.registry import successor_hint
from brickwork.evaluation.probes import knn_probe, nearest_class_mean, normalise

if TYPE_CHECKING:
    from brickwork.data.types import RetrievalSet, TaskData
    from brickwork.representation.model import Representation

Search = Literal["identification", "nearest neighbour"]
SEARCHES: tuple[Search, ...] = get_args(Search)
MAX_ROWS = 5_000
TRIPLETS = 20_000


@dataclass(frozen=True, kw_only=True)
class CompatibilityMatrix:
    """Search quality, from 0 to 1, for each pair of a newer and an older model.

    ``names``: the models, oldest first. ``values``: row i has the entries (i, 0) … (i, i). ``chance``: what a
    search that knows nothing would score, where that is known.
    """

    names: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    metric: str
    chance: float | None = None

    def __post_init__(self) -> None:
        lengths = [len(row) for row in self.values]
        if lengths != list(range(1, len(self.names) + 1)):
            raise ValueError(
                f"a matrix of {len(self.names)} models has rows of 1, 2, … values; these have {lengths}"
            )

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(newer, older) of every cross-test."""
        return tuple((i, j) for i in range(len(self.values)) for j in range(i))

    @property
    def average_compatibility(self) -> float | None:
        """AC: the share of cross-tests that are strictly better than the old model's self-test; a tie is not.

        Maths: 2/(T(T−1)) Σ_{i>j} 1[M_ij > M_jj]. It counts and does not weigh: a series that loses a
        thousandth in every cross-test scores 0, as one that falls to chance. ``None`` for a single model.
        """
        passed = [self.values[i][j] > self.values[j][j] for i, j in self.pairs]
        return fmean(passed) if passed else None

    @property
    def average_accuracy(self) -> float:
        """AA, in percent: the mean of the lower triangle with the diagonal. A true 0 counts."""
        return 100 * fmean(value for row in self.values for value in row)

    @property
    def mean_self(self) -> float:
        """The mean of the self-tests, in percent."""
        return 100 * fmean(row[-1] for row in self.values)

    @property
    def mean_cross(self) -> float | None:
        """The mean of the cross-tests, in percent; ``None`` for a single model."""
        return 100 * fmean(self.values[i][j] for i, j in self.pairs) if self.pairs else None

    @property
    def mean_gain(self) -> float | None:
        """The mean of cross-test − the old model's self-test, in points: what AC does not weigh."""
        return (
            100 * fmean(self.values[i][j] - self.values[j][j] for i, j in self.pairs) if self.pairs else None
        )

    def summary(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "metric": self.metric,
            "models": list(self.names),
            "matrix": [list(row) for row in self.values],
            "chance": self.chance,
            "average_compatibility": self.average_compatibility,
            "average_accuracy": self.average_accuracy,
            "mean_self": self.mean_self,
            "mean_cross": self.mean_cross,
            "mean_gain": self.mean_gain,
        }


def compatibility_matrix(
    queries: Sequence[Float[np.ndarray, "queries _d"]],
    query_labels: Int[np.ndarray, " queries"],
    gallery: Sequence[Float[np.ndarray, "rows _d"]],
    gallery_labels: Int[np.ndarray, " rows"],
    *,
    names: Sequence[str] = (),
    search: Search = "identification",
) -> CompatibilityMatrix:
    """The matrix of a series of encoders from their vectors of the same labelled queries and gallery.

    ``queries[i]`` and ``gallery[i]`` are by model i, oldest first. ``identification``: the gallery's unit vectors are
    averaged to one template a class, and a query is given the class of the nearest (1:N identification, the
    paper's). ``nearest neighbour``: the class of the nearest gallery row.

    Raises:
        ConfigError: vectors of two models have other lengths and cannot be compared.
    """
    names = tuple(names) or tuple(f"model {i + 1}" for i in range(len(queries)))
    check_widths(names, [vectors.shape[1] for vectors in queries])

    def score(i: int, j: int) -> float:
        if search == "nearest neighbour":
            return knn_probe(gallery[j], gallery_labels, queries[i], query_labels).accuracy
        predictions = nearest_class_mean(gallery[j], gallery_labels, queries[i])
        return float((predictions == query_labels).mean())

    return CompatibilityMatrix(
        names=names,
        values=tuple(tuple(score(i, j) for j in range(i + 1)) for i in range(len(queries))),
        metric=f"{search} accuracy",
        chance=1 / len(np.unique(gallery_labels)),
    )


def retrieval_matrix(
    queries: Sequence[Float[np.ndarray, "queries _d"]],
    documents: Sequence[Float[np.ndarray, "rows _d"]],
    relevant: Sequence[dict[int, int]],
    *,
    names: Sequence[str] = (),
    metric: str = "ndcg@10",
) -> CompatibilityMatrix:
    """The same for queries with relevant documents in place of labels. Raises as :func:`compatibility_matrix`."""
    from brickwork.evaluation.retrieval import score
    from brickwork.representation.nearest import top_k

    names = tuple(names) or tuple(f"model {i + 1}" for i in range(len(queries)))
    check_widths(names, [vectors.shape[1] for vectors in queries])

    def quality(i: int, j: int) -> float:
        _, ranked = top_k(normalise(queries[i]), normalise(documents[j]), 10)
        return float(score(ranked, list(relevant), (metric,))[metric].mean())

    values = tuple(tuple(quality(i, j) for j in range(i + 1)) for i in range(len(queries)))
    return CompatibilityMatrix(names=names, values=values, metric=metric)


def satisfied_triplets(
    old_queries: Float[np.ndarray, "queries dim"],
    new_queries: Float[np.ndarray, "queries dim"],
    query_labels: Int[np.ndarray, " queries"],
    old_gallery: Float[np.ndarray, "rows dim"],
    gallery_labels: Int[np.ndarray, " rows"],
    *,
    count: int = TRIPLETS,
    seed: int = 0,
) -> float:
    """The share of sampled triplets (a query, a gallery row of its class, one of another) that keep both inequalities
    of compatibility.

    Maths: d(φ_new(x_i), φ_old(x_j)) ≤ d(φ_old(x_i), φ_old(x_j)) for y_j = y_i, and ≥ for y_j ≠ y_i (eq. 1), d
    the distance of unit vectors. Two unrelated changes would keep both in a quarter of the cases.

    Raises:
        DataError: no query has a gallery row of its class and one of another.
    """
    rng = np.random.default_rng(seed)
    classes, starts, counts = np.unique(np.sort(gallery_labels), return_index=True, return_counts=True)
    usable = np.flatnonzero(np.isin(query_labels, classes)) if len(classes) > 1 else np.zeros(0, np.int64)
    if not len(usable):
        raise DataError("no query has gallery rows of its own class and of another; nothing can be compared")
    anchors = rng.choice(usable, size=count)
    own = np.searchsorted(classes, query_labels[anchors])
    by_class = np.argsort(gallery_labels, kind="stable")
    same = by_class[starts[own] + (rng.random(count) * counts[own]).astype(np.int64)]
    other = rng.integers(len(gallery_labels), size=count)
    while (clash := gallery_labels[other] == query_labels[anchors]).any():
        other[clash] = rng.integers(len(gallery_labels), size=int(clash.sum()))
    old, new, gallery = normalise(old_queries), normalise(new_queries), normalise(old_gallery)

    def cosine(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.einsum("nd,nd->n", vectors[anchors], gallery[rows])

    nearer = cosine(new, same) >= cosine(old, same)
    farther = cosine(new, other) <= cosine(old, other)
    return float((nearer & farther).mean())


def check_widths(names: Sequence[str], widths: Sequence[int]) -> None:
    """Refuses models whose vectors have other lengths.

    Raises:
        ConfigError: names two of them.
    """
    for name, width in zip(names, widths):
        if width != widths[0]:
            raise ConfigError(
                f"{names[0]} gives vectors of {widths[0]} dimensions and {name} of {width}: they cannot be compared. Train "
                f"the newer one as its successor ({successor_hint(names[0])})"
            )


def check_models(models: "Sequence[Representation]", names: Sequence[str]) -> None:
    """Refuses what cannot be compared, before any data is read.

    Raises:
        ConfigError: fewer than two models, or vectors of other lengths.
    """
    if len(models) < 2:
        raise ConfigError("a compatibility matrix needs two models or more, the oldest first")
    check_widths(names, [model.axes.full_dim for model in models])


def measure_compatibility(
    models: "Sequence[Representation]",
    data: "TaskData",
    *,
    names: Sequence[str] = (),
    search: Search = "identification",
    max_rows: int = MAX_ROWS,
) -> list[CompatibilityMatrix]:
    """The matrices of ``models``, oldest first, on the held-out part of ``data``, whatever trained them.

    Data with queries gives one matrix (nDCG@10) a retrieval set. Labelled data gives one: the gallery is the first
    ``max_rows`` of the training part, the queries are those of the test part.

    Raises:
        ConfigError: fewer than two models, or vectors of other lengths.
        DataError: the data has neither queries nor labels.
    """
    names = tuple(names) or tuple(model.fingerprint for model in models)
    check_models(models, names)
    if data.retrieval:
        return [_retrieval(models, names, retrieval) for retrieval in data.retrieval.values()]
    if data.kind != "labelled" or not len(data.test):
        raise DataError(
            f"{data.name} has neither held-out queries nor labels; give pairs, or inputs with a column 'label'"
        )
    gallery, queries = (part.take(range(min(max_rows, len(part)))) for part in (data.train, data.test))
    matrix = compatibility_matrix(
        [model.encode(queries["input"]) for model in models],
        np.asarray(queries["label"], dtype=np.int64),
        [model.encode(gallery["input"]) for model in models],
        np.asarray(gallery["label"], dtype=np.int64),
        names=names,
        search=search,
    )
    return [matrix]


def _retrieval(
    models: "Sequence[Representation]", names: Sequence[str], retrieval: "RetrievalSet"
) -> CompatibilityMatrix:
    matrix = retrieval_matrix(
        [model.encode(retrieval.queries, role="query") for model in models],
        [model.encode(retrieval.documents, role="document") for model in models],
        retrieval.relevant,
        names=names,
    )
    return CompatibilityMatrix(
        names=matrix.names, values=matrix.values, metric=f"{retrieval.name}: {matrix.metric}", chance=None
    )
