"""How much of the variance of vectors a known property of the inputs explains, alone and added to other properties.

A linear map from the property to the vectors is fitted on some rows and scored on others (Lampinen, Chan, Hermann 2024,
*Learned feature representations are biased by complexity, learning order, position, and more*, arXiv 2405.05847):

    R² = 1 − Σ ‖W·f − φ‖² / Σ ‖φ − mean‖²        a ratio of totals, over rows that W and the mean were not fitted on

Properties are few columns and vectors are wide, so that all is solved on the side of the properties: of n rows with k
columns of properties and D dimensions, memory is k × (k + D) a fold and a chunk of rows.

Shape legend: N rows, D dimensions of vectors, K columns of a property (a category has one for each of its values).
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from brickwork.core.shares import Decoding, Explained, LayerShares, Property, Share
from brickwork.evaluation.probes import linear_probe

NUM_RESAMPLES = 1000
_CHUNK_ROWS = 2048
_CHUNK_NUMBERS = 4_000_000  # numbers of a resampling chunk held at once (32 MB)
_RANK_TOLERANCE = 1e-10
_PROBE_ROWS = 4000  # a probe learns on half of these: enough to tell what is there from what is not
_LEAST_SCORED = 10
_Z = 3.09  # one-sided 0.1 %, since a page asks for each property at each layer


@dataclass(frozen=True)
class LinearMap:
    """φ ≈ mean + (f − centre) · weights. Shapes: weights (K, D)."""

    centre: Float[np.ndarray, " columns"]
    mean: Float[np.ndarray, " dim"]
    weights: Float[np.ndarray, "columns dim"]

    def errors(
        self, columns: Float[np.ndarray, "rows columns"], vectors: Float[np.ndarray, "rows dim"]
    ) -> Float[np.ndarray, " rows"]:
        """Squared error of each row."""
        errors = np.empty(len(vectors))
        for rows in _chunks(len(vectors)):
            expected = self.mean + (columns[rows] - self.centre) @ self.weights
            errors[rows] = np.square(vectors[rows] - expected).sum(1)
        return errors


class _Moments:
    """Sums of rows, from which the least-squares map of every part of the columns follows. Those of some rows minus those of
    others are those of the rest, so that many folds cost as much as one; all is around one ``origin``, for precision."""

    def __init__(
        self,
        columns: Float[np.ndarray, "rows columns"],
        vectors: Float[np.ndarray, "rows dim"],
        origin: tuple[Float[np.ndarray, " columns"], Float[np.ndarray, " dim"]],
    ):
        self.origin, self.count = origin, len(vectors)
        width, dim = columns.shape[1], vectors.shape[1]
        self.columns, self.vectors = np.zeros(width), np.zeros(dim)
        self.own, self.cross = np.zeros((width, width)), np.zeros((width, dim))
        for rows in _chunks(len(vectors)):
            x, y = columns[rows] - origin[0], vectors[rows] - origin[1]
            self.columns += x.sum(0)
            self.vectors += y.sum(0)
            self.own += x.T @ x
            self.cross += x.T @ y

    def without(self, others: "_Moments") -> "_Moments":
        """The moments of the rows that are not in ``others``."""
        rest = copy(self)
        for name in ("count", "columns", "vectors", "own", "cross"):
            setattr(rest, name, getattr(self, name) - getattr(others, name))
        return rest

    def solve(self, chosen: Int[np.ndarray, " some"]) -> LinearMap:
        """The least-squares map from the ``chosen`` columns; the smallest one where they do not determine it."""
        x, y = self.columns[chosen] / self.count, self.vectors / self.count
        own = self.own[np.ix_(chosen, chosen)] - self.count * np.outer(x, x)
        cross = self.cross[chosen] - self.count * np.outer(x, y)
        diagonal = np.diag(own)
        # A column without variance among these rows, as a category that none of them has, has no weight.
        varies = diagonal > _RANK_TOLERANCE * np.maximum(np.diag(self.own)[chosen], 1e-300)
        scale = np.sqrt(np.where(varies, diagonal, np.inf))
        values, basis = np.linalg.eigh(own / np.outer(scale, scale))
        large = values > _RANK_TOLERANCE * max(float(values.max(initial=0.0)), 1.0)
        basis = basis[:, large]
        weights = basis @ ((basis.T @ (cross / scale[:, None])) / values[large, None])
        return LinearMap(self.origin[0][chosen] + x, self.origin[1] + y, weights / scale[:, None])


def fit_linear(
    columns: Float[np.ndarray, "rows columns"], vectors: Float[np.ndarray, "rows dim"]
) -> LinearMap:
    """The least-squares map from properties to vectors."""
    origin = columns.mean(0), vectors.mean(0, dtype=np.float64)
    return _Moments(columns, vectors, origin).solve(np.arange(columns.shape[1]))


def totals(vectors: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, " rows"]:
    """Squared distance of each row from the mean of all."""
    mean = vectors.mean(0, dtype=np.float64)
    parts = [np.square(vectors[rows] - mean).sum(1) for rows in _chunks(len(vectors))]
    return np.concatenate(parts) if parts else np.zeros(0)


def explain(
    vectors: Float[np.ndarray, "rows dim"],
    properties: Sequence[Property],
    *,
    folds: int = 10,
    shuffles: int = 5,
    seed: int = 0,
) -> Explained:
    """Shares of the variance of ``vectors``, cross-fitted: each row is scored by maps that were fitted on the other folds.

    Intervals are percentile bootstraps over the rows that are scored, the same draws for all.

    Raises:
        ValueError: no property, or fewer rows than folds need.
    """
    if not properties or len(vectors) < 2 * folds:
        raise ValueError(f"{len(properties)} properties of {len(vectors)} rows: nothing can be fitted")
    owner = np.concatenate([np.full(p.columns.shape[1], i) for i, p in enumerate(properties)])
    columns = np.concatenate([p.columns for p in properties], axis=1).astype(np.float64)
    single = [np.flatnonzero(owner == i) for i in range(len(properties))]
    without = [np.flatnonzero(owner != i) for i in range(len(properties))]
    rng = np.random.default_rng(seed)
    fold = rng.permutation(len(vectors)) % folds
    nothing, everything = np.arange(0), np.arange(len(owner))
    errors = _cross_errors(columns, vectors, [nothing, everything, *single, *without], fold)
    shuffled = np.zeros((shuffles, len(properties)))
    for place in range(shuffles):
        mixed = columns[rng.permutation(len(vectors))]
        shuffled[place] = _cross_errors(mixed, vectors, single, fold).sum(0)
    return _summary([p.name for p in properties], errors[:, 0], errors[:, 1:], shuffled, seed)


def _cross_errors(
    columns: Float[np.ndarray, "rows columns"],
    vectors: Float[np.ndarray, "rows dim"],
    sets: Sequence[np.ndarray],
    fold: Int[np.ndarray, " rows"],
) -> Float[np.ndarray, "rows sets"]:
    """Squared error of each row under maps that were fitted on the other folds, for each set of columns."""
    errors = np.empty((len(vectors), len(sets)))
    origin = columns.mean(0), vectors.mean(0, dtype=np.float64)
    parts = [np.flatnonzero(fold == number) for number in range(int(fold.max()) + 1)]
    own = [_Moments(columns[rows], vectors[rows], origin) for rows in parts]
    every = _Moments(columns, vectors, origin)
    for rows, moments in zip(parts, own):
        rest, known, scored = every.without(moments), columns[rows], vectors[rows]
        for place, chosen in enumerate(sets):
            errors[rows, place] = rest.solve(chosen).errors(known[:, chosen], scored)
    return errors


def _summary(
    names: Sequence[str], total: np.ndarray, errors: np.ndarray, shuffled: np.ndarray, seed: int
) -> Explained:
    """The shares, from squared distances from the mean (N,), squared errors of each set (N, 1 + 2 P), and their sums over
    rows for each shuffle (S, P)."""
    count, whole = len(names), float(total.sum())
    if not whole > 0:
        nan = Share(value=float("nan"), low=None, high=None)
        same = dict.fromkeys(names, nan)
        return Explained(
            alone=same,
            added=same,
            shuffled=dict.fromkeys(names, float("nan")),
            together=nan,
            variance=0.0,
        )
    shares = 1 - errors.sum(0) / whole
    resampled = _resampled(total, errors, seed)
    null = 1 - shuffled / whole
    largest = null[np.abs(null).argmax(0), np.arange(count)] if len(null) else np.full(count, np.nan)

    def added(of: np.ndarray, place: int) -> np.ndarray:
        return of[..., 0] - of[..., 1 + count + place]

    return Explained(
        alone={n: _estimate(shares[1 + i], resampled[:, 1 + i]) for i, n in enumerate(names)},
        added={n: _estimate(added(shares, i), added(resampled, i)) for i, n in enumerate(names)},
        shuffled={n: float(largest[i]) for i, n in enumerate(names)},
        together=_estimate(shares[0], resampled[:, 0]),
        variance=whole / len(total),
    )


def _resampled(total: np.ndarray, errors: np.ndarray, seed: int) -> Float[np.ndarray, "draws sets"]:
    """1 − Σ errors / Σ total over rows drawn with replacement, once for each draw."""
    rng = np.random.default_rng([seed, 1])
    even = np.full(len(total), 1 / len(total))
    step = max(1, _CHUNK_NUMBERS // len(total))
    parts = []
    for start in range(0, NUM_RESAMPLES, step):
        size = min(step, NUM_RESAMPLES - start)
        drawn = rng.multinomial(len(total), even, size=size).astype(np.float64)
        parts.append(1 - (drawn @ errors) / (drawn @ total)[:, None])
    return np.concatenate(parts)


def _estimate(value: Any, draws: np.ndarray) -> Share:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Share(value=float(value), low=float(low), high=float(high))


def decoding(vectors: Float[np.ndarray, "rows dim"], known: Property, *, seed: int = 0) -> Decoding:
    """Logistic regression on one half of the rows (at most 2,000), scored on the other
    (:func:`brickwork.evaluation.probes.linear_probe`).

    A property that no probe can tell is not computed by the model, whatever its share; where it can be told, the share says
    how strongly. The mean over classes makes a rare class count as much as a common one; those with fewer than ten rows to
    score are left out of it, as they say nothing.
    """
    rows = np.flatnonzero(known.classes >= 0)
    rows = np.random.default_rng([seed, 2]).permutation(rows)[:_PROBE_ROWS]
    fit, score = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    seen, asked = known.classes[fit], known.classes[score]
    chance = 1 / max(known.num_classes, 1)
    if len(np.unique(seen)) < 2 or not len(asked):
        return Decoding(accuracy=float("nan"), chance=chance, above_chance=False)
    result = linear_probe(vectors[fit], seen, vectors[score], asked)
    correct = np.asarray(result.correct)
    recalls, variances = [], []
    for one in _common(asked):
        right, count = float(correct[asked == one].sum()), int((asked == one).sum())
        smoothed = (right + 1) / (count + 2)  # so that a class of one row is not certain
        recalls.append(right / count)
        variances.append(smoothed * (1 - smoothed) / count)
    accuracy = float(np.mean(recalls))
    error = float(np.sqrt(np.sum(variances))) / len(recalls)
    chance = 1 / len(recalls)
    return Decoding(accuracy=accuracy, chance=chance, above_chance=accuracy - _Z * error > chance)


def _common(classes: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " some"]:
    """The classes with ten rows or more; all, if that leaves fewer than two."""
    known, counts = np.unique(classes, return_counts=True)
    common = known[counts >= _LEAST_SCORED]
    return common if len(common) > 1 else known


def explain_layer(
    layer: str, vectors: Float[np.ndarray, "rows dim"], properties: Sequence[Property], *, seed: int = 0
) -> LayerShares:
    """:func:`explain` and, of each property, :func:`decoding`."""
    return LayerShares(
        layer=layer,
        dim=vectors.shape[1],
        shares=explain(vectors, properties, seed=seed),
        decoded={known.name: decoding(vectors, known, seed=seed) for known in properties},
    )


def _chunks(count: int) -> list[slice]:
    return [slice(start, min(start + _CHUNK_ROWS, count)) for start in range(0, count, _CHUNK_ROWS)]
