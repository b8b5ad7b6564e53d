"""Engines that compare a query with every row in arrays of NumPy: flat, binary."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from brickwork.index.shortlists.engines import Allowed, Prefixes, Rows, check, untyped_faiss
from brickwork.representation.nearest import top_k
from brickwork.representation.signs import Vectors


class FlatEngine:
    """The prefixes themselves: exact."""

    def __init__(self, prefixes: Vectors):
        self._prefixes: Any = prefixes

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


class BinaryEngine:
    """On which side of the mean each number lies, one bit; rows by the number of equal bits."""

    def __init__(self, mean: np.ndarray, codes: np.ndarray):
        """``codes``: (rows, dim / 8 rounded up), the bits of a row from the highest; filled with zeros."""
        self._mean = mean
        self._codes = codes

    @classmethod
    def build(cls, prefixes: Prefixes) -> "BinaryEngine":
        mean = prefixes.mean(axis=0, dtype=np.float64).astype(np.float32)
        return cls(mean, np.packbits(prefixes > mean, axis=1))

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], shape: tuple[int, int]) -> "BinaryEngine":
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
