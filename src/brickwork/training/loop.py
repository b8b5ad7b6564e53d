"""The training loop: one file, one function, from the devices to the last checkpoint.

Everything that happens in a step is a pure function of (weights, optimiser state, seed, stage, step, process): the
rows, the learning rate, and every random number, since all generators are seeded again for each step, and the step says
which stage it is in. So a checkpoint is weights, optimiser state and a step; validating draws nothing from what training
draws; and a resumed run ends with the same bits as one that was never stopped.
"""

import contextlib
import functools
import os
import signal
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from brickwork.core.config import to_dict
from brickwork.core.errors import ConfigError, Interrupted, NonFiniteError
from brickwork.core.files import write_json
from brickwork.core.seeding import generator_for, seed_everything
from brickwork.data.fingerprints import fingerprint_columns
from brickwork.data.types import Examples
from brickwork.training.batches import move
from brickwork.training.checkpoint import (
    checkpoint_path,
    load_checkpoint,
    whole_tensors,
    write_checkpoint,
)
from brickwork.training.config import Stage, TrainConfig
from brickwork.training.devices import (
    Strategy,
    from_first,
    launch,
    on_first,
    telling_of_lost_processes,
    trained_copy,
    whole,
    whole_system,
)
from brickwork.training.optimizers import clip_gradients, gradient_norm, set_rate
from brickwork.training.progress import Progress
from brickwork.training.records import Records, environment, write_replay
from brickwork.training.run_folder import CONTENT, check_start, take_folder
from brickwork.training.signals import StopSignals, exit_code
from brickwork.training.stages import RunningStage, StagePlan, announce, plan_stages
from brickwork.training.step import LossValues, mean_values
from brickwork.training.threads import choose_threads, using_threads

