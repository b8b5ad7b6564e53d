"""Losses on pairs of vectors: InfoNCE, CoSENT, AnglE. All compare directions only, so lengths do not matter.

They compute in float32 at least: at temperature 0.05 an error of bfloat16's size in a cosine (0.4 %) is
multiplied by twenty.
Shape legend: B pairs, N explicit negatives, D numbers.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from brickwork.core.distributed import all_gather_with_grad, rank, world_size


class LearnedTemperature(nn.Module):
    """A temperature that is learned, as the logarithm of its inverse, so that it stays positive.

    ``smallest``: it is not used below (CLIP clamps the inverse at 100, Radford et al. 2021, section 2.5). A parameter that
    has gone further still gets a gradient, and so comes back.
    """

    def __init__(self, start: float = 0.07, smallest: float = 0.01):
        super().__init__()
        if not 0 < smallest <= start:
            raise ValueError(f"a temperature of {start} cannot start below its smallest value, {smallest}")
        self.log_scale = nn.Parameter(torch.tensor(-math.log(start)))
        self.largest = -math.log(smallest)

    def forward(self) -> Float[Tensor, ""]:
        """The temperature now."""
        over = (self.log_scale - self.largest).clamp(min=0).detach()
        return torch.exp(over - self.log_scale)


def info_nce(
    anchor: Float[Tensor, "batch dim"],
    positive: Float[Tensor, "batch dim"],
    negative: Float[Tensor, "num_negatives dim"] | None = None,
    *,
    temperature: float | Tensor = 0.05,
    group: Int64[Tensor, " batch"] | None = None,
    symmetric: bool = False,
) -> Float[Tensor, ""]:
    """Cross-entropy of finding each anchor's positive among all positives and negatives.

    ``group``: positives of the anchor's own group, other than its own, are not candidates.
    ``symmetric``: the mean with the loss of finding each positive's anchor among all anchors.
    Candidates are gathered from all processes; the loss is the mean over this process's anchors.

    Maths: −(1/B) Σ_i log exp(cos(a_i, p_i)/τ) / Σ_c exp(cos(a_i, c)/τ)  (van den Oord et al. 2018, eq. 4,
    with in-batch negatives; "multiple negatives ranking" with scale 1/τ, Henderson et al. 2017).
    """
    with torch.autocast(anchor.device.type, enabled=False):
        a, p = _unit(anchor), _unit(positive)
        all_p = all_gather_with_grad(p)
        own = torch.arange(len(a), device=a.device) + rank() * len(a)
        banned = None
        if group is not None:
            all_groups = all_gather_with_grad(group) if world_size() > 1 else group
            banned = group[:, None] == all_groups[None]
            banned[torch.arange(len(a), device=a.device), own] = False
        logits = _masked(a @ all_p.T / temperature, banned)
        if negative is not None:
            logits = torch.cat([logits, a @ all_gather_with_grad(_unit(negative)).T / temperature], dim=1)
        loss = F.cross_entropy(logits, own)
        if symmetric:
            backward = _masked(p @ all_gather_with_grad(a).T / temperature, banned)
            loss = (loss + F.cross_entropy(backward, own)) / 2
    return loss


def cosent(
    anchor: Float[Tensor, "batch dim"],
    positive: Float[Tensor, "batch dim"],
    score: Float[Tensor, " batch"],
    *,
    scale: float = 20.0,
) -> Float[Tensor, ""]:
    """How far the order of the pairs' cosines is from the order of their scores.

    Maths: log(1 + Σ_{y_i > y_j} exp(s·(cos_j − cos_i))), s = ``scale``  (CoSENT, Huang et al. 2024; the
    cosine term of AnglE, Li & Li 2023, eq. 2).
    """
    with torch.autocast(anchor.device.type, enabled=False):
        return _ranking((_unit(anchor) * _unit(positive)).sum(1), score, scale)


def angle(
    anchor: Float[Tensor, "batch dim"],
    positive: Float[Tensor, "batch dim"],
    score: Float[Tensor, " batch"],
    *,
    scale: float = 20.0,
) -> Float[Tensor, ""]:
    """The same order, asked of the angle between vectors read as complex numbers.

    Maths: the halves of a vector are real and imaginary parts, z = a + bi, w = c + di; each pair's measure is
    |Σ_k re + im of (z/w)_k · |w|/|z|| = |Σ (ac + bd + bc − ad)| for unit vectors  (AnglE, Li & Li 2023,
    eq. 5–8). An odd width is filled with a zero.
    """
    with torch.autocast(anchor.device.type, enabled=False):
        z, w = _unit(anchor), _unit(positive)
        if z.shape[1] % 2:
            z, w = F.pad(z, (0, 1)), F.pad(w, (0, 1))
        (a, b), (c, d) = z.chunk(2, dim=1), w.chunk(2, dim=1)
        return _ranking((a * c + b * d + b * c - a * d).sum(1).abs(), score, scale)


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)


def _masked(logits: Tensor, banned: Tensor | None) -> Tensor:
    return logits if banned is None else logits.masked_fill(banned, float("-inf"))


def _ranking(similarity: Tensor, score: Tensor, scale: float) -> Tensor:
    """log(1 + Σ_{y_i > y_j} exp(scale·(s_j − s_i))). Shapes: two of (B,) → ()."""
    differences = scale * (similarity[None, :] - similarity[:, None])
    ordered = differences[score[:, None] > score[None, :]]
    return torch.logsumexp(torch.cat([ordered.new_zeros(1), ordered]), dim=0)
