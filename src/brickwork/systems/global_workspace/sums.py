"""What the chain and the baselines share: how two digits and their sum become tensors, and how answers are counted."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from brickwork.core.errors import DataError
from brickwork.core.types import Batch
from brickwork.data.types import Examples
from brickwork.systems.global_workspace.arithmetic import NUM_VALUES
from brickwork.systems.global_workspace.modules import perceptron

_CHUNK = 2000


class DigitReader(nn.Module):
    """The pixels of one digit to a bounded latent and its classes: classes = W tanh(body(x)).

    ``network``: see :class:`~brickwork.systems.global_workspace.config.ReaderConfig`.
    """

    def __init__(self, image_shape: Sequence[int], *, network: str, hidden: int, width: int):
        super().__init__()
        layers = conv_layers if network == "conv" else perceptron_layers
        self.body = nn.Sequential(*layers(image_shape, hidden, width), nn.Tanh())
        self.head = nn.Linear(width, NUM_VALUES)

    @classmethod
    def of(cls, config: Mapping[str, Any], image_shape: Sequence[int]) -> "DigitReader":
        """From the fields of a ``ReaderConfig``; models kept before there was a choice have no ``network``."""
        network = config.get("network", "perceptron")
        return cls(image_shape, network=network, hidden=config["hidden"], width=config["width"])

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy of the digits on both images."""
        logits = self.head(self.body(torch.cat([batch["first"], batch["second"]])))
        return F.cross_entropy(logits, torch.cat([batch["a"], batch["b"]]))


def perceptron_layers(image_shape: Sequence[int], hidden: int, width: int) -> nn.Sequential:
    """Flat pixels through two hidden layers."""
    return perceptron(math.prod(image_shape), hidden, width, num_hidden=2)


def conv_layers(image_shape: Sequence[int], hidden: int, width: int) -> list[nn.Module]:
    """Flat pixels (height, width, channels) through two convolutions with stride 2.

    Not the residual image encoder of :mod:`brickwork.encoders`: its normalisation and pooling take five times as long for
    fewer right digits in the few hundred steps that there are here.
    """
    height, breadth, channels = image_shape
    size = ((height + 3) // 4) * ((breadth + 3) // 4)
    return [
        nn.Unflatten(1, (height, breadth, channels)),
        ChannelsFirst(),
        nn.Conv2d(channels, hidden, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(hidden, 2 * hidden, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * hidden * size, width),
    ]


class ChannelsFirst(nn.Module):
    """(B, H, W, C) → (B, C, H, W)."""

    def forward(self, images: Float[Tensor, "batch h w c"]) -> Float[Tensor, "batch c h w"]:
        """The same numbers, in the order that convolutions take."""
        return images.movedim(-1, 1)


class SumsSystem(nn.Module):
    """Two digits, as numbers or images, and the class of their sum. What answers them is the subclass's ``scores``.

    ``image_shape``: (height, width, channels) of images; ``None`` for numbers.
    """

    slug = "global-workspace"
    input_kind = "columns"

    def __init__(self, *, num_sums: int, modulo: int, image_shape: Sequence[int] | None):
        super().__init__()
        self.num_sums = num_sums
        self.modulo = modulo
        self.image_shape = None if image_shape is None else tuple(image_shape)
        self.made_from: dict[str, Any] = {}

    def architecture(self) -> dict[str, Any]:
        """What it is made of: its arguments."""
        return self.made_from

    def collate(self, columns: Mapping[str, Any]) -> Batch:
        """Columns as tensors: ``a``, ``b``, ``sum`` (B,) int64 where they are there; ``first``, ``second`` (B, pixels)."""
        names = ("a", "b", "sum") if self.image_shape is None else ("first", "second")
        missing = [name for name in names[:2] if name not in columns]
        if missing:
            raise DataError(
                f"the column '{missing[0]}' is missing; this model adds {names[0]} and {names[1]}"
            )
        batch: Batch = {n: _whole(columns[n], n) for n in ("a", "b", "sum") if n in columns}
        for name in ("a", "b"):
            if name in batch and ((batch[name] < 0) | (batch[name] >= NUM_VALUES)).any():
                wrong = int(((batch[name] < 0) | (batch[name] >= NUM_VALUES)).nonzero()[0])
                raise DataError(
                    f"column '{name}', row {wrong} is {int(batch[name][wrong])}; digits are 0 to {NUM_VALUES - 1}"
                )
        if self.image_shape is not None:
            batch |= {n: self._pixels(np.asarray(columns[n]), n) for n in ("first", "second")}
        return batch

    def _pixels(self, images: np.ndarray, name: str) -> Float[Tensor, "batch pixels"]:
        if images.dtype != np.uint8 or images.shape[1:] != self.image_shape:
            raise DataError(
                f"column '{name}' is {images.dtype} of shape {images.shape}; this model takes uint8 images of shape "
                f"(number, {', '.join(map(str, self.image_shape or ()))})"
            )
        return torch.from_numpy(np.ascontiguousarray(images)).flatten(1).float() / 255

    def scores(self, batch: Batch, **options: Any) -> Float[Tensor, "batch sums"]:
        """How much speaks for each sum; larger is likelier."""
        raise NotImplementedError

    @torch.no_grad()
    def answers(self, columns: Mapping[str, Any], **options: Any) -> Float[np.ndarray, "rows sums"]:
        """:meth:`scores` of many rows, a chunk at a time."""
        device = next(self.parameters()).device
        count = len(next(iter(columns.values())))
        found = []
        for start in range(0, count, _CHUNK):
            part = self.collate({name: values[start : start + _CHUNK] for name, values in columns.items()})
            found.append(
                self.scores({n: v.to(device) for n, v in part.items()}, **options).float().cpu().numpy()
            )
        return np.concatenate(found) if found else np.zeros((0, self.num_sums), np.float32)

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """Accuracy on pairs that training showed, on those it did not, and on these by whether their sum was ever shown.

        A part without rows has no number.
        """
        right = self.answers(examples.columns).argmax(1) == np.asarray(examples.columns["sum"])
        return split_accuracy(right, examples.columns)

    def predict(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """``sum``: the likeliest."""
        return {"sum": self.answers(self._inputs(columns)).argmax(1).astype(np.int64)}

    def _inputs(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Without what is not given when the answer is asked for."""
        return {
            n: columns[n]
            for n in (("a", "b") if self.image_shape is None else ("first", "second"))
            if n in columns
        }


def split_accuracy(right: np.ndarray, columns: Mapping[str, Any]) -> dict[str, float]:
    """Shares of right answers by kind of pair, from ``held_out`` and ``new_sum`` (0 or 1 a row)."""
    hidden = np.asarray(columns["held_out"], dtype=bool)
    new = np.asarray(columns["new_sum"], dtype=bool)
    parts = {
        "seen pairs": ~hidden,
        "unseen pairs": hidden,
        "unseen pairs, sum seen": hidden & ~new,
        "unseen pairs, sum unseen": hidden & new,
    }
    return {f"accuracy: {name}": float(right[rows].mean()) for name, rows in parts.items() if rows.any()}


def one_hot(values: Int64[Tensor, " batch"], num_values: int) -> Float[Tensor, "batch values"]:
    """Rows of zeros with a one. A comparison, because ``F.one_hot`` looks at values and so cannot be mapped."""
    return (values[:, None] == torch.arange(num_values, device=values.device)).float()


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
