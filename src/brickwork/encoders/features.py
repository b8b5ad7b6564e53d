"""What an encoder of images knows of each of its patches, beside the vector of the whole.

Shape legend: B images, N patches (h × w of them), W width of the hidden states, D width of the vectors.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """What a model makes of B images. ``vector``: (B, D). ``tokens``: (B, N, W), one a patch, row by row of ``grid`` (h, w);
    class and register tokens are left out. ``hidden``: the same after the embedding (0) and after each block, before the
    final norm; of models in stages (B, N, W) after each stage, each of its own N and W."""

    vector: Float[Tensor, "batch dim"]
    tokens: Float[Tensor, "batch patches width"]
    grid: tuple[int, int]
    hidden: tuple[Tensor, ...]
