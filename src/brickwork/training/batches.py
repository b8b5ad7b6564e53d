"""Batches in their order, the next one made while the current one is used."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from brickwork.core.types import Batch, TokenBatch
from brickwork.data.samplers import BatchSampler
from brickwork.data.types import Examples


class Batches:
    """Batch 0, 1, 2 … of a process, collated one ahead in a thread.

    A batch is a pure function of its number: rows by the sampler, then ``collate``, which must not draw from
    the global random generators (they belong to the training thread). Entered as a context, left with the
    thread gone.
    """

    def __init__(
        self,
        collate: Callable[[dict[str, Any]], Batch],
        data: Examples,
        sampler: BatchSampler,
        *,
        last: int,
        rank: int = 0,
        world: int = 1,
    ):
        self.collate = collate
        self.data = data
        self.sampler = sampler
        self.last = last
        self.rank = rank
        self.world = world
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="brickwork-batches")
        threads = torch.get_num_threads()
        self._worker.submit(_compute_alone).result()
        torch.set_num_threads(threads)
        self._ahead: dict[int, Future[Batch]] = {}

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread; what it was making is dropped."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def rows(self, number: int) -> list[int]:
        """The examples of batch ``number``, over all processes."""
        return self.sampler.indices(number)

    def get(self, number: int) -> Batch:
        """This process's part of batch ``number``; starts on the next one."""
        current = self._ahead.pop(number, None) or self._worker.submit(self._make, number)
        if number < self.last:
            self._ahead = {number + 1: self._worker.submit(self._make, number + 1)}
        return current.result()

    def _make(self, number: int) -> Batch:
        rows = self.sampler.shard(self.rows(number), self.rank, self.world)
        return {**self.collate(self.data.take(rows)), "indices": rows}


def _compute_alone() -> None:
    """torch computes on one thread where this one calls it.

    It keeps a pool for every thread that calls it, and those of two on the same cores wait for each other: training on
    images of 32 × 32 took 1.2 times as long (two cores). The number belongs to the calling thread once that has asked for
    it; what other threads begin with is set as well, and is for the caller to put back.
    """
    torch.get_num_threads()
    torch.set_num_threads(1)


def move(batch: Batch, device: torch.device) -> Batch:
    """The batch, which was made on the CPU, with its tensors on ``device``."""
    if device.type == "cpu":
        return batch
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor | TokenBatch) else value
        for name, value in batch.items()
    }
