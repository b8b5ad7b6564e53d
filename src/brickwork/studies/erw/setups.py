"""The arms of the study of erw: equal operations for each, and a judge that none of them knows.

Operations are those of the generator and its projector, forward and backward, with the warm-up; those of the encoder stand
beside them. An arm with a warm-up has fewer updates of the whole network, by just what the warm-up cost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from brickwork.core.seeding import seed_everything
from brickwork.data.config import ImageDataConfig
from brickwork.data.types import Examples, TaskData
from brickwork.encoders.config import ImageEncoderConfig
from brickwork.encoders.image import ImageEncoder
from brickwork.evaluation.frechet import frechet_distance
from brickwork.evaluation.representation_similarity import cknna
from brickwork.studies.bench import Trained, built
from brickwork.studies.study import Lab, Scale
from brickwork.systems.erw.config import TRAINED, TRAINS
from brickwork.training.config import Stage

if TYPE_CHECKING:
    from brickwork.training.run import RunConfig

CHECKPOINTS = 5
WARM_SHARE = 0.2  # of all operations
_FADES = 0.25  # half-life, as a share of the updates of the whole network
_ALIGN = 0.5
_COMPARED = {"smoke": 100, "small": 300, "gpu": 2000}  # samples at a checkpoint
_ENCODER_STEPS = {"smoke": 40, "small": 300, "gpu": 4000}  # of an encoder that is trained first
_LOOKED_AT = 400  # images that a loss and an alignment are measured on


@dataclass(frozen=True)
class Arm:
    """``model``: what differs; ``warms``: whether a fifth of the operations are a warm-up; ``fades``: whether λ halves."""

    model: dict[str, Any] = field(default_factory=dict)
    warms: bool = False
    fades: bool = False


ARMS = {
    "SiT": Arm({"align": 0.0}),
    "REPA": Arm(),
    "ERW": Arm(warms=True, fades=True),
    "ERW, late blocks": Arm({"warm_from": 2, "warm_to": 4}, warms=True, fades=True),
    "ERW, random encoder": Arm({"teacher": "random"}, warms=True, fades=True),
    "ERW, pixels": Arm({"teacher": "pixels"}, warms=True, fades=True),
    "ERW, λ stays": Arm(warms=True),
    "warm-up alone": Arm({"align": 0.0}, warms=True),
}


def base(scale: Scale) -> "RunConfig":
    """Digits of 8 × 8 pixels, MNIST in 16 patches, or CIFAR-10; ``train.steps`` are the updates of plain SiT."""
    from brickwork.systems.erw.recipes import gpu, small, smoke

    if scale == "gpu":
        run = gpu()
        return replace(run, recipe="claims", train=replace(run.train, steps=20_000))
    run = smoke() if scale == "smoke" else small()
    if scale == "smoke":
        model = replace(run.model, depth=4, warm_to=2, average=15.0)
        steps = 200
    else:
        encoder = ImageEncoderConfig(width=16, depth=3, embedding_dim=64)
        model = replace(run.model, patch=7, width=64, half_life=None, encoder=encoder, average=50.0)
        steps = 800
    return replace(
        run,
        recipe="claims",
        model=model,
        data=ImageDataConfig(source="digits" if scale == "smoke" else "mnist"),
        train=replace(run.train, steps=steps, precision="fp32"),
    )


def planned(run: "RunConfig", arm: Arm, system: Any, scale: Scale) -> "RunConfig":
    """The run of an arm with as many operations as ``run.train.steps`` updates of plain SiT. ``system``: of its model."""
    generator, config = system.generator, system.config
    head = (
        generator.grid[0]
        * generator.grid[1]
        * sum(2 * p.numel() for p in system.projector.parameters() if p.ndim > 1)
    )
    plain = generator.flops(config.depth)
    whole = plain + (head if config.align else 0)
    first, last = config.warm_from, config.warm_to
    warm = generator.flops(last - first, whole=False) + head
    budget = run.train.steps * plain
    warm_steps = round(WARM_SHARE * budget / warm) if arm.warms else 0
    steps = max(1, round((budget - warm_steps * warm) / whole))
    apart = _ENCODER_STEPS[scale]
    teacher = (
        [Stage(name="teacher", steps=apart, trains=TRAINS["teacher"])] if config.chosen in TRAINED else []
    )
    parts = TRAINS["full"]
    stages = (
        *teacher,
        *([Stage(name="warm-up", steps=warm_steps, trains=parts)] if arm.warms else []),
        Stage(name="full", steps=steps, trains=parts),
    )
    total = sum(stage.steps or 0 for stage in stages)
    model = replace(run.model, half_life=max(1.0, _FADES * steps) if arm.fades else None)
    # Validated at equal shares of the updates of the whole network.
    train = replace(run.train, steps=total, validate_every=max(1, steps // CHECKPOINTS))
    return replace(run, model=model, train=train, stages=stages)


@dataclass(frozen=True)
class Course:
    """A trained arm: ``curve`` has operations (TFLOP), Fréchet distance and velocity loss at its checkpoints; ``layers`` how
    alike hidden states and encoder are (CKNNA) at these, by block."""

    system: Any
    curve: tuple[tuple[float, float, float], ...]
    layers: tuple[tuple[float, ...], ...]


def arms(lab: Lab, *names: str) -> dict[str, Callable[[int], Trained]]:
    """Arm → seed → what it trained, at the learning rate that suits plain SiT."""
    return {name: partial(_trained, lab, name) for name in names}


def _trained(lab: Lab, name: str, seed: int) -> Trained:
    factor, tried = lab.bench.best_factor(("erw rate", lab.scale), lambda f: -_pilot(lab, f))
    rate = base(lab.scale).train.learning_rate
    trained = _at(lab, name, factor, seed)
    return replace(trained, learning_rate=rate * factor, rates=tuple(rate * f for f in tried))


def _pilot(lab: Lab, factor: float) -> float:
    """Velocity loss of plain SiT."""
    return _at(lab, "SiT", factor, 0).system.curve[-1][2]


def _at(lab: Lab, name: str, factor: float, seed: int) -> Trained:
    return lab.bench.memo(("erw", lab.scale, name, factor, seed), lambda: _train(lab, name, factor, seed))


def _train(lab: Lab, name: str, factor: float, seed: int) -> Trained:
    arm, run = ARMS[name], base(lab.scale)
    run = replace(
        run,
        seed=seed,
        model=replace(run.model, **{"align": _ALIGN, **arm.model}),
        train=replace(run.train, learning_rate=factor * run.train.learning_rate),
    )
    data = lab.bench.data(run)
    run = planned(run, arm, built(run, data), lab.scale)
    system = built(run, data)
    judge, look = judge_of(lab), data.validation.select(range(min(_LOOKED_AT, len(data.validation))))
    curve: list[tuple[float, float, float]] = []
    layers: list[tuple[float, ...]] = []

    def validate(system: Any) -> dict[str, float]:
        if system._stage not in ("full", "warm-up"):
            return {}
        layers.append(alike(system, look))
        cost = float(system.spent.parts[1:].sum()) / 1e12
        distance = judge.distance(system, look, _COMPARED[lab.scale], steps=10)
        curve.append((cost, distance, system.velocity_loss(look)))
        return {"velocity": curve[-1][2], "frechet": distance}

    trained = lab.bench.fit(system, data.train, run.train, seed, validate, run.stages)
    if not curve:
        validate(system)
    course = Course(system, tuple(curve), tuple(layers))
    return replace(trained, system=course, data=data)


# ---- measures ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judge:
    """A classifier of its own seed and architecture, trained on the same images and never on an arm's."""

    network: nn.Module
    head: nn.Module
    accuracy: float

    @torch.no_grad()
    def features(self, images: np.ndarray) -> np.ndarray:
        network: Any = self.network
        parts = [
            network(network.prepare(images[start : start + 256]))[1].numpy()
            for start in range(0, len(images), 256)
        ]
        return np.concatenate(parts)

    def distance(self, system: Any, real: Examples, count: int, *, steps: int) -> float:
        """Fréchet distance of ``count`` samples, classes in turn, from images."""
        per_class = -(-count // len(system.classes))
        samples = system.generate_images(system.classes, count=per_class, seed=7, steps=steps)
        return frechet_distance(self.features(samples), self.features(np.asarray(real.columns["input"])))


def judge_of(lab: Lab) -> Judge:
    """The judge of a scale."""
    run = base(lab.scale)
    data = lab.bench.data(replace(run, seed=0))
    steps = 150 if lab.smoke else 2000

    def make(taken: int) -> Judge:
        return _judge(data, taken, wide=not lab.smoke)

    return lab.bench.own_loop(("erw judge", lab.scale), make, steps=steps, batch_size=128, seed=0).system


def _judge(data: TaskData, steps: int, *, wide: bool) -> Judge:
    seed_everything(2025)
    images, labels = (np.asarray(data.train.columns[name]) for name in ("input", "label"))
    config = ImageEncoderConfig(width=16 if wide else 8, depth=2, embedding_dim=48 if wide else 16)
    height, width, channels = images.shape[1:]
    network = ImageEncoder(config, (height, width, channels))
    head = nn.Linear(config.embedding_dim, data.num_classes or 0)
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=2e-3)
    drawn = np.random.default_rng(2025)
    for _ in range(steps):
        rows = drawn.choice(len(images), min(128, len(images)), replace=False)
        logits = head(network(network.prepare(images[rows]))[1])
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits, torch.from_numpy(labels[rows])).backward()
        optimizer.step()
    judge = Judge(network.eval(), head, 0.0)
    test = data.test.select(range(min(1000, len(data.test))))
    with torch.no_grad():
        logits = head(torch.from_numpy(judge.features(np.asarray(test.columns["input"]))))
    right = (logits.argmax(1).numpy() == np.asarray(test.columns["label"])).mean()
    return replace(judge, accuracy=float(right))


