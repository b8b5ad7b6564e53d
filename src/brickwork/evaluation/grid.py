"""Retrieval quality and cost at every size: dims × layers from one encoding pass.

Every query's score is kept, so that two models can be compared on the same queries afterwards.
"""

import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from brickwork.core.config import from_dict, to_dict
from brickwork.core.elastic import bytes_per_vector, scan_flops
from brickwork.evaluation.retrieval import DEFAULT_METRICS, Relevance, parse_metric, score
from brickwork.evaluation.significance import Difference, paired_bootstrap_columns
from brickwork.representation.nearest import top_k
from brickwork.representation.truncate import truncate

if TYPE_CHECKING:
    from brickwork.data.types import RetrievalSet
    from brickwork.encoders.prompts import Role
    from brickwork.representation.model import Representation

_MEASURED_QUERIES = 16
_SCORE_DIGITS = 6


@runtime_checkable
class Words(Protocol):
    """What ranks the documents of a retrieval set by vectors and by its words together."""

    milliseconds: float
    """Of one query by words alone."""

    def rank(
        self,
        queries: Float[np.ndarray, "queries dim"],
        documents: Float[np.ndarray, "documents dim"],
        top: int,
        kept: float,
    ) -> Int[np.ndarray, "queries depth"]: ...


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one query costs at one size.

    ``encode_flops``: the mean over the queries; ``scan_flops`` and ``vector_bytes``: to compare it with
    all documents, and to store one of them. The milliseconds are medians over single queries, measured here.
    """

    scan_flops: int
    vector_bytes: int
    encode_flops: float | None = None
    encode_milliseconds: float | None = None
    scan_milliseconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One size: metric → score of every query, and the cost; ``hybrid`` are the scores with words beside the vectors, where
    that was measured."""

    dim: int
    layers: int
    scores: dict[str, tuple[float, ...]]
    cost: Cost
    hybrid: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def mean(self, metric: str) -> float:
        """The mean of a metric over the queries."""
        return statistics.fmean(self.scores[metric])


