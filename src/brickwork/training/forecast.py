"""What a run would take, from two real steps in memory: nothing is written."""

import resource
import sys
import time
from typing import Any

import torch
from torch import Tensor, nn

from brickwork.core.types import TokenBatch
from brickwork.data.samplers import BatchSampler
from brickwork.data.types import Examples
from brickwork.training.config import TrainConfig
from brickwork.training.gradient_cache import cached_backward
from brickwork.training.precision import choose_device, choose_precision
from brickwork.training.schedules import build_optimizer


def forecast(system: Any, data: Examples, config: TrainConfig, *, seed: int) -> dict[str, Any]:
    """Shapes of a batch, parameters, loss, peak memory in bytes, seconds per step and for the whole run.

    Raises:
        ConfigError: the same as a training would.
    """
    device = choose_device(config.device)
    precision, reason = choose_precision(config.precision, device)
    sampler = BatchSampler(len(data), config.batch_size, seed)
    system.to(device).train()
    optimizer = build_optimizer(system, config)
    seconds, losses, shapes = [], [], {}
    for step in range(2):
        started = time.perf_counter()
        rows = sampler.indices(step)
        batch = {**system.collate(data.take(rows)), "step": step, "indices": rows}
        shapes = {name: _shape(value) for name, value in batch.items() if name not in ("step", "indices")}
        batch = {name: v.to(device) if isinstance(v, Tensor | TokenBatch) else v for name, v in batch.items()}
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16-mixed"):
            if config.cache_chunk:
                output = cached_backward(system, batch, config.cache_chunk)
            else:
                output = system.loss(batch)
                output.total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(output.total.item())
        seconds.append(time.perf_counter() - started)
    per_step = min(seconds) * config.accumulate  # the first step also warms up
    return {
        "batch": shapes,
        "parameters": _parameters(system),
        "precision": reason,
        "losses": losses,
        "peak_memory_bytes": _peak_memory(device),
        "seconds_per_step": per_step,
        "examples_per_second": config.batch_size * config.accumulate / per_step,
        "steps": config.steps,
        "forecast_seconds": per_step * config.steps,
    }


def _shape(value: Any) -> str:
    if isinstance(value, TokenBatch):
        return f"{len(value)} texts, {value.ids.shape[0]} tokens, the longest {value.max_length}"
    return str(list(value.shape)) if isinstance(value, Tensor) else f"{len(value)} values"


def _parameters(system: nn.Module) -> dict[str, int]:
    """Trainable and frozen parameters, and the number in each top-level part."""
    counts = {
        "trainable": sum(p.numel() for p in system.parameters() if p.requires_grad),
        "frozen": sum(p.numel() for p in system.parameters() if not p.requires_grad),
    }
    for name, child in system.named_children():
        counts[name] = sum(p.numel() for p in child.parameters())
    return counts


def _peak_memory(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
