"""Area under the ROC curve, balanced accuracy and what else diagnoses are judged by, with bootstrap intervals.

The values are scikit-learn's; the intervals count rows, so that one sort serves all draws.

Shape legend: N rows, C classes. Checked against scikit-learn and torchmetrics in the tests.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from brickwork.core.errors import naming_extras

NUM_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value on a test set and its percentile bootstrap interval over rows; ``None`` where it is not defined."""

    value: float
    low: float | None
    high: float | None
    confidence: float = 0.95


@naming_extras("AUROC")
def auroc(
    labels: Int[np.ndarray, " n"], scores: Float[np.ndarray, " n"] | Float[np.ndarray, "n classes"]
) -> float:
    """The area under the ROC curve: how often a row of class 1 scores above one of class 0, ties counting half.

    With scores for C classes, (N, C), the mean over classes that occur, each against the rest. NaN where there is only
    one class.
    """
    if scores.ndim == 2:
        if scores.shape[1] == 2:
            return auroc(labels, scores[:, 1])
        values = [
            auroc((labels == c).astype(np.int64), scores[:, c])
            for c in range(scores.shape[1])
            if (labels == c).any() and (labels != c).any()
        ]
        return float(np.mean(values)) if values else float("nan")
    positive = labels == 1
    if not positive.any() or positive.all() or np.isnan(scores).any():
        return float("nan")
    from sklearn.metrics import roc_auc_score

    # Infinite scores have an order too, which scikit-learn refuses to look at.
    ranks = np.unique(scores, return_inverse=True)[1]
    return float(roc_auc_score(positive, ranks))


def _auroc_of_counts(
    labels: Int[np.ndarray, " n"], scores: Float[np.ndarray, " n"], counts: Float[np.ndarray, "draws n"]
) -> Float[np.ndarray, " draws"]:
    """The area for rows that count several times each: one sort serves all draws.

    Maths: Σ over distinct scores v of n₁(v) · (N₀(<v) + n₀(v) / 2) / (N₁ N₀).
    """
    if len(labels) == 0:
        return np.full(len(counts), np.nan)
    order = np.argsort(scores, kind="stable")
    ranked, positive = scores[order], labels[order] == 1
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    counts = counts[:, order]
    ones = np.add.reduceat(counts * positive, starts, axis=1)
    zeros = np.add.reduceat(counts * ~positive, starts, axis=1)
    below = np.cumsum(zeros, axis=1) - zeros
    pairs = ones.sum(1) * zeros.sum(1)
    with np.errstate(invalid="ignore"):
        return (ones * (below + zeros / 2)).sum(1) / np.where(pairs == 0, np.nan, pairs)


@naming_extras("balanced accuracy")
def balanced_accuracy(labels: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"]) -> float:
    """The mean over the classes that occur of the share of their rows that is right."""
    if not len(labels):
        return float("nan")
    from sklearn.metrics import recall_score

    # balanced_accuracy_score is this, and warns where a class is predicted that does not occur.
    return float(recall_score(labels, predicted, labels=np.unique(labels), average="macro"))


@naming_extras("a report of two classes")
def binary_report(labels: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Sensitivity, specificity, F1 and balanced accuracy of two classes; NaN where a class is absent."""
    from sklearn.metrics import f1_score, recall_score

    positive, said = labels == 1, predicted == 1
    undefined = {"zero_division": np.nan}
    return {
        "sensitivity": float(recall_score(positive, said, **undefined)),
        "specificity": float(recall_score(~positive, ~said, **undefined)),
        "f1": float(f1_score(positive, said, **undefined)),
        "balanced_accuracy": balanced_accuracy(labels, predicted),
    }


def auroc_interval(
    labels: Int[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"] | Float[np.ndarray, "n classes"],
    *,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """:func:`auroc` with a bootstrap interval over rows."""
    if scores.ndim == 1 or scores.shape[1] == 2:
        column = scores if scores.ndim == 1 else scores[:, 1]
        counts = _draws(len(labels), num_resamples, seed)
        return _estimate(auroc(labels, column), _auroc_of_counts(labels, column, counts), confidence)
    return bootstrap(
        lambda rows: auroc(labels[rows], scores[rows]), len(labels), num_resamples, confidence, seed
    )


def balanced_accuracy_interval(
    labels: Int[np.ndarray, " n"],
    predicted: Int[np.ndarray, " n"],
    *,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """:func:`balanced_accuracy` with a bootstrap interval over rows."""
    classes, place = np.unique(labels, return_inverse=True)
    right = labels == predicted
    counts = _draws(len(labels), num_resamples, seed)
    member = np.eye(len(classes))[place]
    size = counts @ member
    with np.errstate(invalid="ignore"):
        values = np.nanmean(counts @ (member * right[:, None]) / np.where(size == 0, np.nan, size), axis=1)
    return _estimate(balanced_accuracy(labels, predicted), values, confidence)


def bootstrap(
    measure: Callable[[Int[np.ndarray, " n"]], float],
    num_rows: int,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """``measure`` of all rows, and its interval over rows drawn with replacement; for any measure, and slower."""
    rng = np.random.default_rng(seed)
    values = [measure(rng.integers(0, num_rows, num_rows)) for _ in range(num_resamples)] if num_rows else []
    return _estimate(measure(np.arange(num_rows)), np.asarray(values), confidence)


def _draws(num_rows: int, num_resamples: int, seed: int) -> Float[np.ndarray, "draws n"]:
    """How often each row was drawn."""
    even = np.full(num_rows, 1 / max(1, num_rows))
    return np.random.default_rng(seed).multinomial(num_rows, even, size=num_resamples).astype(np.float64)


def _estimate(value: float, drawn: Float[np.ndarray, " draws"], confidence: float) -> Estimate:
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn) or not np.isfinite(value):
        return Estimate(value=value, low=None, high=None, confidence=confidence)
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Estimate(value=value, low=float(low), high=float(high), confidence=confidence)


def scores_by_task(
    answers: Mapping[str, Float[np.ndarray, "n _out"]],
    truth: Mapping[str, np.ndarray],
    is_class: Mapping[str, bool],
) -> dict[str, float]:
    """``NAME/auroc`` and ``NAME/balanced_accuracy`` of classes, ``NAME/r2`` and ``NAME/mae`` of numbers.

    Rows whose truth is unknown (−1, NaN) are left out, and numbers that are not defined (one class only, no row) too.
    ``answers``: probabilities of the classes, or the number in one column.
    """
    scores: dict[str, float] = {}
    for name, answer in answers.items():
        wanted = truth[name]
        known = wanted >= 0 if is_class[name] else np.isfinite(wanted)
        y, p = wanted[known], answer[known]
        if is_class[name]:
            scores[f"{name}/auroc"] = auroc(y, p)
            scores[f"{name}/balanced_accuracy"] = balanced_accuracy(y, p.argmax(1))
        elif len(y):
            error, spread = y - p[:, 0], ((y - y.mean()) ** 2).sum()
            scores[f"{name}/r2"] = float(1 - (error**2).sum() / spread) if spread else float("nan")
            scores[f"{name}/mae"] = float(np.abs(error).mean())
    return {name: value for name, value in scores.items() if np.isfinite(value)}
