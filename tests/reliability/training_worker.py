"""Trains the toy system in processes of its own; run by the tests of this folder, never by pytest.

``kill FOLDER COUNT SEED``: forks a training COUNT times and kills each at a random file operation or moment,
then lets the last one finish. Importing torch takes seconds and forking none, so all trainings fork from here.
``fit FOLDER DEVICES [field=value …]``: one training, on several processes if asked or begun by torchrun.
``lose FOLDER``: a training on two processes, of which the second kills itself after four steps.
"""

import atexit
import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from brickwork.core import distributed
from brickwork.core.config import override
from brickwork.core.errors import BrickworkError
from brickwork.training.checkpoint import steps_saved
from brickwork.training.config import Stage, TrainConfig
from brickwork.training.loop import fit
from toy_system import Toy, toy_data

STAGES = (
    Stage(name="first", steps=5, trains=("first.*",)),
    Stage(name="rest", trains=("second.*", "log_scale")),
)
CONFIG = TrainConfig(
    steps=40, batch_size=8, learning_rate=0.02, precision="fp32", device="cpu", save_every=3, log_every=1
)


def train(folder: Path, resume: bool, steps: int, kill_at_call: int | None = None) -> None:
    """One training; ``kill_at_call``: SIGKILL to itself at that file operation, mostly within a save."""
    if kill_at_call is not None:
        left = [kill_at_call]
        for name in ("fsync", "replace", "chmod"):
            call = getattr(os, name)

            def counting(*arguments, call=call, **options):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **options)

            setattr(os, name, counting)
    fit(Toy(dropout=0.3), toy_data(), replace(CONFIG, steps=steps), folder, seed=0, resume=resume)


def forked(
    folder: Path, steps: int, *, resume: bool, seconds: float | None = None, kill_at_call: int | None = None
) -> int:
    """Trains in a fork, killed after ``seconds``; returns its exit status (-9: killed)."""
    child = os.fork()
    if child == 0:
        train(folder, resume, steps, kill_at_call)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def steps_logged(folder: Path) -> int:
    """The last step of which a whole line is in the records."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.is_file() else []
    return json.loads(lines[-1])["step"] if lines else 0


def kills(folder: Path, count: int, seed: int) -> dict:
    """The first half of the kills, at file operations, is certain; the others may come after the end."""
    rng = random.Random(seed)
    steps = 30 + 6 * count  # a save has about 15 operations, so 45 of them are less than 12 steps
    began = time.perf_counter()
    assert forked(folder / "whole", steps, resume=False) == 0
    seconds = time.perf_counter() - began
    killed, results, lost, leftovers = 0, [], [], 0
    for number in range(count):
        if number < count // 2:
            how = {"kill_at_call": rng.randint(1, 45)}
        else:
            how = {"seconds": rng.uniform(0.02, 0.5) * seconds}
        killed += forked(folder / "killed", steps, resume=True, **how) == -signal.SIGKILL
        results.append((steps_saved(folder / "killed") or [0])[-1])
        lost.append(steps_logged(folder / "killed") - results[-1])
        leftovers += any((folder / "killed").rglob(".partial-*"))
    status = forked(folder / "killed", steps, resume=True)
    return {
        "status": status,
        "steps": steps,
        "killed": killed,
        "found": results,
        "lost": lost,
        "leftovers": leftovers,
    }


def _say_whether_left(folder: Path) -> None:
    left = not torch.distributed.is_initialized()
    (folder / f"left-{os.environ.get('LOCAL_RANK', 0)}").write_text(str(left))


def several(folder: Path, devices: int, settings: list[str]) -> None:
    """Trains; then tries to train in the same folder, which the first process refuses and all learn of.

    At exit, after all that the training registered to be done there, it says whether it left its group.
    """
    atexit.register(_say_whether_left, folder)
    staged = "stages" in settings
    system, config = Toy(), override(CONFIG, [setting for setting in settings if setting != "stages"])
    result = fit(system, toy_data(), config, folder, seed=0, devices=devices, stages=STAGES if staged else ())
    weights = torch.cat([p.detach().flatten() for p in system.parameters()]).double()
    report = {"losses": result.losses, "world": distributed.world_size(), "weights": weights.tolist()}
    try:
        fit(Toy(), toy_data(), config, folder, seed=0, devices=devices)
    except BrickworkError as error:
        report["refused"] = str(error)
    (folder / f"process-{distributed.rank()}.json").write_text(json.dumps(report))


def lose(folder: Path) -> None:
    """Says what the process that is left raises."""
    system = Toy()

    def after_step(step: int) -> None:
        if step == 3 and distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    system.after_step = after_step
    try:
        fit(system, toy_data(), CONFIG, folder, seed=0, devices=2)
    except BrickworkError as error:
        print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    verb, where, *rest = sys.argv[1:]
    if verb == "kill":
        print(json.dumps(kills(Path(where), int(rest[0]), int(rest[1]))))
    elif verb == "lose":
        lose(Path(where))
    else:
        several(Path(where), int(rest[0]), rest[1:])
