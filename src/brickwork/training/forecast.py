"""A dry run: two real steps in memory, and what the whole run would take. Nothing is written."""

import resource
import sys
import time
from typing import Any

from torch import Tensor, nn

from brickwork.core.seeding import seed_everything
from brickwork.core.types import Batch, TokenBatch
from brickwork.data.samplers import BatchSampler
from brickwork.data.types import Examples
from brickwork.training.batches import move
from brickwork.training.config import TrainConfig
from brickwork.training.devices import launch
from brickwork.training.loop import check_batch
from brickwork.training.optimizers import build_optimizer, set_rate
from brickwork.training.schedules import rate_factor
from brickwork.training.step import Step, mean_values

STEPS = 2


def forecast(system: nn.Module, data: Examples, config: TrainConfig, *, seed: int) -> dict[str, Any]:
    """Shapes, parameters, memory and time of a run, as plain JSON values.

    ``system`` is trained for two steps and is not to be used afterwards. The time is that of the second step,
    since the first also warms up, times ``config.steps``; validation and saving come on top.

    Raises:
        ConfigError: as :func:`brickwork.training.loop.fit` would.
    """
    check_batch(config, data)
    fabric, reason = launch(config)
    seed_everything(seed)
    system.train()
    step_of = Step(fabric, system, config)
    optimizer = build_optimizer(system, config)
    sampler = BatchSampler(len(data), config.batch_size, seed)
    batch: Batch = {}
    losses, seconds = [], 0.0
    for step in range(STEPS):
        mark = time.perf_counter()
        optimizer.zero_grad()
        set_rate(
            optimizer, rate_factor(step, steps=config.steps, warmup=config.warmup, schedule=config.schedule)
        )
        parts = []
        for number in range(step * config.accumulate, (step + 1) * config.accumulate):
            rows = sampler.indices(number)
            collated = {**system.collate(data.take(rows)), "indices": rows, "step": number}  # type: ignore[operator]
            batch = move(collated, fabric.device)
            parts.append(step_of.backward(batch, last=True))
        optimizer.step()
        losses.append(mean_values(step_of.gather(parts, [])[0]).total)
        seconds = time.perf_counter() - mark
    return {
        "batch": shapes(batch),
        "parameters": parameters(system),
        "losses": losses,
        "precision": reason,
        "device": str(fabric.device),
        "peak_memory_bytes": peak_memory(fabric.device.type),
        "seconds_per_step": seconds,
        "examples_per_second": config.batch_size * config.accumulate / seconds,
        "steps": config.steps,
        "epochs": config.steps * config.batch_size * config.accumulate / len(data),
        "forecast_seconds": seconds * config.steps,
    }


def shapes(batch: Batch) -> dict[str, str]:
    """Each column of a batch in words: shape and type of a tensor, texts and tokens of a packed one."""
    found = {}
    for name, value in batch.items():
        if isinstance(value, TokenBatch):
            found[name] = f"{len(value)} texts, {len(value.ids)} tokens, longest {value.max_length}"
        elif isinstance(value, Tensor):
            found[name] = f"{' × '.join(map(str, value.shape))} {str(value.dtype).removeprefix('torch.')}"
        elif isinstance(value, list):
            found[name] = f"{len(value)} values"
    return found


def parameters(system: nn.Module) -> dict[str, Any]:
    """How many numbers are trained and frozen, in all and in each direct part of the system."""

    def count(module: nn.Module) -> dict[str, int]:
        sizes = {True: 0, False: 0}
        for parameter in module.parameters():
            sizes[parameter.requires_grad] += parameter.numel()
        return {"trainable": sizes[True], "frozen": sizes[False]}

    parts = {name: count(child) for name, child in system.named_children()}
    return {**count(system), "parts": {name: part for name, part in parts.items() if sum(part.values())}}


def peak_memory(device: str) -> int:
    """The most memory in bytes that this process held: of the GPU if it trains there, else of the machine."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
