"""The loss of predicting one of many words without scoring them all: drawn words stand for the rest.

Shape legend: N rows (positions), L labels of a row (−1: none), K drawn words, V words, D width.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from brickwork.core.errors import ConfigError


class AliasTable:
    """Draws from given ``weights`` in constant time each (Walker 1977, in Vose's form of 1991).

    Raises:
        ConfigError: no weights, or weights that are negative, all 0 or not finite.
    """

    def __init__(self, weights: Float[np.ndarray, " words"] | Int[np.ndarray, " words"]):
        share = np.asarray(weights, dtype=np.float64)
        if not len(share) or not np.isfinite(share).all() or (share < 0).any() or not share.sum():
            raise ConfigError("weights to draw by must be finite, 0 or more, and not all 0")
        share = share / share.sum()
        self._share = share
        own, other = share * len(share), np.arange(len(share))
        small, large = (list(np.flatnonzero(side)) for side in (own < 1, own >= 1))
        while small and large:
            poor, rich = small.pop(), large[-1]
            other[poor] = rich
            own[rich] -= 1 - own[poor]
            if own[rich] < 1:
                small.append(large.pop())
        own[[*small, *large]] = 1.0  # what is left is full up to rounding
        self._own, self._other = torch.from_numpy(own).float(), torch.from_numpy(other)

    def draw(self, count: int, generator: torch.Generator) -> Int[Tensor, " count"]:
        """``count`` words, with replacement."""
        place = torch.randint(len(self._own), (count,), generator=generator)
        stays = torch.rand(count, generator=generator) < self._own[place]
        return torch.where(stays, place, self._other[place])

    def log_expected(self, count: int) -> Float[Tensor, " words"]:
        """ln(1 − (1 − q)^count) for each word: how likely it is among ``count`` drawn ones."""
        with np.errstate(divide="ignore"):
            return torch.from_numpy(np.log(-np.expm1(count * np.log1p(-self._share)))).float()


def log_uniform(num_words: int) -> Float[np.ndarray, " words"]:
    """Weights that fall as frequencies of words ranked by frequency do: ln((r + 2)/(r + 1)) of rank r from 0."""
    rank = np.arange(num_words)
    weights: np.ndarray = np.log((rank + 2) / (rank + 1))
    return weights


def sampled_softmax(
    hidden: Float[Tensor, "rows width"],
    labels: Int[Tensor, "rows labels"],
    words: Float[Tensor, "vocabulary width"],
    drawn: Int[Tensor, " drawn"],
    log_expected: Float[Tensor, " vocabulary"],
    bias: Float[Tensor, " vocabulary"] | None = None,
) -> Float[Tensor, "rows labels"]:
    """Cross-entropy of each label among itself and the ``drawn`` words, each of ; 0 where there is no label.

    Maths: logits s_w = h·w + b_w − ln P(w is drawn), for the label as well; a drawn word that is the label is left out
    (sampled softmax with the correction of TensorFlow's "candidate sampling"; Jean et al. 2015, section 3). With all words
    drawn it is the full cross-entropy. ``log_expected``: :meth:`AliasTable.log_expected` of as many as were drawn.
    """
    there = labels >= 0
    wanted = labels.clamp_min(0)
    drawn = drawn.unique()
    # Of an embedding the gradient is added up faster than of an indexed tensor.
    own = torch.einsum("nd,nld->nl", hidden, F.embedding(wanted, words)) - log_expected[wanted]
    others = hidden @ F.embedding(drawn, words).T - log_expected[drawn]
    if bias is not None:
        own, others = own + bias[wanted], others + bias[drawn]
    # The sum over all drawn words, once a row, less the label's own share of it where it is among them.
    largest = others.detach().amax(1, keepdim=True)
    shares = (others - largest).exp()
    place = drawn.new_full((len(words),), -1)
    place[drawn] = torch.arange(len(drawn), device=drawn.device)
    its_place = place[wanted]
    itself = shares.gather(1, its_place.clamp_min(0)) * (its_place >= 0)
    left = shares.sum(1, keepdim=True) - itself
    rivals = left.clamp_min(torch.finfo(left.dtype).tiny).log() + largest
    loss = torch.logaddexp(own, rivals) - own
    return loss.masked_fill(~there, 0.0)


def negative_sampling(
    hidden: Float[Tensor, "rows width"],
    labels: Int[Tensor, "rows labels"],
    words: Float[Tensor, "vocabulary width"],
    drawn: Int[Tensor, "rows labels drawn"],
) -> Float[Tensor, "rows labels"]:
    """−ln σ(h·w) − Σ ln σ(−h·n) over the label's own drawn words, 0 where there is no label; a drawn word that is the label
    is left out (Mikolov et al. 2013, eq. 4)."""
    there = labels >= 0
    wanted = labels.clamp_min(0)
    own = torch.einsum("nd,nld->nl", hidden, words[wanted])
    others = torch.einsum("nd,nlkd->nlk", hidden, words[drawn])
    rivals = F.softplus(others).masked_fill(drawn == wanted[..., None], 0.0).sum(-1)
    return (F.softplus(-own) + rivals).masked_fill(~there, 0.0)


def count_cross_entropy(
    logits: Float[Tensor, "texts vocabulary"], counts: Float[Tensor, "texts vocabulary"]
) -> Float[Tensor, " texts"]:
    """−Σ_w x_w ln softmax(logits)_w of each text: the exact loss of predicting every one of its words, which
    ``counts`` counts, from the text alone."""
    return -(counts * F.log_softmax(logits, dim=-1)).sum(-1)
