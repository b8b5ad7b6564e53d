"""Expert layer against the dense layer of equal active FLOPs: forward and backward, on one CPU thread.

The expert layer sorts its tokens, multiplies slices, and puts the results back, weighted (``modules.experts.ExpertMlp``);
routing is given and random. The dense layer is two matrices of ``top_k`` times the hidden width with the same activation
on the same tokens, so both do the same useful FLOPs and the ratio of times is the share of the dense FLOP rate. All arms
take turns in every round of one process; CPU seconds of the process are counted, so that what else runs on the machine
shows as little as it can; the median over rounds is what counts. Aim: at least 70 % at 64 tokens an expert or more.
The computation ``triton`` needs a GPU and is not among the arms; no GPU has timed it yet.

    python benchmarks/experts.py [--rounds 15]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brickwork.core.types import RouterOutput
from brickwork.modules.experts import ExpertMlp
from common import begin, environment, save

WIDTH, HIDDEN, MODULES, TOP_K = 512, 512, 16, 2
TOKENS_PER_EXPERT = (8, 64, 256)
COMPUTATIONS = ("sorted", "grouped", "loop")


class Dense(nn.Module):
    """Two matrices, tanh-GELU between them, no biases."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(WIDTH, TOP_K * HIDDEN, bias=False)
        self.down = nn.Linear(TOP_K * HIDDEN, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))


def routing(tokens: int, skewed: bool) -> RouterOutput:
    """Each token's two modules, drawn evenly, or with probabilities that halve from module to module."""
    generator = torch.Generator().manual_seed(0)
    p = 0.7 ** torch.arange(MODULES) if skewed else torch.ones(MODULES)
    index = torch.multinomial(p.expand(tokens, MODULES), TOP_K, generator=generator)
    return RouterOutput(torch.rand(tokens, TOP_K, generator=generator), index, torch.zeros(tokens, MODULES))


def one(run: Callable[[], Tensor], parameters: list[Tensor]) -> float:
    """CPU seconds of a forward and a backward pass."""
    for parameter in parameters:
        parameter.grad = None
    start = time.process_time()
    run().backward()
    return time.process_time() - start


def measure(tokens_per_expert: int, skewed: bool, rounds: int) -> dict[str, object]:
    """The shares of the dense FLOP rate at one size."""
    tokens = tokens_per_expert * MODULES // TOP_K
    torch.manual_seed(0)
    x = torch.randn(tokens, WIDTH, requires_grad=True)
    upstream = torch.randn(tokens, WIDTH)
    dense, routed = Dense(), routing(tokens, skewed)
    arms: dict[str, tuple[Callable[[], Tensor], list[Tensor]]] = {
        "dense": (lambda: (dense(x) * upstream).sum(), [x, *dense.parameters()])
    }
    for name in COMPUTATIONS:
        layer = ExpertMlp(MODULES, WIDTH, HIDDEN, computation=name, init="kaiming")
        run = lambda layer=layer: (layer(x, routed) * upstream).sum()  # noqa: E731
        arms[name] = (run, [x, *layer.parameters()])
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 2):
        for name, (run, parameters) in arms.items():
            found = one(run, parameters)
            if number >= 2:  # the first rounds warm up
                seconds[name].append(found)
    flops = 3 * 2 * 2 * tokens * WIDTH * TOP_K * HIDDEN  # forward and two products backward, of two matrices
    result: dict[str, object] = {
        "tokens per expert": tokens_per_expert,
        "routing": "skewed" if skewed else "even",
        "largest expert": int(torch.bincount(routed.index.flatten()).max()),
        "dense GFLOP/s": round(flops / statistics.median(seconds["dense"]) / 1e9, 1),
    }
    for name in COMPUTATIONS:
        shares = [d / e for d, e in zip(seconds["dense"], seconds[name])]
        result[f"{name}, share of dense rate"] = {
            "median": round(statistics.median(shares), 3),
            "min": round(min(shares), 3),
            "max": round(max(shares), 3),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    begin()
    torch.set_num_threads(1)
    cells = [measure(n, skewed, options.rounds) for n in TOKENS_PER_EXPERT for skewed in (False, True)]
    save("experts", {
        **environment(),
        "threads": 1, "rounds": options.rounds,
        "layer": {"width": WIDTH, "hidden": HIDDEN, "modules": MODULES, "top_k": TOP_K},
        "aim": "at least 0.70 of the dense rate at 64 tokens an expert or more",
        "cells": cells,
    })  # fmt: skip


if __name__ == "__main__":
    main()
