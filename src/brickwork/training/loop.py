"""The training loop, for every system.

A step is: rows of the batch (a pure function of seed and step) → collate (one batch ahead, in a thread) → loss
and backward, in micro-batches or with gradient caching → everything finite? → mean over processes → clip →
update → log → validate → save. A resumed run ends with the same bits as one that was never stopped.
"""

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import nn

from brickwork.core import config as configs
from brickwork.core import distributed
from brickwork.core.errors import ConfigError, Interrupted, NonFiniteError
from brickwork.core.files import FolderLock, remove_leftovers, write_json
from brickwork.core.seeding import rng_state, seed_everything, set_rng_state
from brickwork.core.types import Batch, CachesGradients, LossOutput
from brickwork.data.samplers import BatchSampler
from brickwork.data.types import Examples
from brickwork.training.checkpoint import Checkpoint, load_checkpoint, newest_good, save_checkpoint
from brickwork.training.config import TrainConfig
from brickwork.training.gradient_cache import cached_backward
from brickwork.training.precision import choose_device, choose_precision
from brickwork.training.progress import Progress, Silent
from brickwork.training.records import Records, write_environment
from brickwork.training.schedules import build_optimizer, set_rate
from brickwork.training.signals import StopSignals

Validate = Callable[[nn.Module], Mapping[str, float]]


@dataclass(frozen=True)
class FitResult:
    """What a training did: updates in all, the losses of this call's steps, and its speed."""

    step: int
    losses: tuple[float, ...]
    seconds: float
    examples_per_second: float


def fit(
    system: Any,
    data: Examples,
    config: TrainConfig,
    folder: Path | str,
    *,
    seed: int,
    validate: Validate | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    devices: int = 1,
    tensorboard: bool = False,
    on_start: Callable[[], None] | None = None,
) -> FitResult:
    """Trains ``system`` in place and leaves checkpoints and records in ``folder``.

    With several processes (``brickwork train --devices`` or torchrun) each calls this with the same arguments;
    ``config.batch_size`` is divided among them. ``on_start`` is called once the folder is ours.

    Raises:
        ConfigError: the configuration does not fit data, system or machine; or the folder holds a run.
        ArtifactError: ``resume`` with damaged or foreign checkpoints.
        NonFiniteError: before an update with a loss or gradient that is not finite.
        ResourceError: the folder cannot be written, or another process trains there.
        Interrupted: Ctrl-C or SIGTERM, after saving.
    """
    folder, shown = Path(folder), progress or Silent()
    # --- devices and precision
    device = choose_device(config.device)
    precision, reason = choose_precision(config.precision, device)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(config.deterministic)
    fabric = _fabric(device, devices, precision)
    world, rank = distributed.world_size(), distributed.rank()
    # --- data order
    sampler = BatchSampler(len(data), config.batch_size, seed)
    micro = sampler.shard(range(config.batch_size), rank, world)
    if config.cache_chunk and not isinstance(system, CachesGradients):
        raise ConfigError(
            "train.cache_chunk needs a system that splits its loss (embed and loss_from); set it to 0"
        )
    # --- model and optimiser
    system.to(fabric.device)
    system.train()
    optimizer = build_optimizer(system, config)
    fingerprint = configs.fingerprint(replace(config, keep=1, log_every=1, validate_every=0, threads=0))
    lock: contextlib.AbstractContextManager[Any] = FolderLock(folder, "training")
    if rank != 0:
        lock = contextlib.nullcontext()
    with lock, StopSignals() as signals:
        # --- start rule: own checkpoint, else from scratch
        first = _start(folder, system, optimizer, resume, fingerprint, seed)
        records = None
        if rank == 0:
            remove_leftovers(folder)
            write_environment(folder, precision=precision, reason=reason, device=device, world=world)
            records = Records(folder, first, tensorboard)
            if on_start is not None:
                on_start()
        shown.message(f"{reason}; {world} process{'es' * (world > 1)} of {torch.get_num_threads()} threads")
        shown.start(config.steps, first)
        losses: list[float] = []
        logged, started, log_started = 0, time.perf_counter(), time.perf_counter()
        batches = _batches(system, data, sampler, config, first, micro)

        def checkpoint(step: int) -> None:
            if rank == 0:
                save_checkpoint(folder, step, system, optimizer, fingerprint=fingerprint, keep=config.keep)

        def look(step: int) -> None:
            if validate is None or rank != 0:
                return
            values = _validate(system, validate)
            shown.validated(step, values)
            if records is not None and values:
                records.add({"step": step, "validation": dict(values)})

        try:
            if first == 0:
                look(0)
            for step in range(first, config.steps):
                # --- loss and gradient
                rate = set_rate(optimizer, step, config)
                outputs = []
                for batch in next(batches):
                    batch = fabric.to_device(batch)
                    outputs.append(_backward(fabric, system, batch, config))
                # --- before any damage: is everything finite, does anybody want to stop?
                problem = _problem(system, outputs)
                stop = _agree(fabric.device, problem is not None, signals.received)
                if stop.broken:
                    _refuse(folder, step, outputs, problem, sampler, config)
                norm = _exchange_and_clip(system, config.clip_norm, world)
                if not torch.isfinite(norm):
                    _refuse(folder, step, outputs, "the gradient (its norm overflows)", sampler, config)
                # --- update
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                if hasattr(system, "after_step"):
                    system.after_step(step)
                done = step + 1
                # --- log, validate, save
                losses.append(_mean_loss(outputs, fabric))
                speed = len(losses) * config.batch_size * config.accumulate / (time.perf_counter() - started)
                shown.update(done, losses[-1], speed)
                if records is not None and (done % config.log_every == 0 or done == config.steps):
                    recent = losses[logged:]
                    seconds = time.perf_counter() - log_started
                    records.add({
                        "step": done,
                        "loss": sum(recent) / len(recent),
                        "terms": _floats(outputs[-1].terms),
                        "stats": _floats(outputs[-1].stats),
                        "learning_rate": rate,
                        "gradient_norm": float(norm),
                        "examples_per_second": len(recent) * config.batch_size * config.accumulate / seconds,
                    })  # fmt: skip
                    logged, log_started = len(losses), time.perf_counter()
                if stop.asked:
                    checkpoint(done)
                    raise Interrupted(
                        f"stopped after step {done} of {config.steps} and saved; "
                        f"go on with: brickwork resume {folder}",
                        128 + stop.asked,
                    )
                if done == config.steps or (config.save_every and done % config.save_every == 0):
                    checkpoint(done)
                if done == config.steps or (config.validate_every and done % config.validate_every == 0):
                    look(done)
        finally:
            batches.close()
            shown.close()
            if records is not None:
                records.close()
    seconds = time.perf_counter() - started
    examples = len(losses) * config.batch_size * config.accumulate
    return FitResult(config.steps, tuple(losses), seconds, examples / seconds)


