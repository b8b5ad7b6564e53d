"""Cutting vectors to a prefix: cut first, normalise afterwards, in float32."""

import numpy as np
from jaxtyping import Float, Float32


def truncate(
    vectors: Float[np.ndarray, "n width"], dim: int, normalize: bool = True
) -> Float32[np.ndarray, "n dim"]:
    """The first ``dim`` dimensions of each vector, scaled to length 1 unless ``normalize`` is False.

    A vector of zeros stays zeros.

    Raises:
        ValueError: ``dim`` is not between 1 and the width.
    """
    if not 1 <= dim <= vectors.shape[1]:
        raise ValueError(f"dim={dim} is outside 1 … {vectors.shape[1]}")
    prefix = np.array(vectors[:, :dim], dtype=np.float32)  # a copy: the caller's vectors stay as they are
    if normalize:
        length = np.sqrt(np.einsum("nd,nd->n", prefix, prefix))
        prefix /= np.maximum(length, np.finfo(np.float32).tiny)[:, None]
    return prefix
