"""Heads and feed-forward neurons taken out of a model for good: it gets smaller, and does what it did with them ablated.

    removed = prune(model, {"layers.3.heads": {5: "mean"}, "layers.2.ffn": {(0, 7): "zero"}}, means=means)

The names and replacements are those of :func:`~brickwork.modules.ablation.ablate`. What replaces a part is a constant c, and
W·(x, c) + b = W'·x + (b + W_c·c): its rows of the output weights go, its share moves into the bias, and the rows of the
matrices that made it go with it. Heads that share keys and values stay in groups of one size: a group that would be smaller
than the others keeps some of its heads, with output weights of zero; so does a layer that would lose all of them.

Shape legend: H key and value heads, R query heads that share each of them, s dimensions of a head.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.modules.ablation import Changes, Means, Replacement, resolve
from brickwork.modules.low_rank import LowRankLayer, is_transposed
from brickwork.modules.places import Place, Places, find_places

Removed = dict[str, list[int]]
"""By name, which parts went: with it :func:`prune_as` gives a fresh model the same shapes."""

# From a block to what makes the neurons, and to what makes the heads: queries, keys, values, or all three stacked.
_MAKERS = (
    ("mlp.up",),  # ours: encoders
    ("feed_forward.up",),  # ours: decoders
    ("mlp.gate_proj", "mlp.up_proj"),  # Llama and its heirs
    ("mlp.c_fc",),  # GPT-2
    ("mlp.fc1",),  # ViT, CLIP, Phi
    ("fc1",),  # OPT
    ("mlp.dense_h_to_4h",),  # GPT-NeoX, BLOOM
    ("mlp.fc_in",),  # GPT-J
    ("intermediate.dense",),  # BERT
    ("ffn.lin1",),  # DistilBERT
)
_SEPARATE = (
    ("attention.query", "attention.key", "attention.value"),  # ours: decoders
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),  # Llama and its heirs, OPT, CLIP
    ("attention.q_proj", "attention.k_proj", "attention.v_proj"),  # ViT, DINOv2
    ("attention.self.query", "attention.self.key", "attention.self.value"),  # BERT
    ("attention.q_lin", "attention.k_lin", "attention.v_lin"),  # DistilBERT
    ("attn.q_proj", "attn.k_proj", "attn.v_proj"),  # GPT-J
)
_STACKED = ("attention.qkv", "attn.c_attn")  # ours: encoders; GPT-2
_COUNTS = ("num_heads", "num_attention_heads", "n_heads")


@dataclass(frozen=True)
class _Kept:
    """Query heads that stay, in their new order, those of them that are dead, and key and value heads that stay."""

    queries: tuple[int, ...]
    dead: tuple[int, ...]
    shared: tuple[int, ...]

    @property
    def group(self) -> int:
        return len(self.queries) // len(self.shared)


def prune(model: nn.Module, changes: Changes, *, means: Means | None = None) -> Removed:
    """Takes parts out of ``model`` in place; afterwards it does what ``ablate(model, changes, means=means)`` does.

    Returns what was asked to go, by name. Parts are numbered afresh.

    Raises:
        ConfigError: as :func:`~brickwork.modules.ablation.resolve`; a residual stream; values that differ from token to
            token; or a layer whose matrices are not known. Nothing is changed then.
    """
    places = find_places(model)
    by_place: dict[str, list[Replacement]] = {}
    for one in resolve(places, changes, means):
        if one.values.ndim > (1 if one.after else 2):
            raise ConfigError(f"{one.place.name}: values that differ from token to token cannot be pruned to")
        by_place.setdefault(one.place.name, []).append(one)
    blocks = {name: _block_of(places.named, by_place[name][0].place) for name in by_place}
    for name, own in by_place.items():
        _refuse(own[0].place, blocks[name])
    with torch.no_grad():
        for name, own in by_place.items():
            _prune_place(own[0].place, blocks[name], own)
    return {name: sorted(part for one in own for part in one.parts) for name, own in by_place.items()}


def prune_as(model: nn.Module, removed: Mapping[str, Sequence[int]]) -> None:
    """Gives a fresh model the shapes of one that :func:`prune` made, to load its weights into. Raises as it does."""
    prune(model, {name: {tuple(parts): "zero"} for name, parts in removed.items() if parts})


def makers_of(places: Places, place: Place) -> list[Any]:
    """The matrices that make the parts of ``place``; of gated neurons first the one before the activation.

    Raises:
        ConfigError: they are not known, or the layer has an adapter.
    """
    block = _block_of(places.named, place)
    _refuse(place, block)
    makers = _makers(place, block)
    assert makers is not None
    return makers


def _block_of(named: Mapping[str, Place], place: Place) -> nn.Module:
    return named[f"layers.{place.layer}.residual"].module


def _find(block: nn.Module, paths: Sequence[str]) -> list[Any] | None:
    """The matrices at all of ``paths``, if there are plain ones."""
    found: list[Any] = []
    for path in paths:
        try:
            module = block.get_submodule(path)
        except AttributeError:
            return None
        if not isinstance(module, nn.Linear) and not is_transposed(module):
            return None
        found.append(module)
    return found


def _makers(place: Place, block: nn.Module) -> list[Any] | None:
    tables = _MAKERS if place.kind == "ffn" else (*_SEPARATE, *((path,) for path in _STACKED))
    return next((found for paths in tables if (found := _find(block, paths)) is not None), None)


def _refuse(place: Place, block: nn.Module) -> None:
    if place.kind == "residual":
        raise ConfigError(
            f"{place.name} is the residual stream, which nothing can be pruned from; prune heads or ffn"
        )
    if isinstance(place.module, LowRankLayer):
        raise ConfigError(f"{place.name} has an adapter: merge it into its layer first (merge_, unload_)")
    makers = _makers(place, block)
    # A gated half whose two matrices are one (Phi-3, ModernBERT) has twice as many rows as neurons.
    if makers is None or (place.kind == "ffn" and any(_rows(maker) != place.parts for maker in makers)):
        raise ConfigError(
            f"{place.name} of a {type(block).__name__}: the matrices that make its parts are not known"
        )
    if place.kind == "heads":
        attention: Any = _attention(block)
        wide = [n for n, p in attention.named_parameters() if "norm" in n and p.numel() > place.size]
        own = [n for n, _ in attention.named_parameters(recurse=False) if n != "sink"]  # sinks of gpt-oss
        if own:
            raise ConfigError(
                f"{place.name}: its attention has weights that are not known ({', '.join(own)})"
            )
        form = getattr(attention, "form", None)
        if wide or getattr(form, "position", "") == "alibi":
            what = (
                f"a norm over all heads ({wide[0]})"
                if wide
                else "slopes that follow from the number of heads (ALiBi)"
            )
            raise ConfigError(
                f"{place.name}: its heads cannot be told apart, there is {what}; ablate them instead"
            )


def _attention(block: nn.Module) -> nn.Module:
    for name in ("self_attn", "attention", "attn"):
        if (module := block._modules.get(name)) is not None:
            return module
    return block


def _prune_place(place: Place, block: nn.Module, own: list[Replacement]) -> None:
    makers = _makers(place, block)
    assert makers is not None
    weight = place.weight()
    constant = sum(
        one.values if one.after else torch.einsum("ps,psd->d", one.values, weight[list(one.parts)])
        for one in own
    )
    assert isinstance(constant, Tensor)
    gone = {part for one in own for part in one.parts}
    if place.kind == "ffn":
        keep = [part for part in range(place.parts) if part not in gone] or [0]
        rows = weight[keep]
        rows = torch.zeros_like(rows) if len(gone) == place.parts else rows
        for maker in makers:
            _set(maker, _out_rows(maker)[keep], None if maker.bias is None else maker.bias[keep])
    else:
        kept = _kept_heads(place, block, makers, gone)
        rows = weight[list(kept.queries)]
        rows[[number for number, head in enumerate(kept.queries) if head in kept.dead]] = 0
        _prune_heads(place, block, makers, kept)
    own_bias: Any = place.module.bias
    _set(place.module, rows.flatten(0, 1).T, constant if own_bias is None else own_bias + constant)


def _kept_heads(place: Place, block: nn.Module, makers: list[Any], gone: set[int]) -> _Kept:
    """Which heads stay, so that every key and value head that stays has as many of them."""
    ours = hasattr(_attention(block), "form")  # query heads r·H + h; of transformers h·R + r
    shared = place.parts if len(makers) == 1 else _rows(makers[1]) // place.size
    group = place.parts // shared
    members = [[r * shared + h if ours else h * group + r for r in range(group)] for h in range(shared)]
    alive = {h: [head for head in members[h] if head not in gone] for h in range(shared)}
    stay = [h for h in range(shared) if alive[h]] or [0]
    size = max(1, *(len(alive[h]) for h in stay)) if stay else 1
    filled = {h: (alive[h] + [head for head in members[h] if head in gone])[:size] for h in stay}
    order = (
        [filled[h][r] for r in range(size) for h in stay]
        if ours
        else [head for h in stay for head in filled[h]]
    )
    return _Kept(tuple(order), tuple(head for head in order if head in gone), tuple(stay))


def _prune_heads(place: Place, block: nn.Module, makers: list[Any], kept: _Kept) -> None:
    attention: Any = _attention(block)
    if len(makers) == 1:
        every = [[which * place.parts + head for head in kept.queries] for which in range(3)]
        _keep_heads(makers[0], [head for three in every for head in three], place.size)
    else:
        for maker, heads in zip(makers, (kept.queries, kept.shared, kept.shared)):
            _keep_heads(maker, heads, place.size)
    counts: dict[str, Any] = dict.fromkeys(_COUNTS, len(kept.queries))
    counts |= {"num_key_value_heads": len(kept.shared), "num_key_value_groups": kept.group}
    counts |= dict.fromkeys(("split_size", "all_head_size"), len(kept.queries) * place.size)
    for module in attention.modules():
        for name in counts.keys() & vars(module).keys():
            setattr(module, name, counts[name])
    if hasattr(attention, "form"):  # ours, whose counts are in there
        form = attention.form
        attention.form = type(form)(
            hidden=len(kept.shared) * place.size,
            num_heads=len(kept.shared),
            position=form.position,
            attend_current=form.attend_current,
            remainder=form.remainder,
        )
        attention.groups = kept.group
        if attention.sink is not None:
            sinks = attention.sink.unflatten(0, (-1, place.size))[list(kept.shared)]
            attention.sink = nn.Parameter(sinks.flatten().clone())


def _keep_heads(maker: Any, heads: Sequence[int], size: int) -> None:
    rows = _out_rows(maker).unflatten(0, (-1, size))[list(heads)].flatten(0, 1)
    bias = None if maker.bias is None else maker.bias.unflatten(0, (-1, size))[list(heads)].flatten()
    _set(maker, rows, bias)


def _out_rows(layer: Any) -> Tensor:
    """Output by input, whichever way it is kept."""
    return layer.weight.T if is_transposed(layer) else layer.weight


def _rows(layer: Any) -> int:
    return _out_rows(layer).shape[0]


def _set(layer: Any, weight: Tensor, bias: Tensor | None) -> None:
    """Gives a linear layer other weights (outputs, inputs)."""
    learns = layer.weight.requires_grad
    if is_transposed(layer):
        layer.weight = nn.Parameter(weight.T.contiguous(), requires_grad=learns)
        layer.nf, layer.nx = weight.shape
    else:
        layer.weight = nn.Parameter(weight.contiguous(), requires_grad=learns)
        layer.out_features, layer.in_features = weight.shape
    layer.bias = None if bias is None else nn.Parameter(bias.clone().to(weight), requires_grad=learns)
