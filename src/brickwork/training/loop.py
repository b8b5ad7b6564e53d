"""The training loop: one file, one function, from the devices to the last checkpoint.

Everything that happens in a step is a pure function of (weights, optimiser state, seed, step, process): the
rows, the learning rate, and every random number, since all generators are seeded anew for each step. So a
checkpoint is weights, optimiser state and a step; validating draws nothing from what training draws; and a
resumed run ends with the same bits as one that was never stopped.
"""

import contextlib
import functools
import os
import signal
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from brickwork.core.config import to_dict
from brickwork.core.errors import ConfigError, Interrupted, NonFiniteError
from brickwork.core.files import FolderLock, read_json, remove_leftovers, write_json
from brickwork.core.seeding import generator_for, seed_everything
from brickwork.data.samplers import BatchSampler
from brickwork.data.types import Examples
from brickwork.training.batches import Batches, move
from brickwork.training.checkpoint import (
    STATE,
    checkpoint_path,
    load_checkpoint,
    newest_good,
    steps_saved,
    whole_tensors,
    write_checkpoint,
)
from brickwork.training.config import TrainConfig
from brickwork.training.devices import (
    Strategy,
    from_first,
    launch,
    on_first,
    trained_copy,
    whole,
    whole_system,
)
from brickwork.training.optimizers import build_optimizer, clip_gradients, gradient_norm, set_rate
from brickwork.training.progress import Progress
from brickwork.training.records import Records, environment, write_replay
from brickwork.training.schedules import rate_factor
from brickwork.training.signals import StopSignals, exit_code
from brickwork.training.step import LossValues, Step, mean_values

Validate = Callable[[Any], dict[str, float]]

# Settings that a resume may change: they do not change the numbers.
_FREE = {"save_every", "keep", "validate_every", "log_every", "device", "threads", "deterministic"}


@dataclass(frozen=True)
class FitResult:
    """What :func:`fit` did. ``losses``: of each step of this call; ``step``: done in all, with earlier calls.

    ``seconds`` is the whole loop, with validation and saving; ``examples_per_second`` counts the steps alone.
    """

    step: int
    losses: tuple[float, ...]
    seconds: float
    examples_per_second: float


