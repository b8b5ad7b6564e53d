"""What groups of neurons do at serving time: how many there are to choose from, what they cost, and who uses which.

``system`` is always a :class:`brickwork.systems.emoe.system.System`, which imports this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from brickwork.data.types import Examples
from brickwork.encoders.text import TextEncoder

_SHARES = (8, 4, 2, 1)
_CHUNK = 64
_SAMPLE = 256


@dataclass(frozen=True, kw_only=True)
class ServingPoint:
    """A number of groups used: the share of ``examples`` answered rightly, and the FLOPs as a share of the whole model's."""

    groups: int
    accuracy: float
    flops: float
    examples: int


def group_counts(groups: int, served: int) -> tuple[int, ...]:
    """An eighth, a quarter, half and all of the groups, and as many as the model was trained with; ascending."""
    return tuple(sorted({served, *(max(1, groups // share) for share in _SHARES)}))


@torch.no_grad()
def relative_flops(system: Any, examples: Examples, used: int) -> float:
    """FLOPs of the encoder with ``used`` groups over those with all, on the first of ``examples``.

    A half takes 2·M·D for each of its matrices and a token; of these k/E are left, and the gate takes 2·E·D.
    """
    groups = system.config.groups
    if used == groups or not len(examples):
        return 1.0
    tokens, whole = _tokens_and_flops(system, examples)
    saved = 0.0
    for half in system.halves:
        products = sum(layer.weight.numel() for layer in (*half.makers, half.down))
        width = half.down.weight.numel() // half.neurons
        saved += 2 * tokens * (products * (1 - used / groups) - groups * width)
    return (whole - saved) / whole


def _tokens_and_flops(system: Any, examples: Examples) -> tuple[int, int]:
    """Tokens in the feed-forward layers, and FLOPs of the encoder with all groups."""
    inputs: Any = examples.columns["input"][:_SAMPLE]
    encoder = system.encoder
    if isinstance(encoder, TextEncoder):
        lengths = encoder.tokenize(inputs).lengths.tolist()
        return sum(lengths), encoder.flops(lengths, encoder.num_layers)
    seen: list[int] = []
    hook = system.halves[0].down.register_forward_pre_hook(
        lambda _, given: seen.append(given[0].shape[:-1].numel())
    )
    x = encoder.collate({"input": inputs[:1]})["input"].to(next(system.parameters()).device)
    encoder(x, [encoder.num_layers])
    hook.remove()
    return seen[0], encoder.flops(1)


@torch.no_grad()
def group_shares(system: Any, examples: Examples) -> dict[str, Float[np.ndarray, "rows groups"]]:
    """For each grouped layer the share of its tokens for which each input uses each group; rows sum to 1."""
    inputs, device = examples.columns["input"], next(system.parameters()).device
    parts: dict[str, list[np.ndarray]] = {half.name: [] for half in system.halves}
    k = min(system.config.active, max(1, system.config.groups // 2))
    for start in range(0, len(inputs), _CHUNK):
        x = system.encoder.collate({"input": inputs[start : start + _CHUNK]})["input"].to(device)
        with system.used_groups(k) as weights:
            system.logits(x)
            for name, used in weights.items():
                parts[name].append(_by_input(used != 0, x))
    return {name: np.concatenate(rows) for name, rows in parts.items() if rows}


def _by_input(used: torch.Tensor, x: object) -> Float[np.ndarray, "rows groups"]:
    """Shares of each input, from (T, E) of packed texts or (B, T, E)."""
    from brickwork.core.types import TokenBatch

    if isinstance(x, TokenBatch):
        flat = used if used.ndim == 2 else used[x.sequence, x.position]
        sums = torch.zeros(len(x), flat.shape[-1], device=flat.device).index_add_(0, x.sequence, flat.float())
    else:
        sums = used.float().sum(1)
    return (sums / sums.sum(1, keepdim=True)).double().cpu().numpy()


def domains_of(system: Any, examples: Examples) -> list[str]:
    """The domain of each example: its own, or else the name of its class."""
    if "domain" in examples.columns:
        return [str(domain) for domain in examples.columns["domain"]]
    labels: Sequence[int] = examples.columns["label"]  # type: ignore[assignment]
    return [system.classes[int(label)] for label in labels]
