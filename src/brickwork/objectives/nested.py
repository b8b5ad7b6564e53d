"""Losses on prefixes of a vector: one embedding whose first dimensions are an embedding too.

Matryoshka Representation Learning (Kusupati et al. 2022, arXiv 2205.13147). A prefix is always cut from the
full, unnormalised vector and normalised afterwards. Depth and width together: objectives/depth_width.py.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from brickwork.core.types import LossOutput

BaseLoss = Callable[..., Tensor]
"""A loss on embeddings of any width: tensors in (some may be None), a scalar out."""


def nested_prefixes(
    z: Float[Tensor, "batch dim"], dims: Sequence[int], *, normalize: bool = True
) -> dict[int, Float[Tensor, "batch _"]]:
    """Each prefix of ``z``, cut from ``z`` itself, then (if ``normalize``) made unit length.

    Raises:
        ValueError: a prefix is longer than the vector.
    """
    if not dims or min(dims) < 1 or max(dims) > z.shape[-1]:
        raise ValueError(f"prefixes {list(dims)} of a vector of {z.shape[-1]} dimensions")
    return {m: F.normalize(z[..., :m], dim=-1) if normalize else z[..., :m] for m in dims}


def nested_loss(
    base: BaseLoss,
    *embeddings: Tensor | None,
    dims: Sequence[int],
    weights: Sequence[float] | None = None,
    reduction: Literal["sum", "mean"] = "sum",
) -> LossOutput:
    """The weighted sum over prefixes of ``base`` applied to that prefix of all ``embeddings``.

    ``base`` gets the raw prefixes: an objective on directions normalises them itself, a linear head must not.
    ``reduction``: ``sum`` is the paper's; ``mean`` divides by the number of prefixes, which keeps the step
    size of plain gradient descent that of a single loss.

    Maths: L = Σ_{m∈M} c_m · ℓ(z_{1:m}), c_m = 1  (MRL, eq. 1).
    """
    if weights is not None and len(weights) != len(dims):
        raise ValueError(f"{len(weights)} weights for {len(dims)} prefixes")
    for z in embeddings:
        if z is not None and max(dims) > z.shape[-1]:
            raise ValueError(f"prefixes {list(dims)} of a vector of {z.shape[-1]} dimensions")
    share = 1.0 if reduction == "sum" else 1.0 / len(dims)
    terms = {f"dim_{m}": base(*(cut(z, m) for z in embeddings)) for m in dims}
    factors = weights if weights is not None else [1.0] * len(dims)
    return LossOutput.of(terms, {f"dim_{m}": c * share for m, c in zip(dims, factors)})


def cut(z: Any, dim: int) -> Any:
    """The first ``dim`` dimensions of each vector; None stays None."""
    return None if z is None else z[..., :dim]
