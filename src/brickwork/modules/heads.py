"""Classifiers that read prefixes of a vector (Matryoshka Representation Learning, arXiv 2205.13147)."""

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class NestedLinear(nn.Module):
    """A linear classifier for each prefix length.

    ``tied=False`` (MRL): each prefix has weights and a bias of its own. ``tied=True`` (MRL-E): all share the
    columns of one weight matrix and one bias, half the memory, clearly weaker at the smallest prefixes.
    """

    def __init__(self, dims: Sequence[int], num_classes: int, *, tied: bool = False):
        super().__init__()
        self.dims = tuple(dims)
        self.tied = tied
        widths = [max(dims)] if tied else dims
        self.heads = nn.ModuleDict({str(m): nn.Linear(m, num_classes) for m in widths})

    def forward(self, z: Float[Tensor, "batch dim"]) -> dict[int, Float[Tensor, "batch classes"]]:
        """The logits from each prefix of ``z``, which is used as it is, not normalised."""
        return {m: self.at(z[:, :m]) for m in self.dims}

    def at(self, prefix: Float[Tensor, "batch prefix"]) -> Float[Tensor, "batch classes"]:
        """The logits from one prefix, whose length tells which head reads it; a tied head reads any length.

        Maths: W_m z_{1:m} + b_m, or W[:, 1:m] z_{1:m} + b.

        Raises:
            KeyError: no head of that length.
        """
        if not self.tied:
            return self.heads[str(prefix.shape[1])](prefix)
        head = cast(nn.Linear, self.heads[str(max(self.dims))])
        return F.linear(prefix, head.weight[:, : prefix.shape[1]], head.bias)
