"""Codes of a sparse autoencoder, and what they say of a head: the published score and two that cannot grow with variance.

O'Neill, Bui (arXiv 2405.12522), read from the authors' code (charlieoneill11/sae-circuits).

Shape legend: E prompts, N heads of all layers, D width, M latents.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

INACTIVE = -1
"""The code of a vector that no latent answers to."""


class SparseAutoencoder(nn.Module):
    """a = relu(W_e (x − b) + b_e),  x̂ = W_d a + b, with unit rows of W_e; the bias b is tied.

    ``norm``: W_d has unit columns, one for each latent (``atom``), or unit rows, as in the released code (``row``).
    """

    def __init__(self, width: int, latents: int, norm: Literal["atom", "row"], generator: torch.Generator):
        super().__init__()
        self.norm = norm
        bound = width**-0.5
        self.encoder = nn.Parameter(torch.empty(latents, width).uniform_(-bound, bound, generator=generator))
        self.decoder = nn.Parameter(self.encoder.detach().T.clone())
        self.encoder_bias = nn.Parameter(torch.zeros(latents))
        self.bias = nn.Parameter(torch.zeros(width))

    def latents(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows latents"]:
        directions = nn.functional.normalize(self.encoder, dim=1)
        return torch.relu((x - self.bias) @ directions.T + self.encoder_bias)

    def forward(self, x: Float[Tensor, "*rows width"]) -> tuple[Tensor, Tensor]:
        """x̂ and a."""
        a = self.latents(x)
        weights = nn.functional.normalize(self.decoder, dim=0 if self.norm == "atom" else 1)
        return a @ weights.T + self.bias, a

    @torch.no_grad()
    def codes(self, x: Float[Tensor, "*rows width"]) -> Int[Tensor, "*rows"]:
        """The latent that answers most, or :data:`INACTIVE`."""
        best = self.latents(x).max(-1)
        return torch.where(best.values > 0, best.indices, INACTIVE)


def fit(
    autoencoder: SparseAutoencoder, x: Float[Tensor, "rows width"], *, l1: float, steps: int, rate: float
) -> None:
    """Full-batch Adam on mean((x̂ − x)²) + λ·mean(‖a‖₁)."""
    optimiser = torch.optim.Adam(autoencoder.parameters(), lr=rate)
    with torch.enable_grad():
        for _ in range(steps):
            reconstruction, a = autoencoder(x)
            loss = (reconstruction - x).square().mean() + l1 * a.sum(-1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def code_scores(
    codes: Int[np.ndarray, "prompts heads"], behaves: Bool[np.ndarray, " prompts"]
) -> dict[str, Float[np.ndarray, " heads"]]:
    """``published``: how many codes a head uses with the behaviour and never without. ``jaccard``: 1 − |P∩N| / |P∪N|."""
    published, jaccard = [], []
    for column in codes.T:
        with_it, without = set(column[behaves].tolist()), set(column[~behaves].tolist())
        published.append(float(len(with_it - without)))
        jaccard.append(1 - len(with_it & without) / len(with_it | without))
    return {"published": np.array(published), "jaccard": np.array(jaccard)}


def edge_scores(
    codes: Int[np.ndarray, "prompts heads"], behaves: Bool[np.ndarray, " prompts"]
) -> Float[np.ndarray, " heads"]:
    """How often a head stands in the better quarter of all pairs of heads, a pair being scored by how many pairs of codes
    it shows with the behaviour and never without: the "edge" score, which the paper evaluates on heads as well. A pair of
    codes is one number, so memory is that of the codes; pairs with equal scores on the border count as what share of them
    is in.
    """
    _, place = np.unique(codes, return_inverse=True)
    place = place.reshape(codes.shape).astype(np.int64)
    many, heads = int(place.max()) + 1, codes.shape[1]
    score = np.full((heads, heads), -1.0)  # a head and itself are no pair
    for head in range(heads):
        both = place[:, [head]] * many + place
        for other in range(head + 1, heads):
            with_it, without = set(both[behaves, other].tolist()), set(both[~behaves, other].tolist())
            score[head, other] = score[other, head] = len(with_it - without)
    entries = heads**2 // 4  # the released code counts N²/2 members of pairs, which are two to a pair
    border = np.sort(score, axis=None)[-entries] if entries else np.inf
    above, at = score > border, score == border
    return 2 * (above + at * ((entries - above.sum()) / max(at.sum(), 1))).sum(1)


def code_p(
    codes: Int[np.ndarray, "prompts heads"],
    behaves: Bool[np.ndarray, " prompts"],
    *,
    permutations: int,
    seed: int,
) -> Float[np.ndarray, " heads"]:
    """P(|P \\ N| is as large with the labels shuffled): what the score says beyond how many codes a head uses."""
    rng = np.random.default_rng(seed)
    labels = np.tile(behaves, (permutations + 1, 1))
    labels[1:] = rng.permuted(labels[1:], axis=1)
    results = np.empty(codes.shape[1])
    for head, column in enumerate(codes.T):
        _, place = np.unique(column, return_inverse=True)
        used = np.eye(place.max() + 1, dtype=np.float32)[place]
        with_it = labels.astype(np.float32) @ used
        score = ((with_it > 0) & (with_it == used.sum(0))).sum(1)  # all uses are with the behaviour
        results[head] = (1 + (score[1:] >= score[0]).sum()) / (1 + permutations)
    return results


def mean_difference(
    vectors: Float[np.ndarray, "prompts heads size"], behaves: Bool[np.ndarray, " prompts"]
) -> Float[np.ndarray, " heads"]:
    """‖μ₊ − μ₋‖ over the pooled standard deviation: the baseline of one line. Zero for a head that never varies."""
    with_it, without = vectors[behaves], vectors[~behaves]
    spread = np.sqrt((with_it.var(0) + without.var(0)).sum(-1) / 2)
    gap = np.linalg.norm(with_it.mean(0) - without.mean(0), axis=-1)
    return np.divide(gap, spread, out=np.zeros_like(gap), where=spread > 1e-12)
