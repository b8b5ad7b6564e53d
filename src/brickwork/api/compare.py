"""Whether the idea of a system helps on the user's own data: its arms trained anew, with the same budget, over seeds.

brickwork.compare("runs/tickets", seeds=5)
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickwork.api.train import read_run, with_sizes
from brickwork.core import registry
from brickwork.core.config import fingerprint
from brickwork.core.errors import ArtifactError, ConfigError, DataError, Interrupted, naming_extras
from brickwork.core.files import plain, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from brickwork.training.run import RunConfig

RECORD, PAGE = "compare.json", "compare.html"


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """One way to train: what is measured of it by seed (larger is better), and the paired difference to the first way, with
    its 95 % interval over seeds (none for one seed, or for the first way itself). ``learning_rate``: the one it was trained
    with."""

    name: str
    values: tuple[float, ...]
    learning_rate: float
    difference: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def words(self) -> str:
        """What the interval says."""
        if self.difference is None:
            return "the others are compared with it"
        if self.interval is None:
            return "one seed says nothing: use --seeds 3 or more"
        low, high = self.interval
        if high - low < 1e-9 and abs(low) > 1e-9:
            return "the same in every seed, which says nothing: use more seeds, or more held-out rows"
        return "better" if low > 0 else "worse" if high < 0 else "no difference shown"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a comparison found: by measure, that which rates were chosen by first, every way, the plain one first. ``page``:
    a picture of it."""

    measures: Mapping[str, tuple[ArmResult, ...]]
    seeds: tuple[int, ...]
    page: Path


@naming_extras("a comparison")
def compare(
    folder: Path | str,
    *,
    seeds: int = 3,
    rates: bool = False,
    progress: "Callable[[str], None] | None" = None,
) -> Comparison:
    """Trains each arm of the system of a run as the run was trained, with ``seeds`` seeds (also of the split), and compares
    what they measure on held-out data. ``rates``: the learning rate of each is first chosen among the run's own, half and
    double (and further, if the best is at an edge), on validation data. What is done is kept in the run folder: a second
    call goes on.

    Raises:
        ArtifactError: the folder holds no run, or its system has nothing to be compared with.
        ConfigError: fewer than one seed.
        DataError: nothing is measured in all seeds.
        Interrupted: what is done by then is kept.
    """
    from brickwork.studies.bench import Bench

    if seeds < 1:
        raise ConfigError(f"seeds={seeds}; use at least 1, and 3 or more for an interval")
    folder = Path(folder)
    run = with_sizes(read_run(folder))
    system: Any = registry.load(run.system, "system").System
    if not hasattr(system, "controls"):
        able = ", ".join(registry.able("compares")) or "none"
        raise ArtifactError(
            f"{folder} is a run of {run.system}, which names nothing to be compared with; systems that do: {able}"
        )
    arms: dict[str, "RunConfig"] = {
        name: replace(run, model=model, recipe=f"compare: {name}")
        for name, model in system.controls(run.model).items()
    }

    def validation(trained: Any) -> float:
        scores = system.compared(trained.system.evaluate(trained.data.validation))
        return next(iter(scores.values()), float("nan"))

    tell = progress or (lambda message: None)
    done = _Record(folder / RECORD, fingerprint(run), rates)
    every = tuple(range(run.seed, run.seed + seeds))
    left = [(seed, name) for seed in every for name in arms if done.scores(name, seed) is None]
    with _going_on(done):
        for name, arm in arms.items():
            if rates and name not in done.rates:
                tuned = Bench(progress=lambda message: tell(f"choosing the rate: {message}")).tuned(
                    arm, validation
                )
                done.keep_rate(name, tuned.train.learning_rate)
        began, bench = time.monotonic(), Bench()
        for number, (seed, name) in enumerate(left):
            rate = done.rates.get(name, run.train.learning_rate)
            tell(_next(name, seed, number, len(left), time.monotonic() - began))
            one = replace(arms[name], seed=seed, train=replace(run.train, learning_rate=rate))
            trained = bench.train(one)
            done.keep(name, seed, system.compared(trained.system.evaluate(trained.data.test)))
            bench.forget(one)
    measures = _results(tuple(arms), every, run, done)
    page = _write_page(folder / PAGE, run, measures, every, rates=rates)
    return Comparison(measures=measures, seeds=every, page=page)


def _next(name: str, seed: int, done: int, count: int, seconds: float) -> str:
    """What is trained now, and how long all that is left will take."""
    words = f"training {done + 1} of {count}: {name}, seed {seed}"
    if not done:
        return words
    minutes = seconds / done * (count - done) / 60
    return f"{words}; about {f'{minutes:.0f} min' if minutes >= 1 else f'{60 * minutes:.0f} s'} left"


