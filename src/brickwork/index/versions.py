"""Which model made which rows of a segment, as stretches (version, rows).

Version 0 is the model of the index's contents, version n the n-th that took over (index/replacement.py).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def version_of_rows(stretches: Sequence[Sequence[int]], rows: int) -> Int[np.ndarray, " rows"]:
    """The version of each row of a segment; without stretches, the first of all."""
    if not stretches:
        return np.zeros(rows, dtype=np.int64)
    return np.repeat(*np.array(stretches, dtype=np.int64).T)


def as_stretches(versions: Int[np.ndarray, " rows"]) -> tuple[tuple[int, ...], ...]:
    """Stretches of equal versions as (version, rows); none where all rows are of the first."""
    if not versions.any():
        return ()
    starts = np.flatnonzero(np.diff(versions, prepend=-1))
    lengths = np.diff(starts, append=len(versions))
    return tuple((int(versions[start]), int(length)) for start, length in zip(starts, lengths))
