"""Low-rank adapters on the layers of somebody else's network, that can be cut to any rank.

LoRA: Hu et al. 2021, arXiv 2106.09685. Cut to a random rank while training: DyLoRA, Valipour et al. 2022, arXiv
2210.07558. rsLoRA's scale: Kalajdzievski 2023, arXiv 2312.03732. The layer itself: :mod:`brickwork.modules.low_rank`.
"""

import contextlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

from brickwork.core.errors import ConfigError
from brickwork.modules.low_rank import (
    Factors,
    LowRankLayer,
    RankState,
    Scaling,
    Segments,
    first_rows,
    is_transposed,
    layer_shape,
    widths,
)

# What the papers adapt, the projections to queries and values, under the names that model families give them.
ATTENTION = (
    "query|value",  # BERT, RoBERTa, ELECTRA, ALBERT, ViT
    "q_lin|v_lin",  # DistilBERT
    "q_proj|v_proj",  # CLIP, Llama, Qwen, OPT
    "query_proj|value_proj",  # DeBERTa
    r"attn\.(q|v)",  # MPNet
    r"attention\.qkv|Wqkv|qkv|query_key_value|c_attn",  # one projection for all three: ours, ModernBERT, GPT
)


def adaptable(model: nn.Module) -> dict[str, nn.Module]:
    """The layers of ``model`` that can have an adapter, by name.

    The projection at the end of ``nn.MultiheadAttention`` is none: that module reads its weight and never calls it.
    """
    without = {id(m.out_proj) for m in model.modules() if isinstance(m, nn.MultiheadAttention)}
    without |= {id(m.base) for m in model.modules() if isinstance(m, LowRankLayer)}

    def fits(layer: nn.Module) -> bool:
        convolution = isinstance(layer, nn.Conv2d) and layer.groups == 1
        return isinstance(layer, nn.Linear) or is_transposed(layer) or convolution

    return {
        name: layer
        for name, layer in model.named_modules()
        if name and id(layer) not in without and fits(layer)
    }


def find_targets(model: nn.Module, targets: str | Sequence[str] | None) -> dict[str, nn.Module]:
    """The layers whose dotted name ends in a match of the regular expression ``targets``, or that it lists in full.

    ``None``: the projections to queries and values, where the model has some under a usual name, else all layers.

    Raises:
        ConfigError: no expression, or no layer matches; the message has the nearest names.
    """
    known = adaptable(model)
    if targets is None:
        for pattern in ATTENTION:
            if matches := _matching(known, pattern):
                return matches
        if known:
            return known
    elif not isinstance(targets, str):
        if set(targets) <= set(known):
            return {name: known[name] for name in targets}
        targets = "|".join(sorted(set(targets) - set(known)))
    elif matches := _matching(known, targets):
        return matches
    raise ConfigError(
        f"targets='{targets}' matches no layer of this backbone; it has {', '.join(_near(known, targets or ''))}"
    )


def _matching(known: Mapping[str, nn.Module], pattern: str) -> dict[str, nn.Module]:
    try:
        expression = re.compile(rf"(.*\.)?({pattern})")
    except re.error as error:
        raise ConfigError(f"targets='{pattern}' is not a regular expression ({error})") from error
    return {name: layer for name, layer in known.items() if expression.fullmatch(name)}


def _near(known: Mapping[str, nn.Module], pattern: str) -> list[str]:
    """The names of layers, numbers of blocks left out, those that look most like the pattern first; at most eight."""
    import difflib

    kinds = list(dict.fromkeys(re.sub(r"\.\d+\.", ".*.", f".{name}").strip(".") for name in known))
    words = re.findall(r"[A-Za-z_]\w+", pattern)

    def likeness(kind: str) -> float:
        return max(
            (difflib.SequenceMatcher(None, w, part).ratio() for w in words for part in kind.split(".")),
            default=0.0,
        )

    return sorted(kinds, key=likeness, reverse=True)[:8] or ["no linear layers or convolutions at all"]


