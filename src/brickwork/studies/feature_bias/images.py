"""Images with one feature in one place and one that spans them; convolutions learn both, with and without a way around.

Local: the colour of a small patch. Wide: which of two shapes is drawn. Each is one of two, by chance, both are asked for.

Shape legend: B images, C channels, S side, D channels of the last layer.
"""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from brickwork.core.seeding import generator_for, seed_everything
from brickwork.core.shares import Property
from brickwork.evaluation.explained import explain
from brickwork.studies.bench import Trained
from brickwork.studies.study import Arms, Lab

SIDE, PATCH = 16, 3
FEATURES = ("local", "wide")
_RADIUS, _LINE, _NOISE = 5.0, 0.9, 0.1
_CHANNELS = (16, 16, 32, 32)
_STEPS, _BATCH, _RATE = 600, 64, 2e-3
_MEASURED = 2048


def draw_images(
    count: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "images 3 side side"], Bool[np.ndarray, "images 2"]]:
    """Images on noise, and their features: the patch is red or blue, the shape a cross or a ring; both stand anywhere."""
    truth = rng.integers(0, 2, (count, 2)).astype(bool)
    images = rng.normal(0.0, _NOISE, (count, 3, SIDE, SIDE)).astype(np.float32)
    place = np.arange(SIDE)
    centre = rng.uniform(_RADIUS + 1, SIDE - _RADIUS - 2, (count, 2))
    down = place[None, :, None] - centre[:, 0, None, None]
    across = place[None, None, :] - centre[:, 1, None, None]
    distance = np.hypot(down, across)
    ring = np.abs(distance - _RADIUS) <= _LINE
    cross = (np.minimum(np.abs(down), np.abs(across)) <= _LINE) & (distance <= _RADIUS + _LINE)
    drawn = np.where(truth[:, 1, None, None], ring, cross)
    images += (drawn * rng.uniform(0.5, 1.0, (count, 1, 1)))[:, None]
    corner = rng.integers(0, SIDE - PATCH + 1, (count, 2))
    for image, (top, left), blue in zip(images, corner, truth[:, 0]):
        patch = image[:, top : top + PATCH, left : left + PATCH]
        patch[:] = 0
        patch[2 if blue else 0] = 1
    return images, truth


class Convolutions(nn.Module):
    """A stem and three blocks of two convolutions, a mean over places, an output for each feature. ``residual``: what goes
    into a block is added to what comes out."""

    def __init__(self, residual: bool):
        super().__init__()
        self.stem = _convolution(3, _CHANNELS[0], 1)
        sizes = list(pairwise(_CHANNELS))
        strides = [1 if a == b and number == 0 else 2 for number, (a, b) in enumerate(sizes)]
        self.blocks = nn.ModuleList(
            nn.Sequential(_convolution(a, b, stride), nn.ReLU(), _convolution(b, b, 1))
            for (a, b), stride in zip(sizes, strides)
        )
        around = [nn.Conv2d(a, b, 1, stride, bias=False) for (a, b), stride in zip(sizes, strides)]
        self.around = nn.ModuleList(around) if residual else None
        self.out = nn.Linear(_CHANNELS[-1], len(FEATURES))

    def forward(
        self, images: Float[Tensor, "batch 3 side side"]
    ) -> tuple[Float[Tensor, "batch 2"], Float[Tensor, "batch width"]]:
        """Logits and the pooled layer."""
        x = F.relu(self.stem(images))
        for number, block in enumerate(self.blocks):
            y = block(x)
            x = F.relu(y if self.around is None else y + self.around[number](x))
        pooled = x.mean((-2, -1))
        return self.out(pooled), pooled


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs)
    )


def networks_on_images(lab: Lab) -> Arms:
    """Both kinds of networks, on the same images."""

    def at(residual: bool, seed: int) -> Trained:
        return lab.bench.own_loop(
            ("convolutions", residual),
            lambda steps: _train(residual, steps, seed),
            steps=_STEPS // 4 if lab.smoke else _STEPS,
            batch_size=_BATCH,
            seed=seed,
        )

    return lab.arms({"plain": lambda seed: at(False, seed), "residual": lambda seed: at(True, seed)})


def _train(residual: bool, steps: int, seed: int) -> nn.Module:
    seed_everything(generator_for(seed, 0, "convolutions").initial_seed())
    model = Convolutions(residual)
    optimiser = torch.optim.Adam(model.parameters(), lr=_RATE)
    rng = np.random.default_rng(generator_for(seed, 0, "images").initial_seed())
    for _ in range(steps):
        images, truth = draw_images(_BATCH, rng)
        logits, _ = model(torch.from_numpy(images))
        loss = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(truth).float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


@torch.no_grad()
def pooled_shares(trained: Trained) -> dict[str, float]:
    """Share of the variance of the pooled layer that each feature explains, and the smaller of the two accuracies."""
    images, truth = draw_images(_MEASURED, np.random.default_rng(0))
    logits, pooled = trained.system(torch.from_numpy(images))
    known = [
        Property(
            name=name,
            kind="truth value",
            columns=values[:, None].astype(np.float64),
            classes=values.astype(np.int64),
        )
        for name, values in zip(FEATURES, truth.T)
    ]
    shares = explain(pooled.numpy(), known, shuffles=0).alone
    right = ((logits.numpy() > 0) == truth).mean(0)
    return {"accuracy": float(right.min()), **{name: shares[name].value for name in FEATURES}}
