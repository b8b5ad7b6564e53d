"""The engine of every kind that FAISS has: one class, told apart by FAISS's own names (its index factory).

hnsw     a graph of neighbours, walked from far to near (arXiv 1603.09320); effort: candidates kept (efSearch)
ivf      lists around k-means centres, rows in 4-bit product codes compared in registers; effort: lists read (nprobe)
rabitq   the same lists, rows in one bit a number with an estimate of the rest (arXiv 2405.12497): no codes to learn, so it
         is built faster, and searched slower
int8     the range of each dimension cut into 255 steps, all rows compared; queries stay as they are
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from brickwork.index.shortlists.engines import Allowed, Prefixes, Rows, selector, untyped_faiss
from brickwork.index.types import Kind

LINKS = 32  # M: neighbours of a row in each layer of the graph, twice as many in the lowest
BUILD_EFFORT = 80  # efConstruction
SUBSPACES = 96  # at most, as long as each holds no more than 4 numbers
_SAMPLE_PER_LIST = 64
_SAMPLE_FOR_CODES = 50_000


@dataclass(frozen=True)
class _Recipe:
    """A kind in FAISS's words: the ``factory`` string for (rows, dim), and what it is as a class when it is read."""

    factory: Callable[[int, int], str]
    type_name: str


_RECIPES: dict[str, _Recipe] = {
    "int8": _Recipe(lambda rows, dim: "SQ8", "IndexScalarQuantizer"),
    "hnsw": _Recipe(lambda rows, dim: f"HNSW{LINKS}", "IndexHNSWFlat"),
    "ivf": _Recipe(
        lambda rows, dim: f"IVF{num_lists(rows)},PQ{num_subspaces(dim)}x4fs", "IndexIVFPQFastScan"
    ),
    "rabitq": _Recipe(lambda rows, dim: f"IVF{num_lists(rows)},RaBitQ", "IndexIVFRaBitQ"),
}


class FaissEngine:
    """Prefixes in an index of FAISS; its bytes are FAISS's own format."""

    def __init__(self, kind: Kind, index: Any):
        self.kind = kind
        self._index = index

    @classmethod
    def build(cls, kind: Kind, prefixes: Prefixes, seed: int) -> "FaissEngine":
        """What is learnt is learnt from a sample drawn by ``seed``: the same bytes each time, but for ``hnsw`` on more than
        one thread, whose links depend on timing."""
        faiss = untyped_faiss()

        rows, dim = prefixes.shape
        factory = _RECIPES[kind].factory(rows, dim)
        index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
        if kind == "hnsw":
            index.hnsw.efConstruction = BUILD_EFFORT
            index.hnsw.rng = faiss.RandomGenerator(seed)
        index.train(_sample(kind, index, prefixes, seed))
        index.add(prefixes)
        return cls(kind, index)

    @classmethod
    def restore(cls, kind: Kind, arrays: Mapping[str, np.ndarray], shape: tuple[int, int]) -> "FaissEngine":
        """The engine that gave these ``arrays``. FAISS trusts what it reads: it sees the bytes only if their hash is the
        recorded one.

        Raises:
            ValueError: bytes that are damaged, or of another kind or shape.
        """
        faiss = untyped_faiss()

        data, digest = arrays.get("faiss"), arrays.get("sha256")
        if data is None or digest is None or hashlib.sha256(data.data).digest() != digest.tobytes():
            raise ValueError("its FAISS bytes do not have the recorded sha256")
        try:
            index = faiss.deserialize_index(data)
        except RuntimeError as error:
            raise ValueError(f"FAISS {faiss.__version__} cannot read its bytes: {error}") from error
        if type(index).__name__ != _RECIPES[kind].type_name or (index.ntotal, index.d) != shape:
            raise ValueError(f"its FAISS index is not of kind {kind} and shape {list(shape)}")
        return cls(kind, index)

    def arrays(self) -> dict[str, np.ndarray]:
        data = untyped_faiss().serialize_index(self._index)
        digest = np.frombuffer(hashlib.sha256(data.data).digest(), dtype=np.uint8)
        return {"faiss": data, "sha256": digest.copy()}

    def find(self, queries: Prefixes, keep: int, effort: int | None, allowed: Allowed) -> Rows:
        parameters = self._parameters(keep, effort, allowed)
        return self._index.search(queries, keep, params=parameters)[1]

    def _parameters(self, keep: int, effort: int | None, allowed: Allowed) -> Any:
        faiss, chosen = untyped_faiss(), selector(allowed)
        if self.kind == "int8":
            return None if chosen is None else faiss.SearchParameters(sel=chosen)
        if self.kind == "hnsw":
            wide = _widened(max(effort or 0, keep), allowed, self._index.ntotal)
            return faiss.SearchParametersHNSW(efSearch=wide, sel=chosen)
        lists = self._index.nlist
        probed = min(_widened(effort or max(8, lists // 4), allowed, self._index.ntotal), lists)
        return faiss.SearchParametersIVF(nprobe=probed, sel=chosen)

    def nbytes(self) -> int:
        index = self._index
        if self.kind == "hnsw":
            return int(index.ntotal * (4 * index.d + 8 * LINKS))
        if self.kind == "int8":
            return int(index.ntotal * index.d)
        return int(index.ntotal * (index.code_size + 8) + 4 * index.nlist * index.d)

    def efforts(self) -> tuple[int | None, ...]:
        if self.kind == "int8":
            return (None,)
        if self.kind == "hnsw":
            return (64, 128, 256, 512)
        return tuple(2**power for power in range(2, self._index.nlist.bit_length())) or (1,)


def _sample(kind: Kind, index: Any, prefixes: Prefixes, seed: int) -> Float[np.ndarray, "sample dim"]:
    """The rows that lists and codes are learnt from; all of them for the ranges of ``int8``."""
    rows, dim = prefixes.shape
    if kind not in ("ivf", "rabitq"):
        return prefixes
    wanted = max(_SAMPLE_PER_LIST * index.nlist, _SAMPLE_FOR_CODES if kind == "ivf" else 0)
    for clustering in (index.cp, *([index.pq.cp] if kind == "ivf" else [])):
        clustering.seed = seed + 1
        clustering.min_points_per_centroid = 1  # small indexes are no mistake here
        clustering.max_points_per_centroid = 10**6
    index.cp.niter = 10
    chosen = np.random.default_rng(seed).choice(rows, min(rows, wanted), replace=False)
    return np.resize(prefixes[np.sort(chosen)], (max(len(chosen), 16), dim))  # 16: one code each


def num_lists(rows: int) -> int:
    """About √rows lists, a power of two, so that a list and the table of centres cost alike."""
    return 2 ** max(0, round(np.log2(max(rows, 1)) / 2))


def num_subspaces(dim: int) -> int:
    """Into how many equal pieces a prefix is cut for its codes: of 2 numbers, longer ones of up to 4."""
    wanted = max(-(-dim // 4), min(dim // 2, SUBSPACES))
    return next(pieces for pieces in range(wanted, dim + 1) if dim % pieces == 0)


def _widened(effort: int, allowed: Allowed, rows: int) -> int:
    """More effort in proportion to the rows that a filter leaves out."""
    return effort if allowed is None else effort * rows // max(int(np.count_nonzero(allowed)), 1)
