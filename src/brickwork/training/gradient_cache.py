"""Gradient caching: the exact gradient of a large contrastive batch, in the memory of a small one.

Gao, Zhang, Han, Callan: Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup. RepL4NLP
2021, arXiv 2101.06983. The loss needs the vectors of the whole batch, but the chain rule splits at them:

1. embed the batch chunk by chunk without a graph, and remember the random state before each chunk;
2. compute the loss from all vectors, and its gradient with respect to each (the cache);
3. embed each chunk again, this time with a graph and from the same random state (so that dropout drops the
   same units), and push the cached gradient of its vectors into the parameters.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from brickwork.core.seeding import rng_state, set_rng_state
from brickwork.core.types import Batch, LossOutput, batch_size, slice_batch


def cached_backward(
    embed: Callable[[Batch], dict[str, Tensor]],
    loss_from: Callable[[dict[str, Tensor], Batch], LossOutput],
    batch: Batch,
    *,
    chunk: int,
    scale: float = 1.0,
    backward: Callable[[Tensor], None] = Tensor.backward,
    without_sync: Callable[[], AbstractContextManager[None]] = nullcontext,
    sync: bool = True,
) -> LossOutput:
    """The loss of ``batch``; the gradient of ``scale`` times it is added to the parameters.

    Equal to ``(scale * loss_from(embed(batch), batch).total).backward()``. ``chunk``: rows embedded at once;
    it need not divide the batch. With several processes, gradients are exchanged in the last chunk only
    (``sync``), and everything before it runs in ``without_sync()``.
    """
    rows = batch_size(batch)
    bounds = [(start, min(start + chunk, rows)) for start in range(0, rows, chunk)]
    chunks = [slice_batch(batch, start, stop) for start, stop in bounds]

    states, parts = [], []
    with torch.no_grad():
        for part in chunks:
            states.append(rng_state())
            parts.append(embed(part))
    vectors = {name: torch.cat([p[name] for p in parts]).requires_grad_() for name in parts[0]}
    del parts

    with without_sync():  # parameters of the loss itself (a head, a temperature) get their gradient here
        output = loss_from(vectors, batch)
        backward(scale * output.total)
    cache = {name: v.grad for name, v in vectors.items() if v.grad is not None}

    after = rng_state()
    for (start, stop), part, state in zip(bounds, chunks, states):
        set_rng_state(*state)
        with nullcontext() if sync and stop == rows else without_sync():
            again = embed(part)
            # The derivative of this sum by the vectors is the cached gradient.
            backward(torch.stack([(again[name] * g[start:stop]).sum() for name, g in cache.items()]).sum())
    set_rng_state(*after)
    return output
