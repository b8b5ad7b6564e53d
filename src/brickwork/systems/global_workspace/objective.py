"""Losses that align several domains in one shared space (a global workspace), after the definitions of ruflab/shimmer and
Devillers, Maytié, VanRullen, arXiv 2306.15711.

A space has e_i (``encode``), w = f(Σ α_i e_i(x_i)) (``fuse``) and d_j (``decode``). Each function gives its members by
name, for example ``image to text``; the loss is their mean. A member is the mean over the rows that have all domains that
it needs: demi-cycle and cycle need one domain, so that unpaired rows train them too; the others need pairs. Where no row
has them, a member is 0.

Shape legend: B rows, D_i dimensions of domain i, W of the workspace.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from brickwork.objectives.contrastive import info_nce

Distance = Callable[[Tensor, Tensor], Tensor]
"""``distance(prediction, truth)``: two of (B, D_i) → (B,)."""
Present = Mapping[str, Bool[Tensor, " batch"]]
Weights = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""From the rows in which each domain of a subset is present to its α."""


@runtime_checkable
class SharedSpace(Protocol):
    """What the losses need of a space; :class:`brickwork.systems.global_workspace.modules.DomainWorkspace` is one."""

    @property
    def domains(self) -> tuple[str, ...]: ...

    def encode(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]: ...

    def fuse(self, z: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None = None) -> Tensor: ...

    def decode(self, w: Tensor, domains: Sequence[str] | None = None) -> dict[str, Tensor]: ...


def squared_error(
    prediction: Float[Tensor, "batch dim"], truth: Float[Tensor, "batch dim"]
) -> Float[Tensor, " batch"]:
    """The squared difference of each row, a mean over dimensions."""
    return (prediction - truth).square().mean(1)


def demi_cycle(
    space: SharedSpace,
    x: Mapping[str, Tensor],
    present: Present | None = None,
    distance: Distance = squared_error,
) -> dict[str, Float[Tensor, ""]]:
    """d_i(f(e_i(x_i))) ≈ x_i."""
    return {i: _translation_errors(space, x, present, distance, i, [i])[i] for i in x}


def cycle(
    space: SharedSpace,
    x: Mapping[str, Tensor],
    present: Present | None = None,
    distance: Distance = squared_error,
) -> dict[str, Float[Tensor, ""]]:
    """x_i → w → x̂_j → w → x̂_i ≈ x_i for each i ≠ j."""
    members = {}
    for i, values in x.items():
        decoded = space.decode(space.fuse(space.encode({i: values})))
        for j in space.domains:
            if j != i:
                back = space.decode(space.fuse(space.encode({j: decoded[j]})), [i])[i]
                members[f"{i} through {j}"] = _mean(distance(back, values), _rows(present, [i]))
    return members


def translation(
    space: SharedSpace,
    x: Mapping[str, Tensor],
    present: Present | None = None,
    distance: Distance = squared_error,
) -> dict[str, Float[Tensor, ""]]:
    """d_j(f(e_i(x_i))) ≈ x_j for each i ≠ j; from one domain to one other, on pairs."""
    members: dict[str, Tensor] = {}
    for i in x:
        errors = _translation_errors(space, x, present, distance, i, [j for j in x if j != i])
        members |= {f"{i} to {j}": error for j, error in errors.items()}
    return members


def _translation_errors(
    space: SharedSpace,
    x: Mapping[str, Tensor],
    present: Present | None,
    distance: Distance,
    i: str,
    targets: Sequence[str],
) -> dict[str, Tensor]:
    """How far d_j(f(e_i(x_i))) is from x_j, for each target j; a demi-cycle is the translation of a domain to itself."""
    decoded = space.decode(space.fuse(space.encode({i: x[i]})), targets)
    return {j: _mean(distance(decoded[j], x[j]), _rows(present, [i, j])) for j in targets}


def contrastive(
    space: SharedSpace,
    x: Mapping[str, Tensor],
    present: Present | None = None,
    *,
    temperature: float | Tensor = 0.07,
) -> dict[str, Float[Tensor, ""]]:
    """Symmetric InfoNCE between e_i(x_i) and e_j(x_j), before they are fused, on pairs: row n of i finds row n of j."""
    z = space.encode(x)
    members = {}
    for i, j in combinations(x, 2):
        rows = _rows(present, [i, j])
        left, right = (z[i], z[j]) if rows is None else (z[i][rows], z[j][rows])
        loss = (
            info_nce(left, right, temperature=temperature, symmetric=True)
            if len(left)
            else (z[i].sum() + z[j].sum()) * 0
        )
        members[f"{i} and {j}"] = loss
    return members


def broadcast(
    space: SharedSpace,
    x: Mapping[str, Tensor],
    present: Present | None = None,
    distance: Distance = squared_error,
    weights: Weights | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """d_j(f(Σ_{i ∈ S} α_i e_i(x_i))) ≈ x_j for every subset S of the domains and every domain j.

    Subsets of one domain give demi-cycle (j in S) and translation (j not in S) once more; larger ones are what shimmer
    calls fused (j in S) and many-to-one translation. 2ⁿ − 1 subsets: meant for few domains.
    """
    z = space.encode(x)
    size = len(next(iter(x.values())))
    members = {}
    for count in range(1, len(x) + 1):
        for subset in combinations(x, count):
            parts = {i: z[i] for i in subset}
            there = {i: _there(present, i, size, z[i].device) for i in subset}
            w = space.fuse(parts, None if weights is None else weights(there))
            decoded = space.decode(w, list(x))
            for j in x:
                rows = _rows(present, [*subset, j])
                members[f"{'+'.join(subset)} to {j}"] = _mean(distance(decoded[j], x[j]), rows)
    return members


def mean_of(members: Mapping[str, Tensor]) -> Float[Tensor, ""]:
    """The loss of a set of members: their mean."""
    return torch.stack(list(members.values())).mean()


def _there(present: Present | None, domain: str, size: int, device: torch.device) -> Tensor:
    return torch.ones(size, dtype=torch.bool, device=device) if present is None else present[domain]


def _rows(present: Present | None, domains: Sequence[str]) -> Tensor | None:
    if present is None:
        return None
    return torch.stack([present[domain] for domain in domains]).all(0)


def _mean(values: Tensor, rows: Tensor | None) -> Tensor:
    if rows is None:
        return values.mean()
    return torch.where(rows, values, torch.zeros_like(values)).sum() / rows.sum().clamp(min=1)
