"""Two digits, as numbers or images, and the class of their sum: how they become tensors, and how answers and routes are
judged."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from brickwork.core.errors import ConfigError, DataError
from brickwork.core.types import Batch
from brickwork.data.types import TaskData
from brickwork.systems.global_workspace.data import NUM_VALUES

_CHUNK = 2000


def sum_facts(task: Any, data: TaskData) -> dict[str, Any]:
    """What a chain must know of its sums.

    Raises:
        DataError: the data has none.
        ConfigError: a reader for numbers, or none for images; a sum that is no digit, of images.
    """
    if data.kind != "sums":
        raise DataError(
            f"task.kind=chain needs sums (data.source=addition); {data.name} holds {data.kind}. For vectors of your own "
            "domains use --recipe small"
        )
    images, modulo = data.modality == "image", 10 if data.num_classes == NUM_VALUES else 0
    if images != (task.reader is not None):
        what = (
            "images, which need task.reader" if images else "numbers, which have none: leave task.reader out"
        )
        raise ConfigError(
            f"task.reader does not fit: {data.name} holds {what}; see the recipes addition and digits"
        )
    if images and not modulo:
        raise ConfigError(
            f"{data.name}: a learned readout starts from the ten classes of the encoder; use data.addition.modulo=10"
        )
    shape = list(map(int, np.asarray(data.train.columns["first"]).shape[1:])) if images else None
    return {"num_sums": data.num_classes, "modulo": modulo, "image_shape": shape}


def inputs_of(columns: Mapping[str, Any], image_shape: Sequence[int] | None) -> dict[str, Any]:
    """The two digits alone: what is given where a sum is to be predicted."""
    names = ("a", "b") if image_shape is None else ("first", "second")
    return {name: columns[name] for name in names if name in columns}


def collate_sums(columns: Mapping[str, Any], image_shape: Sequence[int] | None) -> Batch:
    """Columns as tensors: ``a``, ``b``, ``sum`` (B,) int64 where they are there; of images of ``image_shape`` (height,
    width, channels) also ``first``, ``second`` (B, pixels).

    Raises:
        DataError: a missing column, a digit that is none, images of another shape; names column and row.
    """
    names = ("a", "b") if image_shape is None else ("first", "second")
    missing = [name for name in names if name not in columns]
    if missing:
        raise DataError(f"the column '{missing[0]}' is missing; this model adds {names[0]} and {names[1]}")
    batch: Batch = {n: _whole(columns[n], n) for n in ("a", "b", "sum") if n in columns}
    for name in ("a", "b"):
        if name in batch and ((batch[name] < 0) | (batch[name] >= NUM_VALUES)).any():
            wrong = int(((batch[name] < 0) | (batch[name] >= NUM_VALUES)).nonzero()[0])
            raise DataError(
                f"column '{name}', row {wrong} is {int(batch[name][wrong])}; digits are 0 to {NUM_VALUES - 1}"
            )
    if image_shape is not None:
        batch |= {n: _pixels(np.asarray(columns[n]), n, image_shape) for n in names}
    return batch


def _pixels(images: np.ndarray, name: str, shape: Sequence[int]) -> Float[Tensor, "batch pixels"]:
    if images.dtype != np.uint8 or images.shape[1:] != tuple(shape):
        raise DataError(
            f"column '{name}' is {images.dtype} of shape {images.shape}; this model takes uint8 images of shape "
            f"(number, {', '.join(map(str, shape))})"
        )
    return torch.from_numpy(np.ascontiguousarray(images)).flatten(1).float() / 255


@torch.no_grad()
def scores_of_rows(
    system: nn.Module, columns: Mapping[str, Any], **options: Any
) -> Float[np.ndarray, "rows sums"]:
    """``system.scores`` of many rows, a chunk at a time; larger is likelier."""
    adder: Any = system
    device = next(system.parameters()).device
    count = len(next(iter(columns.values())))
    parts = [np.zeros((0, adder.num_sums), np.float32)]
    for start in range(0, count, _CHUNK):
        rows = adder.collate({name: values[start : start + _CHUNK] for name, values in columns.items()})
        scores = adder.scores({name: values.to(device) for name, values in rows.items()}, **options)
        parts.append(scores.float().cpu().numpy())
    return np.concatenate(parts)


def split_accuracy(right: np.ndarray, columns: Mapping[str, Any], what: str) -> dict[str, float]:
    """Shares of right answers by kind of pair, from ``held_out`` and ``new_sum`` (0 or 1 a row)."""
    hidden = np.asarray(columns["held_out"], dtype=bool)
    new = np.asarray(columns["new_sum"], dtype=bool)
    parts = {
        "seen pairs": ~hidden,
        "unseen pairs": hidden,
        "unseen pairs, sum seen": hidden & ~new,
        "unseen pairs, sum unseen": hidden & new,
    }
    return {f"{what}: {name}": float(right[rows].mean()) for name, rows in parts.items() if rows.any()}


def is_exact(route: np.ndarray, b: int) -> bool:
    """Whether the most open gates are Input, then b times Increment, then Output at the end; idle steps are free.

    Holding is Output, so Outputs between may stand anywhere; loading again before the first Increment is idle too.
    """
    work = [int(k) for k in route if k != 2]
    loads = len(work) - b
    return bool(route[-1] == 2) and loads >= 1 and work == [0] * loads + [1] * b


def _whole(values: Sequence[Any] | np.ndarray, name: str) -> Int64[Tensor, " batch"]:
    """Whole numbers of a table, whose cells may be texts."""
    try:
        numbers = np.asarray([float(value) for value in values], dtype=np.float64)
    except (TypeError, ValueError):
        wrong = next(i for i, value in enumerate(values) if not _is_number(value))
        raise DataError(
            f"column '{name}', row {wrong} is {values[wrong]!r}; it must be a whole number"
        ) from None
    if not (np.isfinite(numbers).all() and (numbers == np.round(numbers)).all()):
        wrong = int(np.flatnonzero(~(np.isfinite(numbers) & (numbers == np.round(numbers))))[0])
        raise DataError(f"column '{name}', row {wrong} is {values[wrong]!r}; it must be a whole number")
    return torch.from_numpy(numbers.astype(np.int64))


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
