"""One forward and backward pass, with or without gradient caching, on one or several processes."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from brickwork.core.errors import ConfigError, ResourceError
from brickwork.core.types import Batch, CachesGradients, LossOutput
from brickwork.training.config import TrainConfig
from brickwork.training.devices import Processes, reduced
from brickwork.training.gradient_cache import cached_backward


class _Sealed:
    """A batch that the input conversions of Fabric and DDP do not look into: the loop has moved it."""

    def __init__(self, batch: Batch):
        self.batch = batch


class _Forward(nn.Module):
    """The system as one ``forward``, which is what DDP and autocast wrap."""

    def __init__(self, system: nn.Module):
        super().__init__()
        self.system = system
        # DDP is told to expect unused parameters, and complains at length when a step has none. Now it has one.
        self.never_used = nn.Parameter(torch.zeros(1))

    def forward(self, sealed: _Sealed, embed: bool) -> dict[str, Any]:
        system: Any = self.system
        if embed:
            return dict(system.embed(sealed.batch))
        return _values(system.loss(sealed.batch))


def _values(output: LossOutput) -> dict[str, Any]:
    """A loss as plain values. All but the total are cut off: DDP would wait for gradients through them."""
    parts = {
        kind: {name: v.detach() if isinstance(v, Tensor) else v for name, v in values.items()}
        for kind, values in (("terms", output.terms), ("stats", output.stats))
    }
    return {"total": output.total, **parts}


@dataclass(frozen=True)
class LossValues:
    """A loss as numbers, the mean over processes (and batches of one update)."""

    total: float
    terms: dict[str, float]
    stats: dict[str, float]

    def not_finite(self) -> list[str]:
        """The names of the terms that are NaN or infinite; ``total`` if only the sum is."""
        wrong = [name for name, value in self.terms.items() if not math.isfinite(value)]
        return wrong or ([] if math.isfinite(self.total) else ["total"])


def mean_values(values: Sequence[LossValues]) -> LossValues:
    """The mean over the batches of one update; a name counts in the batches that have it."""

    def mean(parts: list[dict[str, float]]) -> dict[str, float]:
        names = dict.fromkeys(name for part in parts for name in part)
        columns = {name: [part[name] for part in parts if name in part] for name in names}
        return {name: sum(column) / len(column) for name, column in columns.items()}

    total = sum(v.total for v in values) / len(values)
    return LossValues(total, mean([v.terms for v in values]), mean([v.stats for v in values]))


class Step:
    """Adds the gradient of one batch to the parameters of a system."""

    def __init__(self, fabric: Processes, system: nn.Module, config: TrainConfig):
        if config.cache_chunk and not isinstance(system, CachesGradients):
            raise ConfigError(
                f"train.cache_chunk={config.cache_chunk}: {type(system).__name__} does not split its loss "
                "into embed and loss_from; use train.cache_chunk=0"
            )
        self.fabric = fabric
        self.system: Any = system
        self.config = config
        self.module = fabric.setup_module(_Forward(system))

    def backward(self, batch: Batch, *, last: bool) -> dict[str, Any]:
        """Total, terms and statistics of ``batch`` in this process, detached.

        The gradient is that of the loss divided by the number of batches per update. ``last``: of an update,
        so that processes exchange gradients now.
        """
        scale = 1 / self.config.accumulate
        with out_of_memory_advice(self.config):
            if self.config.cache_chunk:
                values = self._cached(batch, scale, last)
            else:
                with nullcontext() if last else self._without_sync():
                    values = self.module(_Sealed(batch), embed=False)
                    self.fabric.backward(scale * values["total"])
        return {**values, "total": values["total"].detach()}

    def _cached(self, batch: Batch, scale: float, last: bool) -> dict[str, Any]:
        def loss_from(vectors: dict[str, Tensor], batch: Batch) -> LossOutput:
            with self.fabric.autocast():
                return self.system.loss_from(vectors, batch)

        output = cached_backward(
            lambda part: self.module(_Sealed(part), embed=True),
            loss_from,
            batch,
            chunk=self.config.cache_chunk,
            scale=scale,
            backward=self.fabric.backward,
            without_sync=self._without_sync,
            sync=last,
        )
        return _values(output)

    def _without_sync(self) -> AbstractContextManager[None]:
        return self.fabric.no_backward_sync(self.module) if self.fabric.world_size > 1 else nullcontext()

    def gather(
        self, parts: Sequence[Mapping[str, Any]], flags: Sequence[bool]
    ) -> tuple[list[LossValues], list[bool]]:
        """The values of an update's batches over all processes, and which flags any process has up.

        All in one exchange, and on a GPU one wait.
        """
        numbers = [float(flag) for flag in flags]
        tensors = [torch.tensor(numbers, dtype=torch.float64, device=self.fabric.device)]
        for part in parts:
            for value in (part["total"], *part["terms"].values(), *part["stats"].values()):
                tensor = torch.as_tensor(value, device=self.fabric.device)
                tensors.append(tensor.to(torch.float64).reshape(1))
        row = iter(reduced(self.fabric, torch.cat(tensors), "mean").tolist())
        up = [next(row) > 0 for _ in flags]
        losses = []
        for part in parts:
            total = next(row)
            terms, stats = ({name: next(row) for name in part[kind]} for kind in ("terms", "stats"))
            losses.append(LossValues(total, terms, stats))
        return losses, up


@contextlib.contextmanager
def out_of_memory_advice(config: TrainConfig) -> Iterator[None]:
    """Turns a failed allocation into a :class:`ResourceError` that says which options need less memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not is_memory and "can't allocate memory" not in str(error):
            raise
        raise ResourceError(
            f"out of memory in a batch of {config.batch_size}; use a smaller train.batch_size (with a larger "
            "train.accumulate), or train.cache_chunk for the same batch in less memory"
        ) from error
