"""Flow matching on straight paths: from an image to noise, the velocity between them, and the way back.

Lipman et al., arXiv 2210.02747; Liu et al., arXiv 2209.03003; Ma et al. (SiT), arXiv 2401.08740, whose direction of time
this is: t = 0 is data and t = 1 noise.

Shape legend: B things, … their shape.
"""

import itertools
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(x, t) → v, of shapes (B, …), (B) → (B, …)."""
Sampler = Literal["euler", "heun", "sde"]


def interpolate(
    x: Float[Tensor, "batch ..."], noise: Float[Tensor, "batch ..."], t: Float[Tensor, " batch"]
) -> Float[Tensor, "batch ..."]:
    """z_t = (1 − t)·x + t·ε."""
    t = _spread(t, x)
    return (1 - t) * x + t * noise


def flow_matching(
    velocity: Float[Tensor, "batch ..."],
    x: Float[Tensor, "batch ..."],
    noise: Float[Tensor, "batch ..."],
) -> Float[Tensor, " batch"]:
    """Mean squared distance of a predicted velocity from ε − x, for each row.

    Maths: ‖F(z_t, t) − (ε − x)‖² / dimensions  (SiT, eq. 5 with the linear path)."""
    return F.mse_loss(velocity, noise - x, reduction="none").flatten(1).mean(1)


@torch.no_grad()
def sample(
    velocity: Velocity,
    noise: Float[Tensor, "batch ..."],
    *,
    steps: int,
    sampler: Sampler = "heun",
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch ..."]:
    """Data from noise, in ``steps`` equal steps from t = 1 to 0. ``euler``: one evaluation a step; ``heun``: two, of second
    order; ``sde``: one, with noise of variance t put in and its drift taken out (Euler–Maruyama, SiT section 2.4), the last
    step without.

    Maths: the ordinary equation dx = v dt; with noise dx = (v − t/2·s) dt + √t dW, s = −((1 − t) v + x)/t.
    """
    x, times = noise, torch.linspace(1, 0, steps + 1, dtype=noise.dtype).tolist()
    for now, then in itertools.pairwise(times):
        step = then - now
        v = velocity(x, x.new_full((len(x),), now))
        if sampler == "sde" and then > 0:
            score = -((1 - now) * v + x) / now
            drawn = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x)
            x = x + step * (v - now / 2 * score) + (now * -step) ** 0.5 * drawn
        elif sampler == "heun" and then > 0:
            ahead = velocity(x + step * v, x.new_full((len(x),), then))
            x = x + step * (v + ahead) / 2
        else:
            x = x + step * v
    return x


def guided(conditional: Velocity, unconditional: Velocity, scale: float) -> Velocity:
    """Classifier-free guidance (Ho and Salimans, arXiv 2207.12598): v_∅ + scale·(v_y − v_∅); 1 is v_y alone."""
    if scale == 1:
        return conditional

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        without = unconditional(x, t)
        return without + scale * (conditional(x, t) - without)

    return velocity


def _spread(t: Tensor, x: Tensor) -> Tensor:
    return t.view(-1, *[1] * (x.ndim - 1))
