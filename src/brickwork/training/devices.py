"""Devices and processes; a model that every process has, or that they share (FSDP).

Several processes are Lightning Fabric's. One needs little of it, and starts without its import, which takes longer than
that of torch.

Under ``ddp`` each process trains the whole system. Under ``fsdp`` (Zhao et al.: PyTorch FSDP. VLDB 2023, arXiv
2304.11277; here PyTorch's ``fully_shard``) each keeps an equal part of every parameter, gradient and optimiser
state, and the blocks of an encoder are made whole one at a time, while they run. The numbers are the same.
"""

import atexit
import contextlib
import copy
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor, nn

from brickwork.core.errors import BrickworkError, ConfigError, ResourceError, naming_extras
from brickwork.encoders.blocks.transformer import Transformer
from brickwork.encoders.hub import HubTransformer
from brickwork.training.config import TrainConfig
from brickwork.training.precision import choose_precision

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

T = TypeVar("T")
Strategy = Literal["ddp", "fsdp"]


@runtime_checkable
class Processes(Protocol):
    """The processes that train together, as ``lightning_fabric.Fabric`` has them."""

    @property
    def device(self) -> torch.device:
        """That of this process."""

    @property
    def global_rank(self) -> int:
        """The number of this process, from 0."""

    @property
    def world_size(self) -> int:
        """How many there are."""

    def setup_module(self, module: nn.Module) -> Any:
        """``module`` on the device; what it is called with is calculated in the chosen precision."""

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The chosen precision for what is calculated while entered."""

    def backward(self, tensor: Tensor) -> None:
        """The gradient of ``tensor``."""

    def no_backward_sync(self, module: Any) -> contextlib.AbstractContextManager[Any]:
        """Leaves gradients of ``module`` in each process while entered."""

    def all_reduce(self, data: Tensor, reduce_op: str) -> Any:
        """The element-wise mean or sum over processes."""


class OneProcess:
    """Training in this process alone."""

    global_rank, world_size = 0, 1

    def __init__(self, device: torch.device, *, bf16: bool):
        self.device = device
        self._bf16 = bf16

    def setup_module(self, module: nn.Module) -> "_InPrecision":
        """Moves ``module`` to the device."""
        return _InPrecision(module.to(self.device), self)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """bfloat16 where it is safe, or nothing."""
        if self._bf16:
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def backward(self, tensor: Tensor) -> None:
        """The gradient of ``tensor``."""
        tensor.backward()

    def no_backward_sync(self, module: Any) -> contextlib.AbstractContextManager[None]:
        """There is nobody to send gradients to."""
        return contextlib.nullcontext()

    def all_reduce(self, data: Tensor, reduce_op: str) -> Tensor:
        """``data`` as it is."""
        return data


class _InPrecision(nn.Module):
    """A module whose tensors come out in float32, whatever it calculated in."""

    def __init__(self, module: nn.Module, processes: OneProcess):
        super().__init__()
        self.module = module
        self._processes = processes

    def forward(self, *args: Any, **named: Any) -> dict[str, Any]:
        with self._processes.autocast():
            values = self.module(*args, **named)
        return cast("dict[str, Any]", _in_float32(values))


def _in_float32(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _in_float32(part) for name, part in value.items()}
    return value.float() if isinstance(value, Tensor) and value.dtype == torch.bfloat16 else value


@naming_extras("training")
def launch(config: TrainConfig, devices: int = 1, strategy: Strategy = "ddp") -> tuple[Processes, str]:
    """The processes on the devices of ``config``, all running, and why their precision was chosen.

    With ``devices`` > 1 this process is the first; the others start now, as the same command, and arrive here
    as well. Processes that torchrun started are taken as they are. Processes on CPU talk through gloo.
    ``strategy``: whether each has the whole model (``ddp``) or a part of it (``fsdp``).

    Raises:
        ConfigError: no such device here, the batch does not divide among the processes, or ``fsdp`` with one.
    """
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    nodes, world = 1, devices
    if "LOCAL_WORLD_SIZE" in os.environ:  # torchrun
        devices, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        nodes = world // devices
    _check(config, device, devices, world, strategy)
    bf16, reason = choose_precision(config.precision, device)
    if world == 1:
        return OneProcess(
            torch.device(device, 0) if device == "cuda" else torch.device(device), bf16=bf16
        ), reason

    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy, ModelParallelStrategy

    chosen: DDPStrategy | ModelParallelStrategy
    if strategy == "fsdp":
        reason += "; the processes share one model (fsdp)"
        chosen = ModelParallelStrategy(_share, data_parallel_size=world, tensor_parallel_size=1)
    else:
        # A step may leave parameters out (a layer that was not drawn), which DDP must be told to expect.
        chosen = DDPStrategy(find_unused_parameters=True)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # we say ourselves what was chosen
    fabric = Fabric(
        accelerator=device,
        devices=devices,
        num_nodes=nodes,
        strategy=chosen,
        precision="bf16-mixed" if bf16 else "32-true",
    )
    fabric.launch()
    atexit.unregister(_leave)
    atexit.register(_leave)
    return cast(Processes, fabric), reason


# How gloo and NCCL say that the other end is no longer there.
_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")


@contextlib.contextmanager
def telling_of_lost_processes(fabric: Processes, folder: Path) -> Iterator[None]:
    """Says that another process is gone, instead of what was being sent to it at that moment.

    Raises:
        ResourceError: one was killed, or its machine or memory is gone.
    """
    try:
        yield
    except RuntimeError as error:
        if fabric.world_size == 1 or not any(sign in str(error) for sign in _GONE):
            raise
        raise ResourceError(
            f"another process of this training is gone (killed, or out of memory), so this one stops too; the last "
            f"checkpoint is good. Go on with: brickwork resume {folder} --devices {fabric.world_size}"
        ) from error


def _leave() -> None:
    """Ends the threads that talk to the other processes, while Python still runs.

    Fabric does this for NCCL alone. A gloo thread that frees the tensors of a last message while the interpreter is
    being taken down aborts the process ("terminate called without an active exception").
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _check(config: TrainConfig, device: str, devices: int, world: int, strategy: str) -> None:
    if strategy == "fsdp" and world == 1:
        raise ConfigError(
            "strategy 'fsdp' shares a model among processes, and there is one; start more with --devices or "
            "torchrun, or leave --strategy out"
        )
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


