"""Two processes (gloo) give what one gives with the same global batch; both ways of starting them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_worker import STAGES

from brickwork.core.config import override
from brickwork.training.checkpoint import steps_saved
from brickwork.training.config import TrainConfig
from brickwork.training.loop import fit
from toy_system import Toy, toy_data

WORKER = Path(__file__).with_name("training_worker.py")
CONFIG = TrainConfig(
    steps=12, batch_size=8, learning_rate=0.02, precision="fp32", device="cpu", save_every=3, log_every=1
)
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]


def run(folder, *settings, start=(), devices=2):
    folder.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *start, str(WORKER), "fit", str(folder), str(devices), "steps=12", *settings]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


@pytest.mark.slow
def test_whoever_is_left_says_that_another_process_is_gone(tmp_path):
    """As after a SIGKILL, or where the system ends a process for its memory."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(WORKER), "lose", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.stdout.startswith("ResourceError: another process of this training is gone"), done.stderr[
        -3000:
    ]
    assert f"brickwork resume {tmp_path / 'run'} --devices 2" in done.stdout
    assert steps_saved(tmp_path / "run") == [3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "devices", "settings"),
    [((), 2, ()), ((), 2, ("stages",)), (TORCHRUN, 1, ("accumulate=2", "batch_size=4", "cache_chunk=1"))],
    ids=["devices", "stages", "torchrun-accumulate-cache"],
)
def test_losses_and_weights_are_those_of_one_process(tmp_path, start, devices, settings):
    """In-batch negatives are gathered, so every loss depends on all rows of the global batch."""
    done = run(tmp_path / "two", *settings, start=start, devices=devices)
    assert done.returncode == 0, done.stderr[-3000:]
    system = Toy()
    stages = STAGES if "stages" in settings else ()
    options = override(CONFIG, [setting for setting in settings if setting != "stages"])
    alone = fit(system, toy_data(), options, tmp_path / "one", seed=0, stages=stages)
    weights = torch.cat([p.detach().flatten() for p in system.parameters()]).double()
    for rank in range(2):
        report = json.loads((tmp_path / "two" / f"process-{rank}.json").read_text())
        assert report["world"] == 2
        torch.testing.assert_close(
            torch.tensor(report["losses"]), torch.tensor(alone.losses), rtol=0, atol=1e-6
        )
        results = torch.tensor(report["weights"], dtype=torch.float64)
        torch.testing.assert_close(results, weights, rtol=1e-4, atol=1e-5)
        reason = "already holds a run" if rank == 0 else "stopped because the first process did"
        assert reason in report["refused"], "a second training in the folder"
        assert (tmp_path / "two" / f"left-{rank}").read_text() == "True", "its threads may outlive Python"
    lines = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13)), "only the first process writes"
