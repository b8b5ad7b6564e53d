"""How well codes find documents of a query's class, and what is kept beside them: hyperplanes (LSH), TF-IDF.

A query is held out; what is found for it are the other held-out documents ("test-test", as Salakhutdinov and Hinton have
it) or those of the training ("test-train"). Documents that are equally near are taken in random order, exactly.

Shape legend: Q queries, N documents, b bits, V words.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from brickwork.data.vocabulary import Vocabulary
from brickwork.evaluation.ties import expected_average_precision, expected_ndcg

_BLOCK = 256  # queries at a time
_ROUNDING = 6  # decimals of cosines that are one level


def hamming(
    queries: Bool[np.ndarray, "queries bits"], documents: Bool[np.ndarray, "documents bits"]
) -> Int[np.ndarray, "queries documents"]:
    """How many bits differ."""
    signs, others = (np.where(bits, 1.0, -1.0).astype(np.float32) for bits in (queries, documents))
    different: np.ndarray = ((queries.shape[1] - signs @ others.T) / 2).round().astype(np.int64)
    return different


def levels_of(scores: Float[np.ndarray, "queries documents"]) -> Int[np.ndarray, "queries documents"]:
    """0 for the documents of the highest score of each query, 1 for the next …; equal scores are one level."""
    levels = np.empty(scores.shape, np.int64)
    for row, own in enumerate(-scores.round(_ROUNDING)):
        levels[row] = np.unique(own, return_inverse=True)[1]
    return levels


def quality(
    levels: Int[np.ndarray, "queries documents"],
    of_queries: Int[np.ndarray, " queries"],
    of_documents: Int[np.ndarray, " documents"] | None = None,
) -> dict[str, Float[np.ndarray, " scored"]]:
    """``map`` and ``ndcg@10`` of each query that has a document of its class. Without labels of documents these are the
    queries, and none is found for itself."""
    relevant = of_queries[:, None] == (of_queries if of_documents is None else of_documents)[None]
    if of_documents is None:
        others = ~np.eye(len(levels), dtype=bool)
        levels, relevant = (x[others].reshape(len(levels), -1) for x in (levels, relevant))
    scored = relevant.any(1)
    levels, relevant = levels[scored], relevant[scored]
    parts = [slice(start, start + _BLOCK) for start in range(0, len(levels), _BLOCK)]
    none = [np.zeros(0)]
    return {
        "map": np.concatenate(
            none + [expected_average_precision(levels[part], relevant[part]) for part in parts]
        ),
        "ndcg@10": np.concatenate(
            none + [expected_ndcg(levels[part], relevant[part].astype(np.float64), 10) for part in parts]
        ),
    }


def by_chance(
    of_queries: Int[np.ndarray, " queries"], of_documents: Int[np.ndarray, " documents"] | None = None
) -> float:
    """The mean average precision of documents in random order, exactly: all of them are one level."""
    count = len(of_queries if of_documents is None else of_documents)
    levels = np.zeros((len(of_queries), count), np.int64)
    return float(quality(levels, of_queries, of_documents)["map"].mean())


def tf_idf(
    counts: Float[np.ndarray, "documents words"], vocabulary: Vocabulary
) -> Float[np.ndarray, "documents words"]:
    """Unit vectors of (1 + ln count) idf, zeros for a document without a known word."""
    with np.errstate(divide="ignore"):
        weights = np.where(counts > 0, 1 + np.log(counts), 0.0) * vocabulary.idf()
    length = np.linalg.norm(weights, axis=1, keepdims=True)
    unit: np.ndarray = (weights / np.where(length > 0, length, 1)).astype(np.float32)
    return unit


def hyperplanes(
    vectors: Float[np.ndarray, "documents dim"], bits: int, seed: int
) -> Bool[np.ndarray, "documents bits"]:
    """On which side of ``bits`` random hyperplanes through the origin each vector lies (LSH, Charikar 2002)."""
    normals = np.random.default_rng([seed, bits]).standard_normal((vectors.shape[1], bits)).astype(np.float32)
    sides: np.ndarray = vectors @ normals > 0
    return sides
