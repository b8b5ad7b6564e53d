"""Numbers made bits in a way that gradients can pass.

Forward bit_j = 1[d_j > 0]; backward the bit counts as a_j = σ(d_j), so ∂L/∂d = ∂L/∂bit ⊙ a(1 − a) (the straight-through
estimator through the slope of the sigmoid: Krizhevsky & Hinton, ESANN 2011).
"""

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.config import nearest
from brickwork.core.errors import ConfigError

Kind = Literal["straight-through", "stochastic", "noise", "none"]
_LARGEST = 6.0  # beyond it the slope of the sigmoid is below .0025 and a bit would never turn again


class Binariser(nn.Module):
    """(…, B) numbers → (…, B) bits as 0 and 1; any prefix of them is the code of the prefix.

    ``kind``: ``straight-through`` as above; ``stochastic`` draws each bit in training with probability a; ``noise`` adds
    Gaussian noise of standard deviation ``noise`` before the sigmoid in training and gives a itself, which learns to be near
    0 or 1 (Salakhutdinov & Hinton 2009); ``none`` gives the numbers as they are. In evaluation all but ``none`` are
    1[d > 0]. What is drawn comes from torch's generator.

    Raises:
        ConfigError: no such kind, or noise below 0.
    """

    def __init__(self, kind: str = "straight-through", noise: float = 4.0):
        super().__init__()
        if kind not in get_args(Kind):
            raise ConfigError(f"unknown binariser '{kind}': {nearest(kind, get_args(Kind))}")
        if not noise >= 0:
            raise ConfigError(f"noise is {noise}; it must be 0 or more")
        self.kind = kind
        self.noise = noise

    def forward(self, numbers: Float[Tensor, "... bits"]) -> Float[Tensor, "... bits"]:
        if self.kind == "none":
            return numbers
        if not self.training:
            return (numbers > 0).to(numbers.dtype)
        kept = numbers.clamp(-_LARGEST, _LARGEST)
        if self.kind == "noise":
            return torch.sigmoid(kept + self.noise * torch.randn_like(kept))
        share = torch.sigmoid(kept)
        threshold = torch.rand_like(share) if self.kind == "stochastic" else 0.5
        return share + ((share > threshold).to(share.dtype) - share).detach()
