"""Claims of a paper as code: two arms under equal budgets, an effect, its interval, a verdict.

A system's ``claims.py`` holds ``CLAIMS: tuple[Claim, ...]``. Each claim's ``run`` trains its arms through the
:class:`Workbench` (claims that need the same model share one training), measures, and returns a
:class:`ClaimResult`. :mod:`brickwork.studies.records` runs, stores and reads them.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from brickwork.core.errors import Interrupted
from brickwork.evaluation.significance import seed_interval

if TYPE_CHECKING:
    from brickwork.data.types import Examples, TaskData
    from brickwork.training.config import Stage, TrainConfig
    from brickwork.training.loop import FitResult
    from brickwork.training.run import RunConfig

Scale = Literal["smoke", "small", "gpu"]
Verdict = Literal["supported", "refuted", "not at this scale", "not run"]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ArmCost:
    """What one arm of a comparison cost, over all seeds: the budgets are equal or seen to differ.

    ``learning_rate`` is the one that it was trained with, chosen for it by :func:`brickwork.studies.tuning.tuned`
    or given.
    """

    name: str
    trainings: int = 0
    examples: int = 0
    seconds: float = 0.0
    learning_rate: float | None = None


@dataclass(frozen=True, kw_only=True)
class ClaimResult:
    """What a claim's run found.

    ``effect`` is in ``unit``; ``effects`` has it for every seed, in the order of the seeds; ``table`` holds
    all numbers behind it, each row one JSON object; ``note`` says what the reader must know.
    """

    verdict: Verdict
    effect: float | None = None
    interval: tuple[float, float] | None = None
    unit: str = ""
    effects: tuple[float, ...] = ()
    arms: tuple[ArmCost, ...] = ()
    table: tuple[dict[str, Any], ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One headline claim.

    ``paper`` is the paper's own figure in words, ``criterion`` what makes our verdict "supported", written
    before the run. ``run(scale, seeds, bench)`` does the work; a scale not in ``scales`` is "not run".
    """

    id: str
    statement: str
    paper: str
    criterion: str
    run: Callable[[Scale, Sequence[int], "Workbench"], ClaimResult]
    scales: tuple[Scale, ...] = ("smoke", "small")


def judge(
    effects: Sequence[float],
    *,
    at_least: float,
    refuted_below: float | None = None,
    unit: str = "points",
    arms: Sequence[ArmCost] = (),
    table: Sequence[dict[str, Any]] = (),
    note: str = "",
) -> ClaimResult:
    """The verdict on "the effect is at least ``at_least``" from one effect a seed.

    *supported*: the whole 95 % Student interval over seeds lies at or above ``at_least``. *refuted*: all of
    it lies below ``refuted_below`` (default ``at_least``). Otherwise, and always with a single seed, the
    seeds do not decide: *not at this scale*.
    """
    interval = seed_interval(effects)
    verdict: Verdict = "not at this scale"
    bounds = None
    if interval.low is not None and interval.high is not None:
        bounds = (interval.low, interval.high)
        if interval.low >= at_least:
            verdict = "supported"
        elif interval.high < (at_least if refuted_below is None else refuted_below):
            verdict = "refuted"
    else:
        note = f"{note} One seed has no interval, so nothing is decided.".strip()
    return ClaimResult(
        verdict=verdict,
        effect=interval.mean,
        interval=bounds,
        unit=unit,
        effects=tuple(float(e) for e in effects),
        arms=tuple(arms),
        table=tuple(table),
        note=note,
    )


@dataclass(frozen=True)
class Trained:
    """A trained system with the data that it was trained on and what that cost."""

    system: Any  # an nn.Module with what the claim needs of it
    data: "TaskData"
    examples: int
    seconds: float
    learning_rate: float


def arm_cost(name: str, trained: Sequence[Trained]) -> ArmCost:
    """The summed cost of the trainings of one arm (a model shared with another claim counts in both)."""
    return ArmCost(
        name=name,
        trainings=len(trained),
        examples=sum(t.examples for t in trained),
        seconds=round(sum(t.seconds for t in trained), 2),
        learning_rate=trained[0].learning_rate,
    )


