"""Choices of device and precision that do not need the devices. Two processes: tests/reliability."""

import subprocess
import sys
from types import SimpleNamespace

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
        ("auto", True, True),
        ("auto", False, False),
        ("fp32", True, False),
        ("bf16", False, True),
    ],
)
def test_bf16_is_used_where_it_is_fast_or_asked_for(monkeypatch, asked, fast, expected):
    monkeypatch.setattr(precision, "bf16_is_fast", lambda device: fast)
    bf16, reason = choose_precision(asked, "cpu")
    assert bf16 == expected
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


@pytest.mark.parametrize(("precision", "name"), [("fp32", "32-true"), ("bf16", "bf16-mixed")])
def test_one_process_calculates_as_fabric_does(precision, name):
    """Bit for bit: values, their types and gradients, inside the module and in what is calculated beside it."""
    from lightning_fabric import Fabric

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(8, 4)

        def forward(self, batch):  # an object, whose tensors Fabric leaves as they are
            return {"total": self.layer(batch.x), "parts": {"stat": self.layer(batch.x).mean()}}

    torch.manual_seed(0)
    x, start = torch.randn(5, 8), Model().state_dict()
    results = []
    for processes in (
        launch(TrainConfig(device="cpu", precision=precision))[0],
        Fabric(accelerator="cpu", devices=1, precision=name),
    ):
        model = Model()
        model.load_state_dict(start)
        values = processes.setup_module(model)(SimpleNamespace(x=x))
        with processes.autocast():
            beside = values["total"] @ torch.ones(4, 2)
        processes.backward(values["total"].square().mean() + beside.float().square().mean())
        results.append((values["total"], values["parts"]["stat"], beside, model.layer.weight.grad))
    for ours, theirs in zip(*results):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


def test_one_process_imports_no_fabric():
    heavy = ("lightning_fabric", "torch._dynamo")
    code = f"import sys, brickwork.training.loop; print([m for m in {heavy} if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
