"""A decoder language model of blocks that may route their tokens, with keys and values kept while it generates.

Each half of a block is dense or a mixture of modules: attention is :class:`SharedHeads` or :class:`HeadMixture`,
feed-forward :class:`~brickwork.encoders.blocks.mlp.Mlp` or :class:`ExpertFeedForward`. Routing decisions are returned,
never stored on modules, so that recomputing a block (gradient checkpointing) cannot mix them up.

Shape legend: B texts, T tokens, D width, A attention width (H heads of s), E modules, K chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from tokenizers import Tokenizer
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.core.types import Decoded, RouterOutput
from brickwork.encoders.blocks.causal import KeyValues, Position, attend
from brickwork.encoders.blocks.mlp import Mlp
from brickwork.encoders.blocks.stick_breaking import Remainder
from brickwork.modules.experts import Computation, Dispatch, ExpertLinear, ExpertMlp, Init
from brickwork.modules.routers import TopKRouter


@dataclass(frozen=True, kw_only=True)
class AttentionForm:
    """How heads attend: their number, their width together, and what tells them order."""

    hidden: int
    num_heads: int
    position: Position = "stick"
    attend_current: bool = True
    remainder: Remainder = "drop"

    def __post_init__(self) -> None:
        if self.hidden % self.num_heads:
            raise ConfigError(f"attention width {self.hidden} is no multiple of num_heads={self.num_heads}")

    def split(self, x: Float[Tensor, "batch tokens hidden"]) -> Float[Tensor, "batch heads tokens size"]:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def make_sink(self) -> nn.Parameter | None:
        """What takes the rest of the stick, for ``remainder="sink"``: one vector a head, zero (as ``drop``) at first."""
        return nn.Parameter(torch.zeros(self.hidden)) if self.remainder == "sink" else None

    def attend(
        self,
        q: Float[Tensor, "batch tokens shared hidden"],
        k: Float[Tensor, "batch tokens hidden"],
        v: Float[Tensor, "batch tokens hidden"],
        past: KeyValues | None,
        sink: Float[Tensor, " hidden"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens shared hidden"], KeyValues]:
        """Every query of a token over the keys and values that all of them share; ``sink`` as :meth:`make_sink` gave it."""
        queries = q.unflatten(-1, (self.num_heads, -1)).permute(0, 3, 2, 1, 4)  # B H R T s
        mixed, kept = attend(
            queries,
            self.split(k),
            self.split(v),
            past,
            position=self.position,
            attend_current=self.attend_current,
            remainder=self.remainder,
            sink=None if sink is None else sink.unflatten(0, (self.num_heads, -1)),
        )
        return mixed.permute(0, 3, 2, 1, 4).flatten(-2), kept


class SharedHeads(nn.Module):
    """Dense attention with ``groups`` sets of query heads over one set of key and value heads.

    It has the active parameters of a :class:`HeadMixture` in which each token chooses ``groups`` modules.
    """

    def __init__(self, width: int, form: AttentionForm, groups: int):
        super().__init__()
        self.form = form
        self.groups = groups
        self.query = nn.Linear(width, groups * form.hidden, bias=False)
        self.key = nn.Linear(width, form.hidden)
        self.value = nn.Linear(width, form.hidden)
        self.out = nn.Linear(groups * form.hidden, width, bias=False)
        self.sink = form.make_sink()

    @property
    def num_heads(self) -> int:
        """Query heads of a token."""
        return self.groups * self.form.num_heads

    def flops(self, context: int) -> int:
        """Of one token that sees ``context`` others."""
        return 2 * _sizes(self) + 4 * self.groups * self.form.hidden * context

    def forward(
        self, x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t"] | None, past: KeyValues | None
    ) -> tuple[Float[Tensor, "b t d"], KeyValues, RouterOutput | None]:
        """``mask`` is not needed: what comes later is never seen."""
        queries = self.query(x).unflatten(-1, (self.groups, -1))
        mixed, kept = self.form.attend(queries, self.key(x), self.value(x), past, self.sink)
        return self.out(mixed.flatten(-2)), kept, None


class HeadMixture(nn.Module):
    """A mixture of attention modules: each has a query and an output matrix, keys and values are shared by all.

    out_i = Σ_{m chosen by i} p_m O_mᵀ attend(Q_mᵀ x_i, K x, V x).
    """

    def __init__(
        self,
        width: int,
        form: AttentionForm,
        router: TopKRouter,
        *,
        init: Init = "authors",
        computation: Computation = "sorted",
    ):
        super().__init__()
        self.form = form
        self.router = router
        size = (router.num_modules, width, form.hidden)
        self.query = ExpertLinear(*size, init=init, computation=computation)
        self.key = nn.Linear(width, form.hidden)
        self.value = nn.Linear(width, form.hidden)
        back = (router.num_modules, form.hidden, width)
        self.out = ExpertLinear(*back, init=init, computation=computation)
        self.sink = form.make_sink()

    @property
    def num_heads(self) -> int:
        """Query heads of a token: those of the modules that it chooses."""
        return self.router.top_k * self.form.num_heads

    def expert_maps(self) -> tuple[ExpertLinear, ...]:
        return self.query, self.out

    def flops(self, context: int) -> int:
        """Of one token that sees ``context`` others: active modules only."""
        active = _active(self.router, self.expert_maps()) + _sizes(self.key, self.value)
        return 2 * active + 4 * self.router.top_k * self.form.hidden * context

    def forward(
        self, x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t"] | None, past: KeyValues | None
    ) -> tuple[Float[Tensor, "b t d"], KeyValues, RouterOutput | None]:
        """One routing decision, used on the way in and on the way out."""
        flat = x.flatten(0, 1)
        routed = self.router(flat, mask.flatten() if mask is not None else None)
        dispatch = Dispatch.of(routed.index, self.router.num_modules)
        slots = dispatch.unsort(self.query(dispatch.spread(flat), dispatch.counts))
        queries = slots.view(*x.shape[:2], self.router.top_k, -1)
        mixed, kept = self.form.attend(queries, self.key(x), self.value(x), past, self.sink)
        back = self.out(dispatch.sort(mixed.flatten(0, 2)), dispatch.counts)
        return dispatch.combine(back, routed.weights).view(x.shape), kept, routed


class ExpertFeedForward(nn.Module):
    """A mixture of feed-forward modules behind a router."""

    def __init__(
        self,
        width: int,
        hidden: int,
        router: TopKRouter,
        *,
        init: Init = "authors",
        computation: Computation = "sorted",
    ):
        super().__init__()
        self.router = router
        self.experts = ExpertMlp(router.num_modules, width, hidden, init=init, computation=computation)

    def expert_maps(self) -> tuple[ExpertLinear, ...]:
        return self.experts.up, self.experts.down

    def flops(self) -> int:
        """Of one token: active modules only."""
        return 2 * _active(self.router, self.expert_maps())

    def forward(
        self, x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t"] | None
    ) -> tuple[Float[Tensor, "b t d"], RouterOutput]:
        """Σ_m p_m f_m(x)."""
        flat = x.flatten(0, 1)
        routed = self.router(flat, mask.flatten() if mask is not None else None)
        return self.experts(flat, routed).view(x.shape), routed


class DecoderBlock(nn.Module):
    """x ← x + attention(LN(x)); x ← x + feed_forward(LN(x))."""

    def __init__(
        self, width: int, attention: SharedHeads | HeadMixture, feed_forward: Mlp | ExpertFeedForward
    ):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = attention
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = feed_forward

    def num_modules(self) -> tuple[int, int]:
        """The modules of attention and of feed-forward; 0: dense."""
        mixtures = self.mixtures()
        names = ("attention", "feed-forward")
        attention, feed = (mixtures[name].router.num_modules if name in mixtures else 0 for name in names)
        return attention, feed

    def mixtures(self) -> dict[str, HeadMixture | ExpertFeedForward]:
        """Its routed halves by name."""
        halves = {"attention": self.attention, "feed-forward": self.feed_forward}
        return {n: h for n, h in halves.items() if isinstance(h, HeadMixture | ExpertFeedForward)}

    def flops(self, context: int) -> int:
        """Of one token that sees ``context`` others."""
        feed = self.feed_forward
        own = feed.flops() if isinstance(feed, ExpertFeedForward) else 2 * _sizes(feed)
        return self.attention.flops(context) + own

    def forward(
        self, x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t"] | None, past: KeyValues | None
    ) -> tuple[Float[Tensor, "b t d"], KeyValues, list[RouterOutput]]:
        """Hidden states, what to keep, and the routing of each mixture in the order of :meth:`mixtures`."""
        added, kept, routed = self.attention(self.attention_norm(x), mask, past)
        routings = [routed] if routed is not None else []
        x = x + added
        normed = self.feed_forward_norm(x)
        if isinstance(self.feed_forward, ExpertFeedForward):
            added, routed = self.feed_forward(normed, mask)
            routings.append(routed)
        else:
            added = self.feed_forward(normed)
        return x + added, kept, routings


class DecoderLM(nn.Module):
    """Embedding, blocks, a norm, and an output layer of its own without bias.

    Linear and embedding weights start from N(0, 0.02²), biases from zero; mixtures as they were made. It is a
    :class:`~brickwork.core.types.CausalLM`; ``tokenizer``: what its ids mean, where that is known.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int,
        blocks: Sequence[DecoderBlock],
        tokenizer: Tokenizer | None = None,
    ):
        super().__init__()
        self.width = width
        self.tokenizer = tokenizer
        self.embedding = nn.Embedding(vocab_size, width)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab_size, bias=False)
        self.apply(_initialise)

    @property
    def num_layers(self) -> int:
        return len(self.blocks)

    @property
    def num_heads(self) -> int:
        """Heads that a token has in a layer: of a mixture, those of the modules that it chooses."""
        return self._first.num_heads

    @property
    def num_kv_heads(self) -> int:
        """Heads of keys and values in a layer."""
        return self._first.form.num_heads

    @property
    def _first(self) -> SharedHeads | HeadMixture:
        return self.blocks[0].attention  # type: ignore[return-value]

    def embed(self, ids: Int64[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens width"]:
        return self.embedding(ids)

    def forward(
        self,
        ids: Int64[Tensor, "batch tokens"] | None = None,
        mask: Bool[Tensor, "batch tokens"] | None = None,
        cache: Sequence[KeyValues] | None = None,
        *,
        inputs_embeds: Float[Tensor, "batch tokens width"] | None = None,
        with_hidden: bool = False,
    ) -> Decoded:
        """``mask`` marks new tokens that exist (padding comes last and only costs time); ``cache`` is of those before.

        Raises:
            ConfigError: both ids and ``inputs_embeds``, or neither.
        """
        if (ids is None) == (inputs_embeds is None):
            raise ConfigError("a language model reads ids or inputs_embeds: give one of them")
        x = self.embedding(ids) if inputs_embeds is None else inputs_embeds
        kept, routings, hidden = [], [], [x]
        for number, block in enumerate(self.blocks):
            x, now, routed = block(x, mask, cache[number] if cache else None)
            kept.append(now)
            routings += routed
            hidden.append(x)
        x = hidden[-1] = self.norm(x)
        return Decoded(
            logits=self.head(x), cache=kept, routings=routings, hidden=tuple(hidden) if with_hidden else ()
        )

    def mixtures(self) -> dict[str, HeadMixture | ExpertFeedForward]:
        """Every routed half by name, in the order of :attr:`Decoded.routings`."""
        return {
            f"layer {number} {name}": half
            for number, block in enumerate(self.blocks, start=1)
            for name, half in block.mixtures().items()  # type: ignore[operator]
        }

    def layer_flops(self, context: int) -> int:
        """Floating-point operations of one token in all blocks (multiply and add counted apart), after ``context`` tokens.

        Active modules, routers, projections and attention; not the embedding, the output layer, norms and activations.
        """
        return sum(block.flops(context) for block in self.blocks)  # type: ignore[operator]


def _sizes(*layers: nn.Module) -> int:
    """The parameters of matrices."""
    return sum(p.numel() for layer in layers for p in layer.parameters() if p.ndim > 1)


def _active(router: TopKRouter, maps: Sequence[ExpertLinear]) -> int:
    """The matrices that a token meets in a mixture: all of the router, ``top_k`` of each map."""
    return _sizes(router) + sum(router.top_k * part.weight[0].numel() for part in maps)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
