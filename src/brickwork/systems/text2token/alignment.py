"""How well the likeliest words of vectors are those of their texts, and how vectors lie in their space.

Nie, Zhang, Wu: A Text is Worth Several Tokens (arXiv 2406.17378), section 3: Hit@K, local and global alignment rate.

Shape legend: N texts, V key words, D width.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from jaxtyping import Float, Int

from brickwork.representation.truncate import truncate


def alignment(
    order: Int[np.ndarray, "n words"], present: Sequence[AbstractSet[int]], k: int = 10
) -> dict[str, float]:
    """Of texts that have key words T, with the words of their vectors in ``order``, likeliest first: ``hit@k``, the share
    with a word of T among the first k; ``lar``, the mean share of T among the first |T|; ``gar``, the share of all key
    words of all texts that are among the first |T| of some text that has them."""
    hits, local = [], []
    matched: set[int] = set()
    every: set[int] = set()
    for row, own in zip(order.tolist(), present):
        if not own:
            continue
        both = own & set(row[: len(own)])
        hits.append(bool(own & set(row[:k])))
        local.append(len(both) / len(own))
        matched |= both
        every |= own
    if not hits:
        return {f"hit@{k}": float("nan"), "lar": float("nan"), "gar": float("nan")}
    return {f"hit@{k}": float(np.mean(hits)), "lar": float(np.mean(local)), "gar": len(matched) / len(every)}


def without_first(
    vectors: Float[np.ndarray, "n width"], fitted: Float[np.ndarray, "m width"]
) -> Float[np.ndarray, "n width"]:
    """Vectors less the mean and the first principal component of ``fitted``, at length 1."""
    centre = fitted.mean(0)
    _, _, axes = np.linalg.svd(fitted - centre, full_matrices=False)
    moved = vectors - centre
    return truncate(moved - np.outer(moved @ axes[0], axes[0]), vectors.shape[1])


def whitened(
    vectors: Float[np.ndarray, "n width"], fitted: Float[np.ndarray, "m width"]
) -> Float[np.ndarray, "n width"]:
    """Vectors with the covariance of ``fitted`` made the identity (Su et al. 2021, arXiv 2103.15316), at length 1."""
    centre = fitted.mean(0)
    _, values, axes = np.linalg.svd(fitted - centre, full_matrices=False)
    large = values > values[0] * 1e-4
    scaled = (vectors - centre) @ (axes[large].T / values[large])
    return truncate(scaled, scaled.shape[1])


def share_on_first(before: Float[np.ndarray, "n width"], after: Float[np.ndarray, "n width"]) -> float:
    """The share of ‖Δh‖², Δh = after − before, that lies on the first principal component of ``before``."""
    _, _, axes = np.linalg.svd(before - before.mean(0), full_matrices=False)
    change = after - before
    return float(((change @ axes[0]) ** 2).sum() / max((change**2).sum(), np.finfo(np.float64).tiny))
