"""Low-rank adapters on the layers of somebody else's network, that can be cut to any rank.

LoRA: Hu et al. 2021, arXiv 2106.09685. Cut to a random rank while training: DyLoRA, Valipour et al. 2022, arXiv
2210.07558. rsLoRA's scale: Kalajdzievski 2023, arXiv 2312.03732.

A layer y = W0·x becomes y = W0·x + s·B_b·A_b·x with W0 frozen. A (r, d) and B (m, r) are kept in segments of rows and
columns, each a parameter of its own: one that takes no part in a step has no gradient at all, so that no optimiser moves
it, neither by momentum nor by weight decay. One gradient of zeros for the whole matrix would not do that. All adapted
layers of a model share the rank, so a segment holds its rows and columns of all of them: there are as many parameters as
ranks, not as many as ranks times layers, whose gradients and updates would cost more than the adapters.

Shape legend: d inputs, m outputs, r largest rank, b rank in use (1 … r), w = Σ (d + m) over the adapted layers.
"""

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ConfigError

Scaling = Literal["alpha/b", "alpha/r", "alpha/sqrt(b)"]
Factors = tuple[Float[Tensor, "rank ..."], Float[Tensor, "_outputs rank"]]
"""A_b, (b, d) or for a convolution (b, d, height, width), and B_b, (m, b)."""

# What the papers adapt, the projections to queries and values, under the names that model families give them.
ATTENTION = (
    "query|value",  # BERT, RoBERTa, ELECTRA, ALBERT, ViT
    "q_lin|v_lin",  # DistilBERT
    "q_proj|v_proj",  # CLIP, Llama, Qwen, OPT
    "query_proj|value_proj",  # DeBERTa
    r"attn\.(q|v)",  # MPNet
    r"attention\.qkv|Wqkv|qkv|query_key_value|c_attn",  # one projection for all three: ours, ModernBERT, GPT
)


@dataclass
class RankState:
    """The rank that all adapters of one model use now.

    ``last_only``: rows of A and columns of B below the last segment have no gradient. ``drift``: what takes no part in
    the step has a gradient of zeros instead of none.
    """

    rank: int
    last_only: bool = False
    drift: bool = False


