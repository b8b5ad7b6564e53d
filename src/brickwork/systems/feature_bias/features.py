"""Features of bits: each reads bits of its own, so that features are independent, and each is true in half of the inputs.

Shape legend: B inputs, N bits, n bits of a feature.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from brickwork.core.errors import ConfigError

BitRule = Callable[[Tensor], Tensor]


def _parity(bits: Bool[Tensor, "*batch n"]) -> Bool[Tensor, "*batch"]:
    return bits.sum(-1) % 2 == 1


def _majority(bits: Bool[Tensor, "*batch n"]) -> Bool[Tensor, "*batch"]:
    return 2 * bits.sum(-1) > bits.shape[-1]


@dataclass(frozen=True)
class Kind:
    """A rule of ``bits`` bits. ``easy``: a linear threshold of them computes it."""

    bits: int
    rule: BitRule
    easy: bool


KINDS: Mapping[str, Kind] = {
    "copy": Kind(1, _majority, easy=True),
    "majority5": Kind(5, _majority, easy=True),
    "xor2": Kind(2, _parity, easy=False),
    "parity3": Kind(3, _parity, easy=False),
    "parity4": Kind(4, _parity, easy=False),
}


def places(features: Sequence[str], bits: int) -> list[slice]:
    """The bits of each feature: one feature after the other.

    Raises:
        ConfigError: an unknown feature, or more bits than there are.
    """
    if unknown := [name for name in features if name not in KINDS]:
        raise ConfigError(f"features: '{unknown[0]}' is none; choose among {', '.join(KINDS)}")
    needed = sum(KINDS[name].bits for name in features)
    if needed > bits:
        raise ConfigError(
            f"features {', '.join(features)} read {needed} bits of their own, and there are {bits}"
        )
    starts, at = [], 0
    for name in features:
        starts.append(slice(at, at + KINDS[name].bits))
        at += KINDS[name].bits
    return starts


def labels(features: Sequence[str], bits: Bool[Tensor, "*batch n"]) -> Bool[Tensor, "*batch features"]:
    """The value of each feature."""
    own = places(features, bits.shape[-1])
    return torch.stack([KINDS[name].rule(bits[..., part]) for name, part in zip(features, own)], dim=-1)


def inner_xors(bits: Bool[Tensor, "*batch n"]) -> Bool[Tensor, "*batch 2"]:
    """The two halves that an XOR of XORs of four bits is made of: x₀⊕x₁ and x₂⊕x₃."""
    return torch.stack([_parity(bits[..., :2]), _parity(bits[..., 2:4])], dim=-1)
