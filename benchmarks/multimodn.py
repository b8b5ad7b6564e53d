"""Training and prediction of multimodn, rows a second, against a plain PyTorch loop of the same model.

Both train MultiModN of the paper's sizes (S = 50, hidden 32, 32, dropout 0.2, Adam 1e-3, batch 16) on the quarters of
scikit-learn's digits with three tasks. The plain loop has what the algorithm needs and nothing else: standardised tensors in
memory, a missing modality skipped for the whole batch as in the authors' code, modules and loss as in theirs; no masks, no
batches that are a function of seed and step, no checks for values that are not finite, no records, no probabilities. Ours
starts from unscaled numbers. Rounds alternate in one process, on one thread; ratios compare neighbours of one round.

    python benchmarks/multimodn.py [--rounds 5] [--steps 300]
"""

import argparse
import statistics
import tempfile
import time
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from common import begin, environment, save

BATCH, STATE, HIDDEN, DROPOUT = 16, 50, (32, 32), 0.2


def mlp(widths: list[int], dropout: float, relu_at_end: bool) -> nn.Sequential:
    parts: list[nn.Module] = [nn.Dropout(dropout)] if dropout else []
    for a, b in pairwise(widths):
        parts += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*parts) if relu_at_end else nn.Sequential(*parts[:-1])


class Plain(nn.Module):
    """The model as one would write it first."""

    def __init__(self, widths: list[int], classes: list[int]):
        super().__init__()
        self.initial = nn.Parameter(torch.randn(1, STATE))
        self.encoders = nn.ModuleList(mlp([w + STATE, *HIDDEN, STATE], DROPOUT, True) for w in widths)
        self.decoders = nn.ModuleList(mlp([STATE, *HIDDEN, c], 0.0, False) for c in classes)

    def forward(self, xs: list[torch.Tensor]) -> list[list[torch.Tensor]]:
        state = self.initial.expand(len(xs[0]), -1)
        outputs = [[decoder(state) for decoder in self.decoders]]
        for x, encoder in zip(xs, self.encoders):
            if x.isnan().any():
                continue
            state = encoder(torch.cat([x, state], 1))
            outputs.append([decoder(state) for decoder in self.decoders])
        return outputs

    def answer(self, xs: list[torch.Tensor]) -> list[torch.Tensor]:
        """The outputs after the last modality alone."""
        state = self.initial.expand(len(xs[0]), -1)
        for x, encoder in zip(xs, self.encoders):
            if not x.isnan().any():
                state = encoder(torch.cat([x, state], 1))
        return [decoder(state) for decoder in self.decoders]


def train_plain(xs: list[torch.Tensor], ys: list[torch.Tensor], steps: int) -> tuple[float, Plain]:
    model = Plain([x.shape[1] for x in xs], [int(y.max()) + 1 for y in ys])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    start = time.perf_counter()
    for _ in range(steps):
        rows = torch.randint(0, len(ys[0]), (BATCH,))
        optimizer.zero_grad()
        outputs = model([x[rows] for x in xs])
        losses = [F.cross_entropy(out, y[rows]) for step in outputs for out, y in zip(step, ys)]
        loss = torch.stack(losses).sum() / (len(ys) * (len(xs) + 1))
        loss.backward()
        optimizer.step()
    return steps * BATCH / (time.perf_counter() - start), model


def train_ours(data, steps: int):
    from dataclasses import replace

    from brickwork.api.train import recipe
    from brickwork.representation.contract import build_system
    from brickwork.training.loop import fit

    run = recipe("multimodn", "small")
    config = replace(run.train, steps=steps, save_every=0, validate_every=0, log_every=10**9)
    system = build_system("multimodn", run.model, data, 0)
    with tempfile.TemporaryDirectory() as folder:
        result = fit(system, data.train, config, f"{folder}/run", seed=0)
    return result.examples_per_second, system.eval()


def rows_per_second(predict, rows: int) -> float:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        predict()
        seconds.append(time.perf_counter() - start)
    return rows / statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    begin()
    torch.set_num_threads(1)
    from brickwork.systems.multimodn.data import Data
    from brickwork.systems.multimodn.sets import multimodal_task

    data = multimodal_task(Data(source="digits_quadrants", test_share=0.0, validation_share=0.0), 0)
    columns = data.train.columns
    xs = [torch.from_numpy(columns[name]).float() for name in data.details.names]
    xs = [(x - x.mean(0)) / x.std(0).clamp_min(1e-6) for x in xs]
    ys = [torch.from_numpy(columns[target.column]) for target in data.details.targets]
    train_plain(xs, ys, 50)
    train_ours(data, 50)
    training, prediction, steps = [], [], []
    for _ in range(options.rounds):
        ours, system = train_ours(data, options.steps)
        plain, model = train_plain(xs, ys, options.steps)
        training.append((ours, plain))
        model.eval()

        for pairs, ours, plain in (
            (prediction, partial(system.stages, data.train, last=True), partial(model.answer, xs)),
            (steps, partial(system.stages, data.train), partial(model, xs)),
        ):
            with torch.inference_mode():
                pairs.append(tuple(rows_per_second(predict, len(data.train)) for predict in (ours, plain)))
        print(
            ", ".join(
                f"{name} {pairs[-1][0]:.0f} / {pairs[-1][1]:.0f} rows/s"
                for name, pairs in (("train", training), ("predict", prediction), ("all steps", steps))
            ),
            flush=True,
        )

    def ratio(pairs: list[tuple[float, float]]) -> dict[str, float]:
        values = [a / b for a, b in pairs]
        return {"median": statistics.median(values), "min": min(values), "max": max(values)}

    def medians(pairs: list[tuple[float, float]]) -> dict[str, float]:
        return {name: statistics.median(column) for name, column in zip(("ours", "plain"), zip(*pairs))}

    save("multimodn", {
        **environment(), "threads": 1, "batch": BATCH, "rounds": options.rounds, "steps": options.steps,
        "training rows a second": medians(training), "prediction rows a second": medians(prediction),
        "rows a second of all steps": medians(steps),
        "training speed, ours / plain": ratio(training), "prediction speed, ours / plain": ratio(prediction),
        "all steps' speed, ours / plain": ratio(steps),
    })  # fmt: skip


if __name__ == "__main__":
    main()
