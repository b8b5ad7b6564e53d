"""SIGKILL at random moments and in the middle of saves, then resume: the same bits (R1)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("training_worker.py")


@pytest.mark.slow
def test_a_training_killed_again_and_again_ends_with_the_same_bits(tmp_path, tally, long):
    """Weights, optimiser state, records; a kill costs no more than the steps since the last save."""
    count = 20 if long else 6
    done = subprocess.run(
        [sys.executable, WORKER, "kill", tmp_path, str(count), "1"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["status"] == 0
    assert report["killed"] >= count // 2
    assert report["found"] == sorted(report["found"]), "no kill costs a checkpoint"
    assert max(report["lost"]) <= 3, "train.save_every"
    assert report["leftovers"] >= 1, "some kill was in the middle of a save"
    for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
        whole, killed = (
            (tmp_path / run / "checkpoints" / f"step-{report['steps']:08d}" / name).read_bytes()
            for run in ("whole", "killed")
        )
        assert whole == killed, name
    records = [
        [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("whole", "killed")
    ]
    for one, other in zip(*records, strict=True):
        assert (one["step"], one["loss"], one["gradient_norm"]) == (
            other["step"], other["loss"], other["gradient_norm"],
        )  # fmt: skip
    assert not list((tmp_path / "killed").rglob(".partial-*"))
    tally("R1", "trainings killed with SIGKILL: resumed to the same bits", report["killed"])
    tally("R1", "of these killed in the middle of a save", report["leftovers"])
    tally("R1", "most steps lost by a kill (a checkpoint every 3 steps)", max(report["lost"]), limit=3)
