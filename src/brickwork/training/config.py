"""How to train: lengths, sizes, optimiser, precision, when to save, log and validate, and in which stages."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from brickwork.core.errors import ConfigError

_MOST_UNSAVED = 200  # steps
Schedule = Literal["cosine", "linear", "constant"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """``batch_size`` is global, over all processes; ``accumulate`` of them make one update.

    ``cache_chunk``: rows computed at once with gradient caching (0: off). ``warmup``: share of the steps.
    ``clip_norm``: 0 does not clip. ``save_every``, ``validate_every``: in steps; 0 saves at the end only, and
    validates at the start and the end. Without ``save_every`` there are five checkpoints a run, and one every 200 steps at
    least (of a system that learns in rounds: one a minute). ``momentum``: of sgd. ``keep``: that many checkpoints.
    ``threads``: 0 takes one where more are slower (``training/threads.py``), else torch's choice.
    """

    steps: int = 1000
    batch_size: int = 64
    accumulate: int = 1
    cache_chunk: int = 0
    learning_rate: float = 2e-5
    weight_decay: float = 0.01
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.9
    warmup: float = 0.1
    schedule: Schedule = "cosine"
    clip_norm: float = 1.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    save_every: int | None = None
    keep: int = 2
    validate_every: int = 100
    log_every: int = 10
    device: Literal["auto", "cpu", "cuda"] = "auto"
    deterministic: bool = False
    threads: int = 0

    def validate(self) -> list[str]:
        errors = []
        for name in ("steps", "batch_size", "accumulate", "keep", "log_every"):
            if getattr(self, name) < 1:
                errors.append(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("cache_chunk", "save_every", "validate_every", "threads", "weight_decay", "clip_norm"):
            if (getattr(self, name) or 0) < 0:
                errors.append(f"{name}={getattr(self, name)} must not be negative")
        if self.learning_rate <= 0:
            errors.append(f"learning_rate={self.learning_rate} must be positive")
        for name in ("warmup", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                errors.append(f"{name}={getattr(self, name)} must be at least 0 and below 1")
        if self.optimizer == "adamw" and self.momentum != TrainConfig.momentum:
            errors.append(
                f"momentum={self.momentum} has no effect with optimizer=adamw; leave it out, or use optimizer=sgd"
            )
        return errors

    @property
    def steps_between_saves(self) -> int:
        """As ``save_every`` says, or what a run of this length gets without it; 0: at the end only."""
        return max(1, min(_MOST_UNSAVED, self.steps // 5)) if self.save_every is None else self.save_every


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One part of a run, with a fresh optimiser and a schedule of its own.

    ``steps``: its updates; none: what the other stages leave of ``train.steps``. ``trains``: patterns of parameter names, as
    ``encoder.*``: these get gradients and no others; none: all that the system itself trains. ``data``: the part of the data
    with this name instead of the training part. ``loss``: what the system reads as ``batch["stage"]``; empty: the name.
    ``learning_rate``, ``schedule``: none: those of ``train``.
    """

    name: str
    steps: int | None = None
    trains: tuple[str, ...] = ()
    data: str = ""
    loss: str = ""
    learning_rate: float | None = None
    schedule: Schedule | None = None

    def validate(self) -> list[str]:
        errors = []
        if not self.name.strip():
            errors.append("name is empty; progress and records call the stage by it")
        if self.steps is not None and self.steps < 1:
            errors.append(f"steps={self.steps} must be at least 1")
        if self.learning_rate is not None and self.learning_rate <= 0:
            errors.append(f"learning_rate={self.learning_rate} must be positive")
        return errors


def stage_lengths(config: TrainConfig, stages: Sequence[Stage]) -> list[int]:
    """The steps of each stage; the one that does not say its own gets what the others leave of ``train.steps``.

    Raises:
        ConfigError: a name twice, two stages without steps, or steps that do not add up to ``train.steps``.
    """
    names = [stage.name for stage in stages]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"stages: '{twice[0]}' is the name of two stages; give each its own")
    fixed = sum(stage.steps or 0 for stage in stages)
    open_ended = [stage.name for stage in stages if stage.steps is None]
    if len(open_ended) > 1:
        raise ConfigError(
            f"stages: {' and '.join(open_ended)} do not say their steps; only one can have what the others leave"
        )
    left = config.steps - fixed
    if open_ended and left < 1:
        raise ConfigError(
            f"train.steps={config.steps} leaves nothing for stage '{open_ended[0]}': the other stages have {fixed} steps; "
            f"set train.steps to more than {fixed}, or shorten them"
        )
    if not open_ended and left:
        raise ConfigError(
            f"train.steps={config.steps}, but the stages have {fixed} steps together; set train.steps={fixed}, or leave "
            "out the steps of one stage, which then gets the rest"
        )
    return [left if stage.steps is None else stage.steps for stage in stages]


def shortened(
    config: TrainConfig, stages: Sequence[Stage], steps: int
) -> tuple[TrainConfig, tuple[Stage, ...]]:
    """The same run in at most ``steps`` updates: each stage keeps its share of them, and at least one."""
    if config.steps <= steps:
        return config, tuple(stages)
    if not stages:
        return replace(config, steps=steps), ()
    whole = config.steps
    short = [max(1, round(n * steps / whole)) for n in stage_lengths(config, stages)]
    while sum(short) != max(steps, len(short)):  # rounding; one at a time, so that no stage falls below one
        short[short.index(max(short))] += 1 if sum(short) < max(steps, len(short)) else -1
    return replace(config, steps=sum(short)), tuple(replace(s, steps=n) for s, n in zip(stages, short))
