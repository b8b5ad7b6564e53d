"""Which rows of hidden states are tokens of which text: read off the calls of a model, or told."""

import inspect
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.core.types import TokenBatch

Pad = Tensor | TokenBatch | None
"""Which tokens exist: a mask (B, T), or the packed texts themselves. ``None``: all."""

_MASKS = ("attention_mask", "mask")


class TokenLayout:
    """The layout of the texts that run through a model now.

    While the context lasts, calls of the modules ``around`` its layers are watched: packed texts (:class:`TokenBatch`) or a
    mask among their arguments say which tokens exist. ``pad``, where given, says it instead.
    """

    def __init__(self, around: Sequence[nn.Module], pad: Pad = None):
        self.pad = pad
        self._around = around
        self._calls: list[Pad] = []
        self._open = ExitStack()

    @property
    def current(self) -> Pad:
        if self.pad is not None:
            return self.pad
        return self._calls[-1] if self._calls else None

    def __enter__(self) -> "TokenLayout":
        with ExitStack() as stack:
            for module in self._around:
                parameters = inspect.signature(module.forward)
                handles = (
                    module.register_forward_pre_hook(self._entered(parameters), with_kwargs=True),
                    module.register_forward_hook(self._left, always_call=True),
                )
                for handle in handles:
                    stack.callback(handle.remove)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.close()
        self._calls.clear()

    def _entered(self, parameters: inspect.Signature) -> Any:
        def entered(module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
            given = parameters.bind_partial(*arguments, **options).arguments
            given = {**given, **given.get("kwargs", {})}
            own = next((value for value in given.values() if isinstance(value, TokenBatch)), None)
            masks = (given.get(name) for name in _MASKS)
            mask = next((value for value in masks if isinstance(value, Tensor) and value.ndim == 2), None)
            found = own if own is not None else mask
            self._calls.append(found if found is not None else self._calls[-1] if self._calls else None)

        return entered

    def _left(self, *_: Any) -> None:
        if self._calls:
            self._calls.pop()


def as_grid(
    x: Float[Tensor, "*rows inputs"], pad: Pad
) -> tuple[Float[Tensor, "batch tokens inputs"], Bool[Tensor, "batch tokens"] | None]:
    """Hidden states as texts × tokens, and which of these exist (``None``: all). Packed ones are spread out.

    Raises:
        ConfigError: tokens laid end to end without a word on where texts begin, or a mask of another shape.
    """
    if x.ndim == 3:
        return x, _mask_of(x, pad)
    if isinstance(pad, TokenBatch) and x.ndim == 2 and len(x) == len(pad.ids):
        if len(pad) * pad.max_length == len(x):
            return x.view(len(pad), pad.max_length, -1), None
        grid = x.new_zeros(len(pad), pad.max_length, x.shape[-1])
        grid[pad.sequence, pad.position] = x
        return grid, _exists(pad)
    if isinstance(pad, Tensor) and x.ndim == 2 and len(x) == pad.numel():
        return x.view(*pad.shape, -1), pad.bool()
    raise ConfigError(
        f"hidden states of shape {tuple(x.shape)} are not texts × tokens: give pad, the mask or the packed texts that "
        "the model reads"
    )


def _mask_of(x: Tensor, pad: Pad) -> Tensor | None:
    if pad is None:
        return None
    mask = _exists(pad) if isinstance(pad, TokenBatch) else pad.bool()[:, -x.shape[1] :]
    if mask.shape != x.shape[:2]:
        raise ConfigError(f"the mask says {tuple(mask.shape)} tokens, the model has {tuple(x.shape[:2])}")
    return mask.to(x.device)


def _exists(tokens: TokenBatch) -> Bool[Tensor, "batch tokens"]:
    place = torch.arange(tokens.max_length, device=tokens.lengths.device)
    return place < tokens.lengths[:, None]


def laid_as(
    values: Float[Tensor, "*values"], x: Float[Tensor, "*rows inputs"], pad: Pad, *, inner: int
) -> Float[Tensor, "*laid"]:
    """Values for texts × tokens, (B, T, …) with ``inner`` dimensions after them, in the order of ``x``, which may be packed.
    Values for all tokens alike are left as they are.

    Raises:
        ConfigError: values by token for packed texts, where nothing says where these begin.
    """
    if x.ndim == 3 or values.ndim == inner:
        return values
    if values.ndim != inner + 2 or pad is None:
        raise ConfigError(
            f"values of shape {tuple(values.shape)} are not texts × tokens, or nothing says where the packed texts begin: "
            "give pad, the mask or the packed texts that the model reads"
        )
    if not isinstance(pad, TokenBatch):
        return values.expand(*pad.shape, *values.shape[2:]).flatten(0, 1)
    spread = values.expand(len(pad), pad.max_length, *values.shape[2:])
    return spread[pad.sequence, pad.position]