@dataclass
class Workbench:
    """What the claims of one system share while they run: task data and trained arms.

    Both are kept in memory by the configuration that made them. With a ``folder``, trained arms are also kept
    on disk, keyed by configuration, seed and code, so that an interrupted run of the claims goes on there.
    """

    folder: Path | None = None
    progress: Callable[[str], None] = lambda message: None
    systems: set[str] = field(default_factory=set)
    _memo: dict[Hashable, Any] = field(default_factory=dict)

    def memo(self, key: Hashable, make: Callable[[], T]) -> T:
        """``make()``, or what it returned before for the same ``key``."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    def data(self, run: "RunConfig") -> "TaskData":
        """The task data of a run configuration."""
        from brickwork.core.config import fingerprint
        from brickwork.training.run import load_data

        key = ("data", run.system, fingerprint(run.data), run.seed)
        return self.memo(key, lambda: load_data(run.system, run.data, run.seed))

    def train(self, run: "RunConfig") -> Trained:
        """The system of ``run``, trained as it says and left in evaluation mode."""
        from brickwork.core.config import fingerprint

        self.systems.add(run.system)
        return self.memo(("arm", fingerprint(run)), lambda: self._train(run))

    def forget(self, run: "RunConfig") -> None:
        """Frees the memory of an arm that no claim will look at again."""
        from brickwork.core.config import fingerprint

        self._memo.pop(("arm", fingerprint(run)), None)

    def fit(
        self,
        system: Any,
        data: "Examples",
        config: "TrainConfig",
        seed: int,
        stages: "Sequence[Stage]" = (),
        variants: "Mapping[str, Examples] | None" = None,
    ) -> "FitResult":
        """Trains a system that a claim has put together itself, in place, and leaves nothing on disk."""
        import tempfile

        from brickwork.training.loop import fit

        with tempfile.TemporaryDirectory(prefix="brickwork-claims-") as folder:
            try:
                result = fit(
                    system, data, config, Path(folder) / "run", seed=seed, stages=stages, variants=variants
                )
            except Interrupted as error:  # its message speaks of resuming a folder that is about to go
                message = "interrupted; finished claims are recorded: the same command goes on there"
                raise Interrupted(message, error.exit_code) from error
        system.zero_grad()  # as large as the weights, and of no use any more
        return result

    def _train(self, run: "RunConfig") -> Trained:
        from brickwork.core.config import fingerprint
        from brickwork.core.files import load_tensors, read_json, save_tensors, write_json
        from brickwork.studies.fingerprint import study_fingerprint

        data = self.data(run)
        system = built(run, data)
        name = f"{run.system}-{fingerprint(run)}-{study_fingerprint(run.system, [run.system])}"
        kept = self.folder / name if self.folder else None
        if kept is not None and (kept / "cost.json").is_file():
            system.load_state_dict(load_tensors(kept / "model.safetensors"))
            cost = read_json(kept / "cost.json")
            return Trained(system.eval(), data, cost["examples"], cost["seconds"], run.train.learning_rate)
        self.progress(f"training {run.system} ({run.recipe}), seed {run.seed}, {run.train.steps} steps")
        result = self.fit(system, data.train, run.train, run.seed, run.stages, data.variants)
        examples = result.step * run.train.batch_size
        if kept is not None:
            save_tensors(kept / "model.safetensors", system.state_dict())
            write_json(kept / "cost.json", {"examples": examples, "seconds": result.seconds})
        return Trained(system.eval(), data, examples, result.seconds, run.train.learning_rate)


def built(run: "RunConfig", data: "TaskData") -> Any:
    """The untrained system of a run; a model of the study's own is a configuration that has ``build(data)``."""
    from brickwork.core.seeding import seed_everything
    from brickwork.representation.contract import build_system

    if not hasattr(run.model, "build"):
        return build_system(run.system, run.model, data, run.seed)
    seed_everything(run.seed)
    return run.model.build(data)