@dataclass(frozen=True, kw_only=True)
class GridResult:
    """The grid of one model on one retrieval set; ``words_milliseconds``: what words beside vectors add to a query, where
    that was measured."""

    name: str
    fingerprint: str
    num_queries: int
    num_documents: int
    metrics: tuple[str, ...]
    cells: tuple[Cell, ...]
    words_milliseconds: float | None = None

    def cell(self, dim: int, layers: int) -> Cell:
        """The cell of one size."""
        for cell in self.cells:
            if (cell.dim, cell.layers) == (dim, layers):
                return cell
        raise KeyError(f"the grid has no cell with dim={dim}, layers={layers}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; :meth:`from_dict` gives back an equal result."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "GridResult":
        """Reads what :meth:`to_dict` gave.

        Raises:
            ConfigError: a field is missing or of the wrong type.
        """
        return from_dict(cls, values)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One size before and after, with the paired difference."""

    dim: int
    layers: int
    before: float
    after: float
    difference: Difference


def evaluate_grid(
    representation: "Representation",
    retrieval: "RetrievalSet",
    dims: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    measure: bool = True,
    progress: bool = False,
    words: Words | None = None,
) -> GridResult:
    """Quality and cost of a representation at every size (default: those it was trained for).

    Each text is encoded once, queries and documents behind the prompt that the model wants for them, and all depths are
    read off that pass. ``measure`` also times encoding and scanning of single queries. With ``words`` hybrid searches are
    measured at every size as well.

    Raises:
        ConfigError: a size outside the model's, or an unknown metric.
    """
    from brickwork.representation.encode import encode_exits

    axes = representation.axes
    dims = sorted(set(dims or axes.dims), reverse=True)
    layers = sorted(set(layers or axes.layers))
    for dim in dims:
        axes.resolve(dim, None)
    for depth in layers:
        axes.resolve(None, depth)
    for metric in metrics:
        parse_metric(metric)
    texts: dict[Role, Any] = {"query": retrieval.queries, "document": retrieval.documents}
    queries, documents = (
        encode_exits(
            representation.encoder, representation.prompted(values, role), layers=layers, progress=progress
        )
        for role, values in texts.items()
    )
    scores = grid_scores(queries, documents, retrieval.relevant, dims, metrics)
    hybrid = {}
    if words is not None:
        kept = _kept(scores)

        def rank(size: tuple[int, int], left: np.ndarray, right: np.ndarray, top: int) -> np.ndarray:
            return words.rank(left, right, top, kept[size])

        hybrid = grid_scores(queries, documents, retrieval.relevant, dims, metrics, rank)
    costs = size_costs(representation, retrieval.queries, documents, dims, layers, measure=measure)
    return GridResult(
        name=retrieval.name,
        fingerprint=representation.fingerprint,
        num_queries=len(retrieval.queries),
        num_documents=len(retrieval.documents),
        metrics=tuple(metrics),
        cells=tuple(
            Cell(
                dim=dim,
                layers=depth,
                scores=scores[dim, depth],
                cost=costs[dim, depth],
                hybrid=hybrid.get((dim, depth), {}),
            )
            for depth in layers
            for dim in dims
        ),
        words_milliseconds=None if words is None else words.milliseconds,
    )


def grid_scores(
    queries: Mapping[int, np.ndarray],
    documents: Mapping[int, np.ndarray],
    relevant: Relevance,
    dims: Sequence[int],
    metrics: Sequence[str],
    rank: Callable[..., np.ndarray] | None = None,
) -> dict[tuple[int, int], dict[str, tuple[float, ...]]]:
    """(dim, layers) → metric → score of each query, by exact search over truncated, then normalised vectors, or by what
    ``rank`` makes of them: (size, queries, documents, how many) → rows of the best.

    Shapes: each array of ``queries`` is (queries, width) and of ``documents`` (documents, width), by depth.
    """
    depth_needed = max(parse_metric(metric)[1] for metric in metrics)
    scores = {}
    for layers in queries:
        for dim in dims:
            left, right = (truncate(vectors[layers], dim) for vectors in (queries, documents))
            ranked = (
                top_k(left, right, depth_needed)[1]
                if rank is None
                else rank((dim, layers), left, right, depth_needed)
            )
            scores[dim, layers] = {
                metric: tuple(np.round(values, _SCORE_DIGITS).tolist())
                for metric, values in score(ranked, relevant, metrics).items()
            }
    return scores


def _kept(scores: Mapping[tuple[int, int], Mapping[str, Sequence[float]]]) -> dict[tuple[int, int], float]:
    """The share of full size's quality that each size keeps, by the first metric, at most 1."""
    means = {size: statistics.fmean(next(iter(by_metric.values()))) for size, by_metric in scores.items()}
    full = means[max(means, key=lambda size: (size[1], size[0]))]
    return {size: min(1.0, mean / full) if full > 0 else 1.0 for size, mean in means.items()}


def size_costs(
    representation: "Representation",
    queries: Sequence[str],
    documents: Mapping[int, np.ndarray],
    dims: Sequence[int],
    layers: Sequence[int],
    *,
    measure: bool = True,
) -> dict[tuple[int, int], Cost]:
    """(dim, layers) → :class:`Cost`. Encoding depends on the depth alone and scanning on the width alone."""
    vectors = documents[max(layers)]
    sample = list(queries[:_MEASURED_QUERIES])
    flops = query_flops(representation, queries, layers)
    encoding: dict[int, float | None] = dict.fromkeys(layers)
    scanning: dict[int, float | None] = dict.fromkeys(dims)
    if measure:
        for depth in layers:
            encode = functools.partial(representation.encode, layers=depth, role="query")
            encoding[depth] = median_milliseconds(encode, [[query] for query in sample])
        for dim in dims:
            prefixes = np.ascontiguousarray(truncate(vectors, dim))
            rows = [prefixes[i % len(prefixes)][None] for i in range(len(sample))]
            scanning[dim] = median_milliseconds(functools.partial(top_k, documents=prefixes, k=10), rows)
    return {
        (dim, depth): Cost(
            scan_flops=scan_flops(len(vectors), dim),
            vector_bytes=bytes_per_vector(dim),
            encode_flops=flops[depth],
            encode_milliseconds=encoding[depth],
            scan_milliseconds=scanning[dim],
        )
        for dim in dims
        for depth in layers
    }


def query_flops(
    representation: "Representation", queries: Sequence[str], layers: Sequence[int]
) -> dict[int, float | None]:
    """Depth → mean floating-point operations to encode one query; ``None`` for inputs that are not text."""
    encoder = representation.encoder
    if not hasattr(encoder, "tokenize") or not queries:
        return dict.fromkeys(layers)
    lengths = encoder.tokenize(representation.prompted(list(queries), "query")).lengths.tolist()
    return {depth: encoder.flops(lengths, depth) / len(lengths) for depth in layers}


def median_milliseconds(call: Callable[[Any], object], inputs: Sequence[Any]) -> float:
    """The median time of ``call`` over the inputs, one at a time, after one pass to warm up.

    The pass covers every input: CPU kernels for bf16 are made when a length of text is first seen.
    """
    for item in inputs:
        call(item)
    times = []
    for item in inputs:
        start = time.perf_counter()
        call(item)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def compare(before: GridResult, after: GridResult, metric: str = "ndcg@10") -> tuple[Comparison, ...]:
    """The paired difference at every size that both grids have, with bootstrap intervals over queries."""
    if (before.name, before.num_queries) != (after.name, after.num_queries):
        raise ValueError(f"the grids are of different sets: {before.name} and {after.name}")
    sizes = [(c.dim, c.layers) for c in after.cells]
    sizes = [size for size in sizes if any((c.dim, c.layers) == size for c in before.cells)]
    if not sizes:
        return ()
    left, right = (_matrix(grid, sizes, metric) for grid in (before, after))
    differences = paired_bootstrap_columns(right - left)
    return tuple(
        Comparison(
            dim=dim,
            layers=layers,
            before=float(left[:, i].mean()),
            after=float(right[:, i].mean()),
            difference=differences[i],
        )
        for i, (dim, layers) in enumerate(sizes)
    )


def _matrix(
    grid: GridResult, sizes: Sequence[tuple[int, int]], metric: str
) -> Float[np.ndarray, "queries sizes"]:
    return np.array([grid.cell(dim, layers).scores[metric] for dim, layers in sizes]).T
