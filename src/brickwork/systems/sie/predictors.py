"""What maps the equivariant embedding of one view on that of another, given the change g between them.

Shape legend: B pairs of views, D width of an embedding, K numbers of g.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm1d):
    """As always; a single row, which has no deviation, is normalised by the statistics of those before."""

    def forward(self, x: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        if self.training and len(x) == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class HyperLinear(nn.Module):
    """ρ(z, g) = W(g) z, W(g) = Σ_k g_k A_k: a hypernetwork of one linear layer without bias, and a predictor without bias or
    non-linearity (SIE, section 4.1). W(−g) = −W(g).

    The matrices W(g) of a batch, (B, D, D), are never made: Σ_k g_k (A_k z) is the same.
    """

    def __init__(self, width: int, numbers: int):
        super().__init__()
        bound = (3 / width) ** 0.5  # entries of variance 1/D: at first W(g) keeps lengths where |g| = 1
        self.matrices = nn.Parameter(torch.empty(numbers, width, width).uniform_(-bound, bound))

    def forward(
        self, z: Float[Tensor, "batch width"], g: Float[Tensor, "batch k"]
    ) -> Float[Tensor, "batch width"]:
        moved = self.each(z)
        return (g.to(moved)[:, :, None] * moved).sum(1)

    def each(self, z: Float[Tensor, "batch width"]) -> Float[Tensor, "batch k width"]:
        """A_k z for every k, by one matrix (K·D, D)."""
        numbers, width, _ = self.matrices.shape
        return F.linear(z, self.matrices.reshape(numbers * width, width)).view(len(z), numbers, width)

    def matrix(self, g: Float[Tensor, " k"]) -> Float[Tensor, "width width"]:
        """W(g) of one change."""
        return torch.einsum("k,kij->ij", g.to(self.matrices), self.matrices)


class ConcatMlp(nn.Module):
    """An MLP of two layers on [g, z], as EquiMod has it (Devillers and Lefort 2023): it may learn to ignore g."""

    def __init__(self, width: int, numbers: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width + numbers, width),
            BatchNorm(width),
            nn.ReLU(),
            nn.Linear(width, width, bias=False),
        )

    def forward(
        self, z: Float[Tensor, "batch width"], g: Float[Tensor, "batch k"]
    ) -> Float[Tensor, "batch width"]:
        moved: Tensor = self.layers(torch.cat([g.to(z), z], dim=1))
        return moved


def projector(width: int, widths: Sequence[int]) -> nn.Sequential:
    """Linear, batch norm and ReLU for each width but the last, which is linear without bias."""
    parts: list[nn.Module] = []
    for before, after in pairwise([width, *widths[:-1]]):
        parts += [nn.Linear(before, after), BatchNorm(after), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear([width, *widths][-2], widths[-1], bias=False))


class Readout(nn.Module):
    """g from the vectors of both views: an MLP with two hidden layers, as AugSelf has it (Lee et al. 2021)."""

    def __init__(self, width: int, numbers: int, hidden: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, numbers),
        )

    def forward(
        self, first: Float[Tensor, "batch width"], second: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch k"]:
        g: Tensor = self.layers(torch.cat([first, second], dim=1))
        return g
