"""Two processes that share one model (FSDP through Fabric, gloo) train as one process does, and go on for each other.

Expected values come from one process with the same global batch. Tolerance, in float32: 1e-6 on a loss of about
1, 1e-4 relative (1e-5 absolute) on a weight; the sums over two processes are rounded in another order.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sharing_worker
import torch
from safetensors import safe_open
from sharing_worker import CACHED, CONFIG, STOP

from brickwork.core.config import override
from brickwork.training.checkpoint import checkpoint_path, steps_saved
from toy_system import Toy

WORKER = Path(__file__).with_name("sharing_worker.py")
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same trainings in this one process."""
    folder = tmp_path_factory.mktemp("alone")
    return {
        "plain": sharing_worker.train(folder / "plain", Toy(), CONFIG),
        "cached": sharing_worker.train(folder / "cached", Toy(), override(CONFIG, CACHED)),
        "matryoshka": sharing_worker.matryoshka(folder / "matryoshka"),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What one process began and two went on with, and the other way round."""
    folder = tmp_path_factory.mktemp("sharing")
    assert "is saved" in sharing_worker.stopped(folder / "one")
    for strategy in ("ddp", "fsdp"):
        shutil.copytree(folder / "one", folder / f"one-{strategy}")
    process = subprocess.Popen(
        [sys.executable, *TORCHRUN, str(WORKER), str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        _, told = process.communicate(timeout=180)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun then ends its workers, which a kill would leave behind
        _, told = process.communicate()
    assert process.returncode == 0, told[-3000:]
    return folder


@pytest.fixture(scope="module")
def reports(folder):
    return [json.loads((folder / f"process-{rank}.json").read_text()) for rank in range(2)]


def same(results, expected, *, first=0, rtol=0.0, atol=1e-6):
    """Losses from step ``first`` on, and weights."""
    losses = torch.tensor(expected["losses"][first:])
    torch.testing.assert_close(torch.tensor(results["losses"]), losses, rtol=rtol, atol=atol)
    torch.testing.assert_close(
        torch.tensor(results["weights"]), torch.tensor(expected["weights"]), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", ["plain", "cached"])
def test_losses_and_weights_are_those_of_one_process(reports, alone, name):
    """``cached``: gradient caching, several batches an update, and a clip that every step meets."""
    for report in reports:
        assert report["world"] == 2
        same(report[name], alone[name])


def test_validation_sees_the_whole_system_in_the_first_process(reports, alone):
    first, second = (report["plain"]["seen"] for report in reports)
    assert (len(first), second) == (2, [])
    torch.testing.assert_close(
        torch.tensor(first), torch.tensor(alone["plain"]["seen"]), rtol=1e-4, atol=1e-5
    )


def test_layers_that_a_step_did_not_draw(reports, alone):
    """matryoshka-2d, whose losses are about 10: 1e-5 relative."""
    for report in reports:
        same(report["matryoshka"], alone["matryoshka"], rtol=1e-5, atol=0)


def test_each_process_holds_its_part(reports):
    """Of 213 numbers: a 16 × 8 and a 4 × 16 matrix and their biases in halves; the single number in both."""
    assert [report["held"] for report in reports] == [[107, 107], [107, 107]]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_go_on_where_one_stopped(reports, alone, strategy):
    for report in reports:
        same(report[f"one-{strategy}"], alone["plain"], first=STOP)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_one_process_goes_on_where_two_stopped(folder, reports, alone, strategy, tmp_path):
    """The signal came to the second process only; both left, after the first had saved."""
    for report in reports:
        assert f"stopped after step {STOP} of 12, which is saved" in report[f"{strategy}-stopped"]
    run = shutil.copytree(folder / f"{strategy}-one", tmp_path / "run")
    assert steps_saved(run) == [4, STOP]
    same(sharing_worker.train(run, Toy(), CONFIG, resume=True), alone["plain"], first=STOP)


def test_the_checkpoint_of_two_has_the_tensors_of_one(folder, reports):
    def shapes(run, name):
        with safe_open(checkpoint_path(folder / run, STOP) / name, "pt") as file:
            return {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118 - no dict

    for name in ("model.safetensors", "optimizer.safetensors"):
        assert shapes("fsdp-one", name) == shapes("one", name)


def test_a_gradient_that_is_not_finite_in_one_process_stops_both(folder, reports):
    first, second = (report["broken"] for report in reports)
    assert first["error"] == "NonFiniteError"
    assert "gradient of second.bias is not finite at step 2" in first["message"]
    assert "stopped because the first process did" in second["message"]
    assert json.loads((folder / "broken" / "nonfinite.json").read_text())["wrong"] == ["second.bias"]
