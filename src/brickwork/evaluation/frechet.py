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
    (mean_x, cov_x), (mean_y, cov_y) = (moments(side) for side in (x, y))
    return frechet_of_moments(mean_x, cov_x, mean_y, cov_y)


def moments(
    x: Float[np.ndarray, "n dim"],
) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, "dim dim"]]:
    """Mean and covariance, in double precision."""
    x = x.astype(np.float64)
    return x.mean(0), np.atleast_2d(np.cov(x, rowvar=False))


def frechet_of_moments(
    mean_x: Float[np.ndarray, " dim"],
    cov_x: Float[np.ndarray, "dim dim"],
    mean_y: Float[np.ndarray, " dim"],
    cov_y: Float[np.ndarray, "dim dim"],
) -> float:
    """The same of distributions whose means and covariances are known."""
    cross = np.linalg.svd(_root(cov_x) @ _root(cov_y), compute_uv=False).sum()
    means = float(np.square(mean_x - mean_y).sum())
    return max(0.0, means + float(np.trace(cov_x) + np.trace(cov_y) - 2 * cross))


def _root(matrix: Float[np.ndarray, "dim dim"]) -> Float[np.ndarray, "dim dim"]:
    """The symmetric root of a covariance."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