def _fabric(device: str, devices: int, precision: str) -> Fabric:
    """Fabric knows the processes that torchrun started; it does not start any."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if devices > 1 and world == 1:
        raise ConfigError(
            f"devices={devices} needs that many processes: brickwork train … --devices {devices} starts them, "
            f"or run your script with: torchrun --nproc-per-node {devices}"
        )
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", module="lightning"
        )  # advice about hardware that the user did not choose
        fabric = Fabric(
            accelerator="gpu" if device == "cuda" else "cpu",
            devices=local if world > 1 else 1,
            num_nodes=world // local,
            strategy="ddp" if world > 1 else "auto",
            precision=precision,  # type: ignore[arg-type]
        )
        fabric.launch()
    return fabric


def _start(
    folder: Path,
    system: nn.Module,
    optimizer: torch.optim.Optimizer,
    resume: bool,
    fingerprint: str,
    seed: int,
) -> int:
    """The first step to do: 0, or where the newest good checkpoint was taken."""
    found: Checkpoint | None = newest_good(folder)
    if not resume:
        if found is not None:
            raise ConfigError(
                f"{folder} holds a run already (step {found.step}): go on with it by "
                f"`brickwork resume {folder}`, or choose another folder"
            )
        if (folder / "model.safetensors").exists() or (folder / "manifest.json").exists():
            raise ConfigError(f"{folder} holds a model or an index already; choose another folder")
    seed_everything(seed)
    if found is None:
        return 0
    load_checkpoint(found, system, optimizer, fingerprint=fingerprint)
    return found.step


def _batches(
    system: Any, data: Examples, sampler: BatchSampler, config: TrainConfig, first: int, micro: list[int]
) -> Iterator[list[Batch]]:
    """The micro-batches of each step, of this process's rows; collated one step ahead in a thread."""

    def collate(step: int) -> list[Batch]:
        made = []
        for number in range(step * config.accumulate, (step + 1) * config.accumulate):
            rows = sampler.indices(number)
            mine = [rows[i] for i in micro]
            # Micro-batches of a step are numbered on, so that each draws its own sizes.
            made.append({**system.collate(data.take(mine)), "step": number, "indices": mine})
        return made

    with ThreadPoolExecutor(1, "collate") as pool:
        ahead = pool.submit(collate, first)
        for step in range(first, config.steps):
            batch = ahead.result()
            if step + 1 < config.steps:
                ahead = pool.submit(collate, step + 1)
            yield batch


