"""Fréchet distance between two sets of vectors, each read as a normal distribution.

Dowson and Landau 1982; on features of a network it is what is called FID (Heusel et al. 2017, arXiv 1706.08500). It is
biased upwards for few vectors: compare sets of equal size, and with more rows than dimensions.

Shape legend: N and M vectors, D dimensions.
"""

import numpy as np
from jaxtyping import Float


def frechet_distance(x: Float[np.ndarray, "n dim"], y: Float[np.ndarray, "m dim"]) -> float:
    """The squared Fréchet distance of the normal distributions with the means and covariances of ``x`` and ``y``.

    Maths: ‖μ_x − μ_y‖² + tr(Σ_x) + tr(Σ_y) − 2 tr((Σ_x^½ Σ_y Σ_x^½)^½). The last trace is the sum of the singular values of
    Σ_x^½ Σ_y^½, which is real whatever the rank.

    Raises:
        ValueError: fewer than two vectors on one side.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"{len(x)} and {len(y)} vectors; a covariance needs two or more")
    x, y = x.astype(np.float64), y.astype(np.float64)
    cov_x, cov_y = (np.atleast_2d(np.cov(side, rowvar=False)) for side in (x, y))
    cross = np.linalg.svd(_root(cov_x) @ _root(cov_y), compute_uv=False).sum()
    means = float(np.square(x.mean(0) - y.mean(0)).sum())
    return max(0.0, means + float(np.trace(cov_x) + np.trace(cov_y) - 2 * cross))


def _root(matrix: Float[np.ndarray, "dim dim"]) -> Float[np.ndarray, "dim dim"]:
    """The symmetric root of a covariance."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
