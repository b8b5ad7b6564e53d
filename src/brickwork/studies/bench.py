"""What the claims of a study share while they run: task data and trainings, each made once.

Every training of a study goes through :class:`Bench`: it is counted, timed, kept, and in tests cut short.
"""

import contextlib
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from brickwork.core.errors import Interrupted

if TYPE_CHECKING:
    from brickwork.data.types import Examples, TaskData
    from brickwork.training.config import Stage, TrainConfig
    from brickwork.training.run import RunConfig

T = TypeVar("T")
FACTORS = (1.0, 0.5, 2.0)
"""A learning rate is chosen among its own value times these, and further ones where the best of them is at an edge."""
WIDEST = 64.0
"""No factor is larger, or smaller than its inverse: there nothing learns any more."""
PILOT_SEED = 0


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained system (or a series of them), its data, and what that cost.

    ``learning_rate``: the one it was trained with, chosen for it or given; ``rates``: those among which a study's own series
    of trainings chose it.
    """

    system: Any  # an nn.Module with what the claim needs of it
    data: Any  # the TaskData, or the Examples of a system that a study put together
    seed: int
    examples: int
    seconds: float
    learning_rate: float | None = None
    trainings: int = 1
    rates: tuple[float, ...] = ()
    _measures: dict[Hashable, Any] = field(init=False, default_factory=dict, repr=False)

    def measured(self, measure: Callable[..., T], *args: Any) -> T:
        """``measure(self, *args)``, computed once."""
        key = (measure, args)
        if key not in self._measures:
            self._measures[key] = measure(self, *args)
        return self._measures[key]


@dataclass
class Bench:
    """Task data and trainings, kept in memory by the configuration that made them.

    With a ``folder``, trainings of a run configuration are also kept on disk, keyed by configuration, seed, code and cut, so
    that an interrupted run of the claims goes on there. ``max_steps`` cuts every training short: for tests, in which the
    way to the numbers is walked and the numbers mean nothing.
    """

    folder: Path | None = None
    progress: Callable[[str], None] = lambda message: None
    max_steps: int | None = None
    systems: set[str] = field(default_factory=set)
    _memo: dict[Hashable, Any] = field(default_factory=dict)
    _tried: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def memo(self, key: Hashable, make: Callable[[], T]) -> T:
        """``make()``, or what it returned before for the same ``key``."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    def steps(self, wanted: int) -> int:
        """The steps that a training of ``wanted`` steps takes here."""
        return wanted if self.max_steps is None else min(wanted, self.max_steps)

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
        return self.memo(("training", fingerprint(run)), lambda: self._train(run))

    def forget(self, run: "RunConfig") -> None:
        """Frees the memory of a training that no claim will look at again."""
        from brickwork.core.config import fingerprint

        self._memo.pop(("training", fingerprint(run)), None)

    def fit(
        self,
        system: Any,
        data: "Examples",
        config: "TrainConfig",
        seed: int,
        validate: Callable[[Any], dict[str, float]] | None = None,
        stages: "Sequence[Stage]" = (),
        variants: "Mapping[str, Examples] | None" = None,
    ) -> Trained:
        """Trains a system that a study has put together itself, in place, and leaves nothing on disk.

        What a system with rounds of its own learns, nothing cuts short; its cost is the
        examples that it is given, and it has no learning rate.
        """
        import torch

        from brickwork.core.types import Fits
        from brickwork.training.config import shortened
        from brickwork.training.loop import fit
        from brickwork.training.rounds import fit_rounds

        if isinstance(cast(object, system), Fits):
            with _passing_folder() as folder:
                result = fit_rounds(system, data, config, folder, seed=seed, validate=validate)
            return Trained(system.eval(), data, seed, len(data), result.seconds)
        if self.max_steps is not None:
            config, stages = shortened(config, stages, self.max_steps)
        # As many threads for each arm, whatever else the machine does: their times are compared, their numbers repeated.
        config = replace(config, threads=config.threads or torch.get_num_threads())
        with _passing_folder() as folder:
            result = fit(
                system, data, config, folder, seed=seed, validate=validate, stages=stages, variants=variants
            )
        system.zero_grad()  # as large as the weights, and of no use any more
        examples = result.step * config.batch_size * config.accumulate
        return Trained(system.eval(), data, seed, examples, result.seconds, config.learning_rate)

    def own_loop(
        self, key: Hashable, make: Callable[[int], Any], *, steps: int, batch_size: int, seed: int
    ) -> Trained:
        """A training whose loop is the study's own: ``make(steps)`` returns the trained model."""
        import time

        def train() -> Trained:
            taken = self.steps(steps)
            began = time.perf_counter()
            model = make(taken)
            return Trained(model, None, seed, taken * batch_size, time.perf_counter() - began)

        return self.memo(("own loop", key, steps, batch_size, seed), train)

    def best(self, key: Hashable, choices: Sequence[T], score: Callable[[T], Any]) -> T:
        """The choice that scores best, at a tie the first of them; each is tried once for a ``key``."""
        return self.memo(("best", key), lambda: max(choices, key=score))

    def best_factor(self, key: Hashable, score: Callable[[float], float]) -> tuple[float, tuple[float, ...]]:
        """The factor of a learning rate that scores best, at a tie the first of :data:`FACTORS`, and all that were tried.

        While the best is the smallest or the largest tried, the next one beyond is tried as well, up to :data:`WIDEST`: the
        optimum of each arm lies inside its grid. Trainings that are cut short say nothing, so there the grid stays as it is.
        A score of NaN is the worst. Each factor is tried once for a ``key``.
        """

        def quality(factor: float) -> float:
            value = score(factor)
            return -math.inf if math.isnan(value) else value

        def search() -> tuple[float, tuple[float, ...]]:
            qualities = {factor: quality(factor) for factor in FACTORS}
            while True:
                best = max(qualities, key=lambda factor: qualities[factor])
                beyond = {min(qualities): best / 2, max(qualities): best * 2}.get(best, best)
                if beyond == best or not 1 / WIDEST <= beyond <= WIDEST or self.max_steps is not None:
                    return best, tuple(sorted(qualities))
                qualities[beyond] = quality(beyond)

        return self.memo(("factor", key), search)

    def at_its_rate(
        self,
        key: Hashable,
        train: Callable[[float, int], Trained],
        score: Callable[[Trained], float],
        learning_rate: float,
    ) -> Callable[[int], Trained]:
        """Seed → ``train(rate, seed)``, a study's own training, at the rate that suits it: :meth:`best_factor` times
        ``learning_rate``, by the ``score`` of what is trained with :data:`PILOT_SEED`. ``key`` says what is trained."""

        def at(factor: float, seed: int) -> Trained:
            return self.memo(("at a rate", key, factor, seed), lambda: train(factor * learning_rate, seed))

        factor, tried = self.best_factor(key, lambda factor: score(at(factor, PILOT_SEED)))
        rates = tuple(f * learning_rate for f in tried)
        return lambda seed: self.memo(
            ("at its rate", key, seed), lambda: replace(at(factor, seed), rates=rates)
        )

    def tuned(self, run: "RunConfig", score: Callable[[Trained], float]) -> "RunConfig":
        """``run`` with the learning rate, by :meth:`best_factor` times its own, whose model scores best on validation data.

        Each rate is tried once for a ``score``, with :data:`PILOT_SEED`, whatever the seed of ``run``. :meth:`rates` then
        tells the rates that were tried.
        """
        from brickwork.core.config import fingerprint

        def at(factor: float) -> "RunConfig":
            return replace(run, train=replace(run.train, learning_rate=factor * run.train.learning_rate))

        def pilot(factor: float) -> "RunConfig":
            return replace(at(factor), seed=PILOT_SEED)

        chosen, factors = self.best_factor(
            ("rate", score, fingerprint(pilot(1.0))), lambda factor: score(self.train(pilot(factor)))
        )
        for factor in factors:
            if factor != chosen:
                self.forget(pilot(factor))
        self._tried[fingerprint(pilot(chosen))] = tuple(f * run.train.learning_rate for f in factors)
        return at(chosen)

    def rates(self, run: "RunConfig") -> tuple[float, ...]:
        """The learning rates among which that of ``run`` was chosen by :meth:`tuned`, ascending; empty if it was given."""
        from brickwork.core.config import fingerprint

        return self._tried.get(fingerprint(replace(run, seed=PILOT_SEED)), ())

    def _train(self, run: "RunConfig") -> Trained:
        from brickwork.core.config import fingerprint
        from brickwork.core.files import load_tensors, read_json, save_tensors, write_json
        from brickwork.core.types import Fits
        from brickwork.studies.fingerprint import study_fingerprint
        from brickwork.training.run import planned_stages

        data = self.data(run)
        system = built(run, data)
        kept = None
        if self.folder is not None:
            code = study_fingerprint(run.system, [run.system])
            cut = "" if self.max_steps is None else f"-{self.max_steps}"
            kept = self.folder / f"{run.system}-{fingerprint(run)}-{code}{cut}"
        if kept is not None and (kept / "cost.json").is_file():
            system.load_state_dict(load_tensors(kept / "model.safetensors"))
            cost = read_json(kept / "cost.json")
            return Trained(system.eval(), data, run.seed, **cost)
        length = "in rounds" if isinstance(system, Fits) else f"{self.steps(run.train.steps)} steps"
        recipe = f" ({run.recipe})" if run.recipe else ""
        self.progress(f"training {run.system}{recipe}, seed {run.seed}, {length}")
        trained = replace(
            self.fit(
                system, data.train, run.train, run.seed, stages=planned_stages(run), variants=data.variants
            ),
            data=data,
        )
        if kept is not None:
            save_tensors(kept / "model.safetensors", system.state_dict())
            cost = {name: getattr(trained, name) for name in ("examples", "seconds", "learning_rate")}
            write_json(kept / "cost.json", cost)
        return trained


