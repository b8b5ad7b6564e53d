"""Engines that compare a query with every row: flat, int8, binary."""

from collections.abc import Callable, Mapping

import numpy as np

from brickwork.index.shortlists.engines import Allowed, Prefixes, Rows, check, selector, untyped_faiss
from brickwork.representation.nearest import top_k


class FlatEngine:
    """The prefixes themselves: exact."""

    def __init__(self, prefixes: Prefixes):
        self._prefixes = prefixes

    @classmethod
    def build(cls, prefixes: Prefixes, seed: int) -> "FlatEngine":
        return cls(prefixes)

    @classmethod
    def restore(
        cls, arrays: Mapping[str, np.ndarray], shape: tuple[int, int], prefixes: Callable[[], Prefixes]
    ) -> "FlatEngine":
        return cls(prefixes())

    def arrays(self) -> dict[str, np.ndarray]:
        return {}  # the prefixes are made from the vectors again

    def find(self, queries: Prefixes, keep: int, effort: int | None, allowed: Allowed) -> Rows:
        if allowed is None:
            return top_k(queries, self._prefixes, keep)[1]
        rows = np.flatnonzero(allowed)
        return rows[top_k(queries, self._prefixes[rows], keep)[1]]

    def nbytes(self) -> int:
        return self._prefixes.nbytes

    def efforts(self) -> tuple[int | None, ...]:
        return (None,)


class Int8Engine:
    """Each number in 8 bits: the range of its dimension cut into 255 steps. Queries stay as they are."""

    def __init__(self, ranges: np.ndarray, codes: np.ndarray):
        """``ranges``: the lowest value of each dimension, then how far it reaches; ``codes`` (rows, dim)."""
        faiss = untyped_faiss()

        rows, dim = codes.shape
        self._index = faiss.IndexScalarQuantizer(
            dim, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        faiss.copy_array_to_vector(np.ascontiguousarray(ranges.reshape(-1)), self._index.sq.trained)
        faiss.copy_array_to_vector(np.ascontiguousarray(codes.reshape(-1)), self._index.codes)
        self._index.ntotal = rows
        self._index.is_trained = True
        self._ranges = ranges

    @classmethod
    def build(cls, prefixes: Prefixes, seed: int) -> "Int8Engine":
        low = prefixes.min(axis=0)
        reach = np.maximum(prefixes.max(axis=0) - low, np.finfo(np.float32).tiny)
        codes = np.empty(prefixes.shape, dtype=np.uint8)
        for start in range(0, len(prefixes), 65_536):
            part = slice(start, start + 65_536)
            codes[part] = np.minimum((prefixes[part] - low) / reach * 255, 255)
        return cls(np.stack([low, reach]), codes)

    @classmethod
    def restore(
        cls, arrays: Mapping[str, np.ndarray], shape: tuple[int, int], prefixes: Callable[[], Prefixes]
    ) -> "Int8Engine":
        ranges = check(arrays, "ranges", np.float32, (2, shape[1]))
        return cls(ranges, check(arrays, "codes", np.uint8, shape))

    @property
    def _codes(self) -> np.ndarray:
        faiss = untyped_faiss()

        size = self._index.ntotal * self._index.d
        return faiss.rev_swig_ptr(self._index.codes.data(), size).reshape(-1, self._index.d)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"ranges": self._ranges, "codes": self._codes}

    def find(self, queries: Prefixes, keep: int, effort: int | None, allowed: Allowed) -> Rows:
        faiss = untyped_faiss()

        if allowed is None:
            return self._index.search(queries, keep)[1]
        parameters = faiss.SearchParameters(sel=selector(allowed))
        return self._index.search(queries, keep, params=parameters)[1]

    def nbytes(self) -> int:
        return self._codes.nbytes

    def efforts(self) -> tuple[int | None, ...]:
        return (None,)


class BinaryEngine:
    """On which side of the mean each number lies, one bit; rows by the number of equal bits."""

    def __init__(self, mean: np.ndarray, codes: np.ndarray):
        """``codes``: (rows, dim / 8 rounded up), the bits of a row from the highest; filled with zeros."""
        self._mean = mean
        self._codes = codes

    @classmethod
    def build(cls, prefixes: Prefixes, seed: int) -> "BinaryEngine":
        mean = prefixes.mean(axis=0, dtype=np.float64).astype(np.float32)
        return cls(mean, np.packbits(prefixes > mean, axis=1))

    @classmethod
    def restore(
        cls, arrays: Mapping[str, np.ndarray], shape: tuple[int, int], prefixes: Callable[[], Prefixes]
    ) -> "BinaryEngine":
        rows, dim = shape
        mean = check(arrays, "mean", np.float32, (dim,))
        return cls(mean, check(arrays, "codes", np.uint8, (rows, -(-dim // 8))))

    def arrays(self) -> dict[str, np.ndarray]:
        return {"mean": self._mean, "codes": self._codes}

    def find(self, queries: Prefixes, keep: int, effort: int | None, allowed: Allowed) -> Rows:
        faiss = untyped_faiss()

        bits = np.packbits(queries > self._mean, axis=1)
        if allowed is None:
            return faiss.knn_hamming(bits, self._codes, keep)[1].astype(np.int64)
        rows = np.flatnonzero(allowed)
        return rows[faiss.knn_hamming(bits, self._codes[rows], min(keep, len(rows)))[1]]

    def nbytes(self) -> int:
        return self._codes.nbytes

    def efforts(self) -> tuple[int | None, ...]:
        return (None,)
