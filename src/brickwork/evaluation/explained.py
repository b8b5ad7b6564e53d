"""How much of the variance of vectors a known property of the inputs explains, alone and added to other properties.

A linear map from the property to the vectors is fitted on some rows and scored on others (Lampinen, Chan, Hermann 2024,
*Learned feature representations are biased by complexity, learning order, position, and more*, arXiv 2405.05847):

    R² = 1 − Σ ‖W·f − φ‖² / Σ ‖φ − mean‖²        a ratio of totals, over rows that W was not fitted on

Properties are few columns and vectors are wide, so that all is solved on the side of the properties: of n rows with k
columns of properties and D dimensions, memory is k × (k + D) and a chunk of rows.

Shape legend: N rows, D dimensions of vectors, K columns of a property (a category has one for each of its values).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from brickwork.evaluation.classification import Estimate
from brickwork.evaluation.probes import linear_probe

NUM_RESAMPLES = 1000
_CHUNK_ROWS = 2048
_CHUNK_NUMBERS = 4_000_000  # numbers of a resampling chunk held at once (32 MB)
_RANK_TOLERANCE = 1e-10
_PROBE_ROWS = 4000  # a probe learns on half of these: enough to tell what is there from what is not
_Z = 2.326  # one-sided 1 %: how far above chance a probe has to be


@dataclass(frozen=True, kw_only=True)
class Property:
    """What is known of N inputs. ``columns`` (N, K): numbers as they are, categories one-hot. ``classes`` (N,): what a probe
    has to tell from the vectors, −1 where it is not known; a number is above its middle, or not."""

    name: str
    kind: Literal["category", "number", "truth value"]
    columns: Float[np.ndarray, "rows columns"]
    classes: Int[np.ndarray, " rows"]
    note: str = ""

    @property
    def num_classes(self) -> int:
        return len(np.unique(self.classes[self.classes >= 0]))


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
    """Second moments of columns among each other and with vectors, from which every part of the columns can be solved."""

    def __init__(self, columns: Float[np.ndarray, "rows columns"], vectors: Float[np.ndarray, "rows dim"]):
        self.centre = columns.mean(0)
        self.mean = vectors.mean(0, dtype=np.float64)
        self.own = np.zeros((columns.shape[1], columns.shape[1]))
        self.cross = np.zeros((columns.shape[1], vectors.shape[1]))
        for rows in _chunks(len(vectors)):
            centred = columns[rows] - self.centre
            self.own += centred.T @ centred
            self.cross += centred.T @ (vectors[rows] - self.mean)

    def solve(self, chosen: Int[np.ndarray, " some"]) -> LinearMap:
        """The least-squares map from the ``chosen`` columns; the smallest one where they do not determine it."""
        own = self.own[np.ix_(chosen, chosen)]
        scale = np.sqrt(np.where(np.diag(own) > 0, np.diag(own), 1.0))
        values, basis = np.linalg.eigh(own / np.outer(scale, scale))
        large = values > _RANK_TOLERANCE * max(float(values.max(initial=0.0)), 1.0)
        basis = basis[:, large]
        weights = basis @ ((basis.T @ (self.cross[chosen] / scale[:, None])) / values[large, None])
        return LinearMap(self.centre[chosen], self.mean, weights / scale[:, None])


def fit_linear(
    columns: Float[np.ndarray, "rows columns"], vectors: Float[np.ndarray, "rows dim"]
) -> LinearMap:
    """The least-squares map from properties to vectors."""
    return _Moments(columns, vectors).solve(np.arange(columns.shape[1]))


def totals(vectors: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, " rows"]:
    """Squared distance of each row from the mean of all."""
    mean = vectors.mean(0, dtype=np.float64)
    parts = [np.square(vectors[rows] - mean).sum(1) for rows in _chunks(len(vectors))]
    return np.concatenate(parts) if parts else np.zeros(0)


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Shares of the variance of vectors that properties explain, by name; NaN where all vectors are equal.

    ``alone``: by the property and nothing else. ``added``: R² of all properties minus R² of all but this one; the two agree
    where properties are independent. ``shuffled``: ``alone`` with the rows of the property in random order, the largest of
    several draws by size. ``together``: R² of all. ``variance``: per row, of all dimensions.
    """

    alone: Mapping[str, Estimate]
    added: Mapping[str, Estimate]
    shuffled: Mapping[str, float]
    together: Estimate
    variance: float

    @property
    def rest(self) -> float:
        """The share that no property explains."""
        return 1.0 - self.together.value

    @property
    def joint(self) -> float:
        """What properties explain that cannot be told to be one's or the other's: R² of all minus the sum of what each adds;
        below zero where one property shows only what another hides."""
        return self.together.value - sum(one.value for one in self.added.values())


