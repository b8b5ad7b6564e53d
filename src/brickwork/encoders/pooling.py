"""From the hidden states of a text's tokens to one vector, by the modes of sentence-transformers.

Shape legend: T tokens of all texts, B texts, L tokens of the longest, D width.
"""

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from brickwork.core.types import TokenBatch

Pooling = Literal["mean", "cls", "max", "last", "weighted_mean", "mean_sqrt_len"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
# What sentence-transformers calls them, in a pooling's config.json.
THEIR_NAMES: dict[Pooling, str] = {
    "mean": "mean",
    "cls": "cls",
    "max": "max",
    "last": "lasttoken",
    "weighted_mean": "weightedmean",
    "mean_sqrt_len": "mean_sqrt_len_tokens",
}


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` in float32, or in its own type where that is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def pool(
    hidden: Float[Tensor, "tokens width"], tokens: TokenBatch, mode: str
) -> Float[Tensor, "batch width"]:
    """One vector a text, in float32: its first token (``cls``) or last one, or the mean or maximum over its tokens.

    ``weighted_mean`` weights each token by its place, from 1 on (Muennighoff 2022, SGPT); ``mean_sqrt_len`` divides the
    sum by the root of the number of tokens.
    """
    if mode == "cls":
        return at_least_float32(hidden[tokens.lengths.cumsum(0) - tokens.lengths])
    if mode == "last":
        return at_least_float32(hidden[tokens.lengths.cumsum(0) - 1])
    hidden = at_least_float32(hidden)
    if mode == "max":
        index = tokens.sequence[:, None].expand_as(hidden)
        lowest = hidden.new_full((len(tokens), hidden.shape[1]), float("-inf"))
        return lowest.scatter_reduce(0, index, hidden, "amax")
    if mode == "mean" and len(tokens) * tokens.max_length == hidden.shape[0]:
        return hidden.view(len(tokens), tokens.max_length, -1).mean(1)
    if mode == "weighted_mean":
        hidden = hidden * (tokens.position[:, None] + 1)
    total = hidden.new_zeros(len(tokens), hidden.shape[1]).index_add_(0, tokens.sequence, hidden)
    return total / _divisor(tokens.lengths, mode)[:, None]


def pool_padded(hidden: Tensor, mask: Tensor, mode: str) -> Tensor:
    """The same of padded texts, without data-dependent shapes (ONNX). Shapes: (B, L, D), (B, L) → (B, D).

    Padding may be on either side, except for ``cls``, which takes the first place.
    """
    hidden = at_least_float32(hidden)
    if mode == "cls":
        return hidden[:, 0]
    if mode == "last":
        last = (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).argmax(1)
        return hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[2])).squeeze(1)
    if mode == "max":
        return hidden.masked_fill(mask[..., None] == 0, float("-inf")).amax(1)
    weight = (mask.cumsum(1) * mask if mode == "weighted_mean" else mask).to(hidden.dtype)
    total = (hidden * weight[..., None]).sum(1)
    if mode == "mean":
        return total / weight.sum(1, keepdim=True)
    return total / _divisor(mask.sum(1), mode)[:, None]


def _divisor(lengths: Tensor, mode: str) -> Tensor:
    """What the (weighted) sum over n tokens is divided by: n, √n, or 1 + 2 + … + n."""
    if mode == "weighted_mean":
        return lengths * (lengths + 1) / 2
    return lengths.sqrt() if mode == "mean_sqrt_len" else lengths
