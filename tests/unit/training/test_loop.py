"""The loop against one written out by hand, and what it promises about stopping, resuming, measuring."""

import json
import os
import random
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from brickwork.core.errors import (
    BrickworkWarning,
    ConfigError,
    DataError,
    Interrupted,
    MissingExtraError,
    NonFiniteError,
    ResourceError,
)
from brickwork.core.files import FolderLock, load_tensors
from brickwork.core.types import LossOutput
from brickwork.data.samplers import BatchSampler
from brickwork.data.types import Examples
from brickwork.training.checkpoint import checkpoint_path, steps_saved
from brickwork.training.config import TrainConfig
from brickwork.training.loop import fit
from toy_system import Toy, toy_data

CONFIG = TrainConfig(
    steps=12, batch_size=8, learning_rate=0.02, precision="fp32", device="cpu", save_every=4, log_every=3
)


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def same(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize(
    ("steps", "save_every", "between"),
    [(10_000, None, 200), (300, None, 60), (3, None, 1), (300, 500, 500), (300, 0, 0)],
)
def test_short_runs_have_checkpoints_too(steps, save_every, between):
    assert TrainConfig(steps=steps, save_every=save_every).steps_between_saves == between


def test_a_short_run_that_is_killed_goes_on_after_its_last_fifth(tmp_path):
    fit(Toy(), toy_data(), replace(CONFIG, save_every=None, keep=9), tmp_path, seed=0)
    assert steps_saved(tmp_path) == [2, 4, 6, 8, 10, 12]


def test_equals_a_loop_by_hand(tmp_path):
    """torch's AdamW, its one-cycle of linear warm-up and cosine by LambdaLR, and its clip_grad_norm_."""
    config = replace(CONFIG, clip_norm=0.3, warmup=0.25, weight_decay=0.1)
    system = Toy()
    result = fit(system, toy_data(), config, tmp_path / "run", seed=5)

    expected, data, sampler = Toy(), toy_data(), BatchSampler(40, 8, seed=5)
    groups = [
        {"params": [expected.first.weight, expected.second.weight], "weight_decay": 0.1},
        {"params": [expected.first.bias, expected.second.bias, expected.log_scale], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.02)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=9)
    warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (step + 1) / 3)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cosine], milestones=[3])
    losses = []
    for step in range(12):
        optimizer.zero_grad()
        loss = expected.loss(expected.collate(data.take(sampler.indices(step)))).total
        loss.backward()
        torch.nn.utils.clip_grad_norm_(expected.parameters(), 0.3)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    assert result.losses == pytest.approx(losses, rel=1e-5)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(system.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_it_learns_and_says_so(tmp_path):
    seen = []

    class Watched(Toy):
        def after_step(self, step):
            seen.append(step)

    config = replace(CONFIG, steps=60, save_every=0)
    result = fit(Watched(), toy_data(), config, tmp_path / "run", seed=0, validate=lambda s: {"quality": 0.5})
    assert np.mean(result.losses[-5:]) < 0.6 * np.mean(result.losses[:5])
    assert (result.step, len(result.losses)) == (60, 60)
    assert result.seconds > 0 < result.examples_per_second
    assert seen == list(range(60))
    lines = records(tmp_path / "run")
    assert [line["step"] for line in lines if "loss" in line] == [1, *range(3, 61, 3)]
    assert [line["step"] for line in lines if "validation" in line] == [0, 60]
    last = lines[-2]
    assert last["loss"] == result.losses[-1]
    assert set(last["terms"]) == {"match", "size"}
    assert set(last["stats"]) == {"scale"}
    assert last["loss"] == pytest.approx(last["terms"]["match"] + 0.1 * last["terms"]["size"], rel=1e-6)
    assert last["epoch"] == 60 * 8 / 40
    environment = json.loads((tmp_path / "run" / "env.json").read_text())
    installed = environment["packages"]["torch"]  # a build may name itself in one of the two alone
    assert installed.partition("+")[0] == torch.__version__.partition("+")[0]
    assert steps_saved(tmp_path / "run") == [60]


class PerRow(nn.Module):
    """A loss that is a mean over rows, so that parts of a batch add up."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(8, 8)

    def collate(self, columns):
        return {name: torch.as_tensor(value) for name, value in columns.items()}

    def loss(self, batch):
        return LossOutput.of({"mse": nn.functional.mse_loss(self.layer(batch["anchor"]), batch["positive"])})


def test_accumulated_batches_are_one_large_batch(tmp_path):
    """4 × 2 rows an update: the rows, losses and weights of batches of 8."""
    whole, parts = PerRow(), PerRow()
    one = fit(whole, toy_data(), CONFIG, tmp_path / "whole", seed=0)
    other = fit(parts, toy_data(), replace(CONFIG, batch_size=2, accumulate=4), tmp_path / "parts", seed=0)
    assert other.losses == pytest.approx(one.losses, rel=1e-5)
    torch.testing.assert_close(parts.layer.weight, whole.layer.weight, rtol=1e-4, atol=1e-6)


def test_gradient_caching_gives_the_same_training(tmp_path):
    direct, cached = Toy(), Toy()
    one = fit(direct, toy_data(), CONFIG, tmp_path / "direct", seed=0)
    other = fit(cached, toy_data(), replace(CONFIG, cache_chunk=3), tmp_path / "cached", seed=0)
    assert other.losses == pytest.approx(one.losses, rel=1e-4)
    torch.testing.assert_close(cached.first.weight, direct.first.weight, rtol=1e-3, atol=1e-5)


def test_caching_needs_a_loss_that_splits(tmp_path):
    with pytest.raises(ConfigError, match=r"train\.cache_chunk=2.*PerRow"):
        fit(PerRow(), toy_data(), replace(CONFIG, cache_chunk=2), tmp_path, seed=0)


def test_validating_changes_nothing(tmp_path):
    """A validation that draws from every generator; dropout makes training depend on them."""
    modes = []

    def validate(system):
        modes.append((system.training, system.drop.training))
        torch.rand(3), np.random.rand(3), random.random()
        return {"quality": float(torch.rand(1))}

    plain, watched = Toy(dropout=0.3), Toy(dropout=0.3)
    for system in (plain, watched):
        system.second.eval()  # a part that a system keeps in evaluation mode stays there
    one = fit(plain, toy_data(), CONFIG, tmp_path / "plain", seed=0)
    config = replace(CONFIG, validate_every=2)
    other = fit(watched, toy_data(), config, tmp_path / "watched", seed=0, validate=validate)
    assert one.losses == other.losses
    assert same(plain, watched)
    assert modes == [(False, False)] * 7
    assert watched.training
    assert watched.drop.training


class Stopped(Toy):
    """Sends itself a signal after some step, as a user would."""

    def __init__(self, step, number):
        super().__init__(dropout=0.3)
        self.step, self.number = step, number

    def after_step(self, step):
        if step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("number", "code", "step"), [(signal.SIGINT, 130, 5), (signal.SIGTERM, 143, 6), (signal.SIGINT, 130, 11)]
)
def test_stop_and_resume_to_the_same_bits(tmp_path, number, code, step):
    """The signal is seen after the step that follows, or after the last one; the second call ends the run."""
    before = signal.getsignal(number)
    whole, folder = Toy(dropout=0.3), tmp_path / "run"
    expected = fit(whole, toy_data(), CONFIG, tmp_path / "whole", seed=0)
    with pytest.raises(Interrupted, match=f"saved; go on with: brickwork resume {folder}") as stopped:
        fit(Stopped(step, number), toy_data(), CONFIG, folder, seed=0)
    assert stopped.value.exit_code == code
    assert signal.getsignal(number) == before
    done = steps_saved(folder)[-1]
    assert done == min(step + 2, 12)
    resumed = Toy(dropout=0.3, seed=77)
    result = fit(resumed, toy_data(), CONFIG, folder, seed=0, resume=True)
    assert result.losses == expected.losses[done:]
    assert same(whole, resumed)
    logged = [line["step"] for line in records(folder)]
    assert logged == [line["step"] for line in records(tmp_path / "whole")]
    for name in ("model.safetensors", "optimizer.safetensors"):
        one, other = (checkpoint_path(tmp_path / run, 12) / name for run in ("whole", "run"))
        assert one.read_bytes() == other.read_bytes()


def test_a_validation_that_a_stop_left_out_is_made_up_for(tmp_path):
    """Stopped at steps 4 and 8, which are due: records as of a run that was never stopped, each step once."""
    config, validate = replace(CONFIG, validate_every=2), lambda s: {"size": float(s.second.bias.abs().sum())}
    fit(Toy(dropout=0.3), toy_data(), config, tmp_path / "whole", seed=0, validate=validate)
    folder = tmp_path / "run"
    for step in (2, 6):
        with pytest.raises(Interrupted):
            system = Stopped(step, signal.SIGTERM)
            fit(system, toy_data(), config, folder, seed=0, validate=validate, resume=True)
        assert steps_saved(folder)[-1] == step + 2
        assert [line["step"] for line in records(folder) if "validation" in line][-1] == step
    for _ in range(2):  # the second has nothing left to do
        fit(Toy(dropout=0.3), toy_data(), config, folder, seed=0, validate=validate, resume=True)
        lines = [(line["step"], line.get("validation")) for line in records(folder)]
        assert lines == [(line["step"], line.get("validation")) for line in records(tmp_path / "whole")]


@pytest.mark.parametrize("lost", [1, 3])
def test_records_after_the_checkpoint_are_made_anew(tmp_path, lost):
    """The newest checkpoints are gone (or all), and the last line is half, as a kill leaves it."""
    fit(Toy(), toy_data(), CONFIG, tmp_path, seed=0)
    expected = [line["step"] for line in records(tmp_path)]
    for path in sorted((tmp_path / "checkpoints").iterdir())[-lost:]:
        shutil.rmtree(path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "lo')
    fit(Toy(), toy_data(), CONFIG, tmp_path, seed=0, resume=True)
    assert [line["step"] for line in records(tmp_path)] == expected


def test_a_damaged_checkpoint_costs_steps_not_bits(tmp_path):
    whole, resumed = Toy(dropout=0.3), Toy(dropout=0.3)
    fit(whole, toy_data(), CONFIG, tmp_path, seed=0)
    (checkpoint_path(tmp_path, 12) / "model.safetensors").write_bytes(b"")
    with pytest.warns(BrickworkWarning, match="step-00000012.*Going on from step-00000008"):
        result = fit(resumed, toy_data(), CONFIG, tmp_path, seed=0, resume=True)
    assert len(result.losses) == 4
    assert same(whole, resumed)


def test_resuming_a_finished_run_loads_it(tmp_path):
    whole, loaded = Toy(), Toy(seed=9)
    fit(whole, toy_data(), CONFIG, tmp_path, seed=0)
    result = fit(loaded, toy_data(), CONFIG, tmp_path, seed=0, resume=True)
    assert (result.step, result.losses, result.examples_per_second) == (12, (), 0.0)
    assert same(whole, loaded)


def test_resuming_with_other_settings_is_refused(tmp_path):
    fit(Toy(), toy_data(), CONFIG, tmp_path, seed=0)
    other = replace(CONFIG, steps=20, learning_rate=0.5, log_every=1)
    with pytest.raises(ConfigError, match=r"steps was 12 and is 20, learning_rate was 0\.02 and is 0\.5\."):
        fit(Toy(), toy_data(), other, tmp_path, seed=0, resume=True)
    with pytest.raises(ConfigError, match="seed was 0 and is 1"):
        fit(Toy(), toy_data(), CONFIG, tmp_path, seed=1, resume=True)
    with pytest.raises(ConfigError, match="examples was 40 and is 39"):
        fit(Toy(), toy_data(39), CONFIG, tmp_path, seed=0, resume=True)
    changed = toy_data()
    changed.columns["anchor"] = [*changed.columns["anchor"][:-1], "another text"]
    with pytest.raises(DataError, match=r"data has changed since .*train \(anchor; 40 rows then, 40 now\)"):
        fit(Toy(), changed, CONFIG, tmp_path, seed=0, resume=True)


def test_a_folder_with_a_run_is_refused(tmp_path):
    called = []
    fit(Toy(), toy_data(), CONFIG, tmp_path, seed=0, on_start=lambda: called.append(1))
    with pytest.raises(
        ConfigError, match=r"already holds a run \(metrics.jsonl, checkpoints\).*brickwork resume"
    ):
        fit(Toy(), toy_data(), CONFIG, tmp_path, seed=0, on_start=lambda: called.append(2))
    assert called == [1]


@pytest.mark.parametrize("names", [("manifest.json", "manifest.copy.json"), ("vectors.json",)])
def test_a_folder_of_another_kind_is_refused(tmp_path, names):
    """A run in the folder of an index would be both, and an index could not be brought up to date any more."""
    for name in names:
        (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError, match=r"is no folder for a run: it (is an index|holds vectors)"):
        fit(Toy(), toy_data(), CONFIG, tmp_path, seed=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_two_trainings_in_one_folder(tmp_path):
    with FolderLock(tmp_path, "training"), pytest.raises(ResourceError, match="is in use"):
        fit(Toy(), toy_data(), CONFIG, tmp_path, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_a_batch_larger_than_the_data(tmp_path):
    with pytest.raises(ConfigError, match=r"train\.batch_size=64 is larger .* has 40 examples"):
        fit(Toy(), toy_data(), replace(CONFIG, batch_size=64), tmp_path / "run", seed=0)
    assert not (tmp_path / "run").exists()


def test_nan_in_the_data_stops_before_the_update(tmp_path):
    """Row 17 is not a number. The weights are those after the last step without it."""
    data = toy_data()
    data.columns["anchor"][17] = np.nan
    sampler = BatchSampler(40, 8, seed=0)
    bad = next(step for step in range(12) if 17 in sampler.indices(step))
    assert bad > 0, "choose a row that does not come first"
    system, clean = Toy(), Toy()
    with pytest.raises(
        NonFiniteError, match=rf"match = nan, size = nan is not finite at step {bad}, rows"
    ) as e:
        fit(system, data, replace(CONFIG, save_every=1), tmp_path, seed=0)
    assert e.value.exit_code == 5
    replay = json.loads((tmp_path / "nonfinite.json").read_text())
    assert (replay["step"], replay["indices"]) == (bad, sampler.indices(bad))
    assert replay["wrong"] == ["match", "size"]
    assert replay["terms"] == {"match": None, "size": None}
    clean.load_state_dict(load_tensors(checkpoint_path(tmp_path, bad) / "model.safetensors"))
    assert same(clean, system)


def test_an_infinite_gradient_names_its_parameter(tmp_path):
    """√x at 0: the loss is finite, its derivative is not."""

    class Root(PerRow):
        def __init__(self):
            super().__init__()
            self.odd = nn.Parameter(torch.zeros(1))

        def loss(self, batch):
            return LossOutput.of({**super().loss(batch).terms, "root": self.odd.sqrt().sum()})

    system = Root()
    before = {name: value.clone() for name, value in system.state_dict().items()}
    with pytest.raises(NonFiniteError, match="gradient of odd is not finite at step 0"):
        fit(system, toy_data(), CONFIG, tmp_path, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in system.state_dict().items())
    assert json.loads((tmp_path / "nonfinite.json").read_text())["wrong"] == ["odd"]


def test_out_of_memory_is_advice(tmp_path):
    class Greedy(Toy):
        def loss(self, batch):
            torch.empty(2**60, dtype=torch.uint8)
            return super().loss(batch)

    with pytest.raises(
        ResourceError, match=r"out of memory in a batch of 8; use a smaller train\.batch_size"
    ):
        fit(Greedy(), toy_data(), CONFIG, tmp_path, seed=0)


def test_bf16_trains_and_keeps_weights_in_fp32(tmp_path):
    seen = []

    class Watched(Toy):
        def embed(self, batch):
            vectors = super().embed(batch)
            seen.append(vectors["anchor"].dtype)
            return vectors

    for chunk in (0, 4):
        system = Watched()
        config = replace(CONFIG, precision="bf16", cache_chunk=chunk)
        result = fit(system, toy_data(), config, tmp_path / str(chunk), seed=0)
        exact = fit(Toy(), toy_data(), CONFIG, tmp_path / f"{chunk}-exact", seed=0)
        assert result.losses == pytest.approx(exact.losses, rel=0.1, abs=0.05)
        assert system.first.weight.dtype == torch.float32
    assert set(seen) == {torch.bfloat16}


def test_deterministic_and_threads_are_applied_for_the_run(tmp_path):
    seen = []

    class Watched(Toy):
        def after_step(self, step):
            seen.append((torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()))

    fit(Watched(), toy_data(), replace(CONFIG, steps=1, deterministic=True, threads=1), tmp_path, seed=0)
    assert seen == [(True, 1)]
    assert not torch.are_deterministic_algorithms_enabled()


def test_labels_and_numbers_as_columns(tmp_path):
    """Columns need not be arrays: what collate returns is what counts."""

    class Lists(PerRow):
        def collate(self, columns):
            return {name: torch.tensor(value) for name, value in columns.items()}

    data = Examples({name: column.tolist() for name, column in toy_data().columns.items()})
    one, other = Lists(), PerRow()
    fit(one, data, CONFIG, tmp_path / "lists", seed=0)
    fit(other, toy_data(), CONFIG, tmp_path / "arrays", seed=0)
    assert same(one, other)


def test_tensorboard_holds_the_same_numbers(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = fit(Toy(), toy_data(), CONFIG, tmp_path, seed=0, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 3, 6, 9, 12]
    assert events.Scalars("loss")[-1].value == pytest.approx(result.losses[-1], rel=1e-6)
    assert "terms/match" in events.Tags()["scalars"]


def test_tensorboard_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'brickwork\[tensorboard\]'"):
        fit(Toy(), toy_data(), CONFIG, tmp_path, seed=0, tensorboard=True)
