"""The encoder as it runs for encoding: in evaluation mode, in bf16 where that pays."""

import copy
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from brickwork.core.errors import ConfigError
from brickwork.core.hardware import bf16_is_fast
from brickwork.representation.packed import can_pack, pack_linears

# auto, fp32 or bf16; a plain string, so that a wrong name gets our message
Precision = str

# A bf16 copy costs half the weights and the time of a short batch, so it is kept as long as the encoder
# lives and its weights have not changed.
_copies: "weakref.WeakKeyDictionary[nn.Module, tuple[Any, nn.Module]]" = weakref.WeakKeyDictionary()

# Some numbers of every tensor of an encoder, as views: making them takes longer than reading them. A view keeps what it
# shows, so that an address means the same tensor.
_samples: "weakref.WeakKeyDictionary[nn.Module, tuple[Any, list[torch.Tensor]]]" = weakref.WeakKeyDictionary()

# What runs in an encoder's place where no precision is asked for (representation/int8.py), as long as its weights stay.
_engines: "weakref.WeakKeyDictionary[nn.Module, tuple[Any, nn.Module]]" = weakref.WeakKeyDictionary()


def use_engine(encoder: nn.Module, engine: nn.Module | None) -> None:
    """Has ``engine`` run in the place of ``encoder`` wherever it encodes with precision ``auto``; ``None``: no longer.

    It ends by itself when a weight of the encoder changes.
    """
    _engines.pop(encoder, None)
    if engine is not None:
        _engines[encoder] = (_stamp(encoder), engine)


def engine_of(encoder: nn.Module) -> nn.Module | None:
    """What runs in the place of ``encoder``, or ``None``."""
    stamp, engine = _engines.get(encoder, (None, None))
    return engine if engine is not None and stamp == _stamp(encoder) else None


def device_of(module: nn.Module) -> torch.device:
    """Where the module's weights are."""
    return next((tensor.device for tensor in module.parameters()), torch.device("cpu"))


def resolve_precision(precision: Precision, encoder: nn.Module) -> str:
    """``auto``: bf16 where the device has instructions for it and there are matrices to multiply, else fp32. An encoder with
    ``exact`` set is never rounded: its vectors are codes, and other bits would be another code.

    Raises:
        ConfigError: an unknown name.
    """
    if precision == "auto":
        multiplies = any(isinstance(module, nn.Linear | nn.Conv2d) for module in encoder.modules())
        return "bf16" if multiplies and bf16_is_fast(device_of(encoder)) else "fp32"
    if precision not in ("fp32", "bf16"):
        raise ConfigError(f"precision is {precision!r}; choose one of 'auto', 'fp32', 'bf16'")
    if getattr(encoder, "exact", False):
        return "fp32"
    return precision


@contextmanager
def for_inference(encoder: nn.Module, precision: Precision = "auto") -> Iterator[nn.Module]:
    """What to run forward with: the encoder in evaluation mode (its mode is restored), its bf16 copy, or its engine."""
    engine = engine_of(encoder) if precision == "auto" else None
    if engine is not None:
        yield engine
        return
    if resolve_precision(precision, encoder) == "bf16":
        yield _bf16_copy(encoder)
        return
    modes = {module: module.training for module in encoder.modules()}
    encoder.eval()
    try:
        yield encoder
    finally:
        for module, training in modes.items():
            module.training = training


def float32_copy(encoder: Any) -> Any:
    """A copy on the CPU in evaluation mode, to be traced; the tokenizer is shared."""
    tokenizer = getattr(encoder, "tokenizer", None)
    memo = {} if tokenizer is None else {id(tokenizer): tokenizer}
    return copy.deepcopy(encoder, memo).float().cpu().eval()


def _bf16_copy(encoder: nn.Module) -> nn.Module:
    stamp = _stamp(encoder)
    earlier = _copies.get(encoder)
    if earlier is not None and stamp is not None and earlier[0] == stamp:
        return earlier[1]
    tokenizer = getattr(encoder, "tokenizer", None)
    # Weights go to bf16 one by one, so that no second float32 model exists; the tokenizer is shared.
    memo: dict[int, Any] = {} if tokenizer is None else {id(tokenizer): tokenizer}
    # Not so what is no weight: the angles of rotary positions, in bf16, are wrong by whole turns in long texts.
    kept = {
        id(module._buffers[name])
        for module in encoder.modules()
        for name in module._non_persistent_buffers_set
    }
    for tensor in (
        *encoder.parameters(),
        *(buffer for buffer in encoder.buffers() if id(buffer) not in kept),
    ):
        low = tensor.detach().to(torch.bfloat16) if tensor.is_floating_point() else tensor.detach()
        memo[id(tensor)] = nn.Parameter(low, False) if isinstance(tensor, nn.Parameter) else low
    low_precision = copy.deepcopy(encoder, memo).eval()
    if device_of(encoder).type == "cpu" and can_pack():
        pack_linears(low_precision)
    if stamp is not None:
        _copies[encoder] = (stamp, low_precision)
    return low_precision


def _stamp(encoder: nn.Module) -> tuple[Any, ...] | None:
    """Changes when a weight is written to or replaced; None where torch does not count the writes.

    Fused optimisers write without being counted, so some numbers of every tensor are looked at as well.
    """
    tensors = [tensor.detach() for tensor in (*encoder.parameters(), *encoder.buffers())]
    addresses = tuple(tensor.data_ptr() for tensor in tensors)
    earlier = _samples.get(encoder)
    if earlier is None or earlier[0] != addresses:
        numbers = [tensor for tensor in tensors if tensor.numel() and tensor.is_floating_point()]
        # What does not lie in one piece is looked at whole: flattened, it would be a copy.
        samples = [t.view(-1)[:: max(1, t.numel() // 32)] if t.is_contiguous() else t for t in numbers]
        earlier = _samples[encoder] = (addresses, samples)
    norms = torch.stack(torch._foreach_norm(earlier[1], 2, torch.float64)).tolist() if earlier[1] else ()
    try:
        return (*addresses, *(tensor._version for tensor in tensors), *norms)
    except RuntimeError:  # tensors made in inference mode
        return None
