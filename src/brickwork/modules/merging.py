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
    together = _aligned(changes)
    weights = [1.0] * len(changes) if weights is None else list(weights)
    if len(weights) != len(changes):
        raise ConfigError(f"{len(weights)} weights for {len(changes)} bricks; give one for each")
    if config.method == "average":
        return {name: _weighted(parts, weights).sum(0) / len(parts) for name, parts in together.items()}
    if config.method == "ties":
        together = trim(together, config.density or 0.2, config.scope or "all")
    elif config.method in ("dare", "dare-ties"):
        together = drop(together, config.density or 0.5, seed)
    if config.method in ("ties", "dare-ties"):
        merged = {name: elect(_weighted(parts, weights)) for name, parts in together.items()}
    else:
        merged = {name: _weighted(parts, weights).sum(0) for name, parts in together.items()}
    return {name: (config.scale or 1.0) * part for name, part in merged.items()}


def trim(changes: Mapping[str, Tensor], density: float, scope: Literal["all", "tensor"]) -> dict[str, Tensor]:
    """Of each change (first axis) the share ``density`` of entries that are largest; zeros in place of the others."""
    if scope == "tensor":
        return {
            name: _kept(parts, _floors(parts.flatten(1).abs(), density)) for name, parts in changes.items()
        }
    flat = torch.cat([parts.flatten(1).abs() for parts in changes.values()], dim=1)
    floors = _floors(flat, density)
    return {name: _kept(parts, floors) for name, parts in changes.items()}


def drop(changes: Mapping[str, Tensor], density: float, seed: int) -> dict[str, Tensor]:
    """Each entry kept with probability ``density`` and divided by it, so that its expectation stays what it was."""
    results = {}
    for name, parts in changes.items():
        draws = torch.rand(parts.shape, generator=generator_for(seed, 0, name)).to(parts.device)
        results[name] = torch.where(draws < density, parts / density, 0.0)
    return results


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
    for parts in _aligned(changes).values():
        positive, negative = (parts > 0).sum(0), (parts < 0).sum(0)
        shared += int((positive + negative > 1).sum())
        conflicts += int(((positive > 0) & (negative > 0)).sum())
    return conflicts / max(shared, 1)


def cosine(one: Change, other: Change) -> float:
    """The cosine of two changes, each as one long vector."""
    a, b = (
        torch.cat(parts) for parts in zip(*(p.double().flatten(1) for p in _aligned([one, other]).values()))
    )
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def _aligned(changes: Sequence[Change]) -> dict[str, Tensor]:
    """Every layer that a change has, with all changes along a new first axis."""
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
    like = {name: part for change in changes for name, part in change.items()}
    return {
        name: torch.stack(
            [change[name] if name in change else torch.zeros_like(like[name]) for change in changes]
        )
        for name in sorted(shapes)
    }


def _weighted(parts: Tensor, weights: Sequence[float]) -> Tensor:
    return parts * parts.new_tensor(weights).view(-1, *[1] * (parts.ndim - 1))


def _floors(flat: Tensor, density: float) -> Tensor:
    """The smallest absolute value that is kept of each row."""
    return flat.topk(max(int(density * flat.shape[1]), 1), dim=1).values[:, -1]


def _kept(parts: Tensor, floors: Tensor) -> Tensor:
    return torch.where(parts.abs() >= floors.view(-1, *[1] * (parts.ndim - 1)), parts, 0.0)
