"""What tells one model from another: hashes of its weights, of its settings and of its tokenizer.

All three decide what a text is answered with: the same weights with another activation, epsilon, number of heads or base of
the rotary positions are another function, and the same function reads other tokens with another tokenizer.
"""

import dataclasses
import hashlib
import json
import re
from typing import Any

import torch
from torch import nn

from brickwork.modules.low_rank import LowRankLayer

PARTS = ("weights", "settings", "tokenizer")
FORM = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{64}(\.[0-9a-f]{64})?")
# Of a configuration of transformers: where the model comes from, how it was started, and what it is asked to return as well.
_NO_SETTINGS = {
    "_name_or_path",
    "architectures",
    "auto_map",
    "dtype",  # of the weights, whose hash has it
    "initializer_range",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}
# Of modules: what changes while they are used.
_STATES = {"training", "merged"}


def model_hash(model: nn.Module, tokenizer: Any = None) -> str:
    """Three SHA-256, joined by dots, of a model's weights, settings and tokenizer (two where none is given).

    Adapters that are on the model do not count, nor does a device. ``model``: one of transformers, whose configuration are
    its settings; of others these are the plain attributes of all modules. ``tokenizer``: of the library ``tokenizers``.
    """
    parts = [_weights(model), _digest(_settings(model))]
    return ".".join([*parts, *([] if tokenizer is None else [_digest(_reading(tokenizer))])])


def differing(one: str, other: str) -> list[str]:
    """Which of weights, settings and tokenizer differ; a tokenizer that one of both does not know differs from none."""
    return [name for name, a, b in zip(PARTS, one.split("."), other.split(".")) if a != b]


def differences(one: str, other: str) -> str:
    """The same as words for an error: ``its settings and its tokenizer``; nothing where none differs."""
    return " and ".join(f"its {name}" for name in differing(one, other))


def _weights(model: nn.Module) -> str:
    state = {}
    for name, value in model.state_dict(keep_vars=False).items():
        if ".segments." not in f".{name}.":
            state[name.replace(".base.", ".")] = value
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        if value.numel():
            digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _settings(model: nn.Module) -> dict[str, Any]:
    config: Any = getattr(model, "config", None)
    if hasattr(config, "to_diff_dict"):
        # Without what is as every model has it: a later transformers with one more option is no other model.
        return {name: value for name, value in config.to_diff_dict().items() if name not in _NO_SETTINGS}
    parts = dict(model.named_modules())
    added = {name for name, part in parts.items() if isinstance(part, LowRankLayer)}
    settings = {}
    for name, part in parts.items():
        outer, _, last = name.rpartition(".")
        if name in added or any(name.startswith(f"{layer}.") and name != f"{layer}.base" for layer in added):
            continue
        own = outer if last == "base" and outer in added else name
        settings[own] = [type(part).__name__, _plain_attributes(part)]
    return settings


def _reading(tokenizer: Any) -> dict[str, Any]:
    """How it reads a text alone; transformers may give it a template that adds nothing, and padding is asked for."""
    values = json.loads(tokenizer.to_str())
    after = values.get("post_processor") or {}
    if after.get("type") == "TemplateProcessing" and not after.get("special_tokens"):
        after = {}
    left_out = ("version", "padding", "truncation")
    return {**{n: v for n, v in values.items() if n not in left_out}, "post_processor": after or None}


def _plain_attributes(part: nn.Module) -> dict[str, Any]:
    return {n: _plain(v) for n, v in vars(part).items() if not n.startswith("_") and n not in _STATES}


def _plain(value: Any) -> Any:
    """A value as JSON has it; of an object of no plain kind its type, since how it is printed may have an address in it."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return getattr(value, "__qualname__", type(value).__qualname__)


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
