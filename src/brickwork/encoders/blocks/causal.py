"""Causal attention for decoders, with keys and values that are kept: which keys are seen, and three kinds of position.

``stick``  stick-breaking (no positions), :mod:`brickwork.encoders.blocks.stick_breaking`
``rope``   softmax with rotary positions (Su et al., arXiv 2104.09864)
``alibi``  softmax with a penalty that grows with distance (Press et al., arXiv 2108.12409)

Shape legend: B texts, T new tokens, S keys (kept ones and the new), H heads, R queries that share keys, s head width.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from brickwork.encoders.blocks.stick_breaking import Remainder, stick_breaking_attention

Position = Literal["stick", "rope", "alibi"]


@dataclass(frozen=True)
class KeyValues:
    """The keys and values of the last tokens of one layer; ``seen`` counts all tokens, also those dropped since."""

    k: Float[Tensor, "batch heads keys size"]
    v: Float[Tensor, "batch heads keys size"]
    seen: int

    def last(self, count: int) -> "KeyValues":
        """Only the newest ``count``: memory stays bounded however long a text gets."""
        return KeyValues(self.k[:, :, -count:], self.v[:, :, -count:], self.seen)


def visible_keys(
    queries: int, keys: int, *, attend_current: bool, device: torch.device
) -> Bool[Tensor, "1 t s"]:
    """Which keys each query sees: older ones, and its own where ``attend_current``."""
    query = torch.arange(keys - queries, keys, device=device)[:, None]
    key = torch.arange(keys, device=device)
    return (key <= query if attend_current else key < query)[None]


def rotate(
    x: Float[Tensor, "*batch tokens size"], position: Int64[Tensor, " tokens"], base: float = 10_000.0
) -> Float[Tensor, "*batch tokens size"]:
    """x with its halves turned by position·base^(−2i/s), as in Llama."""
    half = x.shape[-1] // 2
    frequency = base ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = position[:, None].float() * frequency
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def alibi_slopes(num_heads: int) -> Float[Tensor, " heads"]:
    """2^(−8h/H) for h = 1 … H."""
    return 2.0 ** (-8.0 * torch.arange(1, num_heads + 1) / num_heads)


def attend(
    q: Float[Tensor, "batch heads shared queries size"],
    k: Float[Tensor, "batch heads queries size"],
    v: Float[Tensor, "batch heads queries size"],
    past: KeyValues | None,
    *,
    position: Position = "stick",
    attend_current: bool = True,
    remainder: Remainder = "drop",
    sink: Float[Tensor, "heads size"] | None = None,
) -> tuple[Float[Tensor, "batch heads shared queries size"], KeyValues]:
    """New queries against what was kept and the new tokens themselves; the second result is what to keep now."""
    start = past.seen if past is not None else 0
    queries = q.shape[3]
    place = torch.arange(start, start + queries, device=q.device)
    if position == "rope":
        q, k = rotate(q, place), rotate(k, place)
    if past is not None:
        k, v = torch.cat([past.k, k], dim=2), torch.cat([past.v, v], dim=2)
    kept = KeyValues(k, v, start + queries)
    keys = k.shape[2]
    if position == "stick":
        visible = visible_keys(queries, keys, attend_current=attend_current, device=q.device)
        return stick_breaking_attention(q, k, v, visible, remainder=remainder, sink=sink), kept
    visible = visible_keys(queries, keys, attend_current=True, device=q.device)
    bias = q.new_zeros(1, 1, queries, keys).masked_fill(~visible[:, None], float("-inf"))
    if position == "alibi":
        distance = torch.arange(keys - queries, keys, device=q.device)[:, None] - torch.arange(
            keys, device=q.device
        )
        slopes = alibi_slopes(q.shape[1]).to(q)
        bias = bias - slopes[:, None, None] * distance
    rows = q.shape[2]
    # The R queries of a token are rows of one product; each has its token's bias.
    mixed = F.scaled_dot_product_attention(q.flatten(2, 3), k, v, attn_mask=bias.repeat(1, 1, rows, 1))
    return mixed.view(*q.shape[:4], -1), kept
