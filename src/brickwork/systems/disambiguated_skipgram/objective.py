"""What a position loses: a context chooses senses of the word in its middle, their mixture predicts the words around it.

Shape legend: P positions (or pairs), S places of the context, L labels, K senses, D dimensions, N words of a batch.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from brickwork.core.types import LossOutput
from brickwork.modules.routers import gumbel_routing, soft_routing
from brickwork.modules.sampled_softmax import sampled_softmax


@dataclass(frozen=True)
class Rows:
    """The rows of the tables that a batch touches, each once.

    ``gate`` and ``gate_bias`` are those of the words in the middle, or one row, the gate of all words.
    """

    senses: Float[Tensor, "centres senses dim"]
    gate: Float[Tensor, "gates senses dim"]
    gate_bias: Float[Tensor, "gates senses"]
    words: Float[Tensor, "words dim"]
    bias: Float[Tensor, " words"]

    def tensors(self) -> tuple[Tensor, ...]:
        """All of them, in the order of their names above."""
        return self.senses, self.gate, self.gate_bias, self.words, self.bias


@dataclass(frozen=True)
class Positions:
    """A batch as places in :class:`Rows`; −1: no word. ``middle``: the numbers of the words in the middle in the vocabulary.
    ``log_expected``: of each word, how likely it is drawn."""

    middle: Int64[Tensor, " positions"]
    centres: Int64[Tensor, " positions"]
    contexts: Int64[Tensor, "positions slots"]
    labels: Int64[Tensor, "positions labels"]
    drawn: Int64[Tensor, " drawn"]
    log_expected: Float[Tensor, " words"]


def context_mean(
    words: Float[Tensor, "words dim"], contexts: Int64[Tensor, "positions slots"], *, slots: bool = False
) -> Float[Tensor, "positions dim"]:
    """r = mean of U[c] over the words of a context, cut off from the gradient; 0 where there are none. ``slots``: over all
    places, with 0 for those without a word."""
    there = contexts >= 0
    padded = torch.cat([words.detach(), words.new_zeros(1, words.shape[1])])
    total = torch.nn.functional.embedding_bag(torch.where(there, contexts, len(words)), padded, mode="sum")
    count = contexts.shape[1] if slots else there.sum(1, keepdim=True).clamp_min(1)
    return total / count


def gate_logits(
    contexts: Float[Tensor, "positions dim"],
    gate: Float[Tensor, "gates senses dim"],
    gate_bias: Float[Tensor, "gates senses"],
    centres: Int64[Tensor, " positions"],
) -> Float[Tensor, "positions senses"]:
    """a_k = ⟨r, A_w,k⟩ + b_w,k, by the word's own gate, or by the only one."""
    if len(gate) == 1:
        return contexts @ gate[0].T + gate_bias
    own = picked(gate, centres)
    return torch.bmm(own, contexts[:, :, None]).squeeze(2) + gate_bias[centres]


def picked(
    rows: Float[Tensor, "n senses dim"], places: Int64[Tensor, " positions"]
) -> Float[Tensor, "positions senses dim"]:
    """Rows by place, with a gradient that is fast to add up."""
    return torch.nn.functional.embedding(places, rows.flatten(1)).unflatten(1, rows.shape[1:])


def sense_weights(
    logits: Float[Tensor, "positions senses"], temperature: float, noise: torch.Generator | None
) -> Float[Tensor, "positions senses"]:
    """z = softmax((a + g)/τ) with Gumbel noise g from ``noise``; without one softmax(a/τ)."""
    if noise is None:
        return soft_routing(logits, temperature=temperature).weights
    return gumbel_routing(logits, temperature=temperature, hard=False, generator=noise).weights


def prediction_losses(
    rows: Rows, at: Positions, z: Float[Tensor, "positions senses"]
) -> Float[Tensor, "positions labels"]:
    """Sampled softmax of each label c among itself and the drawn words, of scores ⟨u, U_c⟩ + β_c, u = Σ_k z_k E_w,k."""
    u = torch.bmm(z[:, None], picked(rows.senses, at.centres)).squeeze(1)
    return sampled_softmax(u, at.labels, rows.words, at.drawn, at.log_expected, rows.bias)


def position_loss(
    rows: Rows,
    at: Positions,
    *,
    entropy: float,
    temperature: float,
    noise: torch.Generator | None,
    slots: bool = False,
) -> LossOutput:
    """What the words around each position cost, and λ times the entropy of its gate, both as means over pairs."""
    r = context_mean(rows.words, at.contexts, slots=slots)
    logits = gate_logits(r, rows.gate, rows.gate_bias, at.centres)
    losses = prediction_losses(rows, at, sense_weights(logits, temperature, noise))
    pairs = (at.labels >= 0).sum().clamp_min(1)
    terms = {"words": losses.sum() / pairs}
    if not entropy:
        return LossOutput.of(terms)
    share = (at.labels >= 0).sum(
        1
    ) / pairs  # so that a position counts as its pairs do, however they are batched
    terms["entropy"] = (share * gate_entropy(logits)).sum()
    return LossOutput.of(terms, {"entropy": entropy})


def gate_entropy(logits: Float[Tensor, "positions senses"]) -> Float[Tensor, " positions"]:
    """H(softmax(a)) of each position, in nats."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)
