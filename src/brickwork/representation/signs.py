"""Vectors of which only the signs are kept: one bit a number, compared by counting the bits that differ.

A row stands for the unit vector of ±1/√D, so the cosine of two is 1 − 2 h/D with h bits that differ, and a prefix of the
bits is the row of the prefix. A number of 0 or less has the bit 0.

Shape legend: N rows, D bits.
"""

from typing import Any, overload

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8


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
        """Cosines with the signs of the queries, and rows, of the ``k`` with most equal bits, in no order."""
        import faiss

        different, rows = faiss.knn_hamming(pack_signs(queries), np.ascontiguousarray(self.codes), k)
        return (1 - 2 * different / self.shape[1]).astype(np.float32), rows.astype(np.int64)


Vectors = Float[np.ndarray, "rows _"] | SignRows
"""Rows to search in: numbers, or signs alone."""
