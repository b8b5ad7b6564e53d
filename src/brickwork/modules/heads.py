"""Classifiers: one that learns, one that is fixed, and those that read prefixes of a vector.

Prefixes: Matryoshka Representation Learning, arXiv 2205.13147. Fixed: :mod:`brickwork.modules.simplex`.
"""

from collections.abc import Sequence
from typing import Literal, cast

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.modules.simplex import SimplexHead

HeadKind = Literal["linear", "simplex"]
_SCALE = 16.0  # of a simplex's logits; unscaled, vectors of about unit length learn too slowly from them


def classifier(width: int, num_classes: int, kind: HeadKind = "linear") -> nn.Module:
    """(B, ``width``) → (B, ``num_classes``) logits: W·z + b that is learnt, or the corners of a fixed simplex.

    With ``simplex`` there is nothing to learn here: what comes before moves the features of a class towards its
    corner, so that models trained apart put the same classes at the same places.

    Raises:
        ConfigError: a simplex of so many classes needs wider features.
    """
    if kind == "linear":
        return nn.Linear(width, num_classes)
    if width < num_classes - 1:
        raise ConfigError(
            f"a simplex of {num_classes} classes needs features of {num_classes - 1} dimensions or more; these have "
            f"{width}. Use the linear classifier, or wider features"
        )
    return SimplexHead(num_classes, scale=_SCALE)


def linear_weights(head: nn.Module, width: int) -> dict[str, Tensor]:
    """``weight`` (classes, ``width``) and ``bias`` of the linear layer that answers as a :func:`classifier` does."""
    if isinstance(head, SimplexHead):
        weight = F.pad(head.scale * head.corners, (0, width - head.dim))
        return {"weight": weight, "bias": weight.new_zeros(len(weight))}
    return head.state_dict()


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