@contextlib.contextmanager
def _passing_folder() -> Iterator[Path]:
    """A run folder for the time of one training."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="brickwork-claims-") as folder:
        try:
            yield Path(folder) / "run"
        except Interrupted as error:  # its message speaks of resuming a folder that is about to go
            message = "interrupted; finished claims are recorded: the same command goes on there"
            raise Interrupted(message, error.exit_code) from error


def changed(config: T, **values: Any) -> T:
    """A copy of a configuration with other values; a dictionary changes a part of it in the same way.

    ``changed(run, recipe="claims: wide", model={"encoder": {"width": 512}}, train={"steps": 300})``
    """
    new = {
        name: changed(getattr(config, name), **value) if isinstance(value, Mapping) else value
        for name, value in values.items()
    }
    return cast(T, replace(cast(Any, config), **new))


def built(run: "RunConfig", data: "TaskData") -> Any:
    """The untrained system of a run; a model of the study's own is a configuration that has ``build(data)``.

    Raises:
        ConfigError: a run that starts from another run, which studies do not.
    """
    from brickwork.core.errors import ConfigError
    from brickwork.core.seeding import seed_everything
    from brickwork.representation.contract import build_system

    if run.start:
        raise ConfigError(
            f"start={run.start}: a study builds its systems from nothing; continue a training with fit"
        )
    if not hasattr(run.model, "build"):
        return build_system(run.system, run.model, data, run.seed)
    seed_everything(run.seed)
    return run.model.build(data)
