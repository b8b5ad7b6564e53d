"""Choices of device and precision that do not need the devices. Two processes: tests/reliability."""

import sys

import pytest
import torch

import brickwork.training.precision as precision
from brickwork.core.config import from_dict, to_dict
from brickwork.core.errors import ConfigError
from brickwork.training.config import TrainConfig
from brickwork.training.devices import from_first, launch, on_first
from brickwork.training.precision import choose_precision
from brickwork.training.run import run_from_dict


@pytest.mark.parametrize(
    ("asked", "fast", "expected"),
    [
        ("auto", True, "bf16-mixed"),
        ("auto", False, "32-true"),
        ("fp32", True, "32-true"),
        ("bf16", False, "bf16-mixed"),
    ],
)
def test_bf16_is_used_where_it_is_fast_or_asked_for(monkeypatch, asked, fast, expected):
    monkeypatch.setattr(precision, "bf16_is_fast", lambda device: fast)
    name, reason = choose_precision(asked, "cpu")
    assert name == expected
    assert ("slow" in reason) == (asked == "bf16" and not fast)


def test_a_batch_that_does_not_divide():
    with pytest.raises(ConfigError, match=r"train\.batch_size=9 does not divide among 2 processes; use 8"):
        launch(TrainConfig(batch_size=9, device="cpu"), devices=2)


def test_one_process_has_nobody_to_share_with():
    with pytest.raises(ConfigError, match="strategy 'fsdp' shares a model among processes, and there is one"):
        launch(TrainConfig(device="cpu"), strategy="fsdp")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there():
    with pytest.raises(ConfigError, match="1 CUDA devices were asked for and 0 are here"):
        launch(TrainConfig(device="cuda"))


def test_processes_cannot_start_from_a_prompt(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys, "argv", ["-c"])
    with pytest.raises(ConfigError, match="save this as a file"):
        launch(TrainConfig(device="cpu"), devices=2)


def test_alone_the_first_process_is_the_only_one():
    fabric, _ = launch(TrainConfig(device="cpu", precision="fp32"))
    assert (fabric.world_size, on_first(fabric, lambda: 7), from_first(fabric, 12345678)) == (1, 7, 12345678)
    with pytest.raises(KeyError):
        on_first(fabric, lambda: {}["x"])


def test_configuration_round_trip_and_every_error_at_once():
    config = TrainConfig(steps=3, schedule="linear")
    assert from_dict(TrainConfig, to_dict(config)) == config
    with pytest.raises(ConfigError) as error:
        from_dict(TrainConfig, {"steps": 0, "warmup": 1.5, "learning_rate": -1, "cache_chunk": -2})
    for part in ("steps=0", "warmup=1.5", "learning_rate=-1", "cache_chunk=-2"):
        assert part in str(error.value)
    with pytest.raises(ConfigError, match="did you mean 'batch_size'"):
        from_dict(TrainConfig, {"batchsize": 3})


def test_a_run_names_its_system():
    with pytest.raises(ConfigError, match="option 'system' is required"):
        run_from_dict({"recipe": "small"})
