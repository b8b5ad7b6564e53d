"""Numbers as vectors: near numbers have near vectors, whatever texts say of them.

Shape legend: N numbers, D dimensions, P prototypes.
"""

import numpy as np
from jaxtyping import Float

from brickwork.core.seeding import uniforms


def dice(
    x: Float[np.ndarray, " n"], dim: int, low: float, high: float, seed: int = 0
) -> Float[np.ndarray, "n dim"]:
    """Of [low, high] an arc in D dimensions, turned at random (Sundararaman et al. 2020, DICE): θ = π (x − low)/(high −
    low), v_k = sin^{k−1}θ cosθ, v_D = sin^{D−1}θ. Numbers beyond the ends are at the ends. The
    cosine falls with the distance."""
    theta = np.pi * np.clip((x - low) / (high - low), 0, 1)
    powers = np.sin(theta)[:, None] ** np.arange(dim)
    powers[:, : dim - 1] *= np.cos(theta)[:, None]
    drawn = uniforms(f"{seed}/dice", np.arange(dim), dim) - 0.5
    turn, _ = np.linalg.qr(drawn)
    vectors: np.ndarray = powers @ turn.T
    return vectors


def fourier(
    x: Float[np.ndarray, " n"], dim: int, shortest: float = 0.1, longest: float = 40.0
) -> Float[np.ndarray, "n dim"]:
    """Sines and cosines of ln(1 + |x|) of wavelengths in even steps of their logarithm; the sign of x is a factor of the
    sines."""
    s = np.log1p(np.abs(x))
    waves = 2 * np.pi / np.geomspace(longest, shortest, dim - dim // 2)
    angles = s[:, None] * waves
    return np.concatenate([np.cos(angles), (np.sign(x)[:, None] * np.sin(angles))[:, : dim // 2]], 1)


def prototypes(x: Float[np.ndarray, " n"], places: Float[np.ndarray, " p"]) -> Float[np.ndarray, "n p"]:
    """How near each number is to each prototype: softmax of −|s(x) − s(place)|, s(x) = sign(x) ln(1 + |x|) (the idea of
    Jiang et al. 2020; of their vectors these are the weights)."""
    s, at = (np.sign(v) * np.log1p(np.abs(v)) for v in (x, places))
    weights = np.exp(-np.abs(s[:, None] - at))
    shares: np.ndarray = weights / weights.sum(1, keepdims=True)
    return shares


def mantissa_exponent(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n four"]:
    """Sign, mantissa from 1 to below 10, exponent, and whether the number is 0."""
    size = np.abs(x)
    exponent = np.floor(np.log10(np.maximum(size, 1e-300)))
    zero = size == 0
    mantissa = np.where(zero, 0.0, size / 10.0**exponent)
    return np.stack([np.sign(x), mantissa, np.where(zero, 0.0, exponent), zero.astype(float)], 1)
