"""Vectors of which only the signs are kept: one bit a number, compared by counting the bits that differ.

A row stands for the unit vector of ±1/√D, so the cosine of two is 1 − 2 h/D with h bits that differ, and a prefix of the
bits is the row of the prefix. A number of 0 or less has the bit 0. A query keeps its numbers: rows with the most equal bits
are candidates, and are compared with the query itself (rescoring, Yamada et al. 2021, arXiv 2106.00882, section 3).

Shape legend: N rows, D bits.
"""

from typing import Any, overload

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

CANDIDATES = 4
"""For each wanted row."""


def pack_signs(vectors: Float[np.ndarray, "rows dim"]) -> UInt8[np.ndarray, "rows bytes"]:
    """The bits of each row from the highest of its first byte on, filled up with zeros."""
    return np.packbits(vectors > 0, axis=1)


def as_signs(vectors: np.ndarray) -> Float32[np.ndarray, "*rows dim"]:
    """The unit vectors that the signs of vectors stand for: ±1/√D. Shapes: (…, D), numbers or bits, → (…, D)."""
    signs: np.ndarray = np.where(vectors > 0, 1, -1) / np.sqrt(vectors.shape[-1])
    return signs.astype(np.float32)


class SignRows:
    """Rows of signs, which look like a matrix of vectors: rows that are asked for come as 32-bit floats, slices and prefixes
    as signs."""

    def __init__(self, codes: UInt8[np.ndarray, "rows bytes"], dim: int):
        """``codes`` as of :func:`pack_signs`; what is behind the last of ``dim`` bits must be 0."""
        self.codes = codes
        self.shape = (len(codes), dim)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Memory of the bits."""
        return self.codes.nbytes

    def prefix(self, dim: int) -> "SignRows":
        """The first ``dim`` bits of each row.

        Raises:
            ValueError: ``dim`` is not between 1 and the bits of a row.
        """
        if not 1 <= dim <= self.shape[1]:
            raise ValueError(f"dim={dim} is outside 1 … {self.shape[1]}")
        if dim == self.shape[1]:
            return self
        codes = np.array(self.codes[:, : -(-dim // 8)])
        codes[:, -1] &= (0xFF << (-dim % 8)) & 0xFF
        return SignRows(codes, dim)

    @overload
    def __getitem__(self, rows: slice | tuple[slice, slice]) -> "SignRows": ...
    @overload
    def __getitem__(self, rows: np.ndarray | list[int]) -> Float32[np.ndarray, "some dim"]: ...
    def __getitem__(self, rows: Any) -> Any:
        """``[first:last]`` and ``[:, :dim]`` are signs; rows by number or by mask are vectors."""
        if isinstance(rows, tuple):
            which, columns = rows
            return self[which].prefix(len(range(*columns.indices(self.shape[1]))))
        if isinstance(rows, slice):
            return SignRows(self.codes[rows], self.shape[1])
        return as_signs(np.unpackbits(self.codes[rows], axis=-1, count=self.shape[1]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[np.arange(len(self))], dtype=dtype)

    def nearest(
        self, queries: Float[np.ndarray, "queries dim"], k: int
    ) -> tuple[Float[np.ndarray, "queries depth"], Int[np.ndarray, "queries depth"]]:
        """Cosines of unit queries with the best of the candidates, and their rows, in no order; ``k`` rows, or all."""
        import faiss

        wanted = min(CANDIDATES * k, len(self))
        rows = faiss.knn_hamming(pack_signs(queries), np.ascontiguousarray(self.codes), wanted)[1].astype(
            np.int64
        )
        scores = np.stack([self[some] @ query for some, query in zip(rows, queries)]).astype(np.float32)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)


Vectors = Float[np.ndarray, "rows _"] | SignRows
"""Rows to search in: numbers, or signs alone."""
