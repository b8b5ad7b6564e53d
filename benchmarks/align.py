"""Training speed of images with texts: our align step against a plain PyTorch loop, and what cached gradients cost.

Arms of speed: the same encoders, batches, optimiser and threads; ``brickwork`` is our training loop with ALIGN's loss,
``plain`` a loop as one writes it by hand with the loss of transformers' CLIP. open_clip itself needs torchvision, for
which there is no build beside this torch, so it is not here; its step is that of ``plain`` with the same loss.

Arms of memory: one step of a batch of images directly, and with cached gradients in chunks (Gao et al. 2021).

Each arm runs in a process of its own, in turn; ratios compare neighbours of one round, and their median counts.

    python benchmarks/align.py [--rounds 3] [--steps 60] [--batch 128] [--large 512]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace

from common import begin, environment, save

CHUNK = 64
SPEED = ("brickwork", "plain")
MEMORY = ("direct", "cached")


def prepared(pairs: int):
    """The run of the recipe ``small`` on made-up scenes in float32, its system and data."""
    from brickwork.representation.contract import build_system
    from brickwork.systems.align import recipes
    from brickwork.systems.align.system import load_data

    run = recipes.small()
    run = replace(run, data=replace(run.data, source="scenes", image_size=None, limit=pairs))
    data = load_data(run.data, 0)
    return run, build_system("align", run.model, data, seed=0), data


def brickwork_step(steps: int, batch: int) -> float:
    """Seconds per step after the first three, in our loop."""
    from brickwork.training.loop import fit

    run, system, data = prepared(4 * batch)
    marks: list[float] = []
    system.after_step = lambda step: marks.append(time.perf_counter())
    train = replace(
        run.train, steps=steps, batch_size=batch, precision="fp32", save_every=0, validate_every=0, warmup=0
    )
    with tempfile.TemporaryDirectory() as folder:
        fit(system, data.train, train, folder, seed=0)
    return (marks[-1] - marks[2]) / (len(marks) - 3)


def plain_step(steps: int, batch: int) -> float:
    """Seconds per step after the first three: AdamW, shuffled batches, the symmetric loss of transformers' CLIP."""
    import torch
    import torch.nn.functional as F
    from transformers.models.clip.modeling_clip import image_text_contrastive_loss

    run, system, data = prepared(4 * batch)
    system.train()
    optimiser = torch.optim.AdamW(
        system.parameters(), lr=run.train.learning_rate, weight_decay=run.train.weight_decay
    )
    marks: list[float] = []
    while len(marks) < steps:
        order = torch.randperm(len(data.train))
        for rows in order.split(batch):
            columns = data.train.take(rows.tolist())
            found = system.embed(system.collate(columns))
            x, y = F.normalize(found["image"], dim=1), F.normalize(found["text"], dim=1)
            loss = image_text_contrastive_loss(y @ x.T / system.temperature())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            marks.append(time.perf_counter())
    return (marks[steps - 1] - marks[2]) / (steps - 3)


def memory(arm: str, batch: int) -> dict[str, float]:
    """CPU seconds of one step (the better of two, one thread), and how far the process's peak went beyond that before it."""
    from brickwork.training.gradient_cache import cached_backward

    _, system, data = prepared(batch)
    system.train()
    ready = {**system.collate(data.train.take(range(batch))), "step": 0}
    small = {**system.collate(data.train.take(range(8))), "step": 0}
    system.loss(small).total.backward()  # whatever is set up once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(2):
        system.zero_grad()
        started = time.process_time()
        if arm == "direct":
            system.loss(ready).total.backward()
        else:
            cached_backward(system.embed, system.loss_from, ready, chunk=CHUNK)
        seconds.append(time.process_time() - started)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": min(seconds), "mib": (after - before) / 1024}


def in_process(arm: str, arguments: argparse.Namespace) -> dict[str, float]:
    """The arm in a process of its own."""
    numbers = [f"--{name}={getattr(arguments, name)}" for name in ("steps", "batch", "large")]
    done = subprocess.run(
        [sys.executable, __file__, "--arm", arm, *numbers], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("rounds", 3), ("steps", 60), ("batch", 128), ("large", 512)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--arm", choices=[*SPEED, *MEMORY])
    arguments = parser.parse_args()
    begin()
    if arguments.arm in SPEED:
        step = brickwork_step if arguments.arm == "brickwork" else plain_step
        print(json.dumps({"seconds": step(arguments.steps, arguments.batch)}))
        return
    if arguments.arm:
        print(json.dumps(memory(arguments.arm, arguments.large)))
        return
    rounds = [{arm: in_process(arm, arguments) for arm in (*SPEED, *MEMORY)} for _ in range(arguments.rounds)]
    speed = [one["plain"]["seconds"] / one["brickwork"]["seconds"] for one in rounds]
    time_ratio = [one["cached"]["seconds"] / one["direct"]["seconds"] for one in rounds]
    memory_ratio = [one["cached"]["mib"] / one["direct"]["mib"] for one in rounds]
    save(
        "align",
        {
            "environment": environment(),
            "batch": arguments.batch,
            "large_batch": arguments.large,
            "chunk": CHUNK,
            "pairs_per_second": {
                arm: round(arguments.batch / statistics.median([one[arm]["seconds"] for one in rounds]), 1)
                for arm in SPEED
            },
            "speed_over_plain": {"median": statistics.median(speed), "rounds": speed},
            "mib_beyond_the_model": {
                arm: round(statistics.median([one[arm]["mib"] for one in rounds]), 1) for arm in MEMORY
            },
            "cached_over_direct_cpu_time": {"median": statistics.median(time_ratio), "rounds": time_ratio},
            "cached_over_direct_memory": {"median": statistics.median(memory_ratio), "rounds": memory_ratio},
        },
    )


if __name__ == "__main__":
    main()
