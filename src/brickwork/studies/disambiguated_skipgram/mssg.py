"""The rival with hard clusters: Multi-Sense Skip-gram (Neelakantan et al. 2014, arXiv 1504.06654, section 4.1).

The sense of a position is the nearest of K means of contexts of its word, each the mean of those that it got; its vector
learns as in skip-gram. All else is as in Disambiguated Skip-gram: vectors, windows, losses, steps.

Shape legend: V words, K senses, D dimensions, P positions.
"""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from brickwork.core.types import LossOutput
from brickwork.systems.disambiguated_skipgram.learning import Learner, Place
from brickwork.systems.disambiguated_skipgram.objective import (
    Positions,
    Rows,
    context_mean,
    prediction_losses,
)
from brickwork.systems.disambiguated_skipgram.senses import Occurrences
from brickwork.systems.disambiguated_skipgram.system import System


class MultiSense(System):
    """Tables as those of the system, whose gates are not used, and the clusters of contexts of each word."""

    centres: Tensor
    sizes: Tensor

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        shape = self.tables.senses.shape
        self.register_buffer("centres", torch.empty(shape).normal_(std=1e-3))
        self.register_buffer("sizes", torch.zeros(shape[:2]))

    def learner(self) -> Learner:
        """Steps that also move the clusters."""
        assert self.spent is not None, "a system that was built, not restored"
        return ClusterLearner(self)

    def nearest(
        self, contexts: Float[Tensor, "rows dim"], words: Int64[Tensor, " rows"]
    ) -> Int64[Tensor, " rows"]:
        """The cluster with the largest cosine."""
        return torch.nn.functional.cosine_similarity(self.centres[words], contexts[:, None], dim=-1).argmax(1)

    def find(self, of: Occurrences) -> Int64[Tensor, " rows"]:
        """The sense of each word in its text."""
        return self.nearest(self.senses.context_vectors(of, self.tables.words), of.words)

    @torch.no_grad()
    def assign(
        self, contexts: Float[Tensor, "positions dim"], words: Int64[Tensor, " positions"]
    ) -> Int64[Tensor, " positions"]:
        """The nearest cluster of each position, which moves there: it is the mean of what it got."""
        chosen = self.nearest(contexts, words)
        self.sizes.index_put_((words, chosen), torch.ones_like(contexts[:, 0]), accumulate=True)
        step = (contexts - self.centres[words, chosen]) / self.sizes[words, chosen][:, None]
        self.centres.index_put_((words, chosen), step, accumulate=True)
        return chosen


class ClusterLearner(Learner):
    """Steps in which clusters choose the sense."""

    def __init__(self, system: MultiSense):
        assert system.spent is not None, "a system that learns"
        super().__init__(system.tables, system.spent, system.config, system.seed)
        self.system = system

    def loss(self, rows: Rows, at: Positions, place: Place, noise: torch.Generator) -> LossOutput:
        """The cross-entropy of the words around, from the vector of the nearest cluster."""
        words = at.middle
        chosen = self.system.assign(context_mean(rows.words, at.contexts), words)
        z = torch.nn.functional.one_hot(chosen, rows.senses.shape[1]).to(rows.senses)
        losses = prediction_losses(rows, at, z)
        return LossOutput.of({"words": losses.sum() / (at.labels >= 0).sum().clamp_min(1)})
