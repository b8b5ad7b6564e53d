"""Routers: which modules serve which token (row, step), and the losses that keep the choice balanced.

All of them answer with one :class:`brickwork.core.types.RouterOutput`, so that one trace view draws them all.
:class:`TopKRouter` is the router of a mixture of experts; the functions ``soft_routing``, ``straight_through_routing``
and ``gumbel_routing`` turn logits into gates over all modules, with or without a slot that means "keep what is there".

Shape legend: T tokens, E modules, K chosen ones, D width. ``mask`` (T,) is true for tokens that count: padding has no
say in any loss or statistic.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.core.types import RouterOutput
from brickwork.modules.experts import frozen_start

Scorer = Literal["mlp", "linear", "cosine"]
Balance = Literal["mutual_information", "switch", "z", "concentration"]
GateNorm = Literal["none", "topk"]


# ---- scorers: tokens to logits ---------------------------------------------------------------------------------


class RememberedScorer(nn.Module):
    """The weights of a scorer as they were, to hold its routing to; not trained, and not part of the kept model."""

    def __init__(self, scorer: "RouterScorer"):
        super().__init__()
        state = {**dict(scorer.named_parameters()), **dict(scorer.named_buffers())}
        self.names = tuple(state)
        for number, value in enumerate(state.values()):
            self.register_buffer(f"value_{number}", value.detach().clone(), persistent=False)

    @torch.no_grad()
    def forward(
        self, scorer: "RouterScorer", x: Float[Tensor, "tokens width"]
    ) -> Float[Tensor, "tokens modules"]:
        """The logits that ``scorer`` would have given then."""
        values = {name: self.get_buffer(f"value_{number}") for number, name in enumerate(self.names)}
        return torch.func.functional_call(scorer, values, (x,))


class RouterScorer(nn.Module):
    """Logits over modules. The rows of ``modules`` (E, H) are the embeddings of the modules.

    ``mlp``: W₂ GELU(W₁x + b₁), no second bias (ModuleFormer). ``linear``: Wx (Switch, Mixtral, JetMoE).
    ``cosine``: e^τ cos(Wx, c_m) with a learned τ that starts at 0 (ModuleFormer's ``gmm``).
    ``offset`` is added to the logits and not learnt: zero, but for modules that were added later. The embeddings of the
    first ``frozen`` modules are not trained.
    """

    offset: Tensor

    def __init__(self, width: int, num_modules: int, kind: Scorer = "mlp", hidden: int = 256):
        super().__init__()
        self.kind = kind
        self.inner = nn.Linear(width, hidden, bias=kind == "mlp") if kind != "linear" else None
        self.modules_embedding = nn.Parameter(torch.empty(num_modules, width if kind == "linear" else hidden))
        self.log_scale = nn.Parameter(torch.zeros(())) if kind == "cosine" else None
        nn.init.normal_(self.modules_embedding, std=0.02)
        self.register_buffer("offset", torch.zeros(num_modules))
        self.frozen = 0

    @property
    def num_modules(self) -> int:
        return self.modules_embedding.shape[0]

    def forward(self, x: Float[Tensor, "tokens width"]) -> Float[Tensor, "tokens modules"]:
        """ℓ(x)."""
        embedding = frozen_start(self.modules_embedding, self.frozen)
        if self.inner is None:
            return F.linear(x, embedding) + self.offset
        inner = self.inner(x)
        if self.log_scale is None:
            return F.linear(F.gelu(inner), embedding) + self.offset
        cosine = F.linear(F.normalize(inner, dim=-1), F.normalize(embedding, dim=-1))
        return self.log_scale.exp() * cosine + self.offset


# ---- losses: all in float32 or better, over the tokens that count ----------------------------------------------


def _counted(values: Tensor, mask: Tensor | None) -> Tensor:
    kept = values if mask is None else values[mask]
    return kept if kept.dtype == torch.float64 else kept.float()


def marginal_entropy(probabilities: Float[Tensor, "tokens modules"]) -> Float[Tensor, ""]:
    """H(m) of the mean over tokens, in nats: log E where all modules are used equally."""
    mean = probabilities.mean(0)
    return -torch.xlogy(mean, mean).sum()


def conditional_entropy(logits: Float[Tensor, "tokens modules"]) -> Float[Tensor, ""]:
    """H(m|x), the mean over tokens, in nats: 0 where each token is sure of its module."""
    log_p = F.log_softmax(logits, dim=-1)
    return -(log_p.exp() * log_p).sum(-1).mean()


def mutual_information_loss(
    logits: Float[Tensor, "tokens modules"], mask: Bool[Tensor, " tokens"] | None = None
) -> Float[Tensor, ""]:
    """−I(m; x) = −H(m) + H(m|x): used evenly over the batch, decisive for each token (ModuleFormer).

    Between −log E (one-hot and balanced) and 0 (the choice says nothing about the token). It sees the whole softmax,
    not the chosen K. No token that counts gives 0.
    """
    kept = _counted(logits, mask)
    if not len(kept):
        return logits.sum() * 0
    return conditional_entropy(kept) - marginal_entropy(kept.softmax(-1))


def switch_loss(
    logits: Float[Tensor, "tokens modules"],
    index: Int64[Tensor, "tokens chosen"],
    mask: Bool[Tensor, " tokens"] | None = None,
) -> Float[Tensor, ""]:
    """E Σ_m p̄_m f_m (Switch Transformer, arXiv 2101.03961, eq. 4; f over all K slots): 1 where use is even.

    ``f``, the share of assignments, has no gradient.
    """
    kept = _counted(logits, mask)
    if not len(kept):
        return logits.sum() * 0
    share = assignment_shares(index, logits.shape[1], mask).to(kept)
    return logits.shape[1] * (kept.softmax(-1).mean(0) * share).sum()


def z_loss(
    logits: Float[Tensor, "tokens modules"], mask: Bool[Tensor, " tokens"] | None = None
) -> Float[Tensor, ""]:
    """The mean of log²Σe^ℓ: keeps logits small (ST-MoE, arXiv 2202.08906, eq. 5)."""
    kept = _counted(logits, mask)
    if not len(kept):
        return logits.sum() * 0
    return torch.logsumexp(kept, dim=-1).square().mean()


def concentration_loss(
    logits: Float[Tensor, "tokens modules"],
    mask: Bool[Tensor, " tokens"] | None = None,
    *,
    decisive: float = 1.0,
) -> Float[Tensor, ""]:
    """H(m) + μ H(m|x): few modules carry the load, before pruning (ModuleFormer's load concentration; μ is ours).

    It is the mutual information loss with the sign of its first term reversed.
    """
    kept = _counted(logits, mask)
    if not len(kept):
        return logits.sum() * 0
    return marginal_entropy(kept.softmax(-1)) + decisive * conditional_entropy(kept)


def routing_drift(
    logits: Float[Tensor, "tokens modules"],
    before: Float[Tensor, "tokens old"],
    mask: Bool[Tensor, " tokens"] | None = None,
) -> Float[Tensor, ""]:
    """The mean over tokens of ‖p − p°‖², p° the softmax of the logits ``before``, with 0 for modules added since.

    Between 0 and 2. ModuleFormer names a routing regularisation without its equation; this one is ours.
    """
    now, then = _counted(logits, mask), _counted(before, mask)
    if not len(now):
        return logits.sum() * 0
    then = F.pad(then.softmax(-1), (0, now.shape[1] - then.shape[1]))
    return (now.softmax(-1) - then).square().sum(-1).mean()


# ---- statistics ------------------------------------------------------------------------------------------------


def assignment_shares(
    index: Int64[Tensor, "tokens chosen"], num_modules: int, mask: Bool[Tensor, " tokens"] | None = None
) -> Float[Tensor, " modules"]:
    """f_m: the share of (token, slot) assignments that each module got; zeros where nothing counts."""
    kept = index if mask is None else index[mask]
    counts = torch.bincount(kept.flatten(), minlength=num_modules).to(torch.float32)
    return counts / counts.sum().clamp(min=1)


@torch.no_grad()
def usage_statistics(
    logits: Float[Tensor, "tokens modules"],
    index: Int64[Tensor, "tokens chosen"],
    mask: Bool[Tensor, " tokens"] | None = None,
) -> dict[str, Tensor]:
    """How modules are used: ``load_entropy`` H(f)/log E, ``dead`` (share of modules with f_m below a tenth of an even
    share), ``marginal_entropy`` H(m)/log E and ``token_entropy`` H(m|x)/log E."""
    num_modules = logits.shape[1]
    kept = _counted(logits, mask)
    share = assignment_shares(index, num_modules, mask)
    most = math.log(max(num_modules, 2))
    if not len(kept):
        zero = share.new_zeros(())
        return dict.fromkeys(("load_entropy", "dead", "marginal_entropy", "token_entropy"), zero)
    return {
        "load_entropy": -torch.xlogy(share, share).sum() / most,
        "dead": (share < 0.1 / num_modules).float().mean(),
        "marginal_entropy": marginal_entropy(kept.softmax(-1)) / most,
        "token_entropy": conditional_entropy(kept) / most,
    }


# ---- the router of a mixture of experts ------------------------------------------------------------------------


class TopKRouter(nn.Module):
    """Each token goes to its ``top_k`` likeliest modules, weighted by the softmax over all modules.

    ``gate_norm="none"`` leaves the weights as they are (ModuleFormer): they sum to less than 1, and change in size
    when modules are added or removed. ``"topk"`` makes them sum to 1. ``explore`` of the K are drawn while training, with
    probability ∝ p + 1e-6 among those that the best K − ``explore`` leave. ``losses`` are computed into ``aux``, and with
    ``remembered`` weights how far the routing moved since, as ``route``.

    Raises:
        ConfigError: more modules are to be chosen than there are, or explored than chosen.
    """

    def __init__(
        self,
        width: int,
        num_modules: int,
        top_k: int,
        *,
        scorer: Scorer = "mlp",
        hidden: int = 256,
        gate_norm: GateNorm = "none",
        explore: int = 0,
        losses: Sequence[Balance] = ("mutual_information",),
    ):
        super().__init__()
        check_top_k(top_k, num_modules)
        if not 0 <= explore <= top_k:
            raise ConfigError(f"explore={explore} must be between 0 and top_k={top_k}")
        self.scorer = RouterScorer(width, num_modules, scorer, hidden)
        self.top_k = top_k
        self.gate_norm = gate_norm
        self.explore = explore
        self.losses = tuple(losses)
        self.remembered: RememberedScorer | None = None

    @property
    def num_modules(self) -> int:
        return self.scorer.num_modules

    def forward(
        self, x: Float[Tensor, "tokens width"], mask: Bool[Tensor, " tokens"] | None = None
    ) -> RouterOutput:
        """Weights and indices of the chosen modules, the best first."""
        logits = self.scorer(x)
        p = logits.float().softmax(-1) if logits.dtype != torch.float64 else logits.softmax(-1)
        index = self._choose(p)
        weights = p.gather(1, index)
        if self.gate_norm == "topk":
            weights = weights / weights.sum(-1, keepdim=True)
        aux: dict[str, Tensor] = {name: self._loss(name, logits, index, mask) for name in self.losses}
        if self.remembered is not None:
            aux["route"] = routing_drift(logits, self.remembered(self.scorer, x), mask)
        return RouterOutput(
            weights.to(x.dtype), index, logits, aux, usage_statistics(logits.detach(), index, mask)
        )

    def _choose(self, p: Tensor) -> Tensor:
        explore = self.explore if self.training else 0
        best = p.topk(self.top_k - explore, dim=-1).indices
        if not explore:
            return best
        rest = (p.detach() + 1e-6).scatter(1, best, 0.0)
        return torch.cat([best, torch.multinomial(rest, explore)], dim=1)

    def _loss(self, name: Balance, logits: Tensor, index: Tensor, mask: Tensor | None) -> Tensor:
        if name == "switch":
            return switch_loss(logits, index, mask)
        plain = {"mutual_information": mutual_information_loss, "z": z_loss}
        return plain[name](logits, mask) if name in plain else concentration_loss(logits, mask)


def check_top_k(top_k: int, num_modules: int, name: str = "top_k") -> None:
    """Refuses to choose more modules than there are.

    Raises:
        ConfigError: names the option and both numbers.
    """
    if not 1 <= top_k <= num_modules:
        raise ConfigError(
            f"{name}={top_k} with {num_modules} modules: each token can go to 1 … {num_modules} of them"
        )


# ---- gates over all modules ------------------------------------------------------------------------------------


def _gates(logits: Tensor, probabilities: Tensor) -> RouterOutput:
    every = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape)
    with torch.no_grad():
        p = probabilities.clamp(min=0)
        statistics = {
            "gate_entropy": -torch.xlogy(p, p).sum(-1).mean() / math.log(max(logits.shape[1], 2)),
            "largest_gate": p.amax(-1).mean(),
        }
    return RouterOutput(probabilities, every, logits, {}, statistics)


def with_keep_slot(
    logits: Float[Tensor, "tokens modules"], keep: float | Float[Tensor, " tokens"] = 0.0
) -> Float[Tensor, "tokens modules_and_keep"]:
    """The logits with one more slot at the end, whose module is "keep what is there"; ``keep`` is its logit.

    After a softmax the gates of the modules sum to less than 1; the last gate is what is kept.
    """
    slot = torch.as_tensor(keep, dtype=logits.dtype, device=logits.device).expand(logits.shape[0])
    return torch.cat([logits, slot[:, None]], dim=1)


def soft_routing(logits: Float[Tensor, "tokens modules"], *, temperature: float = 1.0) -> RouterOutput:
    """Every module, weighted by softmax(ℓ/τ)."""
    return _gates(logits, (logits / temperature).softmax(-1))


def straight_through_routing(
    logits: Float[Tensor, "tokens modules"], *, temperature: float = 1.0
) -> RouterOutput:
    """Only the likeliest module, with weight 1; the gradient is that of softmax(ℓ/τ).

    The weights are exactly 0 and 1.
    """
    return _gates(logits, _hard(logits, (logits / temperature).softmax(-1)))


def gumbel_routing(
    logits: Float[Tensor, "tokens modules"],
    *,
    temperature: float = 1.0,
    hard: bool = True,
    generator: torch.Generator | None = None,
) -> RouterOutput:
    """One module, drawn with the probabilities of softmax(ℓ), by the Gumbel trick (arXiv 1611.01144).

    ``hard``: weights 0 and 1 with the gradient of the soft ones; else softmax((ℓ + g)/τ) itself. The noise comes from
    ``generator`` on the CPU, so that draws do not depend on the device.
    """
    uniform = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
    tiny = torch.finfo(torch.float64).tiny
    noise = -(-uniform.clamp(min=tiny).log()).clamp(min=tiny).log()
    noisy = logits + noise.to(logits)
    soft = (noisy / temperature).softmax(-1)
    return _gates(logits, _hard(noisy, soft) if hard else soft)


class _StraightThrough(torch.autograd.Function):
    """One-hot values with the gradient of the soft ones: exact zeros and ones, unlike hard + soft − soft.detach()."""

    @staticmethod
    def forward(ctx, soft: Tensor, best: Tensor) -> Tensor:
        return torch.zeros_like(soft).scatter_(1, best, 1.0)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def _hard(logits: Tensor, soft: Tensor) -> Tensor:
    return _StraightThrough.apply(soft, logits.argmax(-1, keepdim=True))
