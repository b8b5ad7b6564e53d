"""What predicts words from the bits of a document: alone (PV-DBOW), or beside the words around (PV-DM).

Both have the same two methods: ``targets``, what there is to predict of documents, and ``losses`` of bits against it.

Shape legend: B documents, V words, S sizes of codes, b bits, P positions of a document, K drawn words, e width of vectors.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from brickwork.core.seeding import generator_for, uniforms
from brickwork.core.types import TokenBatch
from brickwork.data.vocabulary import Vocabulary
from brickwork.modules.sampled_softmax import AliasTable, count_cross_entropy, sampled_softmax
from brickwork.systems.binary_paragraph_vector.config import Config

FIXED_POSITIONS = 32
"""Of a document that is inferred or measured: those in the middle of as many equal parts of it."""
_START = 0.05  # standard deviation of what words begin with


@dataclass(frozen=True)
class Draw:
    """What draws are a function of: a seed, a step, and the rows of the documents in the training part."""

    seed: int
    step: int
    rows: Int[np.ndarray, " batch"]


class Predictor(nn.Module):
    """What both have. ``frequency``: c of each size of code."""

    frequency: nn.Parameter

    def targets(self, tokens: TokenBatch, draw: Draw | None = None) -> Any:
        """What there is to predict of documents; without a draw always the same."""
        raise NotImplementedError

    def losses(self, bits: Float[Tensor, "batch bits"], targets: Any) -> dict[int, Float[Tensor, " batch"]]:
        """For each size of code, what it costs to predict these targets: nats a word."""
        raise NotImplementedError


class BagOfWords(Predictor):
    """PV-DBOW: p(w) = softmax(U h + c)_w for every word of a document, exactly.

    A loss is the mean over the document's n words less the entropy of their own shares x/n, so Σ_w (x_w/n) ln((x_w/n)/p(w)):
    nats a word above the best that any code could do, with the gradient of the paper's loss over n.
    """

    def __init__(self, config: Config, vocabulary: Vocabulary):
        super().__init__()
        self.sizes, self.num_words = config.nested, len(vocabulary)
        self.words = nn.ParameterList(
            nn.Parameter(_START * torch.randn(size, self.num_words)) for size in self.sizes
        )
        self.frequency = nn.Parameter(_log_shares(vocabulary).repeat(len(self.sizes), 1))

    def targets(self, tokens: TokenBatch, draw: Draw | None = None) -> Float[Tensor, "batch vocabulary"]:
        """How often each document has each word; nothing is drawn."""
        return counted(tokens, self.num_words)

    def losses(
        self, bits: Float[Tensor, "batch bits"], targets: Float[Tensor, "batch vocabulary"]
    ) -> dict[int, Float[Tensor, " batch"]]:
        """For each size of code, nats a word above the entropy of the document's words."""
        targets = targets.to(bits)
        length = targets.sum(1).clamp_min(1)
        entropy = torch.special.entr(targets / length[:, None]).sum(1)
        losses = {}
        for place, size in enumerate(self.sizes):
            logits = bits[:, :size] @ self.words[place].to(bits) + self.frequency[place].to(bits)
            losses[size] = count_cross_entropy(logits, targets) / length - entropy
        return losses


@dataclass(frozen=True)
class Windows:
    """``around``: mean vector of the words around each position; ``words``: what stands there, −1 for nothing; ``drawn``:
    words that stand for all others, and ``log_expected``, how likely each word is among them."""

    around: Float[Tensor, "batch positions width"]
    words: Int[Tensor, "batch positions"]
    drawn: Int[Tensor, " drawn"]
    log_expected: Float[Tensor, " vocabulary"]


