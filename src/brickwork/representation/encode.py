"""Texts or images to an array of vectors: one size, or every depth from one pass."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32
from torch import nn

from brickwork.core.console import progress_bar
from brickwork.encoders.image_text import ImageTextEncoder
from brickwork.representation.batches import pooled_batches
from brickwork.representation.inference import Precision
from brickwork.representation.inputs import check_texts, images_of, texts_of
from brickwork.representation.truncate import truncate

if TYPE_CHECKING:
    from rich.progress import Task
    from rich.text import Text


def encode(
    encoder: nn.Module,
    inputs: Any,
    dim: int,
    layers: int,
    *,
    batch_size: int | None = None,
    normalize: bool = True,
    progress: bool | Callable[[int], None] = False,
    precision: Precision = "auto",
    token_budget: int | None = None,
) -> Float32[np.ndarray, "n dim"]:
    """One vector per input after ``layers`` layers, cut to ``dim`` dimensions, then normalised; in input order.

    Raises:
        DataError: an input is not a text (or the images are not of the model's shape).
        ResourceError: a single input does not fit into memory.
    """
    encoder, layers = _tower(encoder, inputs, layers)
    inputs = _as_inputs(encoder, inputs)
    vectors = np.empty((len(inputs), dim), dtype=np.float32)
    options: dict[str, Any] = {"batch_size": batch_size, "token_budget": token_budget, "precision": precision}
    with _progress(len(inputs), progress) as advance:
        for rows, pooled in pooled_batches(encoder, inputs, (layers,), **options):
            vectors[rows] = truncate(pooled[layers].numpy(), dim, normalize)
            advance(len(rows))
    return vectors


def encode_exits(
    encoder: nn.Module,
    inputs: Any,
    layers: Sequence[int],
    *,
    batch_size: int | None = None,
    progress: bool | Callable[[int], None] = False,
    precision: Precision = "auto",
    token_budget: int | None = None,
) -> dict[int, Float32[np.ndarray, "n width"]]:
    """The vectors after each of ``layers``, from one pass: full width, not normalised; in input order.

    What an evaluation over dims × layers needs: each text is tokenised and encoded once.

    Raises:
        DataError, ResourceError: as :func:`encode`.
    """
    inputs = _as_inputs(encoder, inputs)
    shape = (len(inputs), int(encoder.embedding_dim))  # type: ignore[arg-type]
    vectors = {layer: np.empty(shape, dtype=np.float32) for layer in layers}
    if not vectors:
        return {}
    options: dict[str, Any] = {"batch_size": batch_size, "token_budget": token_budget, "precision": precision}
    with _progress(len(inputs), progress) as advance:
        for rows, pooled in pooled_batches(encoder, inputs, tuple(vectors), **options):
            for layer, array in vectors.items():
                array[rows] = pooled[layer].numpy()
            advance(len(rows))
    return vectors


def _tower(encoder: nn.Module, inputs: Any, layers: int) -> tuple[nn.Module, int]:
    """Which encoder the inputs go through, and how far: images of an encoder of both through that of images."""
    if (
        isinstance(encoder, ImageTextEncoder)
        and isinstance(inputs, np.ndarray)
        and inputs.dtype.kind in "buif"
    ):
        return encoder.image, encoder.image.num_layers
    return encoder, layers


def _as_inputs(encoder: nn.Module, inputs: Any) -> Any:
    if not hasattr(encoder, "tokenize"):
        return images_of(inputs)
    texts = texts_of(inputs)
    check_inputs(encoder, texts)
    return texts


def check_inputs(encoder: nn.Module, texts: Sequence[Any]) -> None:
    """Refuses what is not a text, and what the encoder cannot read.

    Raises:
        DataError: with the first wrong row.
    """
    check_texts(texts)
    check = getattr(encoder, "check", None)
    if callable(check):
        check(texts)


@contextlib.contextmanager
def _progress(total: int, show: bool | Callable[[int], None]) -> Iterator[Callable[[int], None]]:
    """What to call with the number of inputs done: the caller's own, a bar on stderr, or nothing."""
    if callable(show):
        yield show
        return
    if not show:
        yield lambda count: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TimeRemainingColumn
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: "Task") -> "Text":
            return Text(f"{task.finished_speed or task.speed or 0:,.0f}/s", style="progress.data.speed")

    columns = ("encoding", BarColumn(), MofNCompleteColumn(), Speed(), TimeRemainingColumn())
    with progress_bar(*columns) as bar:
        task = bar.add_task("encoding", total=total)
        yield lambda count: bar.advance(task, count)
