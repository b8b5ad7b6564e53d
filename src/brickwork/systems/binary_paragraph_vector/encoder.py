"""From the words of a document to its code: the numbers from which its words are best predicted, and their signs.

Shape legend: B documents, V words, b bits, D real dimensions; width: D, or b without real vectors.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.seeding import uniforms
from brickwork.core.types import Batch, TokenBatch
from brickwork.data.vocabulary import Vocabulary
from brickwork.modules.binariser import Binariser
from brickwork.modules.sampled_softmax import count_cross_entropy
from brickwork.systems.binary_paragraph_vector.config import Config

START = 0.1
"""Standard deviation of a document's numbers before they are learnt."""
CODE_SHARE = 0.05
"""Of the squared length of a vector that has a code and real numbers, the share of the code."""
_INFERENCE_RATE = 0.1
_DECAYS = (0.9, 0.999)
_CLAMP = 6.0


class ParagraphEncoder(nn.Module):
    """U and c of each size of code, for real vectors W; vectors of documents from them by :meth:`infer`.

    A vector is ±1 for each bit, of length 1; with real vectors these follow, and the code counts for a twentieth.
    """

    kind = "text"
    num_layers = 1

    def __init__(self, config: Config, vocabulary: Vocabulary):
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.binariser = Binariser(config.binariser, 4.0 if config.noise is None else config.noise)
        width = len(vocabulary)
        share = torch.from_numpy(vocabulary.counts / vocabulary.counts.sum()).float()
        self.words = nn.ParameterList(nn.Parameter(0.05 * torch.randn(size, width)) for size in config.nested)
        self.frequency = nn.Parameter(share.log().repeat(len(config.nested), 1))
        real = config.real
        self.to_bits = None if real is None else nn.Parameter(torch.randn(real, config.bits) * real**-0.5)

    @property
    def width(self) -> int:
        """What is learnt of a document: numbers whose signs are the code, or a real vector."""
        return self.config.bits if self.config.real is None else self.config.real

    @property
    def embedding_dim(self) -> int:
        return self.config.bits + (self.config.real or 0)

    def tokenize(self, texts: Sequence[str]) -> TokenBatch:
        """The places of the known words of each text."""
        rows: list[list[int]] = []
        for ids, ends in self.vocabulary.sequences_of(texts):
            rows += [part[part >= 0].tolist() for part in np.split(ids, ends[:-1])]
        return TokenBatch.from_lists(rows)

    def collate(self, columns: Mapping[str, Any], train_tokens: int | None = None) -> Batch:
        """``input`` as tokens, other columns as they are."""
        return {**columns, "input": self.tokenize(columns["input"])}

    def counts(self, tokens: TokenBatch) -> Float[Tensor, "batch vocabulary"]:
        """How often each document has each word."""
        counts = torch.zeros(len(tokens), len(self.vocabulary), device=tokens.ids.device)
        return counts.index_put_((tokens.sequence, tokens.ids), torch.ones(()).to(counts), accumulate=True)

    def numbers(self, documents: Float[Tensor, "batch width"]) -> Float[Tensor, "batch bits"]:
        """What the bits are the signs of."""
        return documents if self.to_bits is None else documents @ self.to_bits.to(documents)

    def losses(
        self,
        documents: Float[Tensor, "batch width"],
        counts: Float[Tensor, "batch vocabulary"],
        binariser: Binariser | None = None,
    ) -> dict[int, Float[Tensor, " batch"]]:
        """For each size of code, −(1/n) Σ_w x_w ln p(w) of each document of n words: nats per word."""
        bits = (binariser or self.binariser)(self.numbers(documents))
        length = counts.sum(1).clamp_min(1)
        found = {}
        for place, size in enumerate(self.config.nested):
            logits = bits[:, :size] @ self.words[place].to(bits) + self.frequency[place].to(bits)
            found[size] = count_cross_entropy(logits, counts) / length
        return found

    def infer(self, tokens: TokenBatch) -> Float[Tensor, "batch width"]:
        """The numbers of documents that are not in the training: from a start that depends on their words, in so many steps
        of Adam on the same loss, all else frozen. In 64 bits, so that a document has the same code in any batch."""
        counts = self.counts(tokens).double()
        with torch.inference_mode(False), torch.enable_grad():
            counts = counts.clone()  # what was made in inference mode has no gradient
            # Without chance: with noise in training, σ(d) itself; all other bits pass gradients straight through.
            kind = "straight-through" if self.config.binariser == "stochastic" else self.config.binariser
            bits = Binariser(kind, noise=0.0)
            return descend(
                lambda documents: torch.stack([*self.losses(documents, counts, bits).values()]).sum(),
                START * starts(counts, self.width),
                self.config.inference_steps,
            )

    def forward(self, tokens: TokenBatch, layers: Sequence[int]) -> dict[int, Float[Tensor, "batch dim"]]:
        """Vectors of documents; of one without a known word, zeros."""
        documents = self.infer(tokens)
        vectors = self.vectors(documents).masked_fill((tokens.lengths == 0)[:, None], 0.0)
        return dict.fromkeys(layers, vectors)

    def vectors(self, documents: Float[Tensor, "batch width"]) -> Float[Tensor, "batch dim"]:
        """Of length 1: the code, and the real vector where there is one."""
        signs = torch.where(self.numbers(documents) > 0, 1.0, -1.0) * self.config.bits**-0.5
        if self.to_bits is None:
            return signs
        real = F.normalize(documents, dim=1).to(signs)
        return torch.cat([CODE_SHARE**0.5 * signs, (1 - CODE_SHARE) ** 0.5 * real], 1)


def starts(counts: Float[Tensor, "batch vocabulary"], width: int) -> Float[Tensor, "batch width"]:
    """Normal numbers that are a function of the words of a document."""
    rows = [int.from_bytes(_digest(row), "little") for row in counts.cpu().numpy()]
    uniform = torch.from_numpy(uniforms("document", np.array(rows, np.uint64), width).T.copy())
    return torch.erfinv((2 * uniform - 1).clamp(-1 + 1e-12, 1 - 1e-12)).mul(2**0.5).to(counts)


def _digest(counts: np.ndarray) -> bytes:
    there = np.flatnonzero(counts)
    return hashlib.blake2b(there.tobytes() + counts[there].tobytes(), digest_size=8).digest()


def descend(
    loss: Callable[[Tensor], Tensor], start: Float[Tensor, "batch width"], steps: int
) -> Float[Tensor, "batch width"]:
    """The numbers after so many steps of Adam, each by itself, so that no row depends on another."""
    numbers, mean, square = start, torch.zeros_like(start), torch.zeros_like(start)
    for step in range(1, steps + 1):
        variable = numbers.detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss(variable), variable)
        mean = _DECAYS[0] * mean + (1 - _DECAYS[0]) * slope
        square = _DECAYS[1] * square + (1 - _DECAYS[1]) * slope**2
        change = mean / (1 - _DECAYS[0] ** step) / ((square / (1 - _DECAYS[1] ** step)).sqrt() + 1e-12)
        numbers = (numbers - _INFERENCE_RATE * change).clamp(-_CLAMP, _CLAMP)
    return numbers