class Segments(nn.Module):
    """A and B of all adapted layers of a model: row i of every A and column i of every B, side by side.

    ``sizes``: ranks at which the rows are split into parameters, ascending; the last is r. ``widths``: of the parts of a
    row, in turn d (times the kernel) and m of each layer.
    """

    def __init__(self, matrix: Float[Tensor, "rank w"], sizes: Sequence[int], widths: Sequence[int]):
        super().__init__()
        self.widths = tuple(widths)
        self.set(matrix, sizes)

    def set(self, matrix: Float[Tensor, "rank w"], sizes: Sequence[int]) -> None:
        """Takes the rows apart into segments."""
        self.sizes = tuple(sizes)
        lengths = [size - before for before, size in zip((0, *sizes), sizes)]
        self.rows = nn.ParameterList(nn.Parameter(part.clone()) for part in matrix.split(lengths))
        self.forget()

    def forget(self) -> None:
        """Drops the parts that were put together for a forward pass."""
        self._key: tuple[Any, ...] | None = None
        self._parts: tuple[Tensor, ...] = ()
        self._taken: set[int] = set()

    def factors(self, place: int, state: RankState, rank: int | None = None) -> tuple[Tensor, Tensor]:
        """Of the layer at ``place`` the first b rows of A, flat, (b, d·kernel), and of Bᵀ, (b, m), with the gradients that
        ``state`` allows; b is ``rank``, or that of the state.

        Those of all layers are put together at once, for one forward pass: until a layer asks again, the gradient has come
        back, or a parameter has counted a change (fused optimisers do not let it count).
        """
        b, modes = rank or state.rank, (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
        versions = tuple(0 if p.is_inference() else p._version for p in self.rows)
        key = (b, state.last_only, state.drift, *modes, *versions)
        if key != self._key or place in self._taken:
            self.forget()
            matrix = self._together(b, state)
            if matrix.requires_grad:
                matrix.register_hook(lambda gradient: self.forget())
            self._key, self._parts = key, matrix.split(self.widths, dim=1)
        self._taken.add(place)
        return self._parts[2 * place], self._parts[2 * place + 1]

    def _together(self, b: int, state: RankState) -> Float[Tensor, "b w"]:
        last_only, drift = state.last_only, state.drift
        first = max(
            (size for size in (0, *self.sizes) if size < b), default=0
        )  # where the last segment begins
        rows, start = [], 0
        for size, segment in zip(self.sizes, self.rows):
            if start >= b and not drift:
                break
            part = segment if drift or size <= b else segment[: b - start]
            rows.append(part.detach() if last_only and start < first and not drift else part)
            start = size
        matrix = torch.cat(rows)
        if drift and last_only:
            matrix = torch.cat([matrix[:first].detach(), matrix[first:]])
        return matrix[:b]


class LowRankLayer(nn.Module):
    """A frozen layer and its low-rank update.

    ``base``: ``nn.Linear``, ``nn.Conv2d`` of one group, or the transposed linear layer of transformers' GPT-2.
    ``place``: which of the layers that share ``segments`` this is; the first of them owns their parameters.
    """

    def __init__(
        self,
        base: nn.Module,
        state: RankState,
        segments: Segments,
        place: int,
        *,
        alpha: float,
        scaling: Scaling,
        dropout: float,
    ):
        super().__init__()
        self.base = base
        self.state = state
        self.place = place
        self._shared = (
            segments,
        )  # in a tuple, so that only the first layer has their parameters in its state
        if place == 0:
            self.segments = segments
        self.alpha = alpha
        self.scaling: Scaling = scaling
        self.dropout = nn.Dropout(dropout)
        self.merged: int | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """The ranks at which A and B are split into parameters; the last is r."""
        return self._shared[0].sizes

    @property
    def weight(self) -> Tensor:
        """The frozen weight: some models ask a layer for its type or device."""
        return cast(Tensor, self.base.weight)

    @property
    def bias(self) -> Tensor | None:
        return cast(Any, self.base).bias

    def scale(self, rank: int) -> float:
        """s: α/b (DyLoRA, eq. 7), α/r (ordinary LoRA at its full rank), or α/√b (rsLoRA)."""
        return (
            self.alpha
            / {
                "alpha/b": rank,
                "alpha/r": self.sizes[-1],
                "alpha/sqrt(b)": math.sqrt(rank),
            }[self.scaling]
        )

    def factors(self, rank: int | None = None) -> Factors:
        """A_b = A[:b] and B_b = B[:, :b], with the gradients that the state of the step allows."""
        down, up = self._shared[0].factors(self.place, self.state, rank)
        inputs, _, kernel = layer_shape(self.base)
        return down.view(-1, inputs, *kernel) if kernel else down, up.T

    def forward(self, x: Tensor) -> Tensor:
        """y = W0·x + s·B_b·(A_b·x). Shapes: (…, d) → (…, m), or images (N, d, H, W) → (N, m, H', W')."""
        y = self.base(x)
        if self.merged is not None:
            return y
        down, up = self.factors()
        h = self.dropout(x).to(down.dtype)
        if isinstance(self.base, nn.Conv2d):
            base = self.base
            h = F.conv2d(h, down, None, base.stride, base.padding, base.dilation)
            update = F.conv2d(h, up[:, :, None, None])
        else:
            update = F.linear(F.linear(h, down), up)
        return y + (self.scale(self.state.rank) * update).to(y.dtype)

    def delta(self, rank: int) -> Tensor:
        """s·B_b·A_b in the shape of the base's weight."""
        down, up = self.factors(rank)
        product = self.scale(rank) * (up @ down.flatten(1)).view(-1, *down.shape[1:])
        return (product.T if is_transposed(self.base) else product).to(self.weight.dtype)


def is_transposed(layer: nn.Module) -> bool:
    """Whether a linear layer keeps its weight as (inputs, outputs), as GPT-2 in transformers does."""
    return type(layer).__name__ == "Conv1D" and hasattr(layer, "nf")


def layer_shape(layer: nn.Module) -> tuple[int, int, tuple[int, ...]]:
    """Inputs, outputs and kernel of a layer that can be adapted."""
    weight = cast(Tensor, layer.weight)
    if is_transposed(layer):
        return weight.shape[0], weight.shape[1], ()
    return weight.shape[1], weight.shape[0], tuple(weight.shape[2:])


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
    segments = Segments(_first_rows(shapes.values(), rank), parts, _widths(shapes.values()))
    layers = {}
    for place, (name, base) in enumerate(chosen.items()):
        layer = LowRankLayer(base, state, segments, place, alpha=alpha, scaling=scaling, dropout=dropout)
        layers[name] = layer
        _replace(model, name, layer)
    return LoraAdapters(model, layers, state)


Shape = tuple[int, int, tuple[int, ...]]
"""Inputs, outputs and kernel of a layer."""


def _widths(shapes: Iterable[Shape]) -> list[int]:
    return [width for inputs, outputs, kernel in shapes for width in (inputs * math.prod(kernel), outputs)]


def _first_rows(shapes: Iterable[Shape], rank: int) -> Float[Tensor, "rank w"]:
    """A as LoRA draws it, layer by layer, and B = 0."""
    parts = []
    for inputs, outputs, kernel in shapes:
        down = torch.empty(rank, inputs, *kernel)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5))
        parts += [down.flatten(1), torch.zeros(rank, outputs)]
    return torch.cat(parts, dim=1)


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, layer)
