"""Training speed of cMIM on images: our loop against a plain PyTorch loop of the same model.

Both train 784-400-400-2·64 and 64-400-400-784 perceptrons on the same MNIST images with the cMIM objective and AdamW, in
turn (A B A B …) in one process; ours with everything a training has (collating from uint8, checks of loss and gradients,
records), the plain loop from ready float tensors with the loss written out.
Processor time, one thread: what else runs on the machine does not count.

    python benchmarks/cmim.py [--rounds 5] [--steps 150]
"""

import argparse
import math
import statistics
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from common import begin, environment, save

BATCH, SKIPPED = 128, 20


def ours(run: Any, data: Any, steps: int) -> float:
    """Processor seconds a step, from the batches being asked for, without the first ones."""
    from brickwork.representation.contract import build_system
    from brickwork.training.loop import fit

    system = build_system("cmim", run.model, data, seed=0)
    collate, marks = system.collate, []

    def timed(columns: Any) -> Any:
        marks.append(time.process_time())
        return collate(columns)

    system.collate = timed
    train = replace(run.train, steps=steps, batch_size=BATCH, save_every=0, validate_every=0)
    with tempfile.TemporaryDirectory() as folder:
        fit(system, data.train, train, Path(folder) / "run", seed=0)
    return (marks[steps - 1] - marks[SKIPPED]) / (steps - 1 - SKIPPED)


def perceptron(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes[:-1]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(*sizes[-2:]))


def plain(images: torch.Tensor, steps: int) -> float:
    """Processor seconds a step of a loop that does nothing but learn."""
    encoder, decoder = perceptron(784, 400, 400, 128), perceptron(64, 400, 400, 784)
    optimiser = torch.optim.AdamW([*encoder.parameters(), *decoder.parameters()], lr=1e-3, weight_decay=0.0)
    start = 0.0
    for step in range(steps):
        if step == SKIPPED:
            start = time.process_time()
        x = images[torch.randint(len(images), (BATCH,))]
        mean, raw = encoder(2 * x - 1).chunk(2, dim=1)
        log_sigma = -6 + F.softplus(raw + 6)
        z = mean + log_sigma.exp() * torch.randn_like(mean)
        nll = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum") / BATCH
        log_q = -0.5 * (1 + math.log(2 * math.pi) + 2 * log_sigma).sum() / BATCH
        log_prior = -0.5 * (mean**2 + (2 * log_sigma).exp() + math.log(2 * math.pi)).sum() / BATCH
        unit = F.normalize(z, dim=1)
        others = (unit @ unit.T - 1) / 0.1
        others = others.masked_fill(torch.eye(BATCH, dtype=torch.bool), -torch.inf)
        contrast = F.softplus(others.logsumexp(1) - math.log(BATCH - 1)).mean()
        optimiser.zero_grad()
        (nll - 0.5 * (log_q + log_prior) + contrast).backward()
        optimiser.step()
    return (time.process_time() - start) / (steps - SKIPPED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150)
    arguments = parser.parse_args()
    begin()
    from brickwork.systems.cmim.recipes import small
    from brickwork.systems.cmim.system import load_data

    torch.set_num_threads(1)
    run = small()
    data = load_data(replace(run.data, limit=10_000), 0)
    images = torch.from_numpy(data.train.columns["input"]).flatten(1).float() / 255
    seconds: dict[str, list[float]] = {"brickwork": [], "plain loop": []}
    for _ in range(arguments.rounds):
        seconds["brickwork"].append(ours(run, data, arguments.steps))
        seconds["plain loop"].append(plain(images, arguments.steps))
    ratios = [b / a for a, b in zip(*seconds.values())]
    save(
        "cmim",
        {
            "what": "images per processor second of one thread, cMIM on MNIST, 128 a batch",
            "images_per_second": {
                name: round(BATCH / statistics.median(values)) for name, values in seconds.items()
            },
            "ours_over_plain": {
                "median": round(statistics.median(ratios), 3),
                "rounds": [round(ratio, 3) for ratio in ratios],
            },
            **environment(),
        },
    )


if __name__ == "__main__":
    main()