def on_first(fabric: Processes, action: Callable[[], T]) -> T | None:
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


def from_first(fabric: Processes, number: int | None) -> int:
    """A whole number of the first process, known to all."""
    value = float(number or 0) if fabric.global_rank == 0 else 0.0
    values = torch.tensor(value, dtype=torch.float64, device=fabric.device)
    return int(reduced(fabric, values, "sum"))


def reduced(fabric: Processes, tensor: Tensor, operation: Literal["mean", "sum"]) -> Tensor:
    """The element-wise mean or sum of ``tensor`` over all processes."""
    result = fabric.all_reduce(tensor, reduce_op=operation)
    assert isinstance(result, Tensor)
    return result


@naming_extras("training")
def trained_copy(fabric: Processes, system: nn.Module) -> nn.Module:
    """What is to be trained: ``system`` itself, or under FSDP a copy of it, whose parameters will be shared.

    ``system`` then stays whole in the memory of the host, for what needs all of it (:func:`whole_system`).
    """
    if fabric.world_size == 1:
        return system
    from lightning_fabric.strategies import ModelParallelStrategy

    strategy = cast(Any, fabric).strategy
    return copy.deepcopy(system) if isinstance(strategy, ModelParallelStrategy) else system


def is_shared(tensor: Tensor) -> bool:
    """Whether this process has only a part of ``tensor``."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def whole(tensor: Tensor) -> Tensor:
    """``tensor`` with all its values, if it is shared; then every process has to call this."""
    return cast(Any, tensor).full_tensor() if is_shared(tensor) else tensor


def shared_like(tensor: Tensor, example: Tensor) -> Tensor:
    """``tensor``, which every process has whole, shared in the way in which ``example`` is."""
    if not is_shared(example):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    shared = cast(Any, example)
    placed = tensor.to(shared.device)
    return distribute_tensor(placed, shared.device_mesh, shared.placements, src_data_rank=None)


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All ``tensors`` whole, in the first process: the shared ones in the memory of the host, one at a time.

    Other processes have to call this as well, and get those that are not shared.
    """
    result = {}
    for name, tensor in tensors.items():
        if not is_shared(tensor):
            result[name] = tensor
            continue
        full = whole(tensor)
        if torch.distributed.get_rank() == 0:
            result[name] = full.cpu()
    return result


@contextlib.contextmanager
def whole_system(fabric: Processes, system: nn.Module, trained: nn.Module) -> Iterator[None]:
    """Gives ``system`` the values of ``trained``; on the device, while inside, in the first process.

    Every process has to enter. Nothing is done where both are the same.
    """
    if trained is system:
        yield
        return
    system.load_state_dict({name: whole(value).cpu() for name, value in trained.state_dict().items()})
    if fabric.global_rank == 0:
        system.to(fabric.device)
    yield
    system.to("cpu")


def _share(module: nn.Module, mesh: "DeviceMesh") -> nn.Module:
    """Shares the parameters of ``module``: each block of an encoder as a group of its own, and the rest as one.

    The rest is whole from the forward to the end of the backward pass, so that a loss may use it outside of
    ``forward``. A single number cannot be shared: each process has it, with the mean of their gradients.
    """
    from torch.distributed.fsdp import fully_shard

    single = {p for p in module.parameters() if p.ndim == 0}
    for parameter in single:
        parameter.data = parameter.data.to(mesh.device_type)
        if parameter.requires_grad:
            parameter.register_hook(_mean_over_processes)
    for part in list(module.modules()):
        if isinstance(part, Transformer | HubTransformer):
            for block in _blocks(part):
                fully_shard(block, mesh=mesh["data_parallel"], ignored_params=single)
    fully_shard(module, mesh=mesh["data_parallel"], ignored_params=single)
    return module


def _blocks(encoder: nn.Module) -> list[nn.Module]:
    """The members of an encoder's lists of modules that are made of several (so not single norms)."""
    lists = [part for part in encoder.modules() if isinstance(part, nn.ModuleList)]
    return [member for members in lists for member in members if len(list(member.children())) > 1]


def _mean_over_processes(gradient: Tensor) -> Tensor:
    gradient = gradient.clone()
    torch.distributed.all_reduce(gradient)
    return gradient / torch.distributed.get_world_size()
