"""The workbench trains each arm once, in memory and, with a folder, across processes."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from brickwork.core.errors import Interrupted
from brickwork.data.config import DataConfig
from brickwork.studies.bench import Workbench


@dataclass(frozen=True, kw_only=True)
class Part:
    value: int = 1
    steps: int = 10
    batch_size: int = 8
    learning_rate: float = 1e-3


@dataclass(frozen=True, kw_only=True)
class Run:
    """The fields of a run configuration that the workbench looks at."""

    system: str = "my-system"
    recipe: str = "smoke"
    seed: int = 0
    model: Any = Part()
    data: Any = field(default_factory=lambda: DataConfig(limit=1))
    train: Any = Part()


@pytest.fixture
def counted(monkeypatch):
    """Loading, building and training are replaced; training writes a random number into the weights."""
    state = SimpleNamespace(loads=0, fits=0, interrupted=False, code="1111")

    def load_task(config, seed):
        state.loads += 1
        return SimpleNamespace(train=f"train {config.limit} {seed}")

    def fit(system, data, config, folder, *, seed):
        state.fits += 1
        assert data == f"train 1 {seed}"
        with torch.no_grad():
            system.weight.copy_(torch.randn(1, 1))
        if state.interrupted:
            raise Interrupted("resume it in its folder", 143)
        return SimpleNamespace(step=config.steps, seconds=1.5)

    module = SimpleNamespace(build=lambda config, data: nn.Linear(1, 1))
    monkeypatch.setattr("brickwork.core.registry.load", lambda slug, part: module)
    monkeypatch.setattr("brickwork.data.load.load_task", load_task)
    monkeypatch.setattr("brickwork.training.loop.fit", fit)
    monkeypatch.setattr("brickwork.studies.fingerprint.code_fingerprint", lambda slugs: state.code)
    return state


def test_an_arm_is_trained_once_and_in_evaluation_mode(counted):
    bench = Workbench()
    first, again = bench.train(Run()), bench.train(Run())
    assert first is again
    assert counted.fits == 1
    assert not first.system.training
    assert (first.examples, first.seconds) == (80, 1.5)
    assert bench.systems == {"my-system"}


def test_other_seeds_and_settings_are_other_arms_on_shared_data(counted):
    bench = Workbench()
    bench.train(Run())
    bench.train(replace(Run(), model=Part(value=2)))
    assert (counted.fits, counted.loads) == (2, 1)
    bench.train(replace(Run(), seed=1))
    assert (counted.fits, counted.loads) == (3, 2)


def test_arms_are_kept_on_disk_until_the_code_changes(counted, tmp_path):
    first = Workbench(folder=tmp_path).train(Run())
    again = Workbench(folder=tmp_path).train(Run())
    assert counted.fits == 1
    assert torch.equal(first.system.weight, again.system.weight)
    assert (again.examples, again.seconds) == (80, 1.5)
    counted.code = "2222"
    Workbench(folder=tmp_path).train(Run())
    assert counted.fits == 2


def test_half_a_training_is_not_used(counted, tmp_path):
    counted.interrupted = True
    with pytest.raises(Interrupted, match="the same command goes on") as caught:
        Workbench(folder=tmp_path).train(Run())
    assert caught.value.exit_code == 143
    assert list(tmp_path.iterdir()) == []


def test_seeding_makes_building_repeatable(counted, monkeypatch):
    seen = []
    module = SimpleNamespace(build=lambda config, data: seen.append(torch.rand(3)) or nn.Linear(1, 1))
    monkeypatch.setattr("brickwork.core.registry.load", lambda slug, part: module)
    for _ in range(2):
        Workbench().train(Run())
    assert torch.equal(*seen)
