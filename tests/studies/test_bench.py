"""The bench makes each training once, in memory and, with a folder, across processes; how it chooses a learning rate."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import brickwork.systems
from brickwork.core import registry
from brickwork.core.errors import ConfigError, Interrupted
from brickwork.data.config import DataConfig
from brickwork.studies.bench import FACTORS, Bench, Trained, changed
from brickwork.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Part:
    value: int = 1
    steps: int = 10
    batch_size: int = 8
    accumulate: int = 1
    learning_rate: float = 1e-3
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class Run:
    """The fields of a run configuration that the bench looks at."""

    system: str = "my-system"
    recipe: str = "smoke"
    seed: int = 0
    model: Any = Part()
    data: Any = field(default_factory=lambda: DataConfig(limit=1))
    train: Any = Part()
    stages: tuple[Any, ...] = ()
    start: str = ""


@pytest.fixture
def counted(monkeypatch):
    """Loading, building and training are replaced; training writes a random number into the weights."""
    state = SimpleNamespace(loads=0, fits=0, interrupted=False, code="1111")

    def load_task(config, seed):
        state.loads += 1
        return SimpleNamespace(train=f"train {config.limit} {seed}", variants={})

    def fit(system, data, config, folder, *, seed, validate=None, stages=(), variants=None):
        state.fits += 1
        assert data == f"train 1 {seed}"
        with torch.no_grad():
            system.weight.copy_(torch.randn(1, 1))
        if state.interrupted:
            raise Interrupted("resume it in its folder", 143)
        return SimpleNamespace(step=config.steps, seconds=1.5)

    monkeypatch.setattr(
        "brickwork.training.run.load_data", lambda slug, config, seed: load_task(config, seed)
    )
    monkeypatch.setattr(
        "brickwork.representation.contract.build_system", lambda slug, config, data, seed: nn.Linear(1, 1)
    )
    monkeypatch.setattr("brickwork.training.loop.fit", fit)
    monkeypatch.setattr("brickwork.studies.fingerprint.study_fingerprint", lambda slug, systems: state.code)
    return state


def test_an_arm_is_trained_once_and_in_evaluation_mode(counted):
    bench = Bench()
    first, again = bench.train(Run()), bench.train(Run())
    assert first is again
    assert counted.fits == 1
    assert not first.system.training
    assert (first.examples, first.seconds) == (80, 1.5)
    assert bench.systems == {"my-system"}


def test_other_seeds_and_settings_are_other_arms_on_shared_data(counted):
    bench = Bench()
    bench.train(Run())
    bench.train(replace(Run(), model=Part(value=2)))
    assert (counted.fits, counted.loads) == (2, 1)
    bench.train(replace(Run(), seed=1))
    assert (counted.fits, counted.loads) == (3, 2)


def test_arms_are_kept_on_disk_until_the_code_changes(counted, tmp_path):
    first = Bench(folder=tmp_path).train(Run())
    again = Bench(folder=tmp_path).train(Run())
    assert counted.fits == 1
    assert torch.equal(first.system.weight, again.system.weight)
    assert (again.examples, again.seconds) == (80, 1.5)
    counted.code = "2222"
    Bench(folder=tmp_path).train(Run())
    assert counted.fits == 2


def test_a_training_that_was_cut_short_is_not_kept_as_a_whole_one(counted, tmp_path):
    run = Run(train=TrainConfig(steps=10, batch_size=8))
    benches = [Bench(folder=tmp_path, max_steps=cut) for cut in (2, None, 3, 2)]
    assert [bench.train(run).examples for bench in benches] == [16, 80, 24, 16]
    assert counted.fits == 3


def test_half_a_training_is_not_used(counted, tmp_path):
    counted.interrupted = True
    with pytest.raises(Interrupted, match="the same command goes on") as caught:
        Bench(folder=tmp_path).train(Run())
    assert caught.value.exit_code == 143
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True, kw_only=True)
class OwnModel(Part):
    """A model of the study's own, which notes the random numbers that it is built with."""

    seen: Any = field(default_factory=list, repr=False)

    def build(self, data):
        self.seen.append(torch.rand(3).tolist())
        return nn.Linear(1, 1)


def test_a_model_of_the_study_is_built_with_the_seed_of_the_run(counted):
    for _ in range(2):
        model = OwnModel()
        Bench().train(Run(model=model, seed=0))
        counted.seen = [*getattr(counted, "seen", []), model.seen]
    assert counted.seen[0] == counted.seen[1]
    assert len(counted.seen[0]) == 1


def test_a_run_that_starts_from_another_is_refused(counted):
    with pytest.raises(ConfigError, match="start=runs/lm"):
        Bench().train(Run(start="runs/lm"))


def test_the_cut_of_tests_holds_for_every_way_to_train(counted):
    bench = Bench(max_steps=2)
    train = TrainConfig(steps=10, batch_size=8)
    assert bench.train(Run(train=train)).examples == 16
    assert bench.fit(nn.Linear(1, 1), "train 1 0", train, 0).examples == 16
    four = replace(train, accumulate=4)  # batches for one update
    assert bench.fit(nn.Linear(1, 1), "train 1 0", four, 0).examples == 64
    own = bench.own_loop("key", lambda steps: steps, steps=10, batch_size=8, seed=0)
    assert (own.system, own.examples) == (2, 16)
    assert bench.own_loop("key", lambda steps: 1 / 0, steps=10, batch_size=8, seed=0) is own
    assert Bench().own_loop("key", lambda steps: steps, steps=10, batch_size=8, seed=0).system == 10
    longer = bench.own_loop("key", lambda steps: "longer", steps=20, batch_size=8, seed=0)
    wider = bench.own_loop("key", lambda steps: "wider", steps=10, batch_size=16, seed=0)
    assert (own.system, longer.system, wider.system, wider.examples) == (2, "longer", "wider", 32)


