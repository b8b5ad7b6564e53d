"""Adaptive classification: use the shortest prefix whose prediction is sure enough (MRL, section 4.2.1).

Thresholds are fitted on held-out examples, which must not be those the result is reported on.
Shape legend: N examples, C classes, M prefixes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int64

Logits = Mapping[int, Float[np.ndarray, "n classes"]]
THRESHOLD_GRID = np.linspace(0.1, 1.0, 100)


@dataclass(frozen=True)
class CascadeResult:
    """What a cascade decided for each example.

    ``chosen``: index of the prefix used. ``expected_dim``: mean length of the prefix used; as in the
    paper the shorter ones tried before are not counted, since they are part of it.
    """

    chosen: Int64[np.ndarray, " n"]
    predictions: Int64[np.ndarray, " n"]
    expected_dim: float


@dataclass(frozen=True)
class CascadePolicy:
    """Stop at the first prefix ``dims[j]`` whose largest probability exceeds ``thresholds[j]``.

    There is one threshold fewer than prefixes: the last is used whenever it is reached.
    """

    dims: tuple[int, ...]
    thresholds: tuple[float, ...]

    @classmethod
    def fit(cls, logits: Logits, labels: Int64[np.ndarray, " n"]) -> "CascadePolicy":
        """Thresholds learned pair by pair: the smallest on a grid of 100 in 0.1 … 1 that makes "this
        prefix if it is sure, else the next" most often right.
        """
        dims = tuple(sorted(logits))
        thresholds = []
        for dim, following in pairwise(dims):
            confidence, prediction = _confidence(logits[dim])
            right, right_next = prediction == labels, logits[following].argmax(1) == labels
            use = confidence[None, :] > THRESHOLD_GRID[:, None]
            num_right = np.where(use, right, right_next).sum(1)
            thresholds.append(float(THRESHOLD_GRID[num_right.argmax()]))
        return cls(dims, tuple(thresholds))

    def apply(self, logits: Logits, cap: int | None = None) -> CascadeResult:
        """The cascade's decisions. ``cap``: the longest prefix that may be used; None = the longest there is.

        Raises:
            ValueError: ``cap`` is not one of the prefixes.
        """
        if cap is not None and cap not in self.dims:
            raise ValueError(f"cap {cap} is not one of the prefixes {self.dims}")
        dims = self.dims[: self.dims.index(cap) + 1] if cap is not None else self.dims
        sure = [_confidence(logits[dim])[0] > t for dim, t in zip(dims[:-1], self.thresholds)]
        stops = np.stack([*sure, np.ones(len(logits[dims[-1]]), dtype=bool)])
        chosen = stops.argmax(0)
        predictions = np.stack([logits[dim].argmax(1) for dim in dims])[chosen, np.arange(len(chosen))]
        return CascadeResult(chosen, predictions, float(_mean_dim(dims, chosen)))


def _confidence(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shapes: (N, C) → largest probability (N,), its class (N,)."""
    from scipy.special import softmax

    return softmax(logits.astype(np.float64), axis=1).max(1), logits.argmax(1)


def _mean_dim(dims: Sequence[int], chosen: np.ndarray) -> float:
    return float(np.asarray(dims)[chosen].mean()) if len(chosen) else 0.0
