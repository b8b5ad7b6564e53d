"""Several changes of one network made into one: average, task arithmetic, TIES, DARE.

A change is a mapping from the name of a layer to ΔW = W − W0, dense: never the factors of low-rank adapters, whose merged
product has cross terms B_i·A_j that nobody trained.

| method          | merged change                                                       | source           |
|-----------------|---------------------------------------------------------------------|------------------|
| average         | Σ w_t Δ_t / n                                                       | arXiv 2203.05482 |
| task arithmetic | λ Σ w_t Δ_t; a negative w_t takes away                              | arXiv 2212.04089 |
| TIES            | λ · mean of the entries that agree with the sign of Σ w_t trim(Δ_t) | arXiv 2306.01708 |
| DARE            | entries kept with probability ``density`` and divided by it, then   | arXiv 2311.03099 |
|                 | task arithmetic (``dare``) or the sign vote (``dare-ties``)         |                  |

TIES as published keeps the largest entries of a whole change (``scope="all"``); other tools (peft, mergekit) keep a share
of each tensor (``scope="tensor"``), which is not the same method. DARE with signs has no second trim.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from brickwork.core.config import above, at_most, idle
from brickwork.core.errors import ConfigError
from brickwork.core.seeding import generator_for

Change = Mapping[str, Tensor]
"""Name of a layer → ΔW."""
Method = Literal["average", "task-arithmetic", "ties", "dare", "dare-ties"]
_SPARSE = ("ties", "dare", "dare-ties")


@dataclass(frozen=True, kw_only=True)
class MergeConfig:
    """How changes are merged: the table at the top of :mod:`brickwork.modules.merging`.

    ``scale``: λ, what the merged change is multiplied by; none: 1. ``density``: of TIES the share of entries that are kept,
    the largest (none: 0.2); of DARE the probability that an entry is kept (none: 0.5). ``scope``: of TIES, whether the
    largest entries are those of the whole change (none, or ``all``) or of each ``tensor``.
    """

    method: Method = "average"
    scale: Annotated[float | None, above(0)] = None
    density: Annotated[float | None, above(0), at_most(1)] = None
    scope: Literal["all", "tensor"] | None = None

    def validate(self) -> list[str]:
        """Options without effect."""
        without = f"method={self.method}"
        return [
            *idle(self, ("scale",) if self.method == "average" else (), without),
            *idle(self, () if self.method in _SPARSE else ("density",), without),
            *idle(self, () if self.method == "ties" else ("scope",), without),
        ]


def merge(
    changes: Sequence[Change], config: MergeConfig, weights: Sequence[float] | None = None, *, seed: int = 0
) -> dict[str, Tensor]:
    """One change made of several; ``weights``: w_t, 1 each unless given. Layers that a change leaves alone count as zeros.

    Raises:
        ConfigError: nothing to merge, another number of weights, or two shapes for one layer.
    """
    shapes = _shapes(changes)
    weights = [1.0] * len(changes) if weights is None else list(weights)
    if len(weights) != len(changes):
        raise ConfigError(f"{len(weights)} weights for {len(changes)} bricks; give one for each")
    floors = None
    if config.method == "ties" and config.scope != "tensor":
        floors = torch.stack([_floor(change, shapes, config.density or 0.2) for change in changes])
    merged = {}
    for name, shape in shapes.items():  # one layer at a time: all together would be every change once more
        parts = _stacked(changes, name, shape)
        if config.method == "ties":
            own = _floors(parts.flatten(1).abs(), config.density or 0.2) if floors is None else floors
            parts = torch.where(parts.abs() >= own.view(-1, *[1] * (parts.ndim - 1)), parts, 0.0)
        elif config.method in ("dare", "dare-ties"):
            parts = drop(parts, config.density or 0.5, generator_for(seed, 0, name))
        parts = _weighted(parts, weights)
        if config.method in ("ties", "dare-ties"):
            merged[name] = (config.scale or 1.0) * elect(parts)
        elif config.method == "average":
            merged[name] = parts.sum(0) / len(parts)
        else:
            merged[name] = (config.scale or 1.0) * parts.sum(0)
    return merged


def drop(parts: Tensor, density: float, generator: torch.Generator) -> Tensor:
    """Each entry kept with probability ``density`` and divided by it, so that its expectation stays what it was."""
    draws = torch.rand(parts.shape, generator=generator).to(parts.device)
    return torch.where(draws < density, parts / density, 0.0)


def elect(parts: Tensor) -> Tensor:
    """The mean of the entries (over the first axis) that have the sign of their sum; where none has, zero.

    A sum of exactly zero takes the sign that most entries' sums have, as the authors' code does.
    """
    sign = parts.sum(0).sign()
    sign = torch.where(sign == 0, sign.sum().sign(), sign)
    agree = (parts.sign() == sign) & (parts != 0)
    return torch.where(agree, parts, 0.0).sum(0) / agree.sum(0).clamp(min=1)


def sign_conflict(changes: Sequence[Change]) -> float:
    """The share of entries that at least two changes have, in which these do not all have one sign."""
    shared = conflicts = 0
    for name, shape in _shapes(changes).items():
        parts = _stacked(changes, name, shape)
        positive, negative = (parts > 0).sum(0), (parts < 0).sum(0)
        shared += int((positive + negative > 1).sum())
        conflicts += int(((positive > 0) & (negative > 0)).sum())
    return conflicts / max(shared, 1)


def cosine(one: Change, other: Change) -> float:
    """The cosine of two changes, each as one long vector."""
    both = [_stacked([one, other], name, shape) for name, shape in _shapes([one, other]).items()]
    a, b = torch.cat([parts.double().flatten(1) for parts in both], dim=1)
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def _shapes(changes: Sequence[Change]) -> dict[str, torch.Size]:
    """Every layer that a change has, sorted."""
    if not changes:
        raise ConfigError("nothing to merge; name at least one brick")
    shapes: dict[str, torch.Size] = {}
    for change in changes:
        for name, part in change.items():
            if shapes.setdefault(name, part.shape) != part.shape:
                raise ConfigError(
                    f"{name} is changed in shape {tuple(part.shape)} by one brick and {tuple(shapes[name])} by another; "
                    "merge bricks of one base model"
                )
    return dict(sorted(shapes.items()))


def _stacked(changes: Sequence[Change], name: str, shape: torch.Size) -> Tensor:
    """One layer of all changes along a new first axis."""
    like = next(change[name] for change in changes if name in change)
    return torch.stack(
        [change[name] if name in change else torch.zeros(shape).to(like) for change in changes]
    )


def _weighted(parts: Tensor, weights: Sequence[float]) -> Tensor:
    return parts * parts.new_tensor(weights).view(-1, *[1] * (parts.ndim - 1))


def _floor(change: Change, shapes: Mapping[str, torch.Size], density: float) -> Tensor:
    """The smallest absolute value that is kept of a whole change; layers that it leaves alone are entries too, of zero."""
    count = max(int(density * sum(shape.numel() for shape in shapes.values())), 1)
    flat = torch.cat([part.flatten().abs() for part in change.values()])
    return flat.topk(count, sorted=False).values.amin() if count <= len(flat) else flat.new_zeros(())


def _floors(flat: Tensor, density: float) -> Tensor:
    """The smallest absolute value that is kept of each row."""
    return flat.topk(max(int(density * flat.shape[1]), 1), dim=1, sorted=False).values.amin(1)
