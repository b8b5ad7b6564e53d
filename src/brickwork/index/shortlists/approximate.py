"""Engines that compare a query with few of the rows: hnsw, ivf. Both are FAISS's; their bytes are its own format."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from brickwork.index.shortlists.engines import Allowed, Prefixes, Rows, selector, untyped_faiss

LINKS = 32  # M: neighbours of a row in each layer of the graph, twice as many in the lowest
BUILD_EFFORT = 80  # efConstruction
SUBSPACES = 96  # at most, as long as each holds no more than 4 numbers
_SAMPLE_PER_LIST = 64
_SAMPLE_FOR_CODES = 50_000


class HnswEngine:
    """A graph of neighbours, walked from far to near (arXiv 1603.09320).

    ``effort`` is efSearch: how many candidates the walk keeps, at least ``keep``.
    """

    def __init__(self, index: Any):
        self._index = index

    @classmethod
    def build(cls, prefixes: Prefixes, seed: int) -> "HnswEngine":
        """With more than one thread the links depend on timing, and so do the bytes."""
        faiss = untyped_faiss()

        index = faiss.IndexHNSWFlat(prefixes.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = BUILD_EFFORT
        index.hnsw.rng = faiss.RandomGenerator(seed)
        index.add(prefixes)
        return cls(index)

    @classmethod
    def restore(
        cls, arrays: Mapping[str, np.ndarray], shape: tuple[int, int], prefixes: Callable[[], Prefixes]
    ) -> "HnswEngine":
        faiss = untyped_faiss()

        return cls(_from_bytes(arrays, faiss.IndexHNSWFlat, shape))

    def arrays(self) -> dict[str, np.ndarray]:
        return _to_bytes(self._index)

    def find(self, queries: Prefixes, keep: int, effort: int | None, allowed: Allowed) -> Rows:
        faiss = untyped_faiss()

        effort = _widened(max(effort or 0, keep), allowed, self._index.ntotal)
        parameters = faiss.SearchParametersHNSW(efSearch=effort, sel=selector(allowed))
        return self._index.search(queries, keep, params=parameters)[1]

    def nbytes(self) -> int:
        return self._index.ntotal * (4 * self._index.d + 8 * LINKS)

    def efforts(self) -> tuple[int | None, ...]:
        return (64, 128, 256, 512)


class IvfEngine:
    """Lists around k-means centres; rows in 4-bit product codes that are compared in registers (fast-scan).

    ``effort`` is nprobe: how many lists are read, a quarter of them by default.
    """

    def __init__(self, index: Any):
        self._index = index

    @classmethod
    def build(cls, prefixes: Prefixes, seed: int) -> "IvfEngine":
        """Centres and codes are learnt from samples drawn by ``seed``; the same bytes each time."""
        faiss = untyped_faiss()

        rows, dim = prefixes.shape
        lists = num_lists(rows)
        index = faiss.index_factory(dim, f"IVF{lists},PQ{num_subspaces(dim)}x4fs", faiss.METRIC_INNER_PRODUCT)
        for clustering in (index.cp, index.pq.cp):
            clustering.seed = seed + 1
            clustering.min_points_per_centroid = 1  # small indexes are no mistake here
            clustering.max_points_per_centroid = 10**6
        index.cp.niter = 10
        wanted = min(rows, max(_SAMPLE_PER_LIST * lists, _SAMPLE_FOR_CODES))
        sample = np.random.default_rng(seed).choice(rows, wanted, replace=False)
        index.train(np.resize(prefixes[np.sort(sample)], (max(wanted, 16), dim)))  # 16: one code each
        index.add(prefixes)
        return cls(index)

    @classmethod
    def restore(
        cls, arrays: Mapping[str, np.ndarray], shape: tuple[int, int], prefixes: Callable[[], Prefixes]
    ) -> "IvfEngine":
        faiss = untyped_faiss()

        return cls(_from_bytes(arrays, faiss.IndexIVFPQFastScan, shape))

    def arrays(self) -> dict[str, np.ndarray]:
        return _to_bytes(self._index)

    def find(self, queries: Prefixes, keep: int, effort: int | None, allowed: Allowed) -> Rows:
        faiss = untyped_faiss()

        lists = self._index.nlist
        effort = min(_widened(effort or max(8, lists // 4), allowed, self._index.ntotal), lists)
        parameters = faiss.SearchParametersIVF(nprobe=effort, sel=selector(allowed))
        return self._index.search(queries, keep, params=parameters)[1]

    def nbytes(self) -> int:
        return self._index.ntotal * (self._index.pq.M // 2 + 8) + 4 * self._index.nlist * self._index.d

    def efforts(self) -> tuple[int | None, ...]:
        return tuple(2**power for power in range(2, self._index.nlist.bit_length())) or (1,)


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


def _to_bytes(index: Any) -> dict[str, np.ndarray]:
    faiss = untyped_faiss()

    data = faiss.serialize_index(index)
    digest = np.frombuffer(hashlib.sha256(data.data).digest(), dtype=np.uint8)
    return {"faiss": data, "sha256": digest.copy()}


def _from_bytes(arrays: Mapping[str, np.ndarray], kind: Any, shape: tuple[int, int]) -> Any:
    """FAISS trusts what it reads: it sees the bytes only if their hash is the recorded one."""
    faiss = untyped_faiss()

    data, digest = arrays.get("faiss"), arrays.get("sha256")
    if data is None or digest is None or hashlib.sha256(data.data).digest() != digest.tobytes():
        raise ValueError("its FAISS bytes do not have the recorded sha256")
    try:
        index = faiss.deserialize_index(data)
    except RuntimeError as error:
        raise ValueError(f"FAISS {faiss.__version__} cannot read its bytes: {error}") from error
    if not isinstance(index, kind) or (index.ntotal, index.d) != shape:
        raise ValueError(f"its FAISS index is not of shape {list(shape)}")
    return index
