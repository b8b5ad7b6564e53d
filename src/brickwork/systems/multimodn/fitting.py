"""How the estimators train: epochs in large batches, a part of the rows held out, the best epoch kept."""

import copy
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brickwork.core.config import from_dict, to_dict
from brickwork.core.errors import ConfigError, Interrupted
from brickwork.core.types import Batch, LossOutput
from brickwork.data.types import Examples
from brickwork.systems.multimodn.layout import TargetLayout
from brickwork.systems.multimodn.system import System
from brickwork.training.config import TrainConfig
from brickwork.training.loop import fit
from brickwork.training.progress import Progress

FEWEST_FOR_VALIDATION = 200  # rows; of fewer, what is held out says too little and is missed in training
_MIN_DELTA = 1e-4  # of the validation loss, which improves by more or does not count as improved
_ROWS = 4096  # of a batch of validation


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """``batch_size``, ``early_stopping``: ``None`` decides by the number of rows. ``patience``: epochs without a better
    validation loss. ``verbose``: progress on standard error."""

    max_iter: int
    batch_size: int | None
    learning_rate: float
    weight_decay: float
    early_stopping: bool | None
    validation_fraction: float
    patience: int
    verbose: bool

    def validate(self) -> list[str]:
        """Every problem with the values."""
        problems = [
            f"{name} is {value}; it must be at least 1"
            for name, value in (("max_iter", self.max_iter), ("n_iter_no_change", self.patience))
            if value < 1
        ]
        if self.batch_size is not None and self.batch_size < 1:
            problems.append(f"batch_size is {self.batch_size}; it must be at least 1, or 'auto'")
        if self.learning_rate <= 0:
            problems.append(f"learning_rate is {self.learning_rate}; it must be positive")
        if self.weight_decay < 0:
            problems.append(f"weight_decay is {self.weight_decay}; it must not be negative")
        if not 0 < self.validation_fraction < 1:
            problems.append(f"validation_fraction is {self.validation_fraction}; use a share between 0 and 1")
        return problems


@dataclass(frozen=True)
class FitHistory:
    """What :func:`train` did: epochs, the validation loss after each (none without validation), and the epoch kept."""

    epochs: int
    validation_losses: tuple[float, ...]
    best_epoch: int


class _Prepared(nn.Module):
    """The system over rows whose tensors were made once, for all epochs: a batch only picks rows."""

    def __init__(self, system: System, examples: Examples):
        super().__init__()
        self.system = system
        self.tensors: Batch = system.collate(examples.columns)

    def collate(self, columns: dict[str, Any]) -> Batch:
        rows = torch.as_tensor(columns["row"])
        return {name: tensor[rows] for name, tensor in self.tensors.items()}

    def loss(self, batch: Batch) -> LossOutput:
        return self.system.loss(batch)


class _BestEpoch(Exception):
    """Ends the loop: more epochs do not help."""


class _Watch:
    """Measures the held-out loss after each epoch and keeps the best weights."""

    def __init__(self, system: System, held_out: _Prepared, patience: int, rows: int):
        self.system, self.held_out, self.patience = system, held_out, patience
        self.rows = rows
        self.losses: list[float] = []
        self.best, self.best_epoch = math.inf, 0
        self.weights: dict[str, Tensor] = {}
        self.started = False

    def __call__(self, _: Any) -> dict[str, float]:
        if not self.started:  # the loop measures once before the first step
            self.started = True
            return {}
        loss = self._loss()
        self.losses.append(loss)
        if loss < self.best - _MIN_DELTA * abs(self.best if math.isfinite(self.best) else 1.0):
            self.best, self.best_epoch = loss, len(self.losses)
            self.weights = copy.deepcopy(self.system.state_dict())
        elif len(self.losses) - self.best_epoch >= self.patience:
            raise _BestEpoch
        return {"validation loss": loss}

    def _loss(self) -> float:
        total = 0.0
        for start in range(0, self.rows, _ROWS):
            rows = list(range(start, min(start + _ROWS, self.rows)))
            output = self.system.loss(self.held_out.collate({"row": rows}))
            total += len(rows) * float(output.total)
        return total / self.rows


