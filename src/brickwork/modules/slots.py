"""Slots: a network as a row of modules, each of which a module of another network can stand in for.

A **slot** is any ``nn.Module``. The first makes tokens (B, N, D) of images (B, C, H, W), the last makes logits (B, classes)
of tokens, and those between make tokens of tokens, with the width D of their own network; they take any number N of tokens.
So the network is their composition, and that is all that is asked of it: blocks of a vision transformer (:func:`cut`), a
graph of latents, anything. A slot of a network of another width stands in with a :class:`Stitch` around it (:func:`hybrid`).

    slots = cut(vit, [(0, 2), (2, 4), (4, 6)], read)      # the same parameters as the network, in three parts
    logits = compose(slots, images)                       # as the network gives them
    mixed = hybrid(meta, 1, student[1], Stitch("norm_linear", outer=96, inner=64))    # M_3(ψ(S_2(φ(M_1(x)))))

Deep Incubation (Ni et al., arXiv 2212.04129); m2mKD (Lo et al., arXiv 2402.16918). Weights go from one network to another
with :func:`transfer`, which says what it copied, and refuses to leave anything out that it was not told to.

Shape legend: B images, N tokens, D the width of the network around a slot, d the width of the slot.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ConfigError

StitchKind = Literal["linear", "norm_linear"]


@runtime_checkable
class Blocky(Protocol):
    """A network that can be cut between any two of its blocks (:class:`brickwork.encoders.vit.ViT`)."""

    @property
    def num_layers(self) -> int: ...

    def stem(self) -> nn.Module: ...

    def blocks_from_to(self, start: int, end: int) -> nn.Module: ...


def check_ranges(ranges: Sequence[tuple[int, int]], num_layers: int) -> None:
    """Refuses ranges of blocks that do not make up the whole network, in order.

    Raises:
        ConfigError: a gap, an overlap, an empty slot, or blocks left over.
    """
    ends = [0, *(end for _, end in ranges)]
    if any(start != before or end <= start for (start, end), before in zip(ranges, ends)):
        raise ConfigError(
            f"slots {list(ranges)}: each has to begin where the one before ends, and to hold a block"
        )
    if ends[-1] != num_layers:
        raise ConfigError(f"slots {list(ranges)} hold {ends[-1]} blocks, and the network has {num_layers}")


def even_ranges(num_layers: int, count: int) -> list[tuple[int, int]]:
    """``count`` slots of as equal a number of blocks as there can be, the longer ones first.

    Raises:
        ConfigError: fewer blocks than slots.
    """
    if not 1 <= count <= num_layers:
        raise ConfigError(f"{num_layers} blocks cannot be cut into {count} slots: each needs one at least")
    each, left = divmod(num_layers, count)
    ends = [number * each + min(number, left) for number in range(count + 1)]
    return list(pairwise(ends))


def cut(model: Blocky, ranges: Sequence[tuple[int, int]], read: nn.Module) -> tuple[nn.Sequential, ...]:
    """The slots of ``model``: its blocks by ``ranges``, with what embeds the images before the first, and ``read``, which
    makes logits of tokens, behind the last. All are the same objects: composed they are the network exactly, and what a
    slot learns the network has learnt.

    Raises:
        ConfigError: ranges that are not the whole network.
    """
    check_ranges(ranges, model.num_layers)
    slots = [[model.blocks_from_to(start, end)] for start, end in ranges]
    slots[0].insert(0, model.stem())
    slots[-1].append(read)
    return tuple(nn.Sequential(*parts) for parts in slots)


def compose(slots: Sequence[nn.Module], x: Tensor) -> Tensor:
    """x through all of them, in order."""
    for slot in slots:
        x = slot(x)
    return x


class Stitch(nn.Module):
    """φ before and ψ after a slot of width d in a network of width D; the first slot has no φ, the last no ψ.

    ``linear``: a matrix each way. ``norm_linear``: LayerNorm, then a matrix. The widths are those of the two networks.
    """

    def __init__(self, kind: StitchKind, *, outer: int, inner: int, first: bool = False, last: bool = False):
        super().__init__()
        self.into = None if first else _joint(kind, outer, inner)
        self.out = None if last else _joint(kind, inner, outer)

    def forward(self, slot: nn.Module, x: Tensor) -> Tensor:
        """ψ(S(φ(x)))."""
        x = slot(x if self.into is None else self.into(x))
        return x if self.out is None else self.out(x)


def joints(kind: StitchKind, *, inner: int, outer: int) -> nn.Sequential:
    """ψ of one slot, then φ of the next: what stands between two slots of a network that keeps its stitches."""
    return nn.Sequential(_joint(kind, inner, outer), _joint(kind, outer, inner))


class Followed(nn.Module):
    """A block, and something behind it."""

    def __init__(self, block: nn.Module, then: nn.Module):
        super().__init__()
        self.block, self.then = block, then

    def forward(self, x: Tensor, *rest: Any) -> Tensor:
        """As the block is called."""
        return self.then(self.block(x, *rest))


@contextmanager
def frozen(*models: nn.Module) -> Iterator[None]:
    """What is computed while entered passes gradients on to its inputs, and gives none to the parameters of ``models``."""
    parameters = [p for model in models for p in model.parameters()]
    before = [p.requires_grad for p in parameters]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, trained in zip(parameters, before):
            parameter.requires_grad_(trained)


def _joint(kind: StitchKind, inputs: int, outputs: int) -> nn.Sequential:
    norm = [nn.LayerNorm(inputs)] if kind == "norm_linear" else []
    return nn.Sequential(*norm, nn.Linear(inputs, outputs))


class Hybrid(nn.Module):
    """A network with another module in one of its slots. ``prefix`` and ``suffix`` are the parts before and after it."""

    def __init__(self, meta: Sequence[nn.Module], place: int, slot: nn.Module, stitch: Stitch | None = None):
        super().__init__()
        self.before, self.after = nn.ModuleList(meta[:place]), nn.ModuleList(meta[place + 1 :])
        self.slot, self.stitch = slot, stitch

    def prefix(self, x: Tensor) -> Tensor:
        """h = M_{<i}(x): what the slot reads."""
        return compose(list(self.before), x)

    def suffix(self, h: Tensor) -> Float[Tensor, "batch classes"]:
        """M_{>i}(ψ(S(φ(h)))) of what :meth:`prefix` gave."""
        x = self.slot(h) if self.stitch is None else self.stitch(self.slot, h)
        return compose(list(self.after), x)

    def forward(self, x: Tensor) -> Float[Tensor, "batch classes"]:
        """Logits."""
        return self.suffix(self.prefix(x))


def hybrid(meta: Sequence[nn.Module], place: int, slot: nn.Module, stitch: Stitch | None = None) -> Hybrid:
    """``meta`` with ``slot`` at ``place`` (from 0). Parameters are shared with both.

    Raises:
        ConfigError: there is no such slot.
    """
    if not 0 <= place < len(meta):
        raise ConfigError(f"slot {place + 1}: there are {len(meta)}, numbered from 1")
    return Hybrid(meta, place, slot, stitch)


# ---- weights from one network to another -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """What :func:`transfer` did. ``copied``: names in the target; ``skipped``: name → why, with shapes."""

    copied: tuple[str, ...]
    skipped: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]

    def __str__(self) -> str:
        lines = [f"{len(self.copied)} tensors copied, {len(self.skipped)} left"]
        return "\n  ".join([*lines, *(f"{name}: {why}" for name, why in self.skipped.items())])


@torch.no_grad()
def transfer(
    source: nn.Module | Mapping[str, Tensor],
    target: nn.Module,
    names: Mapping[str, str] | None = None,
    *,
    may_lack: Sequence[str] = (),
    may_leave: Sequence[str] = (),
) -> Report:
    """Copies weights into ``target``. ``names``: name in the target → name in the source, for those that differ.

    ``may_lack``: patterns of the target's names that may keep what they have, where the source has none or another shape.
    ``may_leave``: patterns of the source's names that need not be used. Nothing is written if anything is wrong.

    Raises:
        ConfigError: a tensor without its equal that was not allowed for; lists all, with their shapes.
    """
    given: Mapping[str, Any] = source.state_dict() if isinstance(source, nn.Module) else source
    held, names = target.state_dict(), names or {}
    copied: list[str] = []
    skipped: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for name, tensor in held.items():
        theirs = names.get(name, name)
        value = given.get(theirs)
        if value is not None and value.shape == tensor.shape:
            copied.append(name)
            continue
        shape = "none in the source" if value is None else f"{tuple(value.shape)} in the source"
        (skipped if _any(name, may_lack) else wrong)[name] = f"{tuple(tensor.shape)} here, {shape}"
    used = {names.get(name, name) for name in held}
    for name in given:
        if name not in used:
            (skipped if _any(name, may_leave) else wrong)[name] = (
                f"{tuple(given[name].shape)} in the source, none here"
            )
    if wrong:
        listed = "; ".join(f"{name}: {why}" for name, why in wrong.items())
        raise ConfigError(
            f"{len(wrong)} weights do not go from one network into the other: {listed}. Name what may be left out"
        )
    for name in copied:
        held[name].copy_(given[names.get(name, name)])
    return Report(tuple(copied), skipped, {name: tuple(held[name].shape) for name in copied})


def _any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
