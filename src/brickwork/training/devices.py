"""Devices and processes, by Lightning Fabric."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from lightning_fabric.strategies.strategy import Strategy
from torch import Tensor

from brickwork.core.errors import BrickworkError, ConfigError
from brickwork.training.config import TrainConfig
from brickwork.training.precision import choose_precision

T = TypeVar("T")


def launch(config: TrainConfig, devices: int = 1) -> tuple[Fabric, str]:
    """Fabric on the devices of ``config`` with all processes running, and why its precision was chosen.

    With ``devices`` > 1 this process is the first; the others start now, as the same command, and arrive here
    as well. Processes that torchrun started are taken as they are. Processes on CPU talk through gloo.

    Raises:
        ConfigError: no such device here, or the batch does not divide among the processes.
    """
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    nodes, world = 1, devices
    if "LOCAL_WORLD_SIZE" in os.environ:  # torchrun
        devices, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        nodes = world // devices
    _check(config, device, devices, world)
    precision, reason = choose_precision(config.precision, device)
    # A step may leave parameters out (a layer that was not drawn), which DDP must be told to expect.
    strategy: str | Strategy = DDPStrategy(find_unused_parameters=True) if world > 1 else "auto"
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # we say ourselves what was chosen
    fabric = Fabric(
        accelerator=device, devices=devices, num_nodes=nodes, strategy=strategy, precision=precision
    )
    fabric.launch()
    return fabric, reason


def _check(config: TrainConfig, device: str, devices: int, world: int) -> None:
    if device == "cuda" and torch.cuda.device_count() < devices:
        raise ConfigError(
            f"{devices} CUDA devices were asked for and {torch.cuda.device_count()} are here; "
            "use fewer, or train.device=cpu"
        )
    if config.batch_size % world:
        raise ConfigError(
            f"train.batch_size={config.batch_size} does not divide among {world} processes; "
            f"use {config.batch_size - config.batch_size % world or world}"
        )
    starts_others = devices > 1 and "LOCAL_RANK" not in os.environ
    if starts_others and sys.modules["__main__"].__spec__ is None and not Path(sys.argv[0]).is_file():
        raise ConfigError(
            "several processes can be started from a script or the command line only, since each runs it "
            "again; save this as a file, or use one device"
        )


def on_first(fabric: Fabric, action: Callable[[], T]) -> T | None:
    """What ``action`` returns in the first process, ``None`` in the others; they wait.

    If it fails in the first, all leave, instead of waiting for a process that is gone.
    """
    result, error = None, None
    if fabric.global_rank == 0:
        try:
            result = action()
        except Exception as problem:
            error = problem
    failed = reduced(fabric, torch.tensor(float(error is not None), device=fabric.device), "sum")
    if error is not None:
        raise error
    if failed:
        raise BrickworkError("stopped because the first process did; its message says why")
    return result


def from_first(fabric: Fabric, number: int | None) -> int:
    """A whole number of the first process, known to all."""
    value = float(number or 0) if fabric.global_rank == 0 else 0.0
    held = torch.tensor(value, dtype=torch.float64, device=fabric.device)
    return int(reduced(fabric, held, "sum"))


def reduced(fabric: Fabric, tensor: Tensor, operation: Literal["mean", "sum"]) -> Tensor:
    """The element-wise mean or sum of ``tensor`` over all processes."""
    result = fabric.all_reduce(tensor, reduce_op=operation)
    assert isinstance(result, Tensor)
    return result
