"""Retrieval quality per query, over all queries at once.

``ranked`` holds document rows, best first; −1 fills up where fewer documents were found. ``relevant`` gives
for each query the gain of each relevant document row; a gain of 0 or less means not relevant. A query without
any relevant document scores 0 on every measure (as in trec_eval) and counts in the mean.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from brickwork.core.config import nearest
from brickwork.core.errors import ConfigError

Relevance = Sequence[Mapping[int, int]]
Gains = Float[np.ndarray, "queries depth"]
PerQuery = Float[np.ndarray, " queries"]

DEFAULT_METRICS = ("ndcg@10", "recall@10", "mrr@10")


def score(
    ranked: Int[np.ndarray, "queries depth"],
    relevant: Relevance,
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> dict[str, Float[np.ndarray, " queries"]]:
    """Each metric, named like ``ndcg@10``, for each query.

    Raises:
        ConfigError: an unknown metric.
    """
    gains = gains_of(ranked, relevant)
    scores = {}
    for metric in metrics:
        name, k = parse_metric(metric)
        scores[metric] = _METRICS[name](gains, relevant, k)
    return scores


def parse_metric(metric: str) -> tuple[str, int]:
    """``"ndcg@10"`` → ``("ndcg", 10)``."""
    match = re.fullmatch(r"([a-z_]+)@([1-9]\d*)", metric)
    if match is None:
        raise ConfigError(f"metric '{metric}': write it as name@k, for example ndcg@10")
    if match[1] not in _METRICS:
        raise ConfigError(f"unknown metric '{metric}': {nearest(match[1], _METRICS)}")
    return match[1], int(match[2])


def gains_of(
    ranked: Int[np.ndarray, "queries depth"], relevant: Relevance
) -> Float[np.ndarray, "queries depth"]:
    """The gain of every ranked document: 0 where it is not relevant or there is none."""
    if len(ranked) != len(relevant):
        raise ValueError(f"{len(ranked)} rankings for {len(relevant)} queries")
    rows = [(q, doc, gain) for q, gains in enumerate(relevant) for doc, gain in gains.items() if gain > 0]
    if not rows or not ranked.size:
        return np.zeros(ranked.shape)
    query, document, gain = np.array(rows, dtype=np.int64).T
    # A (query, document) pair as one number: all look-ups are one binary search.
    stride = max(int(document.max()), int(ranked.max())) + 1
    keys = query * stride + document
    order = np.argsort(keys)
    keys, gain = keys[order], gain[order]
    wanted = np.arange(len(ranked))[:, None] * stride + np.maximum(ranked, 0)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where((keys[place] == wanted) & (ranked >= 0), gain[place], 0).astype(np.float64)


def _num_relevant(relevant: Relevance) -> PerQuery:
    return np.array([sum(gain > 0 for gain in gains.values()) for gains in relevant], dtype=np.float64)


def _divide(numerator: PerQuery, denominator: PerQuery) -> PerQuery:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)


def ndcg(gains: Gains, relevant: Relevance, k: int) -> PerQuery:
    """nDCG@k with linear gains, as trec_eval's ``ndcg_cut``: Σ gain_r / log2(r+1) over the best possible."""
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.zeros((len(relevant), k))
    for row, entry in enumerate(relevant):
        best = sorted((gain for gain in entry.values() if gain > 0), reverse=True)[:k]
        ideal[row, : len(best)] = best
    top = gains[:, :k]
    return _divide(top @ discount[: top.shape[1]], ideal @ discount)


def recall(gains: Gains, relevant: Relevance, k: int) -> PerQuery:
    """The share of the relevant documents among the first k."""
    return _divide((gains[:, :k] > 0).sum(axis=1).astype(np.float64), _num_relevant(relevant))


def precision(gains: Gains, relevant: Relevance, k: int) -> PerQuery:
    """Relevant documents among the first k, over k (also where fewer than k were found)."""
    return (gains[:, :k] > 0).sum(axis=1) / k


def mrr(gains: Gains, relevant: Relevance, k: int) -> PerQuery:
    """One over the rank of the first relevant document, 0 where it is not among the first k."""
    hits = gains[:, :k] > 0
    if not hits.size:
        return np.zeros(len(gains))
    return hits.any(axis=1) / (hits.argmax(axis=1) + 1.0)


def _precision_sum(gains: Gains, k: int) -> PerQuery:
    hits = (gains[:, :k] > 0).astype(np.float64)
    return (hits * hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)).sum(axis=1)


def map_trec(gains: Gains, relevant: Relevance, k: int) -> PerQuery:
    """Average precision of the first k over the number of relevant documents (trec_eval's ``map_cut``)."""
    return _divide(_precision_sum(gains, k), _num_relevant(relevant))


def map_paper(gains: Gains, relevant: Relevance, k: int) -> PerQuery:
    """(1/k) Σ_{r≤k} precision@r · hit_r: the mAP@k of Matryoshka (2205.13147) divides by k."""
    return _precision_sum(gains, k) / k


_METRICS: dict[str, Callable[[Gains, Relevance, int], PerQuery]] = {
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "mrr": mrr,
    "map": map_trec,
    "map_paper": map_paper,
}
