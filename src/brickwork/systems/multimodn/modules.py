"""From the features of several modalities, some of them missing, to states that decoders read.

* :class:`StateChain`: one after the other, each overwriting a state (MultiModN, arXiv 2309.14118).
* :class:`ParallelFusion`: all side by side, what is missing filled in (P-Fusion; HAIM).

Absence is a boolean mask beside the features, never a NaN among them.
Shape legend: B rows, M modalities, S state width, F_i features of modality i.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from brickwork.modules.heads import HeadKind, classifier
from brickwork.modules.mlp import mlp


@dataclass(frozen=True)
class ChainOutput:
    """What a chain went through.

    Shapes: ``states`` M+1 times (B, S), the initial state first, then the state after each modality in reading order;
    ``updated`` (M+1, B), whether the state was written in that step (the initial one counts as written). ``order``: which
    modality was read when.
    """

    states: tuple[Float[Tensor, "batch state"], ...]
    updated: Bool[Tensor, "steps batch"]
    order: tuple[int, ...]

    @property
    def change(self) -> Float[Tensor, " modalities"]:
        """Mean squared change of the state by each modality, over rows and numbers, 0 where it was kept."""
        return torch.stack([(after - before).square().mean() for before, after in pairwise(self.states)])


class StateChain(nn.Module):
    """A state that starts as one learnt vector and is overwritten by each modality that is there.

    Maths: s_0 ~ N(0, 1), trainable; s_i = e_i([x_i ; s_{i−1}]) where modality i is present, else s_{i−1}. e_i is a
    mlp with dropout on its input and ReLU on its output.
    """

    def __init__(self, widths: Sequence[int], state_dim: int, hidden: Sequence[int], dropout: float):
        super().__init__()
        self.initial = nn.Parameter(torch.randn(state_dim))
        self.encoders = nn.ModuleList(
            mlp([width + state_dim, *hidden, state_dim], dropout=dropout, relu_at_end=True)
            for width in widths
        )

    def forward(
        self,
        features: Sequence[Float[Tensor, "batch _"]],
        present: Sequence[Bool[Tensor, " batch"]],
        order: Sequence[int] | None = None,
        skip: Literal["sample", "batch"] = "sample",
    ) -> ChainOutput:
        """All states. ``skip``: rows that lack a modality keep their state, or, as in the authors' code, all rows of the
        batch do as soon as one lacks it."""
        order = range(len(self.encoders)) if order is None else order
        batch = len(features[0])
        state = self.initial.expand(batch, -1)
        states, updated = [state], [torch.ones_like(present[0])]
        for i in order:
            there = present[i] if skip == "sample" else present[i].all().expand(batch)
            new = self.encoders[i](torch.cat([features[i], state], dim=1))
            state = torch.where(there[:, None], new.to(state.dtype), state)
            states.append(state)
            updated.append(there)
        return ChainOutput(tuple(states), torch.stack(updated), tuple(order))


class ParallelFusion(nn.Module):
    """All features side by side. A missing modality is its mean (zeros, after standardisation) or a learnt vector."""

    def __init__(self, widths: Sequence[int], fill: Literal["mean", "learned"] = "mean"):
        super().__init__()
        self.width = sum(widths)
        self.fill: nn.ParameterList | None = None
        if fill == "learned":
            self.fill = nn.ParameterList([nn.Parameter(torch.zeros(width)) for width in widths])

    def forward(
        self, features: Sequence[Float[Tensor, "batch _"]], present: Sequence[Bool[Tensor, " batch"]]
    ) -> Float[Tensor, "batch width"]:
        """Shapes: M times (B, F_i) and (B) → (B, ΣF_i)."""
        parts = []
        for i, (x, there) in enumerate(zip(features, present, strict=True)):
            other = torch.zeros_like(x) if self.fill is None else self.fill[i].to(x.dtype).expand_as(x)
            parts.append(torch.where(there[:, None], x, other))
        return torch.cat(parts, dim=1)


def drop_modalities(present: Sequence[Bool[Tensor, " batch"]], share: float) -> list[Bool[Tensor, " batch"]]:
    """Each modality of each row counts as missing with probability ``share``, whatever the label (for training)."""
    return [there & (torch.rand(there.shape, device=there.device) >= share) for there in present]


def contributions(
    probabilities: Float[Tensor, "steps batch"], order: Sequence[int]
) -> Float[Tensor, "batch modalities"]:
    """How much each modality moved a prediction: p(s_i) − p(s_{i−1}), by modality; 0 where it was missing.

    They sum to the difference between the last prediction and the first, which knows nothing.
    """
    moved = probabilities[1:] - probabilities[:-1]
    by_modality = torch.empty_like(moved)
    by_modality[list(order)] = moved
    return by_modality.T


def task_decoder(
    width: int, hidden: Sequence[int], num_classes: int, dropout: float, head: HeadKind
) -> nn.Module:
    """From a state of ``width`` to the logits of a target's classes, or to one number where there are none."""
    if head == "linear" or not num_classes:  # the last layer of the MLP is the classifier
        return mlp([width, *hidden, max(1, num_classes)], dropout=dropout)
    inner = mlp([width, *hidden, num_classes - 1], dropout=dropout)
    return nn.Sequential(inner, classifier(num_classes - 1, num_classes, head))
