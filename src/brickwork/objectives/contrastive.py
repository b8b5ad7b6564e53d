"""Losses on pairs of vectors: InfoNCE, SigLIP, hinge, self-contrast, CoSENT, AnglE.

All compare directions only, so lengths do not matter.

They compute in float32 at least: at temperature 0.05 an error of bfloat16's size in a cosine (0.4 %) is
multiplied by twenty.
Shape legend: B pairs, N explicit negatives, D dimensions.
"""

import math
from typing import Literal

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
    group: Int64[Tensor, "batch *kinds"] | None = None,
    group_positives: bool = False,
    label_smoothing: float = 0.0,
    symmetric: bool | Literal["sum"] = False,
    negative_group: Int64[Tensor, "num_negatives *answered"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of finding each anchor's positive among all positives and negatives.

    ``group``: positives of the anchor's own group, other than its own, are not candidates; with ``group_positives`` they
    are positives as well, each with an equal share (Khosla et al. 2020, eq. 2, with the sum outside of the logarithm).
    With several columns, (B, kinds), a pair is of the anchor's group that equals it in any of them.
    ``negative_group``: the groups that each negative answers; for anchors of these it is no candidate.
    ``label_smoothing``: this share of the target is spread evenly over all candidates, the positive included.
    ``symmetric``: the mean with the loss of finding each positive's anchor among all anchors; ``"sum"``: their sum.
    Candidates are gathered from all processes; the loss is the mean over this process's anchors.

    Maths: −(1/B) Σ_i log exp(cos(a_i, p_i)/τ) / Σ_c exp(cos(a_i, c)/τ)  (van den Oord et al. 2018, eq. 4,
    with in-batch negatives; "multiple negatives ranking" with scale 1/τ, Henderson et al. 2017).
    """
    with torch.autocast(anchor.device.type, enabled=False):
        a, p = _unit(anchor), _unit(positive)
        all_p = all_gather_with_grad(p)
        own = torch.arange(len(a), device=a.device) + rank() * len(a)
        banned = shared = None
        if group is not None:
            same = _same(group)
            if group_positives:
                shared = same
            else:
                banned = same
                banned[torch.arange(len(a), device=a.device), own] = False
        logits = _masked(a @ all_p.T / temperature, banned)
        if negative is not None:
            wrong = a @ all_gather_with_grad(_unit(negative)).T / temperature
            answers = None if group is None or negative_group is None else _answers(group, negative_group)
            logits = torch.cat([logits, _masked(wrong, answers)], dim=1)
        loss = _found(logits, own, shared, label_smoothing)
        if symmetric:
            backward = _masked(p @ all_gather_with_grad(a).T / temperature, banned)
            loss = loss + _found(backward, own, shared, label_smoothing)
            loss = loss if symmetric == "sum" else loss / 2
    return loss


def _found(
    logits: Float[Tensor, "batch candidates"], own: Tensor, shared: Tensor | None, label_smoothing: float
) -> Float[Tensor, ""]:
    """Cross-entropy with the target (1 − ε)·(even over the positives) + ε·(even over the candidates).

    ``shared`` (B, candidates or fewer): all positives of each row, where there are more than its own.
    """
    if shared is None and not label_smoothing:
        return F.cross_entropy(logits, own)
    if shared is None:
        target = F.one_hot(own, logits.shape[1]).to(logits)
    else:
        target = F.pad(shared, (0, logits.shape[1] - shared.shape[1])).to(logits)
        target = target / target.sum(1, keepdim=True)
    allowed = logits > float("-inf")
    even = allowed.to(logits) / allowed.sum(1, keepdim=True)
    target = (1 - label_smoothing) * target + label_smoothing * even
    # A candidate that is not one has the logarithm −∞ and no share.
    terms = torch.where(allowed, target * F.log_softmax(logits, dim=1), 0.0)
    return -terms.sum(1).mean()


def siglip(
    anchor: Float[Tensor, "batch dim"],
    positive: Float[Tensor, "batch dim"],
    *,
    temperature: float | Tensor,
    bias: float | Tensor,
    group: Int64[Tensor, "batch *kinds"] | None = None,
) -> Float[Tensor, ""]:
    """Every pair of the batch judged for itself: together or not. Those of one ``group`` (as above) are together.

    Maths: −(1/B) Σ_ij log σ(z_ij·(cos(a_i, p_j)/τ + b)), z = 1 for i = j, else −1  (SigLIP, Zhai et al. 2023, eq. 1).
    """
    with torch.autocast(anchor.device.type, enabled=False):
        logits = _unit(anchor) @ all_gather_with_grad(_unit(positive)).T / temperature + bias
        together = _own(logits) if group is None else _own(logits) | _same(group)
        return -F.logsigmoid(torch.where(together, logits, -logits)).sum() / len(logits)


def hinge(
    anchor: Float[Tensor, "batch dim"],
    positive: Float[Tensor, "batch dim"],
    *,
    margin: float = 0.2,
    hardest: bool = False,
    group: Int64[Tensor, "batch *kinds"] | None = None,
) -> Float[Tensor, ""]:
    """Each pair is to be nearer than every in-batch negative, by ``margin``, seen from both sides.

    ``hardest``: only the worst negative of each side counts, as in VSE++; it needs a model that has learnt already, or all
    vectors may fall together. Pairs of one ``group`` (as above) are no negatives of each other.

    Maths: (1/B) Σ_i Σ_{j≠i} [m − s_ii + s_ij]₊ + [m − s_ii + s_ji]₊  (VSE++, Faghri et al. 2018, eq. 5; with max for Σ_j,
    eq. 6).
    """
    with torch.autocast(anchor.device.type, enabled=False):
        a, p = _unit(anchor), _unit(positive)
        own = (a * p).sum(1, keepdim=True)
        loss = a.new_zeros(())
        for scores in (a @ all_gather_with_grad(p).T, p @ all_gather_with_grad(a).T):
            kept_out = _own(scores) if group is None else _own(scores) | _same(group)
            wrong = (margin - own + scores).clamp(min=0).masked_fill(kept_out, 0.0)
            loss = loss + (wrong.amax(1) if hardest else wrong.sum(1)).mean()
    return loss


def self_contrastive(
    codes: Float[Tensor, "batch dim"],
    *,
    temperature: float | Tensor = 0.1,
    form: Literal["mean", "sum"] = "mean",
) -> Float[Tensor, ""]:
    """Repulsion of codes by angle, without positives: each code's only partner is itself.

    Maths: (1/B) Σ_i log(1 + (1/(B−1)) Σ_{j≠i} exp((cos(z_i, z_j) − 1)/τ)), which is −log p(k=1 | x_i, z_i) of cMIM (Livne
    2025, arXiv 2502.19642). It lies between 0 and log 2 whatever the batch size; the ``sum`` over negatives, as in InfoNCE,
    grows with it. A single code has no negatives: 0.
    Codes are gathered from all processes; the loss is the mean over this process's.
    """
    with torch.autocast(codes.device.type, enabled=False):
        z = _unit(codes)
        others = all_gather_with_grad(z)
        if len(others) < 2:
            return (0 * z).sum()
        own = torch.arange(len(z), device=z.device) + rank() * len(z)
        itself = F.one_hot(own, len(others)).bool()
        crowd = torch.logsumexp(_masked((z @ others.T - 1) / temperature, itself), dim=1)
        if form == "mean":
            crowd = crowd - math.log(len(others) - 1)
        return F.softplus(crowd).mean()


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


def _own(scores: Float[Tensor, "batch candidates"]) -> Tensor:
    """Where each row meets its own pair among those of all processes."""
    places = torch.arange(scores.shape[1], device=scores.device)
    return places == rank() * len(scores) + torch.arange(len(scores), device=scores.device)[:, None]


def _same(group: Int64[Tensor, "batch *kinds"]) -> Tensor:
    """Which pairs of all processes are of each row's group: equal in any kind."""
    kinds = group.reshape(len(group), -1)
    everyone = all_gather_with_grad(kinds) if world_size() > 1 else kinds
    return (kinds[:, None] == everyone[None]).any(-1)


def _answers(
    group: Int64[Tensor, "batch *kinds"], negative_group: Int64[Tensor, "num_negatives *answered"]
) -> Tensor:
    """Which negatives of all processes answer each row's group."""
    answered = negative_group.reshape(len(negative_group), -1)
    everyone = all_gather_with_grad(answered) if world_size() > 1 else answered
    return (group.reshape(len(group), -1)[:, None, :, None] == everyone[None, :, None, :]).any(-1).any(-1)


def _masked(logits: Tensor, banned: Tensor | None) -> Tensor:
    return logits if banned is None else logits.masked_fill(banned, float("-inf"))


def _ranking(similarity: Tensor, score: Tensor, scale: float) -> Tensor:
    """log(1 + Σ_{y_i > y_j} exp(scale·(s_j − s_i))). Shapes: two of (B,) → ()."""
    differences = scale * (similarity[None, :] - similarity[:, None])
    ordered = differences[score[:, None] > score[None, :]]
    return torch.logsumexp(torch.cat([ordered.new_zeros(1), ordered]), dim=0)