Validate = Callable[[Any], dict[str, float]]


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
    stages: Sequence[Stage] = (),
    variants: Mapping[str, Examples] | None = None,
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
    called with the system in evaluation mode, at the start, every ``validate_every`` steps, and at the end of each stage.
    ``stages`` are trained one after the other, with a fresh optimiser each, those that name ``data`` on that part of
    ``variants``; batches then also hold the ``stage`` and, as ``stage_step``, their number within it, and a system that has
    ``start_stage(stage)`` is told of each.
    ``devices`` and ``strategy``: see :func:`brickwork.training.devices.launch`.
    ``on_start`` is called once ``folder`` is ours and nothing is refused any more. ``resume`` goes on from the newest good
    checkpoint.

    Raises:
        ConfigError: the batch is larger than the data, the folder holds a run, a setting differs on resume, the stages do
            not fit the system or the data.
        ArtifactError: no checkpoint is good, or it is not of this system.
        NonFiniteError: a loss or gradient is not finite; the weights are those of before the step.
        ResourceError: disk full, folder not writable or in use by another training, out of memory, another process gone.
        Interrupted: SIGINT or SIGTERM came; the finished steps are saved.
    """
    folder = Path(folder)
    rows = config.batch_size * config.accumulate
    plans = plan_stages(config, data, stages, variants)
    if stages and strategy != "ddp":
        raise ConfigError(f"strategy {strategy} cannot change between stages what is trained; use ddp")

    # ---- devices and precision ------------------------------------------------------------------------
    fabric, reason = launch(config, devices, strategy)
    display = progress if fabric.global_rank == 0 else None

    with contextlib.ExitStack() as cleanup:
        cleanup.enter_context(telling_of_lost_processes(fabric, folder))
        cleanup.enter_context(_determinism(config.deterministic))
        on_first(fabric, lambda: take_folder(cleanup, folder, resume))

        # ---- start: 1. own newest good checkpoint, 2. scratch -----------------------------------------
        system.train()
        trained = trained_copy(fabric, system)  # the system itself, unless processes share its parameters
        after_step: Any = getattr(trained, "after_step", None)
        settings = _settings(config, seed, data, stages, plans)
        start = from_first(fabric, on_first(fabric, lambda: check_start(folder, settings)))
        where = [
            fabric.device.type,
            "1 process" if fabric.world_size == 1 else f"{fabric.world_size} processes",
        ]
        if fabric.device.type == "cpu":
            threads, in_words = choose_threads(config, trained, fabric.world_size, folder if start else None)
            cleanup.enter_context(using_threads(threads))
            where.append(in_words)
        begun = max((number for number, plan in enumerate(plans) if plan.first < start), default=0)
        for plan in plans[: begun + 1]:
            announce(trained, plan, seed)
        stage = RunningStage(plans[begun], trained, fabric, seed)
        cleanup.callback(lambda: stage.close())
        if start:
            load_checkpoint(checkpoint_path(folder, start), trained, stage.optimizer)

        about = {**environment(fabric.device), "precision": reason, "processes": fabric.world_size}
        records = on_first(fabric, lambda: open_records(folder, start, tensorboard, about, on_start))
        if records is not None:
            cleanup.callback(records.close)
        stop = cleanup.enter_context(StopSignals())
        if display is not None:
            display.message(f"{', '.join(where)}; {reason}")
            if start == config.steps:
                display.message(
                    f"all {start:,} steps were taken before: only the measurements are made again"
                )
            elif start:
                display.message(f"goes on after step {start:,} of {config.steps:,}")
            display.message(_when(config, validate is not None))
            display.start(config.steps, start)
            cleanup.callback(display.close)

        def save(step: int) -> None:
            tensors = whole_tensors(trained, stage.optimizer)
            on_first(fabric, lambda: write_checkpoint(folder, step, tensors, settings, keep=config.keep))

        def log(step: int, values: dict[str, Any]) -> None:
            named = {"stage": stage.plan.name, **values} if stage.plan.name else values
            on_first(fabric, lambda: records.write(step, named) if records else None)

        def measure(step: int) -> None:
            if validate is not None:
                with whole_system(fabric, system, trained):
                    scores = on_first(fabric, lambda: evaluated(system, validate))
                log(step, {"validation": scores})
                if display is not None:
                    display.validated(step, scores or {})

        began, spent, losses = time.perf_counter(), 0.0, []
        saves = config.steps_between_saves
        due = start == 0 or (config.validate_every and start % config.validate_every == 0)
        if due and from_first(
            fabric, on_first(fabric, lambda: records is None or not records.has_validation(start))
        ):
            measure(start)  # at 0, or where a stopped run had no time for it

        # ---- the loop ---------------------------------------------------------------------------------
        for plan in plans[begun:]:
            if plan is not stage.plan:
                stage.close()
                announce(trained, plan, seed)
                stage = RunningStage(plan, trained, fabric, seed)
            if display is not None:
                display.stage(plan.name)
            for step in range(max(start, plan.first), plan.stop):
                mark = time.perf_counter()
                drawn = generator_for(seed, step, f"step in process {fabric.global_rank}")
                seed_everything(drawn.initial_seed())
                factor = plan.rate_factor(step)
                set_rate(stage.optimizer, factor)

                # forward and backward, a batch at a time
                stage.optimizer.zero_grad()
                numbers = range(step * config.accumulate, (step + 1) * config.accumulate)
                parts = []
                for number in numbers:
                    # Numbered on within a step, so that each batch draws its own sizes.
                    batch = {**move(stage.batches.get(number), fabric.device), **plan.place(number)}
                    parts.append(stage.step_of.backward(batch, last=number == numbers[-1]))
                values, (interrupt, terminate) = stage.step_of.gather(
                    parts, [stop.received == signal.SIGINT, stop.received == signal.SIGTERM]
                )

                # nothing that is not finite reaches the weights
                norm = whole(gradient_norm(stage.parameters))
                problem = _not_finite(values, float(norm), trained, [stage.batches.rows(n) for n in numbers])
                if problem is not None:
                    on_first(fabric, functools.partial(_refuse, folder, plan, step, *problem))
                clip_gradients(stage.parameters, config.clip_norm, norm)

                # update
                stage.optimizer.step()
                if after_step is not None:
                    after_step(step)
                done, value = step + 1, mean_values(values)
                losses.append(value.total)
                spent += time.perf_counter() - mark
                speed = len(losses) * rows / spent

                # log, validate, save
                if display is not None:
                    display.update(done, value.total, speed)
                last, stopped = done == plan.stop, interrupt or terminate
                if done in (1, plan.first + 1) or done % config.log_every == 0 or last:
                    log(done, {
                        "loss": value.total, "terms": value.terms, "stats": value.stats,
                        "learning_rate": plan.train.learning_rate * factor, "gradient_norm": float(norm),
                        "epoch": round((done - plan.first) * rows / len(plan.data), 4),
                        "examples_per_second": round(speed, 2),
                    })  # fmt: skip
                if last or (config.validate_every and done % config.validate_every == 0 and not stopped):
                    measure(done)
                if last or stopped or (saves and done % saves == 0):
                    save(done)
                late = stop.received if last else None  # while validating or saving at the end of a stage
                if stopped or late:
                    number = late or (signal.SIGINT if interrupt else signal.SIGTERM)
                    raise Interrupted(
                        f"stopped after step {done} of {config.steps}{plan.where}, which is saved; go on with: "
                        f"brickwork resume {folder}",
                        exit_code(number),
                    )

        seconds = time.perf_counter() - began
        with whole_system(fabric, system, trained):  # and after it, the system keeps the values
            return FitResult(
                config.steps, tuple(losses), seconds, len(losses) * rows / spent if spent else 0.0
            )


def _when(config: TrainConfig, validates: bool) -> str:
    """When checkpoints are written and the model is validated, and the options that say so."""
    saves = config.steps_between_saves
    words = f"a checkpoint {_every(saves) if saves else 'at the end'} (train.save_every)"
    if not validates:
        return words
    often = _every(config.validate_every) if config.validate_every else "at the start and the end"
    return f"{words}; validation {often} (train.validate_every)"


def _every(steps: int) -> str:
    return "after every step" if steps == 1 else f"every {steps:,} steps"


def _settings(
    config: TrainConfig, seed: int, data: Examples, stages: Sequence[Stage], plans: Sequence[StagePlan]
) -> dict[str, Any]:
    """What a checkpoint says of its run; a resume compares it with its own."""
    content = {"train": fingerprint_columns(data.columns)}
    settings = {"train": to_dict(config), "seed": seed, "examples": len(data), CONTENT: content}
    if stages:
        settings["stages"] = [
            {**to_dict(stage), "examples": len(plan.data)} for stage, plan in zip(stages, plans)
        ]
        for stage, plan in zip(stages, plans):
            if stage.data:
                content[f"variants.{stage.data}"] = fingerprint_columns(plan.data.columns)
    return settings


def open_records(
    folder: Path, step: int, tensorboard: bool, about: dict[str, Any], on_start: Callable[[], None] | None
) -> Records:
    """The first to write in a folder: before this, a run that is refused has left everything as it was."""
    if on_start is not None:
        on_start()
    (folder / "nonfinite.json").unlink(missing_ok=True)
    records = Records(folder, step=step, tensorboard=tensorboard)
    write_json(folder / "env.json", about)
    return records


def evaluated(system: nn.Module, validate: Validate) -> dict[str, float]:
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


def _refuse(
    folder: Path, plan: StagePlan, step: int, what: str, indices: list[int], values: dict[str, Any]
) -> None:
    replay = write_replay(folder, step, indices, values)
    ids = ", ".join(map(str, indices[:8])) + (" …" if len(indices) > 8 else "")
    raise NonFiniteError(
        f"{what} is not finite at step {step}{plan.where}, rows {ids}; stopped before the update. {replay} lists all "
        "rows and values; the last checkpoint is intact. Look at these rows, or lower train.learning_rate"
    )


@contextlib.contextmanager
def _determinism(wanted: bool) -> Any:
    """Deterministic algorithms for the time of a run; no notice from DDP that all parameters were used."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    changes = wanted and not before  # torch imports its compiler for this, even where nothing changes
    if changes:
        torch.use_deterministic_algorithms(True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")
            yield
    finally:
        if changes:
            torch.use_deterministic_algorithms(False)
