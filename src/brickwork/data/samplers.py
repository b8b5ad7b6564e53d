"""The order of examples as a pure function of seed and step, so that a resume needs only the step."""

import hashlib
from functools import lru_cache

import numpy as np


class BatchSampler:
    """Which examples make up the batch of a step.

    The examples are laid out in one endless row, epoch after epoch, each epoch in its own random order; step
    ``s`` takes places ``s * batch_size`` to ``(s + 1) * batch_size``. So every example comes once an epoch,
    no batch is short, and a batch may hold the end of one epoch and the start of the next.
    """

    def __init__(self, num_examples: int, batch_size: int, seed: int):
        if num_examples < 1 or batch_size < 1:
            raise ValueError(f"nothing to sample: {num_examples} examples, batches of {batch_size}")
        self.num_examples = num_examples
        self.batch_size = batch_size
        self.seed = seed
        # Many steps in a row use one epoch: only the newest orders are kept.
        self._order = lru_cache(maxsize=2)(self._shuffle)

    def _shuffle(self, epoch: int) -> np.ndarray:
        digest = hashlib.sha256(f"{self.seed}/{epoch}/order".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "little")).permutation(self.num_examples)

    def indices(self, step: int) -> list[int]:
        """The rows of the batch of ``step`` (from 0).

        A batch larger than the set holds rows more than once: they are the next epoch's.
        """
        place, stop = step * self.batch_size, (step + 1) * self.batch_size
        rows: list[int] = []
        while place < stop:
            epoch, offset = divmod(place, self.num_examples)
            taken = self._order(epoch)[offset : offset + stop - place]
            rows.extend(taken.tolist())
            place += len(taken)
        return rows

    def epoch(self, step: int) -> float:
        """How many times the whole set was seen before ``step``."""
        return step * self.batch_size / self.num_examples

    @staticmethod
    def shard(indices: list[int], rank: int, world: int) -> list[int]:
        """The contiguous part of a global batch that belongs to process ``rank`` of ``world``.

        Raises:
            ValueError: the batch does not divide evenly.
        """
        if len(indices) % world:
            raise ValueError(f"a batch of {len(indices)} does not divide among {world} processes")
        size = len(indices) // world
        return indices[rank * size : (rank + 1) * size]
