"""How many threads a training takes: what is asked for, what the run had, what is faster."""

import json
import os
from dataclasses import replace

import pytest
import torch
from torch import nn

from brickwork.training import threads
from brickwork.training.config import TrainConfig
from brickwork.training.loop import fit
from brickwork.training.threads import choose_threads, compare, largest_product, using_threads
from toy_system import Toy, toy_data

CONFIG = TrainConfig(steps=4, batch_size=8, precision="fp32", device="cpu")


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    """A process with two threads of torch's choice, on which one is twice as fast as two."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "compare", lambda size, number: (1.0, 2.0))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def choose(config=None, world=1, run=None):
    return choose_threads(config or TrainConfig(), nn.Linear(8, 8), world, run)


def test_one_thread_where_more_are_slower():
    assert choose() == (1, "1 thread (2 were slower here: 2.0 times)")


@pytest.mark.parametrize("two", [0.5, 1.0, 1.05])
def test_not_where_the_difference_is_small(monkeypatch, two):
    monkeypatch.setattr(threads, "compare", lambda size, number: (1.0, two))
    assert choose() == (2, "2 threads")


def test_what_is_asked_for_wins(monkeypatch):
    assert choose(TrainConfig(threads=2)) == (2, "2 threads, as asked for")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert choose() == (2, "2 threads (OMP_NUM_THREADS)")
    assert choose(TrainConfig(threads=1)) == (1, "1 thread, as asked for")


def test_nothing_is_measured_for_several_processes_or_with_determinism(monkeypatch):
    assert choose(world=2)[0] == 2
    assert choose(TrainConfig(deterministic=True))[0] == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert choose()[0] == 2


def test_a_run_goes_on_with_the_number_it_had(tmp_path):
    (tmp_path / "env.json").write_text(json.dumps({"threads": 2, "cores": os.cpu_count()}))
    assert choose(run=tmp_path) == (2, "2 threads, as before")
    (tmp_path / "env.json").write_text(json.dumps({"threads": 64, "cores": -1}))
    assert choose(run=tmp_path)[0] == 1, "another machine: measured again"


def test_resume_takes_the_number_of_the_run_though_another_would_be_faster_now(tmp_path, monkeypatch):
    seen = []

    class Watched(Toy):
        def after_step(self, step):
            seen.append(torch.get_num_threads())

    config = replace(CONFIG, steps=4, save_every=2)
    whole = fit(Watched(), toy_data(), config, tmp_path / "whole", seed=0)
    fit(Watched(), toy_data(), replace(config, steps=4), tmp_path / "run", seed=0)
    newest = max((tmp_path / "run" / "checkpoints").iterdir())
    newest.rename(tmp_path / "gone")
    monkeypatch.setattr(threads, "compare", lambda size, number: (2.0, 1.0))
    resumed = fit(Watched(), toy_data(), config, tmp_path / "run", seed=0, resume=True)
    assert set(seen) == {1}
    assert resumed.losses == whole.losses[2:]
    assert torch.get_num_threads() == 2, "as it was before the training"


def test_the_largest_layer_that_runs_often_is_measured():
    system = nn.Sequential(nn.Linear(32, 64), nn.Linear(64, 32000), nn.Embedding(1000, 64), nn.Linear(16, 16))
    assert largest_product(system) == (32, 64)
    assert largest_product(nn.Conv2d(3, 8, 3)) == (256, 256)


def test_the_measurement_leaves_draws_and_threads_alone(monkeypatch):
    monkeypatch.setattr(threads, "_MEASURED_SECONDS", 0.01)
    state = torch.get_rng_state()
    one, two = compare((16, 32), 2)
    assert one > 0
    assert two > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == 2


def test_threads_come_back_after_an_error():
    with pytest.raises(ValueError, match="inside"), using_threads(1):
        raise ValueError("inside")
    assert torch.get_num_threads() == 2
