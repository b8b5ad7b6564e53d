"""Learning without a gradient: a system that counts, searches or solves learns in rounds of its own.

The run folder is that of the loop: configuration, checkpoints after rounds, records. Of the training options only
``save_every`` (rounds), ``keep`` and ``log_every`` are read.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from brickwork.core.config import to_dict
from brickwork.core.errors import ConfigError, Interrupted
from brickwork.core.seeding import generator_for, seed_everything
from brickwork.core.types import Fits
from brickwork.data.types import Examples
from brickwork.training.checkpoint import MODEL, OPTIMIZER, checkpoint_path, load_checkpoint, write_checkpoint
from brickwork.training.config import TrainConfig
from brickwork.training.loop import FitResult, check_start, open_records, take_folder
from brickwork.training.progress import Progress
from brickwork.training.records import environment
from brickwork.training.signals import StopSignals, exit_code


def fit_rounds(
    system: nn.Module,
    data: Examples,
    config: TrainConfig,
    folder: Path | str,
    *,
    seed: int,
    validate: Callable[[Any], Mapping[str, float]] | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    on_start: Callable[[], None] | None = None,
) -> FitResult:
    """Lets ``system`` (:class:`brickwork.core.types.Fits`) learn in place and leaves checkpoints and records in ``folder``.

    Before each round the global generators are seeded from (``seed``, round), so that a resumed run draws the same.
    ``validate`` is called at the end.

    Raises:
        ConfigError: the folder holds a run, a setting differs on resume, or the system cannot learn like this.
        ArtifactError: no checkpoint is good, or it is not of this system.
        ResourceError: disk full, folder not writable or in use by another training.
        Interrupted: SIGINT or SIGTERM came; the finished rounds are saved.
    """
    folder = Path(folder)
    if not isinstance(system, Fits):
        raise ConfigError(f"{type(system).__name__} has no `fit`: it learns by gradients, in the loop")
    with contextlib.ExitStack() as cleanup:
        take_folder(cleanup, folder, resume)
        settings = {"train": to_dict(config), "seed": seed, "examples": len(data)}
        start = check_start(folder, settings)
        if start:
            load_checkpoint(checkpoint_path(folder, start), system, None)
        records = open_records(folder, start, False, environment(next(_tensors(system)).device), on_start)
        cleanup.callback(records.close)
        stop = cleanup.enter_context(StopSignals())
        began, done = time.perf_counter(), start

        def save() -> None:
            write_checkpoint(
                folder, done, {MODEL: system.state_dict(), OPTIMIZER: {}}, settings, keep=config.keep
            )

        rounds = iter(system.fit(data, start=start))
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
            if stop.received is not None or (config.save_every and done % config.save_every == 0):
                save()
            if stop.received is not None:
                raise Interrupted(
                    f"stopped after round {done}, which is saved; go on with: brickwork resume {folder}",
                    exit_code(stop.received),
                )
        save()
        if validate is not None:
            records.write(done, {"validation": dict(validate(system))})
    seconds = time.perf_counter() - began
    return FitResult(done, (), seconds, (done - start) * len(data) / seconds)


def _tensors(system: nn.Module) -> Any:
    yield from system.parameters()
    yield from system.buffers()