def fit(
    system: nn.Module,
    data: Examples,
    config: TrainConfig,
    folder: Path | str,
    *,
    seed: int,
    validate: Validate | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    devices: int = 1,
    strategy: Strategy = "ddp",
    tensorboard: bool = False,
    on_start: Callable[[], None] | None = None,
) -> FitResult:
    """Trains ``system`` in place on ``data`` and leaves checkpoints and records in ``folder``.

    ``system`` follows :class:`brickwork.core.types.Trainable`; the batches that it gets hold the ``indices``
    of their rows and, as ``step``, the number of the batch (that of the update, unless batches accumulate).
    Its ``collate`` runs in a thread and draws nothing from the global random generators. ``validate`` is
    called with the system in evaluation mode, at the start, every ``validate_every`` steps and at the end.
    ``devices`` and ``strategy``: see :func:`brickwork.training.devices.launch`.
    ``on_start`` is called once ``folder`` is ours. ``resume`` goes on from the newest good checkpoint.

    Raises:
        ConfigError: the batch is larger than the data, the folder holds a run, a setting differs on resume.
        ArtifactError: no checkpoint is good, or it is not of this system.
        NonFiniteError: a loss or gradient is not finite; the weights are those of before the step.
        ResourceError: disk full, folder not writable or in use by another training, out of memory.
        Interrupted: SIGINT or SIGTERM came; the finished steps are saved.
    """
    folder = Path(folder)
    rows = config.batch_size * config.accumulate
    check_batch(config, data)

    # ---- devices and precision ------------------------------------------------------------------------
    if config.threads:
        torch.set_num_threads(config.threads)
    fabric, reason = launch(config, devices, strategy)
    shown = progress if fabric.global_rank == 0 else None

    with contextlib.ExitStack() as cleanup:
        cleanup.enter_context(_determinism(config.deterministic))
        on_first(fabric, lambda: _take_folder(cleanup, folder, resume, on_start))

        # ---- data order -------------------------------------------------------------------------------
        batches = cleanup.enter_context(
            Batches(
                getattr(system, "collate"),  # noqa: B009 - an nn.Module that is Trainable as well
                data,
                BatchSampler(len(data), config.batch_size, seed),
                last=config.steps * config.accumulate - 1,
                rank=fabric.global_rank,
                world=fabric.world_size,
            )
        )

        # ---- model, optimiser; the schedule is a function of the step ---------------------------------
        system.train()
        trained = trained_copy(fabric, system)  # the system itself, unless processes share its parameters
        step_of = Step(fabric, trained, config)
        optimizer = build_optimizer(trained, config)
        after_step: Any = getattr(trained, "after_step", None)
        parameters = [p for p in trained.parameters() if p.requires_grad]

        # ---- start: 1. own newest good checkpoint, 2. scratch -----------------------------------------
        settings = {"train": to_dict(config), "seed": seed, "examples": len(data)}
        start = from_first(fabric, on_first(fabric, lambda: _check_start(folder, settings)))
        if start:
            load_checkpoint(checkpoint_path(folder, start), trained, optimizer)

        about = {**environment(fabric.device), "precision": reason, "processes": fabric.world_size}
        records = on_first(fabric, lambda: _open_records(folder, start, tensorboard, about))
        if records is not None:
            cleanup.callback(records.close)
        stop = cleanup.enter_context(StopSignals())
        if shown is not None:
            processes = "1 process" if fabric.world_size == 1 else f"{fabric.world_size} processes"
            shown.message(f"{fabric.device.type}, {processes}; {reason}")
            shown.start(config.steps, start)
            cleanup.callback(shown.close)

        def save(step: int) -> None:
            tensors = whole_tensors(trained, optimizer)
            on_first(fabric, lambda: write_checkpoint(folder, step, tensors, settings, keep=config.keep))

        def log(step: int, values: dict[str, Any]) -> None:
            on_first(fabric, lambda: records.write(step, values) if records else None)

        def measure(step: int) -> None:
            if validate is not None:
                with whole_system(fabric, system, trained):
                    found = on_first(fabric, lambda: _evaluated(system, validate))
                log(step, {"validation": found})
                if shown is not None:
                    shown.validated(step, found or {})

        began, spent, losses = time.perf_counter(), 0.0, []
        if start == 0:
            measure(0)

        # ---- the loop ---------------------------------------------------------------------------------
        for step in range(start, config.steps):
            mark = time.perf_counter()
            seed_everything(generator_for(seed, step, f"step in process {fabric.global_rank}").initial_seed())
            factor = rate_factor(step, steps=config.steps, warmup=config.warmup, schedule=config.schedule)
            set_rate(optimizer, factor)

            # forward and backward, a batch at a time
            optimizer.zero_grad()
            numbers = range(step * config.accumulate, (step + 1) * config.accumulate)
            parts = []
            for number in numbers:
                # Numbered on within a step, so that each batch draws its own sizes.
                batch = {**move(batches.get(number), fabric.device), "step": number}
                parts.append(step_of.backward(batch, last=number == numbers[-1]))
            values, (interrupt, terminate) = step_of.gather(
                parts, [stop.received == signal.SIGINT, stop.received == signal.SIGTERM]
            )

            # nothing that is not finite reaches the weights
            norm = whole(gradient_norm(parameters))
            problem = _not_finite(values, float(norm), trained, [batches.rows(n) for n in numbers])
            if problem is not None:
                on_first(fabric, functools.partial(_refuse, folder, step, *problem))
            clip_gradients(parameters, config.clip_norm, norm)

            # update
            optimizer.step()
            if after_step is not None:
                after_step(step)
            done, value = step + 1, mean_values(values)
            losses.append(value.total)
            spent += time.perf_counter() - mark
            speed = len(losses) * rows / spent

            # log, validate, save
            if shown is not None:
                shown.update(done, value.total, speed)
            last, stopped = done == config.steps, interrupt or terminate
            if done == 1 or done % config.log_every == 0 or last:
                log(done, {
                    "loss": value.total, "terms": value.terms, "stats": value.stats,
                    "learning_rate": config.learning_rate * factor, "gradient_norm": float(norm),
                    "epoch": round(done * rows / len(data), 4), "examples_per_second": round(speed, 2),
                })  # fmt: skip
            if last or (config.validate_every and done % config.validate_every == 0 and not stopped):
                measure(done)
            if last or stopped or (config.save_every and done % config.save_every == 0):
                save(done)
            late = stop.received if last else None  # while validating or saving for the last time
            if stopped or late:
                number = late or (signal.SIGINT if interrupt else signal.SIGTERM)
                raise Interrupted(
                    f"stopped after step {done} of {config.steps}, which is saved; go on with: "
                    f"brickwork resume {folder}",
                    exit_code(number),
                )

        seconds = time.perf_counter() - began
        with whole_system(fabric, system, trained):  # and after it, the system keeps the values
            return FitResult(
                config.steps, tuple(losses), seconds, len(losses) * rows / spent if spent else 0.0
            )