class LoraAdapters:
    """All adapters of a model, as one: they share the rank.

    ``layers``: name in the model → adapter. Not a module: the parameters belong to the model that it was put into.
    """

    def __init__(self, model: nn.Module, layers: Mapping[str, LowRankLayer], state: RankState):
        self.model = model
        self.layers = dict(layers)
        self.state = state

    @property
    def max_rank(self) -> int:
        """r, the largest rank."""
        return self._first.sizes[-1]

    @property
    def alpha(self) -> float:
        """α of the scale."""
        return self._first.alpha

    @property
    def scaling(self) -> Scaling:
        """How the update is scaled at rank b."""
        return self._first.scaling

    @property
    def segments(self) -> Segments:
        """The parameters of all layers."""
        return self._first._shared[0]

    @property
    def _first(self) -> LowRankLayer:
        return next(iter(self.layers.values()))

    @contextlib.contextmanager
    def rank(self, rank: int, *, last_only: bool = False, drift: bool = False) -> Iterator[None]:
        """One rank for the whole model while entered.

        Raises:
            ConfigError: not between 1 and r, or the adapters are merged at another rank.
        """
        self.check(rank)
        merged = self._first.merged
        if merged is not None and merged != rank:
            raise ConfigError(f"rank={rank}: the adapters are merged at rank {merged}; unmerge them first")
        before = self.state.rank, self.state.last_only, self.state.drift
        self.state.rank, self.state.last_only, self.state.drift = rank, last_only, drift
        self.segments.forget()
        try:
            yield
        finally:
            self.segments.forget()
            self.state.rank, self.state.last_only, self.state.drift = before

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """Without adapters while entered.

        Raises:
            ConfigError: they are merged.
        """
        if self._first.merged is not None:
            raise ConfigError("adapters that are merged cannot be left out; unmerge them first")
        before, self.state.off = self.state.off, True
        try:
            yield
        finally:
            self.state.off = before

    def check(self, rank: int) -> None:
        """Refuses a rank outside 1 … r."""
        if not 1 <= rank <= self.max_rank:
            raise ConfigError(f"rank={rank} is outside 1 … {self.max_rank}, the rank of these adapters")

    def num_parameters(self, rank: int) -> int:
        """Numbers in A_b and B_b of all layers."""
        self.check(rank)
        return sum(a.numel() + b.numel() for a, b in self.factors(rank).values())

    @torch.no_grad()
    def factors(self, rank: int) -> dict[str, Factors]:
        """A_b and B_b of every layer, unscaled, without gradients."""
        self.check(rank)
        low_rank = {name: layer.factors(rank) for name, layer in self.layers.items()}
        return {name: (down.detach(), up.detach()) for name, (down, up) in low_rank.items()}

    @torch.no_grad()
    def truncate_(self, rank: int) -> "LoraAdapters":
        """Drops all rows of A and columns of B beyond ``rank``, for good. What the update does at ``rank`` stays the same.

        Raises:
            ConfigError: the adapters are merged, or the rank is not theirs.
        """
        self.check(rank)
        if self._first.merged is not None:
            raise ConfigError("adapters that are merged cannot be cut; unmerge them first")
        for layer in self.layers.values():
            if layer.scaling == "alpha/r":
                layer.alpha *= rank / layer.sizes[-1]
        segments = self.segments
        segments.set(
            torch.cat(list(segments.rows))[:rank], [*(size for size in segments.sizes if size < rank), rank]
        )
        self.state.rank = rank
        return self

    @torch.no_grad()
    def merge_(self, rank: int | None = None) -> "LoraAdapters":
        """Adds s·B_b·A_b into the frozen weights; nothing is computed beside them until :meth:`unmerge_`.

        Raises:
            ConfigError: merged already, or the rank is not theirs.
        """
        rank = rank or self.max_rank
        self.check(rank)
        if self._first.merged is not None:
            raise ConfigError(f"the adapters are merged already, at rank {self._first.merged}")
        for layer in self.layers.values():
            layer.weight.add_(layer.delta(rank))
            layer.merged = rank
        self.state.rank = rank
        return self

    @torch.no_grad()
    def unmerge_(self) -> "LoraAdapters":
        """Takes out what :meth:`merge_` added, at the rank that it was merged with (W0 again, up to rounding)."""
        for layer in self.layers.values():
            if layer.merged is not None:
                layer.weight.sub_(layer.delta(layer.merged))
                layer.merged = None
        return self

    def unload_(self) -> nn.Module:
        """Puts the frozen layers back in their places, merged or not, and returns the plain model."""
        for name, layer in self.layers.items():
            _replace(self.model, name, layer.base)
        self.layers = {}
        return self.model


def inject_lora(
    model: nn.Module,
    targets: str | Sequence[str] | None = None,
    *,
    rank: int = 8,
    alpha: float = 16.0,
    scaling: Scaling = "alpha/b",
    sizes: Sequence[int] = (),
    dropout: float = 0.0,
) -> LoraAdapters:
    """Freezes ``model`` and puts adapters of ``rank`` on the layers that match ``targets``, in place.

    A is drawn as LoRA draws it (Kaiming-uniform, a = √5), B is zero: the model does what it did. ``sizes``: the ranks
    that will be trained, ascending to ``rank``; none = every one. See :func:`find_targets`.

    Raises:
        ConfigError: no layer matches, or ``rank`` is larger than one that does.
    """
    chosen = find_targets(model, targets)
    shapes = {name: layer_shape(layer) for name, layer in chosen.items()}
    small = {name: min(d * math.prod(kernel), m) for name, (d, m, kernel) in shapes.items()}
    wrong = [f"{name} (at most {limit})" for name, limit in small.items() if rank > limit]
    if wrong:
        raise ConfigError(
            f"rank={rank} is larger than {len(wrong)} of the {len(chosen)} layers to adapt: {', '.join(wrong[:5])}; "
            f"use a rank of at most {min(small.values())}, or targets without these layers"
        )
    model.requires_grad_(False)
    state = RankState(rank)
    parts = tuple(sizes) or tuple(range(1, rank + 1))
    segments = Segments(first_rows(shapes.values(), rank), parts, widths(shapes.values()))
    layers = {}
    for place, (name, base) in enumerate(chosen.items()):
        layer = LowRankLayer(base, state, segments, place, alpha=alpha, scaling=scaling, dropout=dropout)
        layers[name] = layer
        _replace(model, name, layer)
    return LoraAdapters(model, layers, state)


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, layer)