def _backward(fabric: Fabric, system: Any, batch: Batch, config: TrainConfig) -> LossOutput:
    """The loss of one micro-batch; adds its share of the gradient, unless a term is not finite."""
    scale = 1.0 / config.accumulate
    with fabric.autocast():
        if config.cache_chunk:
            return cached_backward(system, batch, config.cache_chunk, scale)
        output = system.loss(batch)
    if torch.isfinite(output.total):
        (output.total * scale).backward()
    return output


def _problem(system: nn.Module, outputs: list[LossOutput]) -> str | None:
    """What is not finite, by name: a term of the loss, else a parameter's gradient; ``None`` if all is well."""
    for output in outputs:
        for name, term in output.terms.items():
            if not torch.isfinite(term).all():
                return f"the loss term '{name}' ({term.item()})"
        if not torch.isfinite(output.total):
            return f"the loss ({output.total.item()})"
    gradients = [p.grad for p in system.parameters() if p.grad is not None]
    if gradients and not torch.isfinite(torch.stack(torch._foreach_norm(gradients))).all():
        for name, parameter in system.named_parameters():
            if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
                return f"the gradient of '{name}'"
    return None


@dataclass(frozen=True)
class _Agreement:
    broken: bool
    asked: int


def _agree(device: torch.device, broken: bool, received: int | None) -> _Agreement:
    """All processes stop together, whoever found the problem or got the signal."""
    if distributed.world_size() == 1:
        return _Agreement(broken, received or 0)
    flags = torch.tensor([int(broken), received or 0], device=device)
    dist.all_reduce(flags, op=dist.ReduceOp.MAX)
    return _Agreement(bool(flags[0]), int(flags[1]))


def _exchange_and_clip(system: nn.Module, clip_norm: float, world: int) -> torch.Tensor:
    """Averages gradients over processes (once an update), clips them, and gives their norm before clipping.

    One exchange after the whole backward pass is exact for gradient caching and accumulation alike.
    """
    parameters = [p for p in system.parameters() if p.requires_grad]
    if world > 1:
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None])
        dist.all_reduce(flat)
        flat /= world
        for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters])):
            parameter.grad = part.view_as(parameter)
    return torch.nn.utils.clip_grad_norm_(parameters, clip_norm or float("inf"))


def _refuse(
    folder: Path,
    step: int,
    outputs: list[LossOutput],
    problem: str | None,
    sampler: BatchSampler,
    config: TrainConfig,
) -> None:
    """Stops before the update; ``nonfinite.json`` has what is needed to compute that step again."""
    what = problem or "a loss or gradient of another process"
    rows = [i for n in range(config.accumulate) for i in sampler.indices(step * config.accumulate + n)]
    record = {
        "step": step,
        "problem": what,
        "terms": [{name: str(term.item()) for name, term in output.terms.items()} for output in outputs],
        "indices": rows,
    }
    if distributed.rank() == 0:
        write_json(folder / "nonfinite.json", record)
    some = ", ".join(map(str, rows[:5])) + (" …" if len(rows) > 5 else "")
    raise NonFiniteError(
        f"{what} is not finite at step {step} (training rows {some}; all in {folder / 'nonfinite.json'}). "
        "Nothing was updated. Lower train.learning_rate, look at these rows, or set train.precision=fp32"
    )


def _validate(system: nn.Module, validate: Validate) -> Mapping[str, float]:
    """Quality without a trace: modes and random generators are put back afterwards."""
    modes = {module: module.training for module in system.modules()}
    values, tensors = rng_state()
    try:
        system.eval()
        with torch.no_grad():
            return validate(system)
    finally:
        set_rng_state(values, tensors)
        for module, training in modes.items():
            module.training = training


def _mean_loss(outputs: list[LossOutput], fabric: Fabric) -> float:
    """The loss of the global batch: the mean over micro-batches and processes."""
    mean = torch.stack([output.total.detach().float() for output in outputs]).mean()
    if distributed.world_size() > 1:
        dist.all_reduce(mean)
        mean /= distributed.world_size()
    return mean.item()


def _floats(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}
