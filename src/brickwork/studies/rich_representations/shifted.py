"""Coloured MNIST: whether an answer is small or large, and a colour that says so as well, except where it matters.

Arjovsky et al. 2019 (arXiv 1907.02893): the label is whether a digit is 5 or more, wrong for a quarter of the rows; the
colour agrees with the label in 80 % and 90 % of two training environments, and in 10 % of the test environment.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from brickwork.data.sets.images import load_images
from brickwork.data.types import Examples, TaskData
from brickwork.encoders.config import ImageEncoderConfig
from brickwork.representation.contract import build_system
from brickwork.studies.bench import Trained
from brickwork.studies.rich_representations.measures import blocks
from brickwork.studies.study import Lab
from brickwork.systems.rich_representations.config import Config
from brickwork.training.config import TrainConfig

NOISE, AGREES, TEST_AGREES = 0.25, (0.8, 0.9), 0.1
RUNS, GROUP = 20, 5
"""Networks of a seed, and how many of them are joined: into disjoint groups."""
_ROWS = 10_000


def coloured(
    images: np.ndarray, digits: np.ndarray, agrees: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images of 14 × 14 in red or green (N, 14, 14, 2), and their labels."""
    rng = np.random.default_rng(seed)
    labels = ((digits >= 5) ^ (rng.random(len(digits)) < NOISE)).astype(np.int64)
    colour = labels ^ (rng.random(len(digits)) >= agrees).astype(np.int64)
    small = images[:, ::2, ::2, 0]
    painted = np.zeros((*small.shape, 3), dtype=np.uint8)
    painted[np.arange(len(small)), :, :, colour] = small
    return painted, labels


def environments(lab: Lab, seed: int) -> TaskData:
    """Both training environments as one task, and the other one as its test. ``details``: the environment of each training
    row."""
    few = 600 if lab.smoke else _ROWS
    kept = lab.bench.memo(("mnist", few), lambda: load_images("mnist", "train", 3 * few))
    images, digits = (np.asarray(kept.columns[name]) for name in ("input", "label"))
    order = np.random.default_rng(seed).permutation(len(images))
    parts = [
        coloured(images[rows], digits[rows], agrees, seed + place)
        for place, (rows, agrees) in enumerate(zip(np.array_split(order, 3), (*AGREES, TEST_AGREES)))
    ]
    x, y = (np.concatenate([part[i] for part in parts[:2]]) for i in (0, 1))
    train = Examples({"input": x, "label": y})
    test = Examples(dict(zip(("input", "label"), parts[2])))
    return TaskData(
        name="coloured MNIST",
        kind="labelled",
        modality="image",
        train=train,
        validation=train.select(range(0)),
        test=test,
        num_classes=2,
        class_names=("small", "large"),
        details=np.repeat([0, 1], [len(part[0]) for part in parts[:2]]),
    )


def trained_runs(lab: Lab, seed: int) -> Trained:
    """The networks of one seed, trained on both environments together."""
    count = 6 if lab.smoke else RUNS
    steps = 20 if lab.smoke else 150

    def train() -> Trained:
        data = environments(lab, seed)
        config = Config(
            encoder=ImageEncoderConfig(architecture="mlp", embedding_dim=32, width=64, depth=1),
            members=count,
            head_share=0.0,
        )
        system = build_system("rich-representations", config, data, seed)
        lab.bench.progress(f"coloured MNIST, {count} networks, seed {seed}")
        own = TrainConfig(
            steps=count * steps, batch_size=128, learning_rate=2e-3, precision="fp32", validate_every=0
        )
        fitted = lab.bench.fit(system, data.train, own, seed, stages=system.plan_stages(config, own.steps))
        return replace(fitted, data=data, trainings=count)

    return lab.bench.memo(("coloured", count, steps, seed), train)


def shifted(trained: Trained, group: int) -> dict[tuple[str, str], float]:
    """``(what, head)``: mean and standard deviation over networks, and over disjoint groups of ``group`` of them that are
    joined, of the accuracy where the colour misleads; heads by the mean risk (ERM) and with its variance (V-REx)."""
    data = trained.data
    x = [np.asarray(part.columns["input"]) for part in (data.train, data.test)]
    y = [np.asarray(part.columns["label"]) for part in (data.train, data.test)]
    members = list(trained.system.members.members)
    fit, test = (blocks(members, images) for images in x)
    result: dict[tuple[str, str], float] = {}
    for head, penalty in (("ERM", 0.0), ("V-REx", 10.0)):
        score = partial(_accuracy, fit, test, y, data.details, penalty)
        one = [score([place]) for place in range(len(members))]
        joined = [score(range(a, a + group)) for a in range(0, len(members) - group + 1, group)]
        for name, values in (("one", one), ("joined", joined)):
            result[f"{name}, mean", head] = float(np.mean(values))
            result[f"{name}, sd", head] = float(np.std(values, ddof=1))
    return result


def _accuracy(fit: Any, test: Any, y: Any, where: np.ndarray, penalty: float, places: Any) -> float:
    """Percent on the test environment of a linear head on frozen features."""
    train = np.concatenate([fit[p] for p in places], axis=1)
    other = np.concatenate([test[p] for p in places], axis=1)
    mean, spread = train.mean(0), train.std(0) + 1e-6
    weight, bias = linear_head((train - mean) / spread, y[0], where, penalty)
    return 100 * float(((((other - mean) / spread) @ weight + bias > 0) == (y[1] == 1)).mean())


def linear_head(
    x: Float[np.ndarray, "n dim"], y: np.ndarray, where: np.ndarray, penalty: float, steps: int = 60
) -> tuple[Float[np.ndarray, " dim"], float]:
    """A linear head by L-BFGS: mean risk over environments + ``penalty`` × its variance (Krueger et al. 2021, arXiv
    2003.00688, eq. 8) + a small weight decay."""
    features, target = torch.from_numpy(x).float(), torch.from_numpy(y).float()
    masks = [torch.from_numpy(where == place) for place in np.unique(where)]
    weight = torch.zeros(x.shape[1], requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        logits = features @ weight + bias
        risks = torch.stack(
            [torch.nn.functional.binary_cross_entropy_with_logits(logits[m], target[m]) for m in masks]
        )
        loss = risks.mean() + penalty * risks.var(unbiased=False) + 1e-3 * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return weight.detach().numpy(), float(bias.detach())