def results(trained: Trained) -> dict[str, float]:
    """``frechet`` and ``velocity`` at the end, ``TFLOP`` of the generator, ``encoder TFLOP`` beside them."""
    course = trained.system
    cost, distance, velocity = course.curve[-1]
    return {
        "frechet": distance,
        "velocity": velocity,
        "TFLOP": cost,
        "encoder TFLOP": float(course.system.spent.parts[0]) / 1e12,
    }


def cost_to_reach(curve: Sequence[tuple[float, float, float]], limit: float) -> float:
    """Operations at which a curve first is at ``limit`` or below, between checkpoints on a straight line; infinite:
    never."""
    before: tuple[float, float] | None = None
    for cost, distance, _ in curve:
        if distance <= limit:
            if before is None or before[1] <= limit:
                return cost
            share = (before[1] - limit) / (before[1] - distance)
            return before[0] + share * (cost - before[0])
        before = (cost, distance)
    return float("inf")


def speed(together: dict[str, Trained]) -> dict[str, float]:
    """Operations until an arm reaches the last distance of plain SiT, as a share of what SiT took; ``without``: the warm-up
    not counted, as papers report it. An arm that never does has 2."""
    reference = together["SiT"].system.curve[-1]
    found = {}
    for name, trained in together.items():
        course = trained.system
        reached = min(2 * reference[0], cost_to_reach(course.curve, reference[1]))
        warm = float(course.system.spent.parts[1]) / 1e12
        found[name] = reached / reference[0]
        found[f"{name}, without"] = max(0.0, reached - warm) / reference[0]
    return found


@torch.no_grad()
def alike(system: Any, examples: Examples) -> tuple[float, ...]:
    """CKNNA of the mean hidden state after each block and the mean of the encoder's patches, on clean images."""
    batch = {**system.collate(examples.columns), "step": 0}
    target = system.target(batch).mean(1).numpy()
    x, label = batch["input"], batch["label"]
    generator = system.generator
    condition, hidden = generator.condition(x.new_zeros(len(x)), label), generator.embed(x)
    found = []
    for block in range(generator.num_layers):
        hidden = generator.run(hidden, condition, block, block + 1)
        found.append(cknna(hidden.mean(1).numpy(), target))
    return tuple(found)
