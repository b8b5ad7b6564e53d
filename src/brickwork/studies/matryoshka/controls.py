"""What a shortened vector must beat: other ways to get ``dim`` dimensions out of a full-width embedding.

All take and return plain features; cut first, normalise afterwards. The *fixed-feature* control of the
Matryoshka paper (a model trained with the loss on its first m features only) is a training, not a transform:
a system's configuration with the single prefix m.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Features = Float[np.ndarray, "n width"]
Reducer = Callable[[np.ndarray], np.ndarray]


def truncation(dim: int) -> Reducer:
    """The first ``dim`` features: what a model not trained for it gives."""
    return lambda features: features[:, :dim]


def random_features(width: int, dim: int, seed: int) -> Reducer:
    """``dim`` features drawn without replacement."""
    chosen = np.sort(np.random.default_rng(seed).choice(width, size=dim, replace=False))
    return lambda features: features[:, chosen]


def random_projection(width: int, dim: int, seed: int) -> Reducer:
    """A Gaussian projection onto ``dim`` dimensions (Johnson–Lindenstrauss): keeps inner products on average."""
    matrix = np.random.default_rng(seed).standard_normal((width, dim)) / np.sqrt(dim)
    return lambda features: features @ matrix.astype(features.dtype)


def svd(train: Features, dim: int) -> Reducer:
    """The ``dim`` leading right singular directions of ``train``, not centred: inner products are compared.

    Fit on training vectors only. With fewer training rows than ``dim``, the missing directions are zeros.
    """
    _, _, directions = np.linalg.svd(np.asarray(train, dtype=np.float64), full_matrices=False)
    matrix = np.zeros((train.shape[1], dim))
    kept = directions[:dim]
    matrix[:, : len(kept)] = kept.T
    return lambda features: features @ matrix.astype(features.dtype)
