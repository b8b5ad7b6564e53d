"""The loss that keeps a new model's vectors comparable with those of an old one (HOC).

Biondi et al.: Stationary Representations, arXiv 2405.02581.
Shape legend: B rows, D dimensions.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

Mask = Literal["zero", "exclude"]


def higher_order(
    old: Float[Tensor, "batch dim"],
    new: Float[Tensor, "batch dim"],
    label: Int64[Tensor, " batch"],
    *,
    scale: float = 10.0,
    mask: Mask = "zero",
) -> Float[Tensor, ""]:
    """InfoNCE from each row's old vector to its new one, against the new vectors of other classes.

    ``old`` comes from the frozen previous model; both are normalised here. Rows of one class are never negatives.

    Maths: (1/B) Σ_i [ −μ⟨u_i, v_i⟩ + log Σ_j exp(μ⟨u_i, v_j⟩ · 1[y_j ≠ y_i]) ], u old, v new, μ = ``scale``
    (eq. 4). ``mask="zero"`` is this, as the authors' code has it: a row of the own class, the positive among them,
    is in the sum with exp(0) = 1. ``mask="exclude"`` is the textbook form: Σ over {i} ∪ {j : y_j ≠ y_i}.
    """
    with torch.autocast(new.device.type, enabled=False):
        u, v = (F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=1) for x in (old, new))
        similarity = scale * u @ v.T
        same = label[:, None] == label[None]
        positive = similarity.diagonal()
        if mask == "zero":
            others = similarity.masked_fill(same, 0.0)
        else:
            own = torch.eye(len(label), dtype=torch.bool, device=label.device)
            others = similarity.masked_fill(same & ~own, float("-inf"))
        return (torch.logsumexp(others, dim=1) - positive).mean()
