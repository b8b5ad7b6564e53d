"""The configuration of ModuleFormer, and one layer built from it."""

from dataclasses import dataclass, field
from typing import Literal

from brickwork.encoders.blocks.causal import Position
from brickwork.encoders.blocks.mlp import Mlp
from brickwork.encoders.blocks.stick_breaking import Remainder
from brickwork.modules.decoders import (
    AttentionForm,
    DecoderBlock,
    ExpertFeedForward,
    HeadMixture,
    SharedHeads,
)
from brickwork.modules.experts import Computation, Init
from brickwork.modules.routers import Balance as RouterBalance
from brickwork.modules.routers import GateNorm, Scorer, TopKRouter
from brickwork.systems.moduleformer.surgery import Trained

Balance = Literal["mutual_information", "switch", "concentration", "none"]


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Training that starts from a finished run (``start`` of the run), with ``attention`` and ``feed_forward`` modules
    more in each layer; its sizes and forms stay, losses, ``explore`` and ``computation`` are those given now. ``train``:
    only the new modules and their router rows, the routers as well, or everything.
    ``route_reg``: weight of ‖p − p°‖², p° what the router before the extension gives for the same token."""

    attention: int = 0
    feed_forward: int = 0
    train: Trained = "new"
    route_reg: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ModuleFormerConfig:
    """``vocab_size``: 256 is one token a byte; more are merged. ``context``: tokens of a training window.

    ``attention_modules``/``feed_forward_modules``: of each layer; 0 makes that half dense, with the active parameters of
    a mixture (``top_k`` sets of heads) or ``hidden`` units. ``attention_hidden``, ``num_heads``: of one module.
    ``balance``: ``concentration`` does the opposite, before pruning. ``balance_weight``: λ, of the mean over routers;
    ``z_weight``: of the z loss. ``explore``: so many of the ``top_k`` are drawn while training. ``position``,
    ``attend_current``, ``remainder``: how heads attend; the last two are of ``stick``. ``computation``: of the modules while
    training (:mod:`brickwork.modules.experts`); all give the same numbers.
    """

    vocab_size: int = 256
    context: int = 128
    width: int = 128
    num_layers: int = 4
    top_k: int = 2
    attention_modules: int = 8
    attention_hidden: int = 64
    num_heads: int = 2
    feed_forward_modules: int = 16
    hidden: int = 128
    scorer: Scorer = "mlp"
    router_hidden: int = 64
    gate_norm: GateNorm = "none"
    explore: int = 0
    balance: Balance = "mutual_information"
    balance_weight: float = 0.02
    z_weight: float = 0.0
    position: Position = "stick"
    attend_current: bool = True
    remainder: Remainder = "drop"
    init: Init = "authors"
    computation: Computation = "sorted"
    growth: Growth = field(default_factory=Growth)

    def validate(self) -> list[str]:
        errors = []
        for name in (
            "context",
            "width",
            "num_layers",
            "top_k",
            "attention_hidden",
            "num_heads",
            "hidden",
            "router_hidden",
        ):
            if getattr(self, name) < 1:
                errors.append(f"{name}={getattr(self, name)} must be at least 1")
        if self.vocab_size < 256:
            errors.append(f"vocab_size={self.vocab_size} must be at least 256, one for each byte")
        for name in ("attention_modules", "feed_forward_modules"):
            if 0 < getattr(self, name) < self.top_k or getattr(self, name) < 0:
                errors.append(
                    f"top_k={self.top_k} with {name}={getattr(self, name)}: each token can go to at most so many"
                )
        if self.num_heads > 0 and self.attention_hidden % self.num_heads:
            errors.append(
                f"attention_hidden={self.attention_hidden} must be a multiple of num_heads={self.num_heads}"
            )
        elif self.position == "rope" and self.num_heads > 0 and self.attention_hidden // self.num_heads % 2:
            errors.append("position=rope needs heads of even width; choose another attention_hidden")
        if not 0 <= self.explore <= self.top_k:
            errors.append(f"explore={self.explore} must be between 0 and top_k={self.top_k}")
        if self.position != "stick" and not (self.attend_current and self.remainder == "drop"):
            errors.append("attend_current=False and remainder are of position=stick; leave them out")
        errors += [
            f"{n}={getattr(self, n)} must not be negative"
            for n in ("balance_weight", "z_weight")
            if getattr(self, n) < 0
        ]
        growth = self.growth
        errors += [
            f"growth.{n}={getattr(growth, n)} must not be negative"
            for n in ("attention", "feed_forward", "route_reg")
            if getattr(growth, n) < 0
        ]
        return errors


def router_losses(config: ModuleFormerConfig) -> tuple[RouterBalance, ...]:
    """The losses that routers compute for this configuration."""
    balance: tuple[RouterBalance, ...] = () if config.balance == "none" else (config.balance,)
    return (*balance, "z") if config.z_weight > 0 else balance


def build_block(
    config: ModuleFormerConfig, attention_modules: int, feed_forward_modules: int
) -> DecoderBlock:
    """A layer of so many modules; 0 makes a half dense."""
    form = AttentionForm(
        hidden=config.attention_hidden,
        num_heads=config.num_heads,
        position=config.position,
        attend_current=config.attend_current,
        remainder=config.remainder,
    )

    def router(num_modules: int) -> TopKRouter:
        return TopKRouter(
            config.width,
            num_modules,
            config.top_k,
            scorer=config.scorer,
            hidden=config.router_hidden,
            gate_norm=config.gate_norm,
            explore=config.explore,
            losses=router_losses(config),
        )

    attention: HeadMixture | SharedHeads = SharedHeads(config.width, form, config.top_k)
    if attention_modules:
        attention = HeadMixture(
            config.width, form, router(attention_modules), init=config.init, computation=config.computation
        )
    feed_forward: ExpertFeedForward | Mlp = Mlp(config.width, config.hidden)
    if feed_forward_modules:
        feed_forward = ExpertFeedForward(
            config.width,
            config.hidden,
            router(feed_forward_modules),
            init=config.init,
            computation=config.computation,
        )
    return DecoderBlock(config.width, attention, feed_forward)
