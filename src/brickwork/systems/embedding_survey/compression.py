"""Smaller tables of word vectors: what they come back as, and bytes a word.

Shape legend: V words, D dimensions, M blocks of a product quantiser.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from brickwork.representation.nearest import top_k
from brickwork.representation.signs import as_signs
from brickwork.systems.embedding_survey.bias import unit

Matrix = Float32[np.ndarray, "words dim"]
Compress = Callable[[Matrix], tuple[Matrix, float]]
_LOOKED_AT, _NEAR = 500, 10


def floats(vectors: Matrix) -> tuple[Matrix, float]:
    """As they are."""
    return vectors, 4.0 * vectors.shape[1]


def int8(vectors: Matrix) -> tuple[Matrix, float]:
    """256 even steps from the smallest to the largest number of each dimension."""
    low, high = vectors.min(0), vectors.max(0)
    step = np.where(high > low, (high - low) / 255, 1.0).astype(np.float32)
    return np.rint((vectors - low) / step) * step + low, 1.0 * vectors.shape[1]


def principal_half(vectors: Matrix) -> tuple[Matrix, float]:
    """The first half of the principal components, as floats; given back in all dimensions."""
    middle = vectors.mean(0)
    centred = (vectors - middle).astype(np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    kept = axes[:, ::-1][:, : max(1, vectors.shape[1] // 2)]
    return (centred @ kept @ kept.T + middle).astype(np.float32), 4.0 * kept.shape[1]


def product_quantised(vectors: Matrix, blocks: int) -> tuple[Matrix, float]:
    """For each of M parts of a vector the nearest of up to 256 centroids (Jégou et al. 2011), a byte a part: as many parts
    as asked for, or fewer where the dimensions do not divide so; of few words there are fewer centroids."""
    import faiss

    dim = vectors.shape[1]
    blocks = next(count for count in range(max(1, min(blocks, dim)), 0, -1) if dim % count == 0)
    # k-means wants some words for each centroid, and more centroids than words mean nothing.
    bits = int(np.clip(np.log2(max(len(vectors) // 39, 2)), 1, 8))
    quantiser = faiss.ProductQuantizer(dim, blocks, bits)
    quantiser.cp.min_points_per_centroid = 1  # it would print a warning for each part
    quantiser.train(np.ascontiguousarray(vectors))
    codes: Any = quantiser  # faiss's types describe its C++ methods
    made = codes.decode(codes.compute_codes(np.ascontiguousarray(vectors)))
    return made, blocks * bits / 8


def sign_bits(vectors: Matrix) -> tuple[Matrix, float]:
    """The sign of each number after centring: ±1/√D."""
    return as_signs(vectors - vectors.mean(0)), vectors.shape[1] / 8


COMPRESSIONS: dict[str, Compress] = {
    "float": floats,
    "half of the principal components": principal_half,
    "int8": int8,
    "product quantiser, D/2 parts": lambda vectors: product_quantised(vectors, vectors.shape[1] // 2),
    "product quantiser, D/4 parts": lambda vectors: product_quantised(vectors, vectors.shape[1] // 4),
    "sign bits": sign_bits,
}


def kept_neighbours(before: Matrix, after: Matrix) -> Float[np.ndarray, " looked"]:
    """Of each of the most frequent words, the share of its ten nearest that are still among them."""
    count, k = min(_LOOKED_AT, len(before)), min(_NEAR + 1, len(before))
    found = [
        top_k(unit(m)[:count].astype(np.float32), unit(m).astype(np.float32), k)[1] for m in (before, after)
    ]
    shares = []
    for row, (one, other) in enumerate(zip(*found)):
        own = {int(i) for i in one if i != row}
        shares.append(len(own & {int(i) for i in other}) / max(len(own), 1))
    return np.array(shares)
