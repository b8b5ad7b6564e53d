"""Inputs to vectors, batch by batch: sorted by length, sized by tokens, halved when memory runs out.

Texts are tokenised in slabs of a few thousand. Within a slab they are sorted by length, longest first, so the
texts of a batch are nearly equally long and padding all but vanishes; the next slab is tokenised while this
one is computed.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brickwork.core.errors import ResourceError
from brickwork.core.types import TokenBatch
from brickwork.core.values import whole_number
from brickwork.representation.inference import Precision, device_of, for_inference
from brickwork.representation.packed import PackedLinear

SLAB_TEXTS = 2048
# Tokens (with padding) of one batch. On a CPU the hidden states of a batch should stay in the cache;
# a GPU wants enough rows to be busy. Measured with benchmarks/encode.py --sweep.
TOKEN_BUDGET = {"cpu": 4096, "cuda": 131072}
IMAGES_PER_BATCH = 256
_TOKEN_STEP = 128
# From so many inputs on, an engine that can computes a batch on each thread; below, all threads compute one.
_MANY_TEXTS = 32


def pooled_batches(
    encoder: nn.Module,
    inputs: Any,
    layers: Sequence[int],
    *,
    batch_size: int | None = None,
    token_budget: int | None = None,
    precision: Precision = "auto",
) -> Iterator[tuple[np.ndarray, dict[int, Tensor]]]:
    """Yields (rows, layer → vectors of those rows) until every input has had its turn.

    ``inputs``: a list of texts, or images (N, H, W, C) of uint8. Vectors are float32 on the CPU, full width,
    not normalised; rows come in the order that suits the hardware. ``batch_size`` caps the inputs of a batch,
    ``token_budget`` its tokens.

    Raises:
        ConfigError: ``batch_size`` or ``token_budget`` is no whole number from 1 on.
        DataError: an input is neither.
        ResourceError: a single input does not fit into memory.
    """
    for name, number in (("batch_size", batch_size), ("token_budget", token_budget)):
        if number is not None:
            whole_number(name, number, least=1)
    with for_inference(encoder, precision) as model:
        usual = getattr(model, "token_budget", 0) or TOKEN_BUDGET.get(
            device_of(encoder).type, TOKEN_BUDGET["cpu"]
        )
        budget = token_budget or usual
        run = _Runner(model, tuple(layers))
        if hasattr(encoder, "tokenize"):
            tokenize: Any = encoder.tokenize
            parts: Any = _text_batches(run, _slabs(tokenize, inputs), budget, batch_size or budget)
        else:
            parts = _image_batches(run, encoder, inputs, batch_size or IMAGES_PER_BATCH)
        yield from run.all(parts, getattr(model, "streams", 1) if len(inputs) >= _MANY_TEXTS else 1)


def _text_batches(
    run: "_Runner", slabs: Iterator[tuple[np.ndarray, TokenBatch]], budget: int, cap: int
) -> Iterator[tuple[np.ndarray, TokenBatch]]:
    for rows, tokens in slabs:
        start = 0
        while start < len(tokens):
            stop = _fill(tokens.lengths, start, budget // run.shrunk, max(1, cap // run.shrunk))
            yield rows[start:stop], tokens.slice(start, stop)
            start = stop


def _image_batches(
    run: "_Runner", encoder: Any, inputs: np.ndarray, cap: int
) -> Iterator[tuple[np.ndarray, Tensor]]:
    start = 0
    while start < len(inputs):
        images = encoder.prepare(inputs[start : start + max(1, cap // run.shrunk)])
        yield np.arange(start, start + len(images)), images
        start += len(images)


def _slabs(
    tokenize: Callable[[Sequence[str]], TokenBatch], texts: Sequence[str]
) -> Iterator[tuple[np.ndarray, TokenBatch]]:
    """(rows, their tokens), longest first within a slab, the next slab made in a thread meanwhile."""
    starts = range(0, len(texts), SLAB_TEXTS)

    def make(start: int) -> tuple[np.ndarray, TokenBatch]:
        order, tokens = longest_first(tokenize(texts[start : start + SLAB_TEXTS]))
        return start + order, tokens

    if len(starts) <= 1:  # a few texts: no thread, the answer is wanted now
        yield from map(make, starts)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="tokenise") as pool:
        ahead = pool.submit(make, 0)
        for start in starts:
            slab = ahead.result()
            if start + SLAB_TEXTS < len(texts):
                ahead = pool.submit(make, start + SLAB_TEXTS)
            yield slab


def longest_first(tokens: TokenBatch) -> tuple[np.ndarray, TokenBatch]:
    """The texts sorted by length, longest first (equal ones keep their order), and where each came from."""
    order = torch.argsort(tokens.lengths, descending=True, stable=True)
    lengths = tokens.lengths[order]
    starts = (tokens.lengths.cumsum(0) - tokens.lengths)[order]
    # The source of each token: the start of its text, counted up within the text.
    offset = torch.repeat_interleave(starts - (lengths.cumsum(0) - lengths), lengths)
    ids = tokens.ids[offset + torch.arange(len(offset))]
    return order.numpy(), TokenBatch(ids, lengths, tokens.max_length)


def fill_up(tokens: TokenBatch) -> TokenBatch:
    """The batch with texts of nothing at its end, up to a multiple of ``_TOKEN_STEP`` tokens.

    The matrix library makes, and keeps, code for every number of rows that it meets; without this, hundreds
    of megabytes of it. Small batches are left alone: there are few of them, and they want an answer soon.
    """
    count = len(tokens.ids)
    missing = -count % _TOKEN_STEP if count > _TOKEN_STEP else 0
    if not missing:
        return tokens
    whole, rest = divmod(missing, tokens.max_length)
    lengths = tokens.lengths.new_tensor([tokens.max_length] * whole + [rest] * bool(rest))
    ids = torch.cat([tokens.ids, tokens.ids.new_zeros(missing)])
    return TokenBatch(ids, torch.cat([tokens.lengths, lengths]), tokens.max_length)


def _fill(lengths: Tensor, start: int, budget: int, cap: int) -> int:
    """Where the batch that begins at ``start`` ends: as many texts as fit, at least one."""
    return min(start + max(1, min(budget // max(1, int(lengths[start])), cap)), len(lengths))


class _Runner:
    """Runs the model on a batch; on running out of memory, in ever smaller parts.

    ``shrunk``: how many parts it took so far; coming batches are planned smaller by it.
    """

    def __init__(self, model: nn.Module, layers: tuple[int, ...]):
        self.model = model
        self.layers = layers
        self.device = device_of(model)
        self.shrunk = 1
        self.options: dict[str, int] = {}
        self.packed = any(isinstance(module, PackedLinear) for module in model.modules())

    def all(
        self, parts: Iterator[tuple[np.ndarray, Any]], streams: int
    ) -> Iterator[tuple[np.ndarray, dict[int, Tensor]]]:
        """(rows, vectors) of each part, ``streams`` of them computed at a time."""
        if streams == 1:
            yield from ((rows, self(part)) for rows, part in parts)
            return
        self.options = {"streams": streams}
        with ThreadPoolExecutor(streams, thread_name_prefix="encode") as pool:
            waiting: deque[tuple[np.ndarray, Future[dict[int, Tensor]]]] = deque()
            for rows, part in parts:
                waiting.append((rows, pool.submit(self, part)))
                if len(waiting) > 2 * streams:
                    rows, pooled = waiting.popleft()
                    yield rows, pooled.result()
            yield from ((rows, pooled.result()) for rows, pooled in waiting)

    def __call__(self, batch: TokenBatch | Tensor) -> dict[int, Tensor]:
        size = len(batch)
        while True:
            try:
                parts = [self._forward(_part(batch, a, a + size)) for a in range(0, len(batch), size)]
            except (MemoryError, RuntimeError) as error:
                if not _out_of_memory(error):
                    raise
                if size == 1:
                    raise ResourceError(
                        "out of memory while encoding a single input; free some memory, or use a model with "
                        "fewer tokens or layers"
                    ) from error
            else:
                return {layer: torch.cat([part[layer] for part in parts]) for layer in self.layers}
            # Only here, outside of the except block, are the tensors of the failed batch let go.
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            size = (size + 1) // 2
            self.shrunk *= 2

    def _forward(self, batch: TokenBatch | Tensor) -> dict[int, Tensor]:
        given = len(batch)
        if self.packed and isinstance(batch, TokenBatch):
            batch = fill_up(batch)
        with torch.inference_mode():
            pooled = self.model(batch.to(self.device), self.layers, **self.options)
            return {layer: vectors[:given].float().cpu() for layer, vectors in pooled.items()}


def _part(batch: TokenBatch | Tensor, start: int, stop: int) -> TokenBatch | Tensor:
    if isinstance(batch, TokenBatch):
        return batch.slice(start, min(stop, len(batch)))
    return batch[start:stop]


def _out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)  # torch's CPU allocator raises a plain RuntimeError
    return "not enough memory" in text or "can't allocate memory" in text or "bad_alloc" in text