def hold_out(
    examples: Examples, targets: Sequence[TargetLayout], options: FitOptions, seed: int
) -> tuple[Examples, Examples | None]:
    """The rows to train on, and those whose loss decides when to stop, with the same shares of the classes of the first
    target; none where ``early_stopping`` is off, or left to the number of rows and these are few.

    Raises:
        ConfigError: an option out of range, or early stopping with too few rows.
    """
    if problems := options.validate():
        raise ConfigError("; ".join(problems))
    rows = len(examples)
    wanted = rows >= FEWEST_FOR_VALIDATION if options.early_stopping is None else options.early_stopping
    if not wanted:
        return examples, None
    count = max(1, round(rows * options.validation_fraction))
    if rows - count < 2:
        raise ConfigError(
            f"early_stopping holds out {count} of {rows} rows, which leaves too few; switch it off"
        )
    order = np.random.default_rng([seed, 2]).permutation(rows)
    if targets[0].is_class:  # every so-many-th row of each class, at least one of each stays
        labels = np.asarray(examples.columns[targets[0].column])[order]
        order = order[np.argsort(labels, kind="stable")]
        held = np.zeros(rows, dtype=bool)
        held[np.unique(np.linspace(0, rows - 1, count + 2).astype(int)[1:-1])] = True
        held[np.unique(np.sort(labels), return_index=True)[1]] = False
    else:
        held = np.arange(rows) < count
    return examples.select(np.sort(order[~held]).tolist()), examples.select(np.sort(order[held]).tolist())


def train(
    system: System, examples: Examples, held_out: Examples | None, options: FitOptions, seed: int
) -> FitHistory:
    """Trains ``system`` in place and leaves it with the weights of the best epoch.

    Raises:
        Interrupted: SIGINT or SIGTERM; nothing of the training is kept.
    """
    rows = len(examples)
    batch_size = min(rows, options.batch_size or default_batch_size(rows))
    epoch = math.ceil(rows / batch_size)
    config = TrainConfig(
        steps=options.max_iter * epoch,
        batch_size=batch_size,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        warmup=0.0,
        schedule="cosine",
        clip_norm=1.0,
        precision="fp32",
        save_every=0,
        validate_every=epoch if held_out is not None else 0,
        log_every=10**9,
    )
    from_dict(TrainConfig, to_dict(config))  # raises if an option is wrong
    watch = None
    if held_out is not None:
        watch = _Watch(system, _Prepared(system, held_out), options.patience, len(held_out))
    epochs = options.max_iter
    try:
        with tempfile.TemporaryDirectory(prefix="brickwork-") as folder:
            fit(
                _Prepared(system, examples),
                Examples({"row": np.arange(rows)}),
                config,
                Path(folder) / "run",
                seed=seed,
                validate=watch,
                progress=Progress() if options.verbose else None,
            )
    except _BestEpoch:
        assert watch is not None
        epochs = len(watch.losses)
    except Interrupted as stopped:
        # The loop's own message names its folder, which is a temporary one and gone.
        raise Interrupted(
            "the fit was stopped and nothing of it is kept; call fit again, with a smaller max_iter for a shorter one",
            stopped.exit_code,
        ) from None
    if watch is None:
        return FitHistory(epochs, (), epochs)
    system.load_state_dict(watch.weights)
    return FitHistory(epochs, tuple(watch.losses), watch.best_epoch)


def default_batch_size(rows: int) -> int:
    """A power of two with about a hundred batches an epoch: 16 for up to 3,000 rows, 256 from 26,000 rows on."""
    return int(2 ** np.clip(round(math.log2(max(1, rows) / 100)), 4, 8))
