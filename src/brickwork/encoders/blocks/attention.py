"""Self-attention over packed texts: everything but the attention itself runs without padding.

Shape legend: T tokens of all texts, B texts, L longest text of a group, H heads, D width.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from brickwork.core.types import TokenBatch

# A text shorter than this share of the longest one in its group starts a new group (if the group is big
# enough to be worth a call of its own).
_LEAST_FILL = 0.8
_LEAST_TEXTS = 4


@runtime_checkable
class Layout(Protocol):
    """How the tokens of a batch lie in memory, and so how they attend to each other."""

    def attend(self, qkv: Tensor, num_heads: int) -> Tensor: ...


def _attend(qkv: Tensor, num_heads: int, mask: Tensor | None) -> Tensor:
    """Shapes: qkv (B, L, 3D), mask (B, 1, 1 or L, L) true for keys that are seen → (B, L, D)."""
    batch, length, width = qkv.shape
    q, k, v = qkv.view(batch, length, 3, num_heads, width // (3 * num_heads)).permute(2, 0, 3, 1, 4)
    if qkv.dtype == torch.bfloat16 and qkv.device.type == "cpu" and qkv.requires_grad:
        # PyTorch's fused attention has a backward for this case that is 4 to 7 times slower (torch 2.13,
        # head width 32) than the one of these three products.
        mixed = _attend_by_products(q, k, v, mask)
    else:
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return mixed.transpose(1, 2).reshape(batch, length, width // 3)


def _attend_by_products(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(qkᵀ/√d + mask)·v. Shapes: q, k, v (B, H, L, d) → (B, H, L, d)."""
    batch, heads, length, head_width = q.shape
    bias = q.new_zeros(batch, 1, 1, length)
    if mask is not None:
        bias = bias.masked_fill(~mask, float("-inf"))
    bias = bias.expand(-1, heads, -1, -1).flatten(0, 1)
    q, k, v = (x.reshape(batch * heads, length, head_width) for x in (q, k, v))
    logits = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=head_width**-0.5)
    return torch.bmm(logits.softmax(-1), v).view(batch, heads, length, head_width)


class _Pad(torch.autograd.Function):
    """Rows ``source`` of a tensor; the gradient of a row is the one of its own slot.

    That is all of its gradient: wherever else a row is read it fills padding, through which none flows.
    PyTorch's own would add up all slots, for every layer, into zeros.
    """

    @staticmethod
    def forward(ctx, x: Tensor, source: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(slot)
        return x.index_select(0, source)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient.index_select(0, ctx.saved_tensors[0]), None, None


@dataclass(frozen=True)
class Packed:
    """Texts laid end to end (T, ·). Where all are equally long there are no groups: a view is enough.

    ``groups``: rows × length of each group of texts of similar length, with its mask, (rows, 1, 1, length).
    ``source``: the token in each slot, the groups' slots laid end to end. ``slot``: each token's slot.
    """

    batch: int
    groups: tuple[tuple[int, int, Bool[Tensor, "_ 1 1 _"] | None], ...] = ()
    source: Int64[Tensor, " slots"] | None = None
    slot: Int64[Tensor, " tokens"] | None = None

    @classmethod
    def of(cls, tokens: TokenBatch) -> "Packed":
        """The layout of a batch; made once, used by every layer."""
        total, device = tokens.ids.shape[0], tokens.ids.device
        if len(tokens) * tokens.max_length == total:
            return cls(len(tokens))
        starts = tokens.lengths.cumsum(0) - tokens.lengths
        first_slots = torch.empty_like(starts)
        groups, sources, num_slots = [], [], 0
        for rows, length in _similar_lengths(tokens):
            place = torch.arange(length, device=device)
            # A padding slot reads whatever token comes next: as a key it is masked, as a query its result
            # is never read. That is cheaper than writing zeros.
            sources.append((starts[rows, None] + place).clamp_(max=total - 1).flatten())
            exists = place < tokens.lengths[rows, None]
            equal = device.type == "cpu" and bool(exists.all())
            groups.append((len(rows), length, None if equal else exists[:, None, None]))
            first_slots[rows] = num_slots + torch.arange(len(rows), device=device) * length
            num_slots += len(rows) * length
        slot = first_slots[tokens.sequence] + tokens.position
        return cls(len(tokens), tuple(groups), torch.cat(sources), slot)

    def attend(self, qkv: Tensor, num_heads: int) -> Tensor:
        """Shapes: (T, 3D) → (T, D)."""
        if self.source is None or self.slot is None:
            return _attend(qkv.view(self.batch, -1, qkv.shape[-1]), num_heads, None).flatten(0, 1)
        padded = _Pad.apply(qkv, self.source, self.slot)
        mixed = [
            _attend(part.view(rows, length, -1), num_heads, mask).flatten(0, 1)
            for part, (rows, length, mask) in zip(
                padded.split([rows * length for rows, length, _ in self.groups]), self.groups
            )
        ]
        return torch.cat(mixed).index_select(0, self.slot)


def _similar_lengths(tokens: TokenBatch) -> list[tuple[Tensor, int]]:
    """Rows grouped by length, with the longest of each group.

    On a GPU there is one group: looking at the lengths would make the device wait.
    """
    if tokens.lengths.device.type != "cpu":
        return [(torch.arange(len(tokens), device=tokens.lengths.device), tokens.max_length)]
    order = tokens.lengths.argsort(descending=True, stable=True)
    lengths = tokens.lengths[order].tolist()
    cuts = [0]
    for row, length in enumerate(lengths):
        if row - cuts[-1] >= _LEAST_TEXTS and length < _LEAST_FILL * lengths[cuts[-1]]:
            cuts.append(row)
    ends = [*cuts[1:], len(lengths)]
    return [(order[start:end], lengths[start]) for start, end in zip(cuts, ends)]


@dataclass(frozen=True)
class Padded:
    """Rows of one length (B, L, ·): patches of images, and texts padded for tracing, where packing cannot be expressed.

    ``mask`` is (B, 1, 1, L), true for tokens that exist, or (B, 1, L, L), true for what each query sees; none: all of them.
    Annotated loosely: a tracer's sizes are symbols.
    """

    mask: Tensor | None

    def attend(self, qkv: Tensor, num_heads: int) -> Tensor:
        """Shapes: (B, L, 3D) → (B, L, D)."""
        return _attend(qkv, num_heads, self.mask)


class SelfAttention(nn.Module):
    """Multi-head self-attention with one fused projection for queries, keys and values."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        if width % num_heads:
            raise ValueError(f"width {width} is not a multiple of num_heads {num_heads}")
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Shapes: (…, D) → (…, D)."""
        return self.out(layout.attend(self.qkv(x), self.num_heads))
