"""A dry run: two real steps in memory, and what the whole run would take. Nothing is written."""

import resource
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from brickwork.core.seeding import seed_everything
from brickwork.core.types import Batch, TokenBatch
from brickwork.data.types import Examples
from brickwork.training.batches import move
from brickwork.training.config import Stage, TrainConfig
from brickwork.training.devices import Processes, launch
from brickwork.training.optimizers import set_rate
from brickwork.training.stages import RunningStage, StagePlan, announce, plan_stages
from brickwork.training.step import mean_values
from brickwork.training.threads import choose_threads, using_threads

STEPS = 2


def forecast(
    system: nn.Module,
    data: Examples,
    config: TrainConfig,
    *,
    seed: int,
    stages: Sequence[Stage] = (),
    variants: Mapping[str, Examples] | None = None,
) -> dict[str, Any]:
    """Shapes, parameters, memory and time of a run, as plain JSON values.

    ``system`` is trained for two steps (of each stage) and is not to be used afterwards. The time is that of the second
    step, since the first also warms up, times the steps of the stage; validation and saving come on top.

    Raises:
        ConfigError: as :func:`brickwork.training.loop.fit` would.
    """
    plans = plan_stages(config, data, stages, variants)
    fabric, reason = launch(config)
    system.train()
    threads, in_words = torch.get_num_threads(), ""
    if fabric.device.type == "cpu":
        threads, in_words = choose_threads(config, system, fabric.world_size, None)
    with using_threads(threads):
        measured = [_measured(system, plan, fabric, seed) for plan in plans]
    first, whole = measured[0], sum(m["forecast_seconds"] for m in measured)
    rows = config.batch_size * config.accumulate
    summary = {
        "batch": first["batch"],
        "parameters": first["parameters"],
        "losses": first["losses"],
        "precision": reason,
        "device": ", ".join(filter(None, (str(fabric.device), in_words))),
        "peak_memory_bytes": peak_memory(fabric.device.type),
        "seconds_per_step": whole / config.steps,
        "examples_per_second": rows * config.steps / whole,
        "steps": config.steps,
        "epochs": sum(rows * plan.train.steps / len(plan.data) for plan in plans),
        "forecast_seconds": whole,
    }
    if not stages:
        return summary
    named = [{"name": plan.name, "steps": plan.train.steps, **m} for plan, m in zip(plans, measured)]
    return {**summary, "stages": named}


def _measured(system: nn.Module, plan: StagePlan, fabric: Processes, seed: int) -> dict[str, Any]:
    """Two steps of a stage: what it trains, on what, and how long all of it takes."""
    announce(system, plan, seed)
    seed_everything(seed)
    stage = RunningStage(plan, system, fabric, seed)
    batch: Batch = {}
    losses, seconds = [], 0.0
    try:
        for step in range(plan.first, plan.first + STEPS):
            mark = time.perf_counter()
            stage.optimizer.zero_grad()
            set_rate(stage.optimizer, plan.rate_factor(step))
            parts = []
            for number in range(step * plan.train.accumulate, (step + 1) * plan.train.accumulate):
                batch = {**move(stage.batches.get(number), fabric.device), **plan.place(number)}
                parts.append(stage.step_of.backward(batch, last=True))
            stage.optimizer.step()
            losses.append(mean_values(stage.step_of.gather(parts, [])[0]).total)
            seconds = time.perf_counter() - mark
        trained = parameters(system)
    finally:
        stage.close()
    return {
        "batch": shapes(batch),
        "parameters": trained,
        "losses": losses,
        "seconds_per_step": seconds,
        "forecast_seconds": seconds * plan.train.steps,
    }


def shapes(batch: Batch) -> dict[str, str]:
    """Each column of a batch in words: shape and type of a tensor, texts and tokens of a packed one."""
    result = {}
    for name, value in batch.items():
        if isinstance(value, TokenBatch):
            result[name] = f"{len(value)} texts, {len(value.ids)} tokens, longest {value.max_length}"
        elif isinstance(value, Tensor):
            result[name] = f"{' × '.join(map(str, value.shape))} {str(value.dtype).removeprefix('torch.')}"
        elif isinstance(value, list):
            result[name] = f"{len(value)} values"
    return result


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
