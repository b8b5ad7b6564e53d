"""Losses that pull one set of vectors, or of answers, towards another."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

Reduction = Literal["batchmean", "numel"]


@dataclass(frozen=True)
class Sparse:
    """A distribution over C classes that names K of them a row: ``probs`` (B, K) of ``ids`` (B, K); all others have 0."""

    ids: Int64[Tensor, "batch named"]
    probs: Float[Tensor, "batch named"]


def soft_labels(
    logits: Float[Tensor, "batch classes"], temperature: float = 1.0
) -> Float[Tensor, "batch classes"]:
    """What a teacher says of each class: softmax(logits / T), without gradient, in float32 at least."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    return F.softmax(logits.detach().to(wide) / temperature, dim=-1)


def kl_to(
    targets: Float[Tensor, "batch classes"] | Sparse,
    logits: Float[Tensor, "batch classes"],
    *,
    temperature: float = 1.0,
    reduction: Reduction = "batchmean",
) -> Float[Tensor, ""]:
    """Distillation of labels (Hinton et al. 2015, arXiv 1503.02531): the divergence of a student's answers from ``targets``.

    Maths: T²·(1/B) Σ_i Σ_c p_ic (log p_ic − log softmax(logits_i / T)_c), 0·log 0 = 0. T² keeps the size of the gradient
    while T changes. ``targets``: probabilities, of a teacher at the same temperature (:func:`soft_labels`), or sparse ones.
    ``reduction``: ``batchmean``, or ``numel``, the mean over rows and classes, which is C times smaller.
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    log_student = F.log_softmax(logits.to(wide) / temperature, dim=-1)
    if isinstance(targets, Sparse):
        probs, log_student = targets.probs, log_student.gather(1, targets.ids)
    else:
        probs = targets
    probs = probs.to(wide)
    total = temperature**2 * (torch.xlogy(probs, probs) - probs * log_student).sum()
    return total / (logits.numel() if reduction == "numel" else len(logits))


def feature_kl(
    teacher: Float[Tensor, "batch dim"],
    student: Float[Tensor, "batch dim"],
    *,
    temperature: float = 1.0,
    detach_teacher: bool = True,
) -> Float[Tensor, ""]:
    """Mean divergence of student from teacher vectors, both read as distributions over coordinates.

    Maths: (1/B) Σ_i KL(softmax(t_i/T) ‖ softmax(s_i/T)), no factor of T (2DMSE, arXiv 2402.14776v1).
    Notes: it depends on the vectors' lengths; for unit vectors at T = 1 both are almost uniform: ≈ 0.
    """
    wide = torch.promote_types(student.dtype, torch.float32)
    teacher = teacher.detach() if detach_teacher else teacher
    target = F.log_softmax(teacher.to(wide) / temperature, dim=-1)
    return F.kl_div(
        F.log_softmax(student.to(wide) / temperature, dim=-1), target, reduction="batchmean", log_target=True
    )


def mse(
    teacher: Float[Tensor, "batch dim"], student: Float[Tensor, "batch dim"], *, detach_teacher: bool = True
) -> Float[Tensor, ""]:
    """Mean squared difference, over vectors and coordinates."""
    wide = torch.promote_types(student.dtype, torch.float32)
    return F.mse_loss(student.to(wide), (teacher.detach() if detach_teacher else teacher).to(wide))


@torch.no_grad()
def principal_target(x: Float[Tensor, "batch dim"], size: int) -> Float[Tensor, "batch size"]:
    """What ESE compresses towards: the vectors on the leading directions of their coordinates' similarity.

    Maths: P = X·U·diag(S), U and S the ``size`` leading left singular vectors and values of
    softmax(XᵀX/√D) (D × D)  (ESE, arXiv 2402.14776v2). No gradient.
    Notes: exact, where the authors' decomposition is randomised; the sign of a singular vector is arbitrary,
    so it is chosen to make the sum of its entries positive: the target does not flip between steps.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    similarity = torch.softmax(x.T @ x / x.shape[1] ** 0.5, dim=-1)
    u, s, _ = torch.linalg.svd(similarity)
    u = u[:, :size]
    signs = torch.where(u.sum(0) < 0, -1.0, 1.0).to(u.dtype)
    return x @ (u * signs * s[:size])
