"""Learning: gathered rows, a gradient for them alone, and Adagrad with one number a row.

A batch touches few rows of the tables. They are gathered, get their gradient by back-propagation, and are put back; so a
step costs what its batch does, whatever the vocabulary.

Shape legend: V words, K senses, D dimensions, P positions, S places of a context, L labels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn

from brickwork.core.seeding import generator_for
from brickwork.core.types import LossOutput
from brickwork.data.windows import Windows
from brickwork.modules.sampled_softmax import AliasTable, log_uniform
from brickwork.systems.disambiguated_skipgram.config import Config
from brickwork.systems.disambiguated_skipgram.objective import (
    Positions,
    Rows,
    context_mean,
    gate_logits,
    position_loss,
)

PRETRAINING, MAIN = "pretraining", "main"
_ENTROPY = -0.1  # λ of the first stage, as published
Batch = tuple[
    Int[np.ndarray, " positions"], Int[np.ndarray, "positions slots"], Int[np.ndarray, "positions labels"]
]
"""Centres, contexts and labels."""
_LAST_RATE = 0.1  # at the end of a stage, of the rate at its start


class Tables(nn.Module):
    """All that is learnt: E, U, β, and the gates A, b of each word and of all words together."""

    def __init__(self, num_words: int, senses: int, dim: int):
        super().__init__()
        self.senses = nn.Parameter(torch.empty(num_words, senses, dim))
        self.words = nn.Parameter(torch.zeros(num_words, dim))
        self.bias = nn.Parameter(torch.zeros(num_words))
        self.gate = nn.Parameter(torch.zeros(num_words, senses, dim))
        self.gate_bias = nn.Parameter(torch.zeros(num_words, senses))
        self.shared_gate = nn.Parameter(torch.zeros(1, senses, dim))
        self.shared_bias = nn.Parameter(torch.zeros(1, senses))
        nn.init.uniform_(self.senses, -0.5 / (dim * senses), 0.5 / (dim * senses))
        self.requires_grad_(False)

    @torch.no_grad()
    def begin_main(self) -> None:
        """Every word's gate begins as that of all words."""
        self.gate.copy_(self.shared_gate.expand_as(self.gate))
        self.gate_bias.copy_(self.shared_bias.expand_as(self.gate_bias))


class Spent(nn.Module):
    """The sums of squared gradients by which Adagrad divides its steps (Duchi et al. 2011); of a vector, their mean over its
    numbers: one number a row."""

    def __init__(self, tables: Tables):
        super().__init__()
        for name, table in tables.named_parameters():
            shape = table.shape if "bias" in name else table.shape[:-1]
            self.register_buffer(name, torch.zeros(shape))

    @torch.no_grad()
    def step(
        self, table: Tensor, name: str, places: Int64[Tensor, " rows"], gradient: Tensor, rate: float
    ) -> None:
        """Moves the rows at ``places`` of a table against their gradient."""
        spent = self.get_buffer(name)
        square = gradient.square()
        square = square.mean(-1) if spent.ndim < table.ndim else square
        total = spent[places] + square
        spent[places] = total
        scale = total.add_(1e-12).rsqrt_()
        scale = scale[..., None] if spent.ndim < table.ndim else scale
        table.index_add_(0, places, gradient.mul_(scale), alpha=-rate)

    def clear(self) -> None:
        """As before the first step."""
        for value in self.buffers():
            value.zero_()


@dataclass(frozen=True)
class Place:
    """Where in a stage a batch is: the ``epoch`` of the stage, from 0, with the share of it that is done."""

    stage: str
    epoch: float

    def rate(self, config: Config) -> float:
        """The learning rate: falls in a line over the stage."""
        epochs = config.pretraining if self.stage == PRETRAINING else config.epochs
        return config.learning_rate * (1 - (1 - _LAST_RATE) * min(1.0, self.epoch / epochs))

    def temperature(self, config: Config) -> float:
        """τ: 1 in the first stage, then falling over an epoch."""
        if self.stage == PRETRAINING:
            return 1.0
        return config.temperature + (config.final_temperature - config.temperature) * min(1.0, self.epoch)

    def entropy(self, config: Config) -> float:
        """λ of the stage."""
        if self.stage == MAIN:
            return config.entropy
        return _ENTROPY if config.pretraining_entropy is None else config.pretraining_entropy


