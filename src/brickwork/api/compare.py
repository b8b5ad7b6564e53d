"""Whether the idea of a system helps on the user's own data: its arms trained anew, with the same budget, over seeds.

brickwork.compare("runs/tickets", seeds=5)
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickwork.api.train import read_run, with_sizes
from brickwork.core import registry
from brickwork.core.config import fingerprint
from brickwork.core.errors import ArtifactError, ConfigError, naming_extras
from brickwork.core.files import plain, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from brickwork.studies.bench import Bench
    from brickwork.training.run import RunConfig

RECORD, PAGE = "compare.json", "compare.html"
_POINTS = "points of accuracy"


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """One way to train: its accuracy (percent) by seed, and the paired difference to the first way, with its 95 % interval
    over seeds (none for one seed, or for the first way itself). ``learning_rate``: the one it was trained with."""

    name: str
    accuracies: tuple[float, ...]
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
    """What a comparison found, the plain way first; ``page``: a picture of it."""

    arms: tuple[ArmResult, ...]
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
    their accuracy on held-out data. ``rates``: the learning rate of each is first chosen among the run's own, half and
    double (and further, if the best is at an edge), on validation data. What is done is kept in the run folder: a second
    call goes on.

    Raises:
        ArtifactError: the folder holds no run, or its system has nothing to be compared with.
        ConfigError: fewer than one seed.
    """
    from brickwork.studies.bench import Bench

    if seeds < 1:
        raise ConfigError(f"seeds={seeds}; use at least 1, and 3 or more for an interval")
    folder = Path(folder)
    run = with_sizes(read_run(folder))
    controls = getattr(registry.load(run.system, "system").System, "controls", None)
    if controls is None:
        able = ", ".join(registry.able("compares")) or "none"
        raise ArtifactError(
            f"{folder} is a run of {run.system}, which names nothing to be compared with; systems that do: {able}"
        )
    arms: dict[str, "RunConfig"] = {
        name: replace(run, model=model, recipe=f"compare: {name}")
        for name, model in controls(run.model).items()
    }
    bench = Bench(progress=progress or (lambda message: None))
    done = _Record(folder / RECORD, fingerprint(run), rates)
    for name, arm in arms.items():
        if rates and name not in done.rates:
            tuned = bench.tuned(arm, _validation)
            done.keep_rate(name, tuned.train.learning_rate)
    every = tuple(range(run.seed, run.seed + seeds))
    for seed in every:
        for name, arm in arms.items():
            rate = done.rates.get(name, run.train.learning_rate)
            if done.score(name, seed) is None:
                one = replace(arm, seed=seed, train=replace(arm.train, learning_rate=rate))
                done.keep(name, seed, _accuracy(bench, one))
    results = _results({name: [done.score(name, seed) or 0.0 for seed in every] for name in arms}, run, done)
    page = _write_page(folder / PAGE, run, results, every, rates=rates)
    return Comparison(arms=results, seeds=every, page=page)


def _accuracy(bench: "Bench", run: "RunConfig") -> float:
    trained = bench.train(run)
    accuracy = 100 * trained.system.evaluate(trained.data.test)["accuracy"]
    bench.forget(run)
    return float(accuracy)


def _validation(trained: Any) -> float:
    return float(trained.system.evaluate(trained.data.validation)["accuracy"])


class _Record:
    """Accuracies that are done, in a file beside the run; not those of another run or another way to choose rates."""

    def __init__(self, path: Path, key: str, rates: bool):
        self.path = path
        fresh: dict[str, Any] = {"run": key, "rates_chosen": rates, "accuracy": {}, "rates": {}}
        kept = read_json(path) if path.is_file() else fresh
        same = kept.get("run") == key and kept.get("rates_chosen") == rates
        self._values = kept if same else fresh

    @property
    def rates(self) -> dict[str, float]:
        return self._values["rates"]

    def score(self, arm: str, seed: int) -> float | None:
        return self._values["accuracy"].get(arm, {}).get(str(seed))

    def keep(self, arm: str, seed: int, value: float) -> None:
        self._values["accuracy"].setdefault(arm, {})[str(seed)] = value
        write_json(self.path, plain(self._values))

    def keep_rate(self, arm: str, value: float) -> None:
        self._values["rates"][arm] = value
        write_json(self.path, plain(self._values))


def _results(accuracies: dict[str, list[float]], run: "RunConfig", done: _Record) -> tuple[ArmResult, ...]:
    from brickwork.studies.effects import Effect

    effects = {name: Effect(tuple(values)) for name, values in accuracies.items()}
    base = next(iter(effects.values()))
    results = []
    for number, (name, effect) in enumerate(effects.items()):
        gain = effect - base
        results.append(
            ArmResult(
                name=name,
                accuracies=effect.values,
                learning_rate=done.rates.get(name, run.train.learning_rate),
                difference=gain.mean if number else None,
                interval=gain.interval if number else None,
            )
        )
    return tuple(results)


def _write_page(
    path: Path, run: "RunConfig", arms: tuple[ArmResult, ...], seeds: tuple[int, ...], *, rates: bool
) -> Path:
    from brickwork.inspection.drawings import write_drawings
    from brickwork.inspection.strip import StripRow, strip_drawing

    base, *others = arms
    rows = [
        StripRow(
            name=arm.name,
            values=tuple(a - b for a, b in zip(arm.accuracies, base.accuracies)),
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
        f"Each row is a way to train; circles: its {_POINTS} minus those of {base.name} training (mean "
        f"{sum(base.accuracies) / len(base.accuracies):.1f} %), with the same seed, split, steps and batches, {chosen}; dot "
        f"and bar: mean over {len(seeds)} seeds and its 95 % interval. {found}."
    )
    drawing = strip_drawing("Does it help?", lead, rows, unit=f"{_POINTS}, against {base.name} training")
    title = f"{run.system} on {Path(run.data.source).name}"
    return write_drawings(path, title, f"{len(arms)} ways to train, {len(seeds)} seeds each.", [drawing])