class WordsInContext(Predictor):
    """PV-DM: p(w) = softmax(U [h; v̄] + c)_w, v̄ the mean of the vectors of up to ``window`` words to each side.

    The softmax is sampled: over the word itself and ``negatives`` words drawn by their frequency, the same ones for all
    positions of a step. In training ``positions`` places of a document are drawn in each step, else they are fixed, as are
    the words.
    """

    def __init__(self, config: Config, vocabulary: Vocabulary):
        super().__init__()
        self.sizes, self.window = config.nested, config.reach
        self.positions, self.negatives = config.places, config.rivals
        self.vectors = nn.Parameter(_START * torch.randn(len(vocabulary), config.context_width))
        self.words = nn.ParameterList(
            nn.Parameter(_START * torch.randn(size + config.context_width, len(vocabulary)))
            for size in self.sizes
        )
        self.frequency = nn.Parameter(_log_shares(vocabulary).repeat(len(self.sizes), 1))
        self.table = AliasTable(vocabulary.counts)

    def targets(self, tokens: TokenBatch, draw: Draw | None = None) -> Windows:
        """Positions of each document with the words around them."""
        device, length = tokens.ids.device, tokens.lengths
        if draw is None:
            share = ((torch.arange(FIXED_POSITIONS) + 0.5) / FIXED_POSITIONS).repeat(len(tokens), 1)
            generator = generator_for(0, 0, "words of inference")
        else:
            key = f"{draw.seed}/{draw.step}/positions"
            share = torch.from_numpy(uniforms(key, draw.rows, self.positions).T.copy())
            generator = generator_for(draw.seed, draw.step, "drawn words")
        at = (share.to(device) * length[:, None]).long()
        words, around = self._around(tokens, at)
        drawn = self.table.draw(self.negatives, generator).to(device)
        return Windows(around, words, drawn, self.table.log_expected(self.negatives).to(device))

    def _around(
        self, tokens: TokenBatch, at: Int[Tensor, "batch positions"]
    ) -> tuple[Int[Tensor, "batch positions"], Float[Tensor, "batch positions width"]]:
        """The words at positions of documents, and the mean vectors of those around."""
        length = tokens.lengths[:, None, None]
        first = (tokens.lengths.cumsum(0) - tokens.lengths)[:, None, None]
        offsets = torch.tensor([o for o in range(-self.window, self.window + 1) if o], device=at.device)
        places = at[:, :, None] + offsets
        there = (places >= 0) & (places < length)
        padded = torch.cat([tokens.ids, tokens.ids.new_zeros(1)])  # where no document has a word
        ids = padded[torch.where(there, places + first, 0)]
        weight = there.to(self.vectors.dtype) / there.sum(-1, keepdim=True).clamp_min(1)
        around = (self.vectors[ids] * weight[..., None]).sum(2)
        own = padded[torch.where(length[..., 0] > 0, at + first[..., 0], 0)]
        return own.masked_fill(length[..., 0] == 0, -1), around

    def losses(
        self, bits: Float[Tensor, "batch bits"], targets: Windows
    ) -> dict[int, Float[Tensor, " batch"]]:
        """For each size of code, the mean over positions of −ln p(w) among w and the drawn words."""
        around, labels = targets.around.to(bits), targets.words.reshape(-1, 1)
        losses = {}
        for place, size in enumerate(self.sizes):
            code = bits[:, None, :size].expand(-1, around.shape[1], -1)
            hidden = torch.cat([code, around], 2).flatten(0, 1)
            one = sampled_softmax(
                hidden,
                labels,
                self.words[place].to(bits).T,
                targets.drawn,
                targets.log_expected.to(bits),
                self.frequency[place].to(bits),
            )
            losses[size] = one.reshape(around.shape[:2]).mean(1)
        return losses


def predictor(config: Config, vocabulary: Vocabulary) -> Predictor:
    """The one that ``config.words`` names."""
    return (BagOfWords if config.words == "dbow" else WordsInContext)(config, vocabulary)


def counted(tokens: TokenBatch, num_words: int) -> Float[Tensor, "batch vocabulary"]:
    """How often each document has each word."""
    counts = torch.zeros(len(tokens), num_words, device=tokens.ids.device)
    return counts.index_put_((tokens.sequence, tokens.ids), torch.ones(()).to(counts), accumulate=True)


def _log_shares(vocabulary: Vocabulary) -> Float[Tensor, " vocabulary"]:
    return torch.from_numpy(vocabulary.counts / vocabulary.counts.sum()).float().log()
