"""What codes are compared with: two autoencoders of counts of words, and codes made of vectors afterwards.

Shape legend: B documents, V words, b bits, N rows, D dimensions.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from brickwork.core.types import Batch, LossOutput
from brickwork.data.vocabulary import Vocabulary
from brickwork.modules.sampled_softmax import count_cross_entropy
from brickwork.systems.binary_paragraph_vector.binariser import Binariser

Era = Literal["paper", "modern"]
_PAPER_WIDTH, _PAPER_NOISE, _MODERN_WIDTH = 500, 4.0, 256
_SIGMOID_GAIN = 4.0


class Autoencoder(nn.Module):
    """Counts of words → b numbers → bits → counts of words, one for each ``era``.

    ``paper``: semantic hashing as Salakhutdinov and Hinton (2009) have it: sigmoids, 500 – 500 – b – 500 – 500, Gaussian
    noise (variance 16) on the numbers before the last sigmoid, which learns to be near 0 or 1. It reads shares of words
    times the mean length, so that all documents count alike. Their layers were restricted Boltzmann machines first; here
    all begin at random, at the width that Glorot and Bengio (2010) give for sigmoids. ``modern``: ln(1 + count) → ReLU 256
    → b, bits by the straight-through estimator, one linear layer back, as in the system that it is compared with.
    """

    def __init__(self, vocabulary: Vocabulary, bits: int, era: Era):
        super().__init__()
        self.vocabulary, self.era, self.num_bits = vocabulary, era, bits
        words = len(vocabulary)
        self.mean_length = float(vocabulary.counts.sum() / vocabulary.num_texts)
        share = torch.from_numpy(vocabulary.counts / vocabulary.counts.sum()).float()
        self.frequency = nn.Parameter(share.log())
        if era == "paper":
            self.binariser = Binariser("noise", _PAPER_NOISE)
            self.encoder = _sigmoids(words, _PAPER_WIDTH, _PAPER_WIDTH, bits)
            self.decoder = _sigmoids(bits, _PAPER_WIDTH, _PAPER_WIDTH, words, bias=False)
        else:
            self.binariser = Binariser("straight-through")
            first = nn.Linear(words, _MODERN_WIDTH)
            self.encoder = nn.Sequential(first, nn.ReLU(), nn.Linear(_MODERN_WIDTH, bits))
            self.decoder = nn.Sequential(nn.Linear(bits, words, bias=False))

    def collate(self, columns: Mapping[str, Any], train_tokens: int | None = None) -> Batch:
        """``counts`` of the texts in ``input``."""
        return {"counts": self._counts(columns["input"])}

    def loss(self, batch: Batch) -> LossOutput:
        """Nats a word above the entropy of the document's own words, as the system's."""
        counts = batch["counts"]
        length = counts.sum(1).clamp_min(1)
        logits = self.decoder(self.binariser(self._numbers(counts))) + self.frequency
        entropy = torch.special.entr(counts / length[:, None]).sum(1)
        return LossOutput.of({"words": (count_cross_entropy(logits, counts) / length - entropy).mean()})

    @torch.no_grad()
    def bits(self, texts: Sequence[str]) -> Bool[np.ndarray, "texts bits"]:
        """The codes of texts."""
        above: np.ndarray = (self._numbers(self._counts(texts)) > 0).numpy()
        return above

    def _numbers(self, counts: Float[Tensor, "batch words"]) -> Float[Tensor, "batch bits"]:
        if self.era == "paper":
            read = counts / counts.sum(1, keepdim=True).clamp_min(1) * self.mean_length
        else:
            read = counts.log1p()
        numbers: Tensor = self.encoder(read)
        return numbers

    def _counts(self, texts: Sequence[str]) -> Float[Tensor, "texts words"]:
        return torch.from_numpy(self.vocabulary.bags(texts).toarray())


def _sigmoids(*widths: int, bias: bool = True) -> nn.Sequential:
    """Linear layers with sigmoids between them; the last has a bias only if ``bias``."""
    layers: list[nn.Module] = []
    for place, (before, after) in enumerate(pairwise(widths)):
        last = place == len(widths) - 2
        linear = nn.Linear(before, after, bias=bias or not last)
        nn.init.xavier_uniform_(linear.weight, gain=_SIGMOID_GAIN)
        layers += [linear, *([] if last else [nn.Sigmoid()])]
    return nn.Sequential(*layers)


def itq(
    known: Float[np.ndarray, "rows dim"], vectors: Float[np.ndarray, "more dim"], bits: int
) -> Bool[np.ndarray, "more bits"]:
    """Signs of vectors after the rotation of their first ``bits`` principal components that is nearest to signs, fitted on
    ``known`` ones (iterative quantization, Gong and Lazebnik 2011), by faiss."""
    import faiss

    transform = faiss.ITQTransform(known.shape[1], bits, True)
    transform.train(np.ascontiguousarray(known, np.float32))
    above: np.ndarray = transform.apply(np.ascontiguousarray(vectors, np.float32)) > 0
    return above
