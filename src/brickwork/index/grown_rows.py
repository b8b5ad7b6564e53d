"""Rows of before a model grew: their vectors have fewer dimensions than those that were written since.

They can only be compared by the cosine of what they have. That is another scale: the cosine of more dimensions varies less
around its mean, and is near 1 less often. So a cosine of few dimensions is put in the place of the cosine of all that is as
frequent: quantile by quantile, over pairs of rows that have both. The order among the old rows stays as it is; where no row,
or hardly one, has all dimensions, so do their scores.

Measured (lab/LOG.md): without this, joined models found no more until three quarters of the documents had been encoded anew.
Shape legend: N rows, D dimensions.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from brickwork.representation.truncate import truncate

LEAST = 20
"""Rows with all dimensions from which on scores are put on their scale."""
_MOST = 512
_QUANTILES = 129


@dataclass(frozen=True)
class Scale:
    """Cosines of few dimensions, ascending, and of all dimensions at the same quantiles; both from −1 to 1."""

    few: Float[np.ndarray, " quantiles"]
    all: Float[np.ndarray, " quantiles"]

    def of(self, cosines: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Cosines of few dimensions as cosines of all."""
        return np.interp(cosines, self.few, self.all).astype(np.float32)


SAME = Scale(np.array([-1.0, 1.0]), np.array([-1.0, 1.0]))


def scale_of(vectors: Float[np.ndarray, "rows width"], few: int, dim: int) -> Scale:
    """From cosines of the first ``few`` dimensions to those of the first ``dim``, of rows that have them all."""
    if len(vectors) < LEAST:
        return SAME
    chosen = vectors[np.linspace(0, len(vectors) - 1, min(len(vectors), _MOST)).astype(np.int64)]
    pairs = np.triu_indices(len(chosen), 1)
    at = np.linspace(0, 1, _QUANTILES)

    def quantiles(width: int) -> Float[np.ndarray, " quantiles"]:
        unit = truncate(chosen, width)
        inner = np.quantile((unit @ unit.T)[pairs], at).clip(-1, 1)
        return np.concatenate([[-1.0], inner, [1.0]])

    return Scale(quantiles(few), quantiles(dim))
