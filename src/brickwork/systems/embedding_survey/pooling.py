"""How the vectors of words make the vector of a text: weights of words, and directions that are taken out.

Shape legend: V words, N texts, D dimensions, M directions.
"""

import numpy as np
from jaxtyping import Float, Int

from brickwork.data.vocabulary import Vocabulary

SIF_A = 1e-3
USIF_DIRECTIONS = 5


def weights(pooling: str, vocabulary: Vocabulary, mean_length: float) -> Float[np.ndarray, " words"]:
    """The weight of each word: 1 (``mean``), inverse document frequency (``tfidf``), a/(a + p) (``sif``, Arora et al. 2017),
    or a/(a/2 + p) with a from the vocabulary and the mean length of texts (``usif``, Ethayarajh 2018, section 4.2)."""
    if pooling == "mean":
        return np.ones(len(vocabulary))
    if pooling == "tfidf":
        return vocabulary.idf()
    share = vocabulary.counts / vocabulary.counts.sum()
    if pooling == "sif":
        return SIF_A / (SIF_A + share)
    # Words more frequent than this are likelier than not to be in a text by chance alone.
    often = 1 - (1 - 1 / len(vocabulary)) ** mean_length
    alpha = float((share > often).mean())
    a = (1 - alpha) / max(alpha * 0.5 * len(vocabulary), 1e-12)
    return a / (0.5 * a + share)


def directions(
    pooling: str, vectors: Float[np.ndarray, "texts dim"]
) -> tuple[Float[np.ndarray, "directions dim"], Float[np.ndarray, " directions"]]:
    """What texts of the training have in common, and which share of it is taken out of every text: the first right singular
    vector, uncentred (``sif``), or five of them, each by its share of their squared singular values (``usif``)."""
    most = {"sif": 1, "usif": USIF_DIRECTIONS}.get(pooling, 0)
    if not most:
        return np.zeros((0, vectors.shape[1])), np.zeros(0)
    # Of D × D products the eigenvectors are the right singular vectors, and texts are many more than dimensions.
    values, found = np.linalg.eigh(vectors.astype(np.float64).T @ vectors)
    values, found = values[::-1][:most], found[:, ::-1][:, :most].T
    shares = np.ones(1) if pooling == "sif" else np.maximum(values, 0) / max(values.sum(), 1e-12)
    missing = most - len(found)
    return np.pad(found, ((0, missing), (0, 0))), np.pad(shares, (0, most - len(shares)))


def number_of_directions(pooling: str) -> int:
    """How many :func:`directions` gives."""
    return {"sif": 1, "usif": USIF_DIRECTIONS}.get(pooling, 0)


def all_but_the_top(matrix: Float[np.ndarray, "words dim"], count: int) -> Float[np.ndarray, "words dim"]:
    """Centred, and without the first ``count`` principal directions (Mu & Viswanath 2018, algorithm 1)."""
    centred = matrix - matrix.mean(0)
    _, found = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    top = found[:, ::-1][:, :count]
    rest: np.ndarray = centred - centred @ top @ top.T
    return rest.astype(matrix.dtype)


def counts_known(ids: Int[np.ndarray, " tokens"]) -> float:
    """The share of words that have a number (not −1)."""
    return float((ids >= 0).mean()) if len(ids) else 0.0
