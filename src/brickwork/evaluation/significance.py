"""Is a difference real: paired bootstrap over queries, Student's interval over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import naming_extras

NUM_RESAMPLES = 10_000
_CHUNK_NUMBERS = 4_000_000  # numbers of a resampling chunk held at once (32 MB)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A mean difference, its interval at ``confidence`` and the two-sided p-value of "no difference"."""

    mean: float
    low: float
    high: float
    p: float
    confidence: float = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over seeds and its Student interval; one seed has no interval (``None``)."""

    mean: float
    low: float | None
    high: float | None
    num_seeds: int
    confidence: float = 0.95


def paired_bootstrap(
    before: Float[np.ndarray, " queries"],
    after: Float[np.ndarray, " queries"],
    *,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """The mean of ``after − before`` over the same queries, with a percentile bootstrap interval.

    See :func:`paired_bootstrap_columns`.
    """
    columns = np.subtract(after, before, dtype=np.float64)[:, None]
    return paired_bootstrap_columns(columns, num_resamples=num_resamples, confidence=confidence, seed=seed)[0]


def paired_bootstrap_columns(
    differences: Float[np.ndarray, "queries columns"],
    *,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Difference]:
    """One :class:`Difference` for each column of per-query differences.

    Queries are drawn with replacement; all columns share the draws. The p-value is twice the smaller share of
    resampled means on either side of zero (Efron and Tibshirani 1993, chapter 15), never below 2/(R+1).

    Shapes: ``differences`` (queries, columns) → a list of length columns.
    """
    num_queries, num_columns = differences.shape
    if num_queries == 0:
        raise ValueError("a bootstrap needs at least one query")
    rng = np.random.default_rng(seed)
    means = np.empty((num_resamples, num_columns))
    chunk = max(1, _CHUNK_NUMBERS // num_queries)
    even = np.full(num_queries, 1 / num_queries)
    for start in range(0, num_resamples, chunk):
        stop = min(start + chunk, num_resamples)
        # A resample is how often each query was drawn, so its mean is one product.
        counts = rng.multinomial(num_queries, even, size=stop - start).astype(np.float64)
        means[start:stop] = counts @ differences / num_queries
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    below = (1 + (means <= 0).sum(axis=0)) / (num_resamples + 1)
    above = (1 + (means >= 0).sum(axis=0)) / (num_resamples + 1)
    p = np.minimum(1.0, 2 * np.minimum(below, above))
    return [
        Difference(
            mean=float(differences[:, i].mean()),
            low=float(low[i]),
            high=float(high[i]),
            p=float(p[i]),
            confidence=confidence,
        )
        for i in range(num_columns)
    ]


@naming_extras("an interval over seeds")
def seed_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Mean over seeds ± t(n−1) · s/√n, s being the standard deviation with n−1 in the denominator."""
    from scipy import stats

    if not len(values):
        raise ValueError("an interval over seeds needs at least one value")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Interval(mean=mean, low=None, high=None, num_seeds=1, confidence=confidence)
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * error
    return Interval(
        mean=mean, low=mean - half, high=mean + half, num_seeds=len(values), confidence=confidence
    )


@naming_extras("an interval of a share")
def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share; (0, 1) without trials."""
    if not trials:
        return 0.0, 1.0
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
