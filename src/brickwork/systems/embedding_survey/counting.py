"""Vectors from counts: words by the words around them, words by the texts that they are in.

Shape legend: V words, N texts, D dimensions, P pairs of words that were counted.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from brickwork.core.errors import ConfigError
from brickwork.core.seeding import generator_for

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_MOST_COUNTS = 100.0  # GloVe's x_max: pairs as frequent as that, and more, weigh the same
_POWER = 0.75
_PAIRS = 4096  # of a step of GloVe


def decomposition(
    matrix: "csr_matrix", dim: int, seed: int
) -> tuple[Float[np.ndarray, "rows dim"], Float[np.ndarray, " dim"], Float[np.ndarray, "columns dim"]]:
    """U, Σ and V of the largest ``dim`` singular values, falling; of each pair the larger part of V is positive.

    Raises:
        ConfigError: more dimensions than the matrix has.
    """
    from sklearn.utils.extmath import randomized_svd

    most = min(matrix.shape) - 1
    if dim > most:
        raise ConfigError(
            f"dimensions={dim}, and there are {matrix.shape[0]:,} × {matrix.shape[1]:,} counts to take them from: use at "
            f"most {most}, or more texts"
        )
    u, values, vt = randomized_svd(matrix, dim, n_iter=7, random_state=seed)
    return u, values, vt.T


def lsa(
    bags: "csr_matrix", idf: Float[np.ndarray, " words"], dim: int, seed: int
) -> tuple[Float[np.ndarray, "words dim"], Float[np.ndarray, " dim"]]:
    """V and Σ of TF-IDF with rows of length 1 (Deerwester et al. 1990): a text's vector is its TF-IDF times V, a word's is
    its row of VΣ."""
    from scipy.sparse import diags

    weighed = bags @ diags(idf)
    lengths = np.sqrt(np.asarray(weighed.multiply(weighed).sum(1)).ravel())
    _, values, v = decomposition(diags(1 / np.maximum(lengths, 1e-12)) @ weighed, dim, seed)
    return v, values


def ppmi_svd(mutual: "csr_matrix", dim: int, seed: int) -> Float[np.ndarray, "words dim"]:
    """U √Σ of positive mutual information (Levy, Goldberg, Dagan 2015, eq. 6 with p = ½)."""
    u, values, _ = decomposition(mutual, dim, seed)
    vectors: np.ndarray = u * np.sqrt(values)
    return vectors


def random_projection(words: int, dim: int, seed: int) -> Float[np.ndarray, "words dim"]:
    """Random numbers of variance 1/D for each word (Johnson & Lindenstrauss 1984): what no learning gives."""
    drawn = torch.randn(words, dim, generator=generator_for(seed, 0, "projection"))
    return (drawn * dim**-0.5).numpy()


class Glove:
    """GloVe (Pennington, Socher, Manning 2014): Σ f(X)(w·w̃ + b + b̃ − ln X)², f = min(1, (X/100)^¾), by AdaGrad.

    ``weights`` (2, V, D + 1): vectors w and w̃, each with its b as last number; ``squares``: sums of squared gradients, from
    1 on. Both change in place.
    """

    def __init__(
        self,
        weights: Float[Tensor, "2 words plus"],
        squares: Float[Tensor, "2 words plus"],
        counts: "csr_matrix",
    ):
        self.weights, self.squares = weights, squares
        found = counts.tocoo()
        self.rows = torch.from_numpy(found.row.astype(np.int64))
        self.columns = torch.from_numpy(found.col.astype(np.int64))
        values = torch.from_numpy(found.data.astype(np.float32))
        self.wanted = values.log()
        self.share = (values / _MOST_COUNTS).pow(_POWER).clamp_max(1.0)

    @staticmethod
    def start(
        weights: Float[Tensor, "2 words plus"], squares: Float[Tensor, "2 words plus"], seed: int
    ) -> None:
        """Numbers to begin with, evenly from −½/D to ½/D."""
        drawn = torch.rand(weights.shape, generator=generator_for(seed, 0, "glove")) - 0.5
        weights.copy_(drawn / (weights.shape[2] - 1))
        squares.fill_(1.0)

    def loss(self, pairs: Tensor) -> Float[Tensor, ""]:
        """Half of the sum above, over some of the pairs."""
        return 0.5 * (self.share[pairs] * self._error(pairs).square()).sum()

    def _error(self, pairs: Tensor) -> Tensor:
        w, other = self.weights[0, self.rows[pairs]], self.weights[1, self.columns[pairs]]
        return (w[:, :-1] * other[:, :-1]).sum(1) + w[:, -1] + other[:, -1] - self.wanted[pairs]

    def gradient(self, pairs: Tensor) -> tuple[Float[Tensor, "pairs plus"], Float[Tensor, "pairs plus"]]:
        """∂loss/∂[w, b] and ∂loss/∂[w̃, b̃] of each of the pairs."""
        w, other = self.weights[0, self.rows[pairs]], self.weights[1, self.columns[pairs]]
        slope = (self.share[pairs] * self._error(pairs))[:, None]
        one = torch.ones_like(slope)
        return slope * torch.cat([other[:, :-1], one], 1), slope * torch.cat([w[:, :-1], one], 1)

    def sweep(self, rate: float, seed: int, number: int) -> None:
        """All pairs once, in an order that is a function of the seed and the sweep; steps of some thousand pairs."""
        order = torch.randperm(len(self.rows), generator=generator_for(seed, number, "sweep"))
        with torch.no_grad():
            for start in range(0, len(order), _PAIRS):
                pairs = order[start : start + _PAIRS]
                sides = zip((self.rows[pairs], self.columns[pairs]), self.gradient(pairs))
                for side, (words, slope) in enumerate(sides):
                    # AdaGrad as GloVe's own code: the step is of the sums before this one's square is added.
                    step = rate * slope / self.squares[side, words].sqrt()
                    self.weights[side].index_add_(0, words, -step)
                    self.squares[side].index_add_(0, words, slope.square())
