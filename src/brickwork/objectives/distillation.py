"""Losses that pull one set of vectors towards another."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


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
