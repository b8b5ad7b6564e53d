"""Two processes that train in several ways, one after the other; run by test_training_sharing.py through torchrun.

``sharing_worker.py FOLDER``: resumes what stands in ``FOLDER/one-ddp`` and ``FOLDER/one-fsdp``, and writes
``FOLDER/process-RANK.json``.
"""

import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from brickwork.api import train as api
from brickwork.core import distributed
from brickwork.core.config import override
from brickwork.core.errors import BrickworkError, Interrupted
from brickwork.training.config import TrainConfig
from brickwork.training.loop import fit
from toy_system import Toy, toy_data

CONFIG = TrainConfig(
    steps=12, batch_size=8, learning_rate=0.02, precision="fp32", device="cpu", save_every=4, log_every=1
)
STOP = 6  # steps done when a run is stopped: the signal comes in the one before, and is seen in the next
CACHED = ("accumulate=2", "batch_size=4", "cache_chunk=1", "clip_norm=0.05", "optimizer=sgd")


class Stopped(Toy):
    """Gets SIGTERM, in the last process only."""

    def after_step(self, step):
        if step == STOP - 2 and distributed.rank() == distributed.world_size() - 1:
            os.kill(os.getpid(), signal.SIGTERM)


class Counted(Toy):
    """Counts the numbers that this process holds of the parameters and of their gradients."""

    held: tuple[int, int]

    def after_step(self, step):
        parts = [(p, p.grad) for p in self.parameters()]
        Counted.held = tuple(
            sum(getattr(part, "to_local", lambda part=part: part)().numel() for part in column)
            for column in zip(*parts, strict=True)
        )


class Broken(Toy):
    """The gradient of one parameter is NaN in the last process, at step 2; every loss is finite."""

    def loss(self, batch):
        output = super().loss(batch)
        if batch["step"] == 2 and distributed.rank() == distributed.world_size() - 1:
            terms = {**output.terms, "broken": (0 * self.second.bias).sum().sqrt()}
            return type(output).of(terms, output.weights, output.stats)
        zero = 0 * self.second.bias.sum()
        return type(output).of({**output.terms, "broken": zero}, output.weights, output.stats)


def weights(system):
    """All values of all parameters, in order."""
    return torch.cat([p.detach().flatten() for p in system.parameters()]).double().tolist()


def train(folder, system, config, **options):
    """Losses, weights and what validation saw of them, as plain values."""
    seen = []

    def validate(system):
        seen.append(weights(system))
        return {}

    result = fit(system, toy_data(), config, folder, seed=0, validate=validate, **options)
    return {"losses": list(result.losses), "weights": weights(system), "seen": seen}


def matryoshka(folder, **options):
    """Twelve steps of a tiny encoder with depth: layers that a step did not draw get no gradient."""
    run = override(
        api.recipe("matryoshka-2d", "smoke"),
        ["train.steps=12", "train.log_every=1", "train.device=cpu", "data.limit=120", "train.warmup=0"],
    )
    system, data = api.build(run)
    result = fit(system, data.train, run.train, folder, seed=run.seed, **options)
    return {"losses": list(result.losses), "weights": weights(system)}


def refused(folder, system, **options):
    """The message of the error, and the weights it leaves."""
    try:
        fit(system, toy_data(), CONFIG, folder, seed=0, **options)
    except BrickworkError as error:
        return {"error": type(error).__name__, "message": str(error)}
    return {}


def stopped(folder, **options):
    """Trains until the signal comes."""
    try:
        fit(Stopped(), toy_data(), CONFIG, folder, seed=0, **options)
    except Interrupted as error:
        return str(error)
    return None


def main(folder):
    report = {}
    for strategy in ("fsdp", "ddp"):
        options = {"strategy": strategy}
        report[f"{strategy}-stopped"] = stopped(folder / f"{strategy}-one", **options)
        report[f"one-{strategy}"] = train(folder / f"one-{strategy}", Toy(), CONFIG, resume=True, **options)
    options = {"strategy": "fsdp"}
    report["plain"] = train(folder / "plain", Counted(), CONFIG, **options)
    report["held"] = Counted.held
    report["cached"] = train(folder / "cached", Toy(), override(CONFIG, CACHED), **options)
    report["broken"] = refused(folder / "broken", Broken(), **options)
    report["matryoshka"] = matryoshka(folder / "matryoshka", **options)
    report["world"] = distributed.world_size()
    (folder / f"process-{distributed.rank()}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
