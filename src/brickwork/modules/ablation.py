"""Heads, neurons and dimensions replaced while a model runs: by zero, by their mean, or by values that are given.

    with ablate(model, {"layers.3.heads": {5: "zero", 7: "mean"}}, means=means):
        model(batch)

The same names and the same choices are what pruning takes (:mod:`brickwork.modules.pruning`).

Shape legend: B texts, T tokens, H heads of s dimensions, D width.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.modules.places import Place, Places, find_places
from brickwork.modules.token_layout import Pad, TokenLayout, laid_as

Value = str | float | Tensor
"""``"zero"``, ``"mean"``, a number, or a tensor that broadcasts to (B, T, …)."""
Part = int | tuple[int, ...]
Changes = Mapping[str, Value | Mapping[Part, Value]]
Means = Mapping[str, Float[Tensor, "_ _"]]


@dataclass(frozen=True)
class Replacement:
    """What some parts of a place give instead: ``values`` (…, parts, size), or ``after`` their output weights (…, D)."""

    place: Place
    parts: tuple[int, ...]
    values: Tensor
    after: bool


def resolve(places: Places, changes: Changes, means: Means | None) -> list[Replacement]:
    """Every change as tensors.

    Raises:
        ConfigError: a name or part that the model does not have, one part twice, ``"mean"`` without its mean, a word that
            is none of these, or values of another shape.
    """
    replacements: list[Replacement] = []
    for name, change in changes.items():
        place = places[name]
        everything = tuple(range(place.parts))
        own = change if isinstance(change, Mapping) else {everything: change}
        taken: set[int] = set()
        for key, value in own.items():
            parts = key if isinstance(key, tuple) else (key,)
            wrong = [part for part in parts if not 0 <= part < place.parts]
            if wrong:
                raise ConfigError(f"{name} has parts 0 to {place.parts - 1}, and no {wrong[0]}")
            for part in parts:
                if part in taken:
                    raise ConfigError(f"{name}: part {part} is replaced twice")
                taken.add(part)
            replacements.append(_replacement(place, parts, value, means, one=isinstance(key, int)))
    return replacements


def _replacement(
    place: Place, parts: tuple[int, ...], value: Value, means: Means | None, *, one: bool
) -> Replacement:
    like = next(place.module.parameters())
    if isinstance(value, str):
        return Replacement(place, parts, _by_word(place, parts, value, means).to(like), False)
    values = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    if values.ndim == 0:
        return Replacement(place, parts, values.expand(len(parts), place.size), False)
    if place.kind != "heads":
        values = values[..., None] if one else values
        if values.shape[-1] != len(parts):
            raise ConfigError(
                f"{place.name}: values of shape {tuple(values.shape)} do not end in the {len(parts)} parts that they are for"
            )
        return Replacement(place, parts, values[..., None], False)
    values = values.unsqueeze(-2) if one else values
    width = place.weight().shape[-1]
    if values.ndim < 2 or values.shape[-2] != len(parts) or values.shape[-1] not in (width, place.size):
        wanted = f"({len(parts)}, {width}), what the heads add, or ({len(parts)}, {place.size}), before their output weights"
        raise ConfigError(f"{place.name}: values of shape {tuple(values.shape)} do not end in {wanted}")
    after = values.shape[-1] == width
    return Replacement(place, parts, values.sum(-2) if after else values, after)


def _by_word(place: Place, parts: tuple[int, ...], word: str, means: Means | None) -> Tensor:
    if word == "zero":
        return torch.zeros(len(parts), place.size)
    if word != "mean":
        raise ConfigError(
            f"{place.name}: '{word}' is no replacement; choose 'zero', 'mean', a number or values"
        )
    if means is None or place.name not in means:
        raise ConfigError(
            f"{place.name}: 'mean' needs means with this name (recorder.overall_means gives them)"
        )
    return means[place.name][list(parts)]


@contextmanager
def ablate(
    model: nn.Module, changes: Changes, *, means: Means | None = None, pad: Pad = None
) -> Iterator[None]:
    """Runs ``model`` with some parts replaced, while the context lasts; the model itself stays as it is.

    ``changes``: by name, one value for all parts, or values by part or group of parts (``{5: "zero", (7, 9): "mean"}``).
    Values of a head: (…, D), what it adds to the residual stream, or (…, s), what it gathers; of n heads (…, n, D) or
    (…, n, s). Of a neuron or dimension: a number or (…), of n of them (…, n). All broadcast to the texts × tokens of a call.
    ``means``: from :func:`~brickwork.modules.recorder.overall_means`. ``pad``: as for the recorder, needed only to give
    packed texts values token by token where their call does not say where texts begin.

    Raises:
        ConfigError: as :func:`resolve`.
    """
    places = find_places(model)
    by_place: dict[str, list[Replacement]] = {}
    for replacement in resolve(places, changes, means):
        by_place.setdefault(replacement.place.name, []).append(replacement)
    with ExitStack() as stack:
        layout = stack.enter_context(TokenLayout(places.around, pad))
        for own in by_place.values():
            for handle in _hooks(own, layout):
                stack.callback(handle.remove)
        yield


def _hooks(own: list[Replacement], layout: TokenLayout) -> Iterator[Any]:
    place = own[0].place
    if place.kind == "residual":

        def after_block(_: nn.Module, __: Any, result: Any) -> Any:
            x = result if isinstance(result, Tensor) else result[0]
            x = _replaced(x, own, layout.current)
            return x if isinstance(result, Tensor) else type(result)((x, *result[1:]))

        yield place.module.register_forward_hook(after_block)
        return

    def before(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (_replaced(given[0], own, layout.current), *given[1:])

    yield place.module.register_forward_pre_hook(before)
    if added := [replacement for replacement in own if replacement.after]:

        def after(_: nn.Module, __: Any, result: Tensor) -> Tensor:
            return result + sum(laid_as(one.values, result, layout.current, inner=1) for one in added)

        yield place.module.register_forward_hook(after)


def _replaced(x: Tensor, own: list[Replacement], pad: Pad) -> Tensor:
    place = own[0].place
    split = place.split(x).clone()
    for one in own:
        if one.after:  # comes when the output weights have been
            split[..., list(one.parts), :] = 0
            continue
        values = laid_as(one.values, x, pad, inner=2)
        try:
            split[..., list(one.parts), :] = values.expand(*split.shape[:-2], len(one.parts), place.size)
        except RuntimeError as error:
            raise ConfigError(
                f"{place.name}: values of shape {tuple(values.shape)} do not fit {tuple(split.shape[:-2])} tokens"
            ) from error
    return split.flatten(-2)
