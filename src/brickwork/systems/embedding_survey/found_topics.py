"""What a set of texts is about: the words of topics that were learnt, or of clusters of vectors.

Shape legend: N texts, V words, K topics.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from brickwork.evaluation.clustering import npmi
from brickwork.systems.embedding_survey.bias import unit

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

WORDS = 10
_CLUSTERS = 12
_TEXTS_OF_A_CLUSTER = 15


@dataclass(frozen=True, kw_only=True)
class Topic:
    """``share`` of the texts; ``coherence``: NPMI of its words in these texts (evaluation.clustering)."""

    words: tuple[str, ...]
    share: float
    coherence: float


def of_topics(
    phi: Float[np.ndarray, "words topics"],
    theta: Float[np.ndarray, "texts topics"],
    bags: "csr_matrix",
    words: Sequence[str],
) -> list[Topic]:
    """The likeliest words of each topic, and its share of the texts; largest first."""
    tops = np.argsort(-phi, axis=0, kind="stable")[:WORDS].T
    return _topics(tops, theta.mean(0), bags, words)


def of_clusters(
    vectors: Float[np.ndarray, "texts dim"],
    bags: "csr_matrix",
    words: Sequence[str],
    seed: int,
) -> list[Topic]:
    """k-means of the vectors of texts, and of each cluster c the words with the highest tf_{w,c} ln(1 + A/f_w), A the mean
    number of words of a cluster (Grootendorst 2022, eq. 1)."""
    from sklearn.cluster import KMeans

    rows = unit(vectors)
    different = len(np.unique(rows.round(4), axis=0))
    count = min(max(2, min(_CLUSTERS, len(rows) // _TEXTS_OF_A_CLUSTER)), different)
    if count < 2 or len(rows) < 2 * count:
        return []
    found = KMeans(count, n_init=5, random_state=seed).fit_predict(rows)
    member = np.eye(count)[found]
    frequency = np.asarray((bags.T @ member).T)
    weight = np.log1p(frequency.sum() / count / np.maximum(frequency.sum(0), 1))
    share = frequency / np.maximum(frequency.sum(1, keepdims=True), 1)
    tops = np.argsort(-share * weight, axis=1, kind="stable")[:, :WORDS]
    return _topics(tops, member.mean(0), bags, words)


def _topics(
    tops: Int[np.ndarray, "topics some"],
    share: Float[np.ndarray, " topics"],
    bags: "csr_matrix",
    words: Sequence[str],
) -> list[Topic]:
    coherence = npmi(tops.tolist(), bags)
    return [
        Topic(words=tuple(words[w] for w in tops[k]), share=float(share[k]), coherence=float(coherence[k]))
        for k in np.argsort(-share, kind="stable")
    ]
