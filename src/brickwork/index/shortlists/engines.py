"""What a kind of shortlist must bring: a way to find rows, and arrays to be kept as.

An engine sees prefixes only; what all kinds have in common (cutting, filters, files) is in ``shortlist.py``.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

Prefixes = Float[np.ndarray, "n dim"]
Rows = Int[np.ndarray, "queries keep"]
Allowed = Bool[np.ndarray, " rows"] | None


@runtime_checkable
class Engine(Protocol):
    """Finds rows of a matrix of unit-length prefixes."""

    def arrays(self) -> dict[str, np.ndarray]:
        """All that must be kept beside the vectors themselves."""
        ...

    def find(self, queries: Prefixes, keep: int, effort: int | None, allowed: Allowed) -> Rows:
        """Rows of the best ``keep`` ≤ rows, best first, all of them ``allowed``; -1 where it found fewer."""
        ...

    def nbytes(self) -> int: ...

    def efforts(self) -> tuple[int | None, ...]:
        """Efforts that are worth trying, rising; ``(None,)`` where there is no choice."""
        ...


def check(arrays: Mapping[str, np.ndarray], name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """The array of that name.

    Raises:
        ValueError: it is missing, or of another type or shape.
    """
    array = arrays.get(name)
    if array is None or array.dtype != dtype or array.shape != shape:
        raise ValueError(f"it holds no '{name}' of type {np.dtype(dtype)} and shape {list(shape)}")
    return array


def untyped_faiss() -> Any:
    """The module, imported when first needed; its type stubs lack much of what is used here."""
    import faiss

    return faiss


def selector(allowed: Allowed) -> Any:
    """FAISS's form of a filter."""
    return (
        allowed
        if allowed is None
        else untyped_faiss().IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
    )
