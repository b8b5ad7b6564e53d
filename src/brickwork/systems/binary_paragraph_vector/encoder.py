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
from brickwork.systems.binary_paragraph_vector.binariser import Binariser
from brickwork.systems.binary_paragraph_vector.config import Config
from brickwork.systems.binary_paragraph_vector.predictors import Draw, counted, predictor

START = 0.1
"""Standard deviation of a document's numbers before they are learnt."""
CODE_SHARE = 0.05
"""Of the squared length of a vector that has a code and real numbers, the share of the code."""
_INFERENCE_RATE = 0.1
_DECAYS = (0.9, 0.999)
_CLAMP = 6.0


class ParagraphEncoder(nn.Module):
    """What predicts words from bits, for real vectors W; vectors of documents from them by :meth:`infer`.

    A vector is ±1 for each bit, of length 1; with real vectors these follow, and the code counts for a twentieth. Without a
    binariser it is the numbers themselves.
    """

    kind = "text"
    num_layers = 1
    exact = True

    def __init__(self, config: Config, vocabulary: Vocabulary):
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.binariser = Binariser(config.binariser, 4.0 if config.noise is None else config.noise)
        self.predictor = predictor(config, vocabulary)
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

    def counts(self, texts: Sequence[str]) -> Float[np.ndarray, "texts vocabulary"]:
        """How often each text has each word."""
        return counted(self.tokenize(texts), len(self.vocabulary)).cpu().numpy()

    def numbers(self, documents: Float[Tensor, "batch width"]) -> Float[Tensor, "batch bits"]:
        """What the bits are the signs of."""
        return documents if self.to_bits is None else documents @ self.to_bits.to(documents)

    def losses(
        self, documents: Float[Tensor, "batch width"], tokens: TokenBatch, draw: Draw | None = None
    ) -> dict[int, Float[Tensor, " batch"]]:
        """For each size of code, what it costs to predict the words of each document from it: nats a word."""
        return self.predictor.losses(
            self.binariser(self.numbers(documents)), self.predictor.targets(tokens, draw)
        )

    def infer(self, tokens: TokenBatch) -> Float[Tensor, "batch width"]:
        """The numbers of documents that are not in the training: from a start that depends on their words, in so many steps
        of Adam on the same loss, all else frozen. In 64 bits, so that a document has the same code in any batch."""
        exact = torch.autocast(tokens.ids.device.type, enabled=False)
        with torch.inference_mode(False), torch.enable_grad(), exact:
            # What was made in inference mode has no gradient: a copy has.
            tokens = TokenBatch(tokens.ids.clone(), tokens.lengths.clone(), tokens.max_length)
            with torch.no_grad():
                targets = self.predictor.targets(tokens)
            # Without chance: with noise in training, σ(d) itself; all other bits pass gradients straight through.
            kind = "straight-through" if self.config.binariser == "stochastic" else self.config.binariser
            binariser = Binariser(kind, noise=0.0)

            def loss(documents: Tensor) -> Tensor:
                losses = self.predictor.losses(binariser(self.numbers(documents)), targets)
                return torch.stack([*losses.values()]).sum()

            counts = counted(tokens, len(self.vocabulary))
            return descend(loss, START * starts(counts, self.width), self.config.inference_steps)

    def forward(self, tokens: TokenBatch, layers: Sequence[int]) -> dict[int, Float[Tensor, "batch dim"]]:
        """Vectors of documents; of one without a known word, zeros."""
        documents = self.infer(tokens)
        vectors = self.vectors(documents).masked_fill((tokens.lengths == 0)[:, None], 0.0)
        return dict.fromkeys(layers, vectors)

    def vectors(self, documents: Float[Tensor, "batch width"]) -> Float[Tensor, "batch dim"]:
        """Of length 1: the code, and the real vector where there is one; without a binariser the numbers."""
        if self.config.binariser == "none":
            return F.normalize(documents, dim=1).to(self.predictor.frequency)
        signs = torch.where(self.numbers(documents) > 0, 1.0, -1.0) * self.config.bits**-0.5
        if self.to_bits is None:
            return signs
        real = F.normalize(documents, dim=1).to(signs)
        return torch.cat([CODE_SHARE**0.5 * signs, (1 - CODE_SHARE) ** 0.5 * real], 1)


def starts(counts: Float[Tensor, "batch vocabulary"], width: int) -> Float[Tensor, "batch width"]:
    """Normal numbers that are a function of the words of a document."""
    rows = [int.from_bytes(_digest(row), "little") for row in counts.cpu().numpy()]
    uniform = torch.from_numpy(uniforms("document", np.array(rows, np.uint64), width).T.copy())
    return torch.erfinv((2 * uniform - 1).clamp(-1 + 1e-12, 1 - 1e-12)).mul(2**0.5).to(counts.device)


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