def test_a_system_that_learns_without_a_gradient_learns_in_its_rounds(monkeypatch, tmp_path):
    toys = Path(__file__).parents[1] / "toy_systems"
    monkeypatch.setattr(brickwork.systems, "__path__", [*brickwork.systems.__path__, str(toys)])
    monkeypatch.setattr("brickwork.studies.fingerprint.study_fingerprint", lambda slug, systems: "1111")
    run = brickwork.recipe("class-means", "smoke")
    trained = Bench(folder=tmp_path, max_steps=3).train(run)
    images = trained.data.train
    assert int(trained.system.counts.sum()) == len(images), "every round was made"
    assert (trained.examples, trained.learning_rate) == (len(images), None)
    again = Bench(folder=tmp_path, max_steps=3).train(run)
    assert torch.equal(again.system.means, trained.system.means)
    assert (again.examples, again.seconds, again.learning_rate) == (len(images), trained.seconds, None)


def test_a_measure_is_computed_once_for_a_model_and_anew_for_another():
    calls = []

    def measure(trained, factor):
        calls.append(factor)
        return factor * trained.system

    first = Trained(3, None, 0, 10, 1.0)
    assert [first.measured(measure, 2), first.measured(measure, 2), first.measured(measure, 5)] == [6, 6, 15]
    assert replace(first, system=4).measured(measure, 2) == 8
    assert calls == [2, 5, 2]


class CountingBench(Bench):
    """Notes what is trained; the model of a rate is the rate."""

    def __init__(self):
        super().__init__()
        self.pilots = []
        self.forgotten = []

    def forget(self, run):
        self.forgotten.append((run.seed, run.train.learning_rate))

    def train(self, run):
        self.pilots.append((run.seed, run.train.learning_rate))
        return SimpleNamespace(rate=run.train.learning_rate)


@pytest.mark.parametrize(
    ("best", "tried"),
    [
        (1.0, (0.5, 1.0, 2.0)),
        (0.5, (0.25, 0.5, 1.0, 2.0)),  # one beyond the best shows that it lies inside
        (2.0, (0.5, 1.0, 2.0, 4.0)),
        (8.0, (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)),
        (1 / 64, tuple(2.0**n for n in range(-6, 2))),  # the end
        (1000.0, tuple(2.0**n for n in range(-1, 7))),
    ],
)
def test_the_best_rate_wins_and_lies_inside_the_rates_that_were_tried(best, tried):
    run = registry.load("matryoshka", "recipes").smoke()
    base, bench = run.train.learning_rate, CountingBench()

    def score(trained):
        return -abs(math.log(trained.rate / (best * base)))

    chosen = bench.tuned(replace(run, seed=2), score)
    assert (chosen.seed, chosen.train.learning_rate) == (2, min(best, 64.0) * base)
    assert sorted(bench.pilots) == sorted((0, factor * base) for factor in tried)
    assert sorted(bench.forgotten) == sorted((0, f * base) for f in tried if f != min(best, 64.0))
    assert bench.rates(chosen) == tuple(factor * base for factor in tried)
    again = bench.tuned(replace(run, seed=1), score)
    assert again.train.learning_rate == chosen.train.learning_rate
    assert len(bench.pilots) == len(tried), "another seed chose anew"
    assert bench.rates(run) == (() if best != 1.0 else bench.rates(chosen))


def test_rates_of_trainings_that_are_cut_short_are_not_searched_further():
    run, bench = registry.load("matryoshka", "recipes").smoke(), CountingBench()
    bench.max_steps = 3
    assert bench.tuned(run, lambda trained: trained.rate).train.learning_rate == 2 * run.train.learning_rate
    assert len(bench.pilots) == len(FACTORS)


def test_each_score_chooses_its_own_rate_and_nan_is_the_worst():
    run = registry.load("matryoshka", "recipes").smoke()
    base, bench = run.train.learning_rate, CountingBench()
    for score, rate in (
        (lambda trained: -abs(trained.rate - 2 * base), 2.0 * base),
        (lambda trained: -abs(trained.rate - 0.5 * base), 0.5 * base),
        (lambda trained: -trained.rate if trained.rate > 0.6 * base else math.nan, 1.0 * base),
    ):
        assert bench.tuned(run, score).train.learning_rate == rate


def test_at_a_tie_the_given_rate_stands():
    run = registry.load("matryoshka", "recipes").smoke()
    assert CountingBench().tuned(run, lambda trained: 1.0) == run


@dataclass(frozen=True)
class Outer:
    inner: TrainConfig = field(default_factory=TrainConfig)
    name: str = "before"


def test_a_dictionary_changes_a_part_and_leaves_the_rest():
    before = Outer(TrainConfig(steps=7, batch_size=3))
    assert changed(before, name="after", inner={"steps": 9}) == Outer(
        TrainConfig(steps=9, batch_size=3), "after"
    )
    assert before.inner.steps == 7
    assert changed(before, inner=TrainConfig()) == Outer()
    with pytest.raises(TypeError, match="stepz"):
        changed(before, inner={"stepz": 9})