def check_batch(config: TrainConfig, data: Examples) -> None:
    """Refuses a batch that would hold the same example twice.

    Raises:
        ConfigError: names the option and both sizes.
    """
    if config.batch_size > len(data):
        raise ConfigError(
            f"train.batch_size={config.batch_size} is larger than the training data, which has {len(data)} "
            f"examples; use at most {len(data)}, or more data"
        )


def _take_folder(
    cleanup: contextlib.ExitStack, folder: Path, resume: bool, on_start: Callable[[], None] | None
) -> None:
    """Locks the folder, and refuses one that holds a run which is not to be resumed."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder for the run")
    cleanup.enter_context(FolderLock(folder, "training"))
    remove_leftovers(folder)
    found = [
        name for name in ("config.json", "metrics.jsonl", "model.safetensors") if (folder / name).exists()
    ]
    found += ["checkpoints"] if steps_saved(folder) else []
    if found and not resume:
        raise ConfigError(
            f"{folder} already holds a run ({', '.join(found)}). Go on with it: brickwork resume {folder}; "
            "or choose another folder with --out"
        )
    (folder / "nonfinite.json").unlink(missing_ok=True)
    if on_start is not None:
        on_start()


def _check_start(folder: Path, settings: dict[str, Any]) -> int:
    """The step to go on from; 0 where nothing was saved.

    Raises:
        ConfigError: the checkpoint was made with settings that would give other numbers.
    """
    path = newest_good(folder)
    if path is None:
        return 0
    state = read_json(path / STATE)
    now = {**settings["train"], "seed": settings["seed"], "examples": settings["examples"]}
    then = {**state["train"], "seed": state["seed"], "examples": state["examples"]}
    differing = [name for name in now if name not in _FREE and now[name] != then.get(name)]
    if differing:
        changes = ", ".join(f"{name} was {then.get(name)} and is {now[name]}" for name in differing)
        raise ConfigError(f"{path} is of another run: {changes}. Use the same, or train in another folder")
    return state["step"]


def _open_records(folder: Path, step: int, tensorboard: bool, about: dict[str, Any]) -> Records:
    records = Records(folder, step=step, tensorboard=tensorboard)
    write_json(folder / "env.json", about)
    return records


def _evaluated(system: nn.Module, validate: Validate) -> dict[str, float]:
    """The validation numbers; each module is left in the mode it was in."""
    modes = {module: module.training for module in system.modules()}
    system.eval()
    try:
        with torch.no_grad():
            return dict(validate(system))
    finally:
        for module, training in modes.items():
            module.training = training


def _not_finite(
    values: Sequence[LossValues], norm: float, system: nn.Module, rows: list[list[int]]
) -> tuple[str, list[int], dict[str, Any]] | None:
    """What is not finite in words, the rows concerned and the values; ``None`` if all is well."""
    for value, indices in zip(values, rows):
        if wrong := value.not_finite():
            names = ", ".join(f"{name} = {value.terms.get(name, value.total)}" for name in wrong)
            return f"loss term {names}", indices, {"terms": value.terms, "total": value.total, "wrong": wrong}
    if torch.isfinite(torch.tensor(norm)):
        return None
    wrong = [
        name
        for name, p in system.named_parameters()
        if p.grad is not None and not whole(p.grad).isfinite().all()
    ]
    what = f"gradient of {', '.join(wrong[:3])}" + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
    what = what if wrong else "the norm of all gradients (each is finite, their squares overflow)"
    everything = [index for indices in rows for index in indices]
    return what, everything, {"terms": mean_values(values).terms, "wrong": wrong}


def _refuse(folder: Path, step: int, what: str, indices: list[int], values: dict[str, Any]) -> None:
    replay = write_replay(folder, step, indices, values)
    ids = ", ".join(map(str, indices[:8])) + (" …" if len(indices) > 8 else "")
    raise NonFiniteError(
        f"{what} is not finite at step {step}, rows {ids}; stopped before the update. {replay} lists all "
        "rows and values; the last checkpoint is intact. Look at these rows, or lower train.learning_rate"
    )


@contextlib.contextmanager
def _determinism(wanted: bool) -> Any:
    """Deterministic algorithms for the time of a run; no notice from DDP that all parameters were used."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted or before)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")
            yield
    finally:
        torch.use_deterministic_algorithms(before)
