"""Stages of a run: when each begins and ends, and what one trains with.

Stages share one folder and one count of steps. Every draw is a function of the seed and of the step, and the step says which
stage it is in; so a run that is stopped in a stage, or between two, goes on to the same bits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from brickwork.core.config import nearest
from brickwork.core.errors import ConfigError
from brickwork.core.seeding import generator_for, seed_everything
from brickwork.data.samplers import BatchSampler
from brickwork.data.types import Examples
from brickwork.training.batches import Batches
from brickwork.training.config import Stage, TrainConfig, stage_lengths
from brickwork.training.devices import Processes
from brickwork.training.optimizers import build_optimizer
from brickwork.training.schedules import rate_factor
from brickwork.training.step import Step


@dataclass(frozen=True)
class StagePlan:
    """A stage with its place in the run: steps ``first`` to ``stop`` (from 0), and how these are trained.

    ``train.steps`` is the length of the stage, so that its schedule begins and ends with it. A run without stages is one
    plan without a name.
    """

    name: str
    loss: str
    trains: tuple[str, ...]
    first: int
    stop: int
    train: TrainConfig
    data: Examples

    @property
    def where(self) -> str:
        """For messages: which stage, if the run has any."""
        return f" (stage '{self.name}')" if self.name else ""

    def place(self, number: int) -> dict[str, Any]:
        """What batch ``number``, counted over the whole run, tells the system about its place."""
        if not self.name:
            return {"step": number}
        return {"step": number, "stage": self.loss, "stage_step": number - self.first * self.train.accumulate}

    def rate_factor(self, step: int) -> float:
        """What the base learning rate is multiplied with at ``step`` of the run."""
        train = self.train
        return rate_factor(step - self.first, steps=train.steps, warmup=train.warmup, schedule=train.schedule)


def plan_stages(
    config: TrainConfig,
    data: Examples,
    stages: Sequence[Stage] = (),
    variants: Mapping[str, Examples] | None = None,
) -> tuple[StagePlan, ...]:
    """The stages of a run in their order. ``variants``: the examples of stages that have data of their own.

    Raises:
        ConfigError: as :func:`brickwork.training.config.stage_lengths`; a stage names data that there is not, or has fewer
            examples than a batch.
    """
    if not stages:
        check_batch(config, data)
        return (StagePlan("", "", (), 0, config.steps, config, data),)
    plans, first, variants = [], 0, variants or {}
    for stage, steps in zip(stages, stage_lengths(config, stages)):
        if stage.data and stage.data not in variants:
            known = nearest(stage.data, variants) if variants else "it has one kind only; leave it out"
            raise ConfigError(f"stages.{stage.name}.data={stage.data}: the data has no such part: {known}")
        examples = variants[stage.data] if stage.data else data
        train = replace(
            config,
            steps=steps,
            learning_rate=stage.learning_rate or config.learning_rate,
            schedule=stage.schedule or config.schedule,
        )
        check_batch(train, examples)
        plan = StagePlan(
            stage.name, stage.loss or stage.name, stage.trains, first, first + steps, train, examples
        )
        plans.append(plan)
        first += steps
    return tuple(plans)


def check_batch(config: TrainConfig, data: Examples) -> None:
    """Refuses a batch that would hold the same example twice.

    Raises:
        ConfigError: names the option and both sizes.
    """
    if config.batch_size > len(data):
        raise ConfigError(
            f"train.batch_size={config.batch_size} is larger than the training data, which has {len(data)} "
            f"examples; use at most that (--set train.batch_size={len(data)}), or more data"
        )


def announce(system: nn.Module, plan: StagePlan, seed: int) -> None:
    """Tells a system that a stage begins: ``start_stage(name)``, where it has one, may change its weights.

    Its parts stay those that it was built with: from them it is rebuilt when it is loaded. A resume calls it for every stage
    that was begun, and then loads the weights: what it draws is a function of the seed and of the stage.

    Raises:
        ConfigError: it added, removed or resized a part; names the parameters.
    """
    start_stage: Callable[[str], None] | None = getattr(system, "start_stage", None)
    if plan.name and start_stage is not None:
        seed_everything(generator_for(seed, plan.first, f"start of stage {plan.name}").initial_seed())
        before = _shapes(system)
        start_stage(plan.loss)
        if differing := sorted(name for name, _ in before ^ _shapes(system)):
            raise ConfigError(
                f"{type(system).__name__}.start_stage('{plan.loss}') added, removed or resized a part, and the model could "
                f"not be loaded: {', '.join(dict.fromkeys(differing))}. Make every part in __init__"
            )


def _shapes(system: nn.Module) -> set[tuple[str, tuple[int, ...]]]:
    return {(name, tuple(value.shape)) for name, value in system.state_dict().items()}


class RunningStage:
    """What a stage trains with: its batches, its own optimiser, and gradients for no other parameters than its own."""

    def __init__(self, plan: StagePlan, system: nn.Module, fabric: Processes, seed: int):
        self.plan = plan
        self._system = system
        self._trainable = train_only(system, plan.trains, plan.name)
        self.step_of = Step(fabric, system, plan.train)
        self.optimizer = build_optimizer(system, plan.train)
        self.parameters = [p for p in system.parameters() if p.requires_grad]
        self.batches = Batches(
            getattr(system, "collate"),  # noqa: B009 - an nn.Module that is Trainable as well
            plan.data,
            BatchSampler(len(plan.data), plan.train.batch_size, seed),
            last=plan.stop * plan.train.accumulate - 1,
            rank=fabric.global_rank,
            world=fabric.world_size,
        )

    def close(self) -> None:
        """Ends the thread of the batches; each parameter is trainable, or not, as it was before the stage."""
        self.batches.close()
        for parameter in self._system.parameters():
            parameter.requires_grad_(self._trainable.get(parameter, parameter.requires_grad))
            parameter.grad = None


def train_only(system: nn.Module, patterns: Sequence[str], stage: str) -> dict[nn.Parameter, bool]:
    """Makes the parameters whose names match one of ``patterns`` the only trainable ones; gives what was trainable before.

    Without patterns nothing changes. A pattern is of names as in ``state_dict``: ``encoder.*``, ``*.bias``.

    Raises:
        ConfigError: a pattern that no parameter matches; names the nearest.
    """
    before = {parameter: parameter.requires_grad for parameter in system.parameters()}
    names = [name for name, _ in system.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            parts = dict.fromkeys(name.partition(".")[0] + ".*" if "." in name else name for name in names)
            raise ConfigError(
                f"stages.{stage}.trains: no parameter matches '{pattern}': {nearest(pattern, parts)}"
            )
    if patterns:
        for name, parameter in system.named_parameters():
            parameter.requires_grad_(any(fnmatchcase(name, pattern) for pattern in patterns))
    return before
