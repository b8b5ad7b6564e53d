"""Retrieval quality where many documents are equally near, as codes of bits make them.

Documents of one level are taken in random order, and what is returned is the expectation over these orders, exactly. A sort
would take them as they happen to be stored, which is often by class.

Shape legend: Q queries, N documents.
"""

import numpy as np
from jaxtyping import Bool, Float, Int


def expected_average_precision(
    levels: Int[np.ndarray, "queries documents"], relevant: Bool[np.ndarray, "queries documents"]
) -> Float[np.ndarray, " queries"]:
    """Average precision over all documents, nearest level first; 0 for a query without a relevant one.

    Maths: a level of n documents, r of them relevant, after s documents of which R are relevant, adds
    Σ_{i=1..n} (r/n) (R + 1 + (i−1)(r−1)/(n−1)) / (s+i); all levels together over the number of relevant documents.
    """
    size, hits = _by_level(levels, np.ones(levels.shape)), _by_level(levels, relevant.astype(np.float64))
    before, hits_before = np.cumsum(size, 1) - size, np.cumsum(hits, 1) - hits
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, levels.shape[1] + 1))])
    ranks = harmonic[(before + size).astype(int)] - harmonic[before.astype(int)]  # Σ 1/(s+i)
    others = size - (before + 1) * ranks  # Σ (i−1)/(s+i)
    with np.errstate(divide="ignore", invalid="ignore"):
        more = np.where(size > 1, (hits - 1) / (size - 1), 0.0)
        added = np.where(size > 0, hits / size * ((hits_before + 1) * ranks + more * others), 0.0)
    total = hits.sum(1)
    return np.divide(added.sum(1), total, out=np.zeros(len(levels)), where=total > 0)


def expected_ndcg(
    levels: Int[np.ndarray, "queries documents"], gains: Float[np.ndarray, "queries documents"], k: int
) -> Float[np.ndarray, " queries"]:
    """nDCG@k with linear gains (as :func:`~brickwork.evaluation.retrieval.ndcg`), nearest level first; 0 for a query
    without a gain.

    Maths: a level of n documents adds its mean gain times Σ 1/log2(rank + 1) over those of its ranks that are at most k.
    """
    size, gain = _by_level(levels, np.ones(levels.shape)), _by_level(levels, gains)
    ends = np.minimum(np.cumsum(size, 1), k).astype(int)
    discounts = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    weight = np.diff(discounts[ends], prepend=0.0, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        reached = np.where(size > 0, gain / size * weight, 0.0).sum(1)
    best = -np.sort(-gains, axis=1)[:, :k]
    ideal = (best / np.log2(np.arange(2, best.shape[1] + 2))).sum(1)
    return np.divide(reached, ideal, out=np.zeros(len(levels)), where=ideal > 0)


def _by_level(levels: np.ndarray, values: np.ndarray) -> Float[np.ndarray, "queries levels"]:
    """The values of each query's documents, summed by level."""
    count = int(levels.max(initial=-1)) + 1
    cells = (np.arange(len(levels))[:, None] * count + levels).ravel()
    summed = np.bincount(cells, weights=values.ravel(), minlength=len(levels) * count)
    return summed.reshape(len(levels), count)
