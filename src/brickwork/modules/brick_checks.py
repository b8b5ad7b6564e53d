"""What a brick must be like, field by field: a file with a good checksum may have been written with wrong values."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import torch
from torch import Tensor

from brickwork.modules.low_rank import Scaling
from brickwork.modules.model_hash import FORM

_MOST = 1e6
"""α of no adapter is as large; beyond float32 a change would be infinite."""


def wrong_values(brick: Any) -> Iterator[str]:
    """What is wrong with the plain values of a :class:`~brickwork.modules.bricks.Brick`: a sentence that names the field."""
    if not isinstance(brick.name, str):
        yield f"name is {brick.name!r}; it must be a text"
    if brick.kind == "lora":
        if not _number(brick.alpha) or not 0 < brick.alpha <= _MOST:
            yield f"alpha is {brick.alpha!r}; it must be a number above 0, at most {_MOST:g}"
        if brick.scaling not in get_args(Scaling):
            yield f"scaling is {brick.scaling!r}; it must be one of {', '.join(get_args(Scaling))}"
    else:
        for field in ("alpha", "scaling"):
            if getattr(brick, field) is not None:
                yield f"{field} is {getattr(brick, field)!r}; a brick of kind {brick.kind} has none"


def wrong_contents(brick: Any) -> Iterator[str]:
    """What else is wrong with a brick that is a file, or becomes one: its hash, its notes, and its tensors one by one."""
    if not isinstance(brick.base, str) or not FORM.fullmatch(brick.base):
        yield (
            f"base is {str(brick.base)[:20]!r}…, no hash of a model as this version makes it (weights.settings.tokenizer); "
            "train the brick anew"
        )
    if not isinstance(brick.trained_on, Mapping):
        yield f"trained_on is {brick.trained_on!r}; it must be names with values"
    if not isinstance(brick.scores, Mapping) or not all(_number(score) for score in brick.scores.values()):
        yield f"scores is {brick.scores!r}; it must be names with finite numbers"
    for name, key in brick.keys.items():
        if not _finite(key):
            yield f"keys.{name} holds what is no finite number"
    if not brick.weights:
        yield "its weights are empty"
    yield from _neurons(brick.weights) if brick.kind == "neurons" else _tensors(brick.kind, brick.weights)


def _neurons(weights: Mapping[str, Tensor]) -> Iterator[str]:
    for name, numbers in weights.items():
        if numbers.dtype != torch.int64 or numbers.ndim != 1 or (numbers < 0).any():
            yield f"{name} of its weights must be a list of whole numbers from 0, the neurons of that layer"


def _tensors(kind: str, weights: Mapping[str, Tensor]) -> Iterator[str]:
    for name, part in weights.items():
        if not _finite(part):
            yield f"{name} of its weights holds what is no finite number"
    if kind == "prompt" and (set(weights) != {"prompt"} or weights["prompt"].ndim != 2):
        yield "weights of a prompt are one table called 'prompt', a row a vector"
    # Of what stands before the base (A, up), rows count the ranks or neurons; of what stands behind it (B, down), columns.
    ends = {"lora": ("A", "B"), "expert": ("up", "down")}.get(kind)
    if ends is None:
        return
    layers = sorted({name.rpartition(".")[0] for name in weights})
    sizes = set()
    for layer in layers:
        first, second = (weights.get(f"{layer}.{end}") for end in ends)
        if first is None or second is None or first.ndim < 2 or second.ndim != 2:
            yield f"{layer} needs two matrices among the weights, {layer}.{ends[0]} and {layer}.{ends[1]}"
        elif first.shape[0] != second.shape[1] or not len(first):
            yield (
                f"{layer}.{ends[0]} has {first.shape[0]} rows and {layer}.{ends[1]} {second.shape[1]} columns; they must be "
                "as many, at least one"
            )
        else:
            sizes.add(first.shape[0])
    if kind == "lora" and len(sizes) > 1:
        yield f"its layers have different ranks ({', '.join(map(str, sorted(sizes)))}); all of a brick have one"


def _finite(part: Tensor) -> bool:
    return part.is_floating_point() and bool(part.isfinite().all())


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
