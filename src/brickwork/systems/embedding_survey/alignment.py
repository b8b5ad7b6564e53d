"""Two spaces of word vectors turned onto each other, and how well words then find their translations.

Shape legend: P pairs of words, N words, M words of the other space, D dimensions.
"""

import numpy as np
from jaxtyping import Float, Int

NEIGHBOURS = 10


def centred(vectors: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n dim"]:
    """Rows of length 1, less their mean, of length 1 again."""
    once = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    moved = once - once.mean(0)
    scaled: np.ndarray = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
    return scaled


def procrustes(
    x: Float[np.ndarray, "pairs dim"], y: Float[np.ndarray, "pairs dim"]
) -> Float[np.ndarray, "dim dim"]:
    """The orthogonal W with the smallest Σ ‖W x − y‖²: UVᵀ of YᵀX = UΣVᵀ (Schönemann 1966). Rows are turned by x @ W.T."""
    u, _, vt = np.linalg.svd(y.T.astype(np.float64) @ x)
    turn: np.ndarray = u @ vt
    return turn


def least_squares(
    x: Float[np.ndarray, "pairs dim"], y: Float[np.ndarray, "pairs dim"]
) -> Float[np.ndarray, "dim dim"]:
    """Any W with the smallest Σ ‖W x − y‖² (Mikolov et al. 2013, translation matrix)."""
    found: np.ndarray = np.linalg.lstsq(x.astype(np.float64), y.astype(np.float64), rcond=None)[0]
    return found.T


def csls(
    queries: Float[np.ndarray, "n dim"], targets: Float[np.ndarray, "m dim"], k: int = NEIGHBOURS
) -> Float[np.ndarray, "n m"]:
    """2 cos − r_T − r_S of unit vectors, r the mean cosine with the k nearest of the other space, so that words that are
    near to everything are not everybody's nearest (Conneau et al. 2018)."""
    cosines = queries @ targets.T
    k_rows, k_columns = min(k, cosines.shape[1]), min(k, cosines.shape[0])
    near_targets = np.sort(cosines, axis=1)[:, -k_rows:].mean(1, keepdims=True)
    near_queries = np.sort(cosines, axis=0)[-k_columns:].mean(0, keepdims=True)
    scores: np.ndarray = 2 * cosines - near_targets - near_queries
    return scores


def hits(scores: Float[np.ndarray, "n m"], wanted: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """1 for each row whose best column is the wanted one."""
    found: np.ndarray = (scores.argmax(1) == wanted).astype(np.float64)
    return found