def explain(
    vectors: Float[np.ndarray, "rows dim"],
    properties: Sequence[Property],
    *,
    folds: int = 2,
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
    count = len(properties)
    # Sets of columns: all, each alone, all without each.
    sets = [owner >= 0, *(owner == i for i in range(count)), *(owner != i for i in range(count))]
    rng = np.random.default_rng(seed)
    fold = rng.permutation(len(vectors)) % folds
    draws = [rng.permutation(len(vectors)) for _ in range(shuffles)]
    total, errors = np.empty(len(vectors)), np.empty((len(vectors), len(sets)))
    shuffled = np.zeros((shuffles, count))
    for number in range(folds):
        fit, score = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        known, scored = vectors[fit], vectors[score]
        total[score] = totals(scored)
        moments = _Moments(columns[fit], known)
        for place, chosen in enumerate(sets):
            own = np.flatnonzero(chosen)
            errors[score, place] = moments.solve(own).errors(columns[score][:, own], scored)
        for place, order in enumerate(draws):
            mixed = columns[order]
            moments = _Moments(mixed[fit], known)
            for i in range(count):
                own = np.flatnonzero(owner == i)
                shuffled[place, i] += moments.solve(own).errors(mixed[score][:, own], scored).sum()
    return _summary([p.name for p in properties], total, errors, shuffled, seed)


def _summary(
    names: Sequence[str], total: np.ndarray, errors: np.ndarray, shuffled: np.ndarray, seed: int
) -> Explained:
    """The shares, from squared sizes (N,), squared errors of each set (N, 1 + 2 P) and of each shuffle, in all (S, P)."""
    count, whole = len(names), float(total.sum())
    if not whole > 0:
        nan = Estimate(value=float("nan"), low=None, high=None)
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


def _estimate(value: Any, draws: np.ndarray) -> Estimate:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value=float(value), low=float(low), high=float(high))


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How well a linear probe tells a property: its accuracy as the mean over classes, what guessing gives, and whether the
    one is above the other by more than chance (one-sided, 1 %)."""

    accuracy: float
    chance: float
    above_chance: bool


def decoding(vectors: Float[np.ndarray, "rows dim"], known: Property, *, seed: int = 0) -> Decoding:
    """Logistic regression on one half of the rows (at most 2,000), scored on the other
    (:func:`brickwork.evaluation.probes.linear_probe`).

    A property that no probe can tell is not computed by the model, whatever its share; where it can be told, the share says
    how strongly. The mean over classes makes a rare class count as much as a common one.
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
    for one in np.unique(asked):
        right, count = float(correct[asked == one].sum()), int((asked == one).sum())
        smoothed = (right + 1) / (count + 2)  # so that a class of one row is not certain
        recalls.append(right / count)
        variances.append(smoothed * (1 - smoothed) / count)
    accuracy = float(np.mean(recalls))
    error = float(np.sqrt(np.sum(variances))) / len(recalls)
    chance = 1 / len(recalls)
    return Decoding(accuracy=accuracy, chance=chance, above_chance=accuracy - _Z * error > chance)


@dataclass(frozen=True, kw_only=True)
class LayerShares:
    """What the vectors of one layer hold of each property. ``dim``: D."""

    layer: str
    dim: int
    shares: Explained
    decoded: Mapping[str, Decoding]


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
