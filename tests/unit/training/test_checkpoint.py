"""Checkpoints survive a round trip, and nothing but what was written is ever used (R3)."""

import json
import random
import shutil
import warnings

import pytest
import torch

from brickwork.core.errors import ArtifactError, BrickworkWarning
from brickwork.training.checkpoint import (
    check_checkpoint,
    checkpoint_path,
    load_checkpoint,
    newest_good,
    save_checkpoint,
    steps_saved,
)
from brickwork.training.config import TrainConfig
from brickwork.training.optimizers import build_optimizer
from toy_system import Toy, toy_data


def trained(optimizer="adamw", steps=2, seed=0):
    system = Toy(seed=seed)
    config = TrainConfig(learning_rate=0.1, optimizer=optimizer)
    optimiser = build_optimizer(system, config)
    batch = system.collate(toy_data().take(range(8)))
    for _ in range(steps):
        optimiser.zero_grad()
        system.loss(batch).total.backward()
        optimiser.step()
    return system, optimiser


@pytest.fixture
def folder(tmp_path):
    """A run folder with good checkpoints of step 10 and 20."""
    for step in (10, 20):
        save_checkpoint(tmp_path, step, *trained(steps=step // 10), {"note": step}, keep=2)
    return tmp_path


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_training_goes_on_to_the_same_bits(tmp_path, optimizer):
    """Two steps, save, load into fresh objects, one step: as three steps."""
    save_checkpoint(tmp_path, 2, *trained(optimizer, steps=2), {"a": 1}, keep=1)
    system, optimiser = trained(optimizer, steps=0, seed=9)
    state = load_checkpoint(checkpoint_path(tmp_path, 2), system, optimiser)
    assert state == {"step": 2, "a": 1}
    optimiser.zero_grad()
    system.loss(system.collate(toy_data().take(range(8)))).total.backward()
    optimiser.step()
    expected, _ = trained(optimizer, steps=3)
    for name, value in expected.state_dict().items():
        assert torch.equal(system.state_dict()[name], value), name


def test_momenta_lie_as_their_weights_do(tmp_path):
    """Of a convolution with channels last: one step after loading is as without. The fused optimiser goes by memory."""

    class Convolution(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv = torch.nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last)

    def step(system, optimiser, number):
        x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(number))
        optimiser.zero_grad()
        system.conv(x).square().sum().backward()
        optimiser.step()

    first, again = Convolution(), Convolution()
    optimisers = [build_optimizer(system, TrainConfig(learning_rate=0.1)) for system in (first, again)]
    for number in range(3):
        step(first, optimisers[0], number)
    save_checkpoint(tmp_path, 3, first, optimisers[0], {}, keep=1)
    load_checkpoint(checkpoint_path(tmp_path, 3), again, optimisers[1])
    for system, optimiser in zip((first, again), optimisers):
        step(system, optimiser, 3)
    assert torch.equal(first.conv.weight, again.conv.weight)


def test_the_newest_are_kept_and_newer_ones_are_damaged(folder):
    save_checkpoint(folder, 30, *trained(), {}, keep=2)
    assert steps_saved(folder) == [20, 30]
    save_checkpoint(folder, 25, *trained(), {}, keep=2)  # so step 30 could not be used
    assert steps_saved(folder) == [20, 25]


def test_leftovers_and_strange_names_are_passed_over(folder):
    for name in (".partial-abc", "step-00000030-old", "step-x", "step-40"):
        (folder / "checkpoints" / name).mkdir()
    assert newest_good(folder) == checkpoint_path(folder, 20)
    assert not (folder / "checkpoints" / ".partial-abc").exists()
    assert newest_good(folder / "nowhere") is None


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def other_step(path):
    shutil.copy(path.parent.parent / "step-00000010" / path.name, path)


def wrong_version(path):
    manifest = path.parent / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]
)
@pytest.mark.parametrize("damage", [truncate, zero, flip, other_step, wrong_version, lambda p: p.unlink()])
def test_a_damaged_one_is_named_and_passed_over(folder, name, damage):
    path = checkpoint_path(folder, 20) / name
    if damage is truncate and name == "manifest.json":
        path.write_bytes(path.read_bytes().rstrip())  # its last byte is a line end, which means nothing
    damage(path)
    with pytest.warns(BrickworkWarning, match="step-00000020.*Going on from step-00000010"):
        assert newest_good(folder) == checkpoint_path(folder, 10)


def test_one_file_for_another(folder):
    """Model and optimiser exchanged; whole folders exchanged."""
    ten, twenty = checkpoint_path(folder, 10), checkpoint_path(folder, 20)
    shutil.rmtree(twenty)
    shutil.copytree(ten, twenty)
    with pytest.raises(ArtifactError, match="another step"):
        check_checkpoint(twenty)
    (ten / "model.safetensors").rename(ten / "x")
    (ten / "optimizer.safetensors").rename(ten / "model.safetensors")
    (ten / "x").rename(ten / "optimizer.safetensors")
    with pytest.raises(ArtifactError, match=r"no checkpoint can be used.*Remove .*checkpoints"):
        newest_good(folder)


def test_random_flips(folder):
    """Any flipped bit of any file is found, but for those that leave the manifest's meaning as it is."""
    path = checkpoint_path(folder, 20)
    files = sorted(path.iterdir())
    contents = {file: file.read_bytes() for file in files}
    meaning = json.loads(contents[path / "manifest.json"])
    rng = random.Random(0)
    results = 0
    for _ in range(400):
        file = rng.choice(files)
        data = bytearray(contents[file])
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        try:
            check_checkpoint(path)
        except ArtifactError:
            results += 1
        else:
            now = json.loads((path / "manifest.json").read_bytes())
            same = {key: now.get(key) for key in ("format", "sha256")}
            assert same == {key: meaning[key] for key in same}
        file.write_bytes(contents[file])
    assert results > 360


def test_another_system_is_refused_by_name(folder):
    system = Toy(dim=5)
    system.extra = torch.nn.Linear(2, 2)
    del system.log_scale
    optimiser = build_optimizer(system, TrainConfig())
    with pytest.raises(ArtifactError) as error:
        load_checkpoint(checkpoint_path(folder, 20), system, optimiser)
    for part in ("missing extra.bias", "unexpected log_scale", "second.weight is [4, 16] instead of [5, 16]"):
        assert part in str(error.value)


def test_a_good_folder_gives_no_warning(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert newest_good(folder) == checkpoint_path(folder, 20)