class Learner:
    """Takes the steps of a run, each a function of the tables, the seed and its key."""

    def __init__(self, tables: Tables, spent: Spent, config: Config, seed: int):
        self.tables, self.spent, self.config, self.seed = tables, spent, config, seed
        weights = log_uniform(len(tables.words))
        self._drawn = AliasTable(weights)
        device = tables.words.device
        self._log_expected = self._drawn.log_expected(config.negatives).to(device)
        self._place = torch.full((len(tables.words),), -1, device=device)

    def batches(self, block: Windows) -> Iterator[Batch]:
        """Centres, contexts and labels of each step."""
        for start in range(0, len(block.centres), self.config.batch):
            centres = block.centres[start : start + self.config.batch]
            contexts = block.contexts[start : start + self.config.batch]
            if self.config.draw == "position":
                yield centres, contexts, contexts
            else:
                yield by_pair(centres, contexts, self.config.exclude_label)

    def loss(self, rows: Rows, at: Positions, place: Place, noise: torch.Generator) -> LossOutput:
        """The loss of a batch, at a place of the run."""
        config = self.config
        return position_loss(
            rows,
            at,
            entropy=place.entropy(config),
            temperature=place.temperature(config),
            noise=noise if config.noise and place.stage == MAIN else None,
            slots=config.slots,
        )

    def step(self, batch: Batch, place: Place, key: str) -> LossOutput:
        """Learns from a batch; gives its loss before the step."""
        tables, config = self.tables, self.config
        device = tables.words.device
        centres, contexts, labels = (torch.from_numpy(array).long().to(device) for array in batch)
        drawn = self._drawn.draw(config.negatives, generator_for(self.seed, 0, f"{key}/negatives")).to(device)
        middle, own = centres.unique(return_inverse=True)
        words = torch.cat([contexts.flatten(), labels.flatten(), drawn]).unique()
        words = words[words >= 0]
        self._place[words] = torch.arange(len(words), device=device)

        def placed(ids: Int64[Tensor, "*n"]) -> Int64[Tensor, "*n"]:
            return torch.where(ids >= 0, self._place[ids.clamp_min(0)], ids)

        first = place.stage == PRETRAINING
        gates = torch.zeros(1, dtype=torch.int64, device=device) if first else middle
        names = (
            "senses",
            *(("shared_gate", "shared_bias") if first else ("gate", "gate_bias")),
            "words",
            "bias",
        )
        where = (middle, gates, gates, words, words)
        rows = Rows(*(getattr(tables, n).index_select(0, p).requires_grad_() for n, p in zip(names, where)))
        at = Positions(
            centres, own, placed(contexts), placed(labels), placed(drawn), self._log_expected[words]
        )
        loss = self.loss(rows, at, place, generator_for(self.seed, 0, f"{key}/noise"))
        gradients = torch.autograd.grad(loss.total, rows.tensors(), allow_unused=True)
        for name, places, gradient in zip(names, where, gradients):
            if gradient is not None:
                self.spent.step(getattr(tables, name), name, places, gradient, place.rate(config))
        return loss


def by_pair(
    centres: Int[np.ndarray, " places"], contexts: Int[np.ndarray, "places slots"], exclude: bool
) -> Batch:
    """A row for each word of a context, which is its label; ``exclude``: and no longer in that context."""
    row, slot = np.nonzero(contexts >= 0)
    labels = contexts[row, slot]
    seen = contexts[row]
    if exclude:
        seen[np.arange(len(row)), slot] = -1
    return centres[row], seen, labels[:, None]


@torch.no_grad()
def usage(tables: Tables, blocks: Iterator[Windows], slots: bool) -> Float[Tensor, "words senses"]:
    """P̂(k|w): the mean of the gate's probabilities over the places of a word, once each."""
    total = torch.zeros_like(tables.gate_bias)
    count = torch.zeros(len(total), device=total.device)
    for block in blocks:
        for start in range(0, len(block.centres), 8192):
            centres = torch.from_numpy(block.centres[start : start + 8192]).long().to(total.device)
            contexts = torch.from_numpy(block.contexts[start : start + 8192]).long().to(total.device)
            r = context_mean(tables.words, contexts, slots=slots)
            p = gate_logits(r, tables.gate, tables.gate_bias, centres).softmax(-1)
            total.index_add_(0, centres, p)
            count.index_add_(0, centres, torch.ones_like(p[:, 0]))
    never = count == 0
    total[never] = tables.gate_bias[never].softmax(-1)
    return total / count.clamp_min(1)[:, None]
