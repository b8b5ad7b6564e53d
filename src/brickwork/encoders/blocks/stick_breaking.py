"""Stick-breaking attention: each query breaks a stick over the keys, from the newest to the oldest.

Shen et al.: ModuleFormer (arXiv 2306.04640); Tan et al.: Scaling Stick-Breaking Attention (arXiv 2410.17980).

    e_ij = q_i·k_j/√s,   β_ij = σ(e_ij),   a_ij = β_ij Π_{j<l≤i} (1 − β_il),   o_i = Σ_j a_ij v_j

The weights sum to 1 − ρ_i, where ρ_i = Π_{l≤i} (1 − β_il) is what is left of the stick. Nearness comes from the order
alone: there are no position embeddings. Computed as log a_ij = log σ(e_ij) + Σ_{j<l≤i} log σ(−e_il), in O(T²), with
sums in float32 or better, and never as log(1 − σ(e)).

Shape legend: B texts, T queries, S keys (the last T are those of the queries), H heads, R queries of a token and head
that share its keys, s head width.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from brickwork.core.errors import ConfigError

Remainder = Literal["drop", "self_value", "sink"]


class _Break(torch.autograd.Function):
    """Scores with the newest key *first* → weights and what is left; keys that are not visible take nothing.

    With g = a ∂L/∂a: ∂L/∂e_l = g_l (1 − β_l) − β_l (Σ_{j older than l} g_j + ρ ∂L/∂ρ).
    """

    @staticmethod
    def forward(ctx, e: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        passed = F.logsigmoid(-e).masked_fill(~visible, 0)  # log(1 − β): what each key lets through
        total = passed.cumsum(-1)
        before = F.pad(total[..., :-1], (1, 0))  # exclusive by shifting: subtracting would lose digits
        weights = (F.logsigmoid(e) + before).exp().masked_fill(~visible, 0)
        left = total[..., -1].exp()
        ctx.save_for_backward(e, visible, weights, left)
        return weights, left

    @staticmethod
    def backward(ctx, d_weights: Tensor, d_left: Tensor) -> tuple[Tensor, None]:
        e, visible, weights, left = ctx.saved_tensors
        beta = e.sigmoid()
        g = weights * d_weights
        older = g.sum(-1, keepdim=True) - g.cumsum(-1) + (left * d_left)[..., None]
        return (g * (1 - beta) - beta * older).masked_fill(~visible, 0), None


def stick_breaking_weights(
    scores: Float[Tensor, "*batch queries keys"], visible: Bool[Tensor, "*#batch queries keys"]
) -> tuple[Float[Tensor, "*batch queries keys"], Float[Tensor, "*batch queries"]]:
    """a and ρ from e, keys from the oldest to the newest; a key that is not visible to a query takes no part."""
    weights, left = _Break.apply(scores.flip(-1), visible.flip(-1).expand(scores.shape))
    return weights.flip(-1), left


def stick_breaking_attention(
    q: Float[Tensor, "batch heads shared queries size"],
    k: Float[Tensor, "batch heads keys size"],
    v: Float[Tensor, "batch heads keys size"],
    visible: Bool[Tensor, "#batch queries keys"],
    *,
    remainder: Remainder = "drop",
    sink: Float[Tensor, "heads size"] | None = None,
) -> Float[Tensor, "batch heads shared queries size"]:
    """o, in the precision of ``v``. So that nothing of the stick is lost, ``remainder="self_value"`` adds ρ_i v_i and
    ``"sink"`` ρ_i s, where the learned vector s of each head stands for a key that is older than all.

    Keys must be causal: ``visible`` says which, with or without the query's own token.

    Raises:
        ConfigError: ``remainder="sink"`` without ``sink``.
    """
    if remainder == "sink" and sink is None:
        raise ConfigError(
            "remainder='sink' needs sink, the vector of each head that takes the rest of the stick"
        )
    batch, heads, shared, queries, size = q.shape
    # Keys and values are turned round once, which is cheaper than the scores twice.
    newest_first, values = k.flip(2), v.flip(2)
    scores = torch.matmul(q.flatten(2, 3), newest_first.transpose(2, 3)).view(*q.shape[:4], -1)
    scores = scores if scores.dtype == torch.float64 else scores.float()
    seen = visible.flip(-1)[:, None, None].expand(scores.shape)
    weights, left = _Break.apply(scores * size**-0.5, seen)
    mixed = torch.matmul(weights.flatten(2, 3).to(v.dtype), values).view(batch, heads, shared, queries, -1)
    if remainder == "self_value":
        mixed = mixed + left[..., None].to(v.dtype) * v[:, :, None, -queries:]
    elif remainder == "sink" and sink is not None:
        mixed = mixed + left[..., None].to(v.dtype) * sink[None, :, None, None].to(v.dtype)
    return mixed
