"""Elastic search over unit vectors: scan a prefix, then look again at fewer documents with more dimensions.

A search is a list of stages ``(dim, keep)``: the first compares the query with every document on a prefix of
``dim`` dimensions, each further one reorders the survivors of the stage before. One stage is the plain search,
two are shortlist and rerank, more are the funnel of Matryoshka (arXiv 2205.13147, section 4.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from brickwork.core.elastic import ElasticAxes, bytes_per_vector, scan_flops
from brickwork.index.types import Codec
from brickwork.representation.nearest import best_first, top_k
from brickwork.representation.signs import SignRows, Vectors
from brickwork.representation.truncate import truncate

Stage = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ScanCost:
    """What the comparisons of one query cost: operations, and bytes of vectors read."""

    flops: int
    bytes_scanned: int


def prefixes(vectors: Vectors, dim: int) -> Vectors:
    """The first ``dim`` dimensions of each row at unit length, contiguous; at full width the rows as they are, which are so
    already."""
    if isinstance(vectors, SignRows):
        return vectors.prefix(dim)
    if dim == vectors.shape[1]:
        return np.ascontiguousarray(vectors, dtype=np.float32)
    return truncate(vectors, dim)


class FlatVectors:
    """Exact search over one matrix of unit vectors and its prefixes.

    A prefix that is scanned gets a contiguous matrix of its own, made when first needed: a scan reads then
    ``dim`` dimensions a document and not whole rows.
    """

    def __init__(self, vectors: Vectors):
        self.vectors: Any = vectors  # rows by number, by mask or in slices
        self._prefixes: dict[int, Vectors] = {vectors.shape[1]: vectors}

    def __len__(self) -> int:
        return len(self.vectors)

    def prefix(self, dim: int) -> Any:
        """The documents' prefixes of ``dim`` dimensions at unit length, as :attr:`vectors` has its rows."""
        if dim not in self._prefixes:
            self._prefixes[dim] = prefixes(self.vectors, dim)
        return self._prefixes[dim]

    def scan(
        self, queries: Float[np.ndarray, "queries width"], dim: int, keep: int
    ) -> tuple[Float[np.ndarray, "queries keep"], Int[np.ndarray, "queries keep"]]:
        """Cosines and rows of the best ``keep`` documents on a prefix, equal scores by row."""
        return top_k(truncate(queries, dim), self.prefix(dim), keep)

    def rerank(
        self,
        queries: Float[np.ndarray, "queries width"],
        rows: Int[np.ndarray, "queries candidates"],
        dim: int,
        keep: int,
    ) -> tuple[Float[np.ndarray, "queries keep"], Int[np.ndarray, "queries keep"]]:
        """The best ``keep`` of each query's candidate rows on a prefix of ``dim`` dimensions."""
        # Few rows: cutting them here is cheaper than a prefix matrix of all documents.
        candidates = truncate(self.vectors[rows.reshape(-1)], dim).reshape(*rows.shape, dim)
        scores = np.einsum("qd,qkd->qk", truncate(queries, dim), candidates)
        scores, rows = best_first(scores, rows)
        return scores[:, :keep], rows[:, :keep]

    def search(
        self, queries: Float[np.ndarray, "queries width"], stages: Sequence[Stage]
    ) -> tuple[Float[np.ndarray, "queries keep"], Int[np.ndarray, "queries keep"]]:
        """Cosines (of the last stage's prefix) and rows, best first.

        Shapes: queries (queries, width), not cut → two arrays (queries, min(last keep, documents)).
        """
        (dim, keep), *later = stages
        scores, rows = self.scan(queries, dim, keep)
        for dim, keep in later:
            scores, rows = self.rerank(queries, rows, dim, keep)
        return scores, rows


def scan_cost(num_documents: int, stages: Sequence[Stage], codec: Codec = "float32") -> ScanCost:
    """N · d₁ + Σ kept · d numbers, or bits, are read and compared for each query, reranking included."""
    compared = num_documents
    flops = 0
    read = 0
    for dim, keep in stages:
        flops += scan_flops(compared, dim)
        read += compared * (-(-dim // 8) if codec == "bits" else bytes_per_vector(dim))
        compared = min(keep, compared)
    return ScanCost(flops=flops, bytes_scanned=read)


def shortlist_dim(axes: ElasticAxes) -> int:
    """The prefix that a shortlist scans by default: the smallest trained one ≥ an eighth of the width.

    The paper scans less (16 of 2048); shorter vectors than its cannot be cut that far.
    """
    return min(dim for dim in axes.dims if dim * 8 >= axes.full_dim)


def default_funnel(axes: ElasticAxes, dim: int, top: int) -> list[Stage]:
    """Stages over the trained prefixes from :func:`shortlist_dim` up to ``dim``, each keeping half as many.

    The first keeps 200, or twenty for each wanted result if that is more (the paper: 200, 100, 50, 25).
    """
    keep = max(200, 20 * top)
    stages = []
    for size in axes.dims:
        if shortlist_dim(axes) <= size < dim:
            stages.append((size, max(keep, top)))
            keep //= 2
    return [*stages, (dim, top)]
