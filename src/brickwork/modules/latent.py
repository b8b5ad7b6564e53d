"""The parts between an encoder and a decoder: a Gaussian code with a floor under its spread, and what a decoder knows.

Shape legend: B rows, D latent dimensions, T positions, H hidden units.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """N(mean, diag σ²) for each row. Shapes: both (B, D)."""

    mean: Float[Tensor, "batch dim"]
    log_sigma: Float[Tensor, "batch dim"]

    def at(self, noise: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """z = μ + σ ⊙ ε."""
        return self.mean + torch.exp(self.log_sigma) * noise


def posterior(numbers: Float[Tensor, "batch two_dim"], floor: float) -> Gaussian:
    """The code that an encoder's 2·D dimensions stand for: the first half is μ, the second gives σ.

    Maths: log σ = floor + softplus(s − floor): about s where that is well above the floor, and never below it. Without a
    floor the losses of the MIM family have no lower bound; a plain clamp would leave a σ at the floor without a gradient.
    """
    mean, raw = numbers.chunk(2, dim=1)
    return Gaussian(mean, floor + F.softplus(raw - floor))


def spread(q: Gaussian, floor: float) -> dict[str, Tensor]:
    """Numbers to watch: the mean ``log_sigma``, and the share of σ within a tenth of the floor (``at_floor``).

    Near 1, the objective wants less noise than it may have.
    """
    log_sigma = q.log_sigma.detach()
    return {"log_sigma": log_sigma.mean(), "at_floor": (log_sigma < floor + 0.1).float().mean()}


def mean_over_valid(
    hidden: Float[Tensor, "batch time width"], valid: Bool[Tensor, "batch time"]
) -> Float[Tensor, "batch width"]:
    """The mean of each row's valid positions; zero for a row without any."""
    weight = valid.to(hidden.dtype)[..., None]
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
