"""Losses on two views of the same things, without labels: VICReg, Barlow Twins, SimCLR.

They compute in float32 at least, and variances, covariances and negatives are those of the rows of all processes.
Shape legend: B things, D dimensions; ``a`` and ``b`` are vectors of the two views, row by row of the same thing.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from brickwork.core.distributed import all_gather_with_grad, rank
from brickwork.objectives.contrastive import info_nce


def variance_hinge(
    z: Float[Tensor, "batch dim"], *, target: float = 1.0, eps: float = 1e-4
) -> Float[Tensor, ""]:
    """How far the standard deviation of each dimension over the batch falls short of ``target``, on average.

    Maths: V(Z) = (1/D) Σ_j max(0, γ − √(Var(z_j) + ε)), Var with 1/(B − 1)  (VICReg, Bardes et al. 2022, eq. 1–2).
    """
    with torch.autocast(z.device.type, enabled=False):
        return F.relu(target - (_all(z).var(0) + eps).sqrt()).mean()


def covariance_penalty(z: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """How much dimensions vary together.

    Maths: c(Z) = (1/D) Σ_{i≠j} C(Z)²_ij, C with 1/(B − 1)  (VICReg, eq. 3–4).
    """
    with torch.autocast(z.device.type, enabled=False):
        z = _all(z)
        centred = z - z.mean(0)
        return _off_diagonal(centred.T @ centred / (len(z) - 1)).square().sum() / z.shape[1]


def vicreg(
    a: Float[Tensor, "batch dim"],
    b: Float[Tensor, "batch dim"],
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
) -> Float[Tensor, ""]:
    """Both views alike, every dimension varying, no two dimensions saying the same.

    Maths: λ·mse(a, b) + μ·½(V(a) + V(b)) + ν·(c(a) + c(b))  (VICReg, Bardes, Ponce, LeCun 2022, eq. 6, with the mean over
    dimensions in place of the sum in its first term, as in the authors' code).
    """
    with torch.autocast(a.device.type, enabled=False):
        alike = F.mse_loss(_wide(a), _wide(b))
    return (
        invariance * alike
        + variance * (variance_hinge(a) + variance_hinge(b)) / 2
        + covariance * (covariance_penalty(a) + covariance_penalty(b))
    )


def barlow_twins(
    a: Float[Tensor, "batch dim"],
    b: Float[Tensor, "batch dim"],
    *,
    off_diagonal: float = 5e-3,
    eps: float = 1e-5,
) -> Float[Tensor, ""]:
    """The correlations between the dimensions of one view and those of the other: 1 of the same, 0 of different ones.

    Maths: Σ_i (1 − C_ii)² + λ Σ_{i≠j} C_ij², C = âᵀb̂/B of columns with mean 0 and deviation 1  (Barlow Twins, Zbontar et
    al. 2021, eq. 1–2). ``eps`` is added to the variances.
    """
    with torch.autocast(a.device.type, enabled=False):
        a, b = (_standardised(_all(z), eps) for z in (a, b))
        c = a.T @ b / len(a)
        return (c.diagonal() - 1).square().sum() + off_diagonal * _off_diagonal(c).square().sum()


def simclr(
    a: Float[Tensor, "batch dim"], b: Float[Tensor, "batch dim"], *, temperature: float = 0.1
) -> Float[Tensor, ""]:
    """Each view is to find the other view of its thing among all other views, 2B − 2 wrong ones and the right one.

    Maths: NT-Xent, −(1/2B) Σ_i log exp(cos(z_i, z_j(i))/τ) / Σ_{k≠i} exp(cos(z_i, z_k)/τ) over the 2B views  (SimCLR, Chen
    et al. 2020, eq. 1): InfoNCE in which a view is no candidate for itself.
    """
    thing = torch.arange(len(a), device=a.device) + rank() * len(a)
    return info_nce(
        torch.cat([a, b]), torch.cat([b, a]), temperature=temperature, group=torch.cat([thing, thing])
    )


def _wide(z: Tensor) -> Tensor:
    return z.to(torch.promote_types(z.dtype, torch.float32))


def _all(z: Tensor) -> Tensor:
    """The rows of all processes."""
    return all_gather_with_grad(_wide(z))


def _standardised(z: Tensor, eps: float) -> Tensor:
    centred = z - z.mean(0)
    return centred / (centred.square().mean(0) + eps).sqrt()


def _off_diagonal(matrix: Float[Tensor, "dim dim"]) -> Float[Tensor, "dim dim"]:
    return matrix - torch.diag_embed(matrix.diagonal())