@contextmanager
def _going_on(record: "_Record") -> Iterator[None]:
    """Says of a comparison that is stopped what is kept of it; the folder of the one training that was stopped is gone."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as error:  # a training saves and stops; reading data just stops
        count = record.count()
        trainings = f"{count} training{'s'[: count != 1]} {'are' if count != 1 else 'is'}"
        message = f"interrupted; {trainings} kept in {record.path}: the same command goes on there"
        raise Interrupted(message, getattr(error, "exit_code", 130)) from error


class _Record:
    """What is measured so far, in a file beside the run; not that of another run or another way to choose rates."""

    def __init__(self, path: Path, key: str, rates: bool):
        self.path = path
        fresh: dict[str, Any] = {"run": key, "rates_chosen": rates, "scores": {}, "rates": {}}
        kept = read_json(path) if path.is_file() else fresh
        same = kept.get("run") == key and kept.get("rates_chosen") == rates
        self._values = kept if same and "scores" in kept else fresh

    @property
    def rates(self) -> dict[str, float]:
        return self._values["rates"]

    def count(self) -> int:
        """Trainings that are done."""
        return sum(map(len, self._values["scores"].values()))

    def scores(self, arm: str, seed: int) -> dict[str, float] | None:
        return self._values["scores"].get(arm, {}).get(str(seed))

    def keep(self, arm: str, seed: int, scores: Mapping[str, float]) -> None:
        self._values["scores"].setdefault(arm, {})[str(seed)] = dict(scores)
        write_json(self.path, plain(self._values))

    def keep_rate(self, arm: str, value: float) -> None:
        self._values["rates"][arm] = value
        write_json(self.path, plain(self._values))


def _results(
    arms: tuple[str, ...], seeds: tuple[int, ...], run: "RunConfig", done: _Record
) -> dict[str, tuple[ArmResult, ...]]:
    table = {name: [done.scores(name, seed) or {} for seed in seeds] for name in arms}
    every = [scores for rows in table.values() for scores in rows]
    # What is not defined in one split, as an AUROC without one of the classes, is not compared.
    names = [name for name in every[0] if all(scores.get(name) is not None for scores in every)]
    if not names:
        raise DataError(
            f"{run.data.source}: nothing can be measured on the held-out rows of every seed; give more data, or a larger "
            "data.test_share"
        )
    return {
        measure: _by_arm({name: [row[measure] for row in rows] for name, rows in table.items()}, run, done)
        for measure in names
    }


def _by_arm(values: dict[str, list[float]], run: "RunConfig", done: _Record) -> tuple[ArmResult, ...]:
    from brickwork.studies.effects import Effect

    effects = {name: Effect(tuple(of_arm)) for name, of_arm in values.items()}
    base = next(iter(effects.values()))
    results = []
    for number, (name, effect) in enumerate(effects.items()):
        gain = effect - base
        results.append(
            ArmResult(
                name=name,
                values=effect.values,
                learning_rate=done.rates.get(name, run.train.learning_rate),
                difference=gain.mean if number else None,
                interval=gain.interval if number else None,
            )
        )
    return tuple(results)


def _write_page(
    path: Path,
    run: "RunConfig",
    measures: Mapping[str, tuple[ArmResult, ...]],
    seeds: tuple[int, ...],
    *,
    rates: bool,
) -> Path:
    from brickwork.inspection.drawings import write_drawings

    drawings = [_drawing(measure, arms, len(seeds), rates) for measure, arms in measures.items()]
    title = f"{run.system} on {Path(run.data.source).name}"
    count = len(next(iter(measures.values())))
    return write_drawings(path, title, f"{count} ways to train, {len(seeds)} seeds each.", drawings)


def _drawing(measure: str, arms: tuple[ArmResult, ...], seeds: int, rates: bool) -> Any:
    from brickwork.inspection.strip import StripRow, strip_drawing

    base, *others = arms
    rows = [
        StripRow(
            name=arm.name,
            values=tuple(a - b for a, b in zip(arm.values, base.values)),
            mean=arm.difference or 0.0,
            interval=arm.interval,
        )
        for arm in others
    ]
    chosen = (
        "each at the learning rate that its validation data chose" if rates else "all at one learning rate"
    )
    found = "; ".join(f"{arm.name}: {arm.words}" for arm in others)
    lead = (
        f"Each row is a way to train; circles: its {measure} minus those of {base.name} training (mean "
        f"{sum(base.values) / len(base.values):.3g}), with the same seed, split, steps and batches, {chosen}; dot "
        f"and bar: mean over {seeds} seed{'s'[: seeds != 1]} and its 95 % interval. {found}."
    )
    return strip_drawing(f"Does it help? {measure[0].upper()}{measure[1:]}", lead, rows,
                         unit=f"{measure}, against {base.name} training")  # fmt: skip
