"""Learning in rounds of one's own, in place of the loop: a system that counts, searches or solves, or takes its own steps.

The run folder is that of the loop: configuration, checkpoints after rounds, records. Of the training options only
``save_every`` (rounds), ``keep`` and ``log_every`` are read; others are refused.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn

from brickwork.core.config import to_dict
from brickwork.core.errors import ConfigError, Interrupted
from brickwork.core.seeding import generator_for, seed_everything
from brickwork.core.types import Fits
from brickwork.data.fingerprints import fingerprint_columns
from brickwork.data.types import Examples
from brickwork.training.checkpoint import MODEL, OPTIMIZER, checkpoint_path, load_checkpoint, write_checkpoint
from brickwork.training.config import Stage, TrainConfig
from brickwork.training.loop import FitResult, evaluated, open_records
from brickwork.training.progress import Progress
from brickwork.training.records import environment
from brickwork.training.run_folder import CONTENT, check_start, take_folder
from brickwork.training.signals import StopSignals, exit_code

_SAVE_SECONDS = 60.0
_READ = {"save_every", "keep", "log_every"}


def fit_rounds(
    system: nn.Module,
    data: Examples,
    config: TrainConfig,
    folder: Path | str,
    *,
    seed: int,
    validate: Callable[[Any], dict[str, float]] | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    on_start: Callable[[], None] | None = None,
) -> FitResult:
    """Lets ``system`` (:class:`brickwork.core.types.Fits`) learn in place and leaves checkpoints and records in ``folder``.

    Before each round the global generators are seeded from (``seed``, round), so that a resumed run draws the same.
    ``validate`` is called at the end, with the system in evaluation mode.

    Raises:
        ConfigError: an option has no effect, the folder holds a run, a setting differs on resume, or the system cannot learn
            like this.
        ArtifactError: no checkpoint is good, or it is not of this system.
        ResourceError: disk full, folder not writable or in use by another training.
        Interrupted: SIGINT or SIGTERM came; the finished rounds are saved.
    """
    folder = Path(folder)
    if not isinstance(system, Fits):
        raise ConfigError(f"{type(system).__name__} has no `fit`: it learns by gradients, in the loop")
    refuse_options(config)
    with contextlib.ExitStack() as cleanup:
        take_folder(cleanup, folder, resume)
        content = {"train": fingerprint_columns(data.columns)}
        settings = {"train": to_dict(config), "seed": seed, "examples": len(data), CONTENT: content}
        start = check_start(folder, settings)
        if start:
            load_checkpoint(checkpoint_path(folder, start), system, None)
        records = open_records(
            folder, start, tensorboard, environment(next(_tensors(system)).device), on_start
        )
        cleanup.callback(records.close)
        stop = cleanup.enter_context(StopSignals())
        began, done = time.perf_counter(), start

        def save() -> None:
            write_checkpoint(
                folder, done, {MODEL: system.state_dict(), OPTIMIZER: {}}, settings, keep=config.keep
            )

        def leave_if_stopped() -> None:
            if stop.received is not None:
                raise Interrupted(
                    f"stopped after round {done}, which is saved; go on with: brickwork resume {folder}",
                    exit_code(stop.received),
                )

        rounds, saved = iter(system.fit(data, start=start)), time.perf_counter()
        while True:
            seed_everything(generator_for(seed, done, "round").initial_seed())
            share = next(rounds, None)
            if share is None:
                break
            done += 1
            if progress is not None:
                progress.message(f"round {done}: {share:.0%} done")
            if done % config.log_every == 0:
                records.write(done, {"share": share})
            due = (
                time.perf_counter() - saved >= _SAVE_SECONDS
                if config.save_every is None
                else config.save_every and done % config.save_every == 0
            )
            if stop.received is not None or due:
                save()
                saved = time.perf_counter()
            leave_if_stopped()
        save()
        if validate is not None and not records.has_validation(done):
            records.write(done, {"validation": evaluated(system, validate)})
        leave_if_stopped()  # while saving or validating
    seconds = time.perf_counter() - began
    return FitResult(done, (), seconds, (done - start) * len(data) / seconds)


def refuse_options(
    config: TrainConfig, stages: Sequence[Stage] = (), devices: int = 1, strategy: str = "ddp"
) -> None:
    """Refuses what means nothing to a system that learns in rounds.

    Raises:
        ConfigError: names all of it.
    """
    set_here = {
        f.name: getattr(config, f.name) for f in fields(config) if getattr(config, f.name) != f.default
    }
    named = [f"train.{name}={value}" for name, value in set_here.items() if name not in _READ]
    named += [f"stages.{stage.name}" for stage in stages]
    named += [f"devices={devices}"] if devices != 1 else []
    named += [f"strategy={strategy}"] if strategy != "ddp" else []
    if named:
        raise ConfigError(
            f"no effect on a system that learns in rounds of its own, not in the loop: {', '.join(named)}; leave "
            f"{'it' if len(named) == 1 else 'them'} out"
        )


def _tensors(system: nn.Module) -> Any:
    yield from system.parameters()
    yield from system.buffers()
