"""Runs of ``global-workspace``."""

from dataclasses import replace

from brickwork.systems.global_workspace.config import (
    AlignConfig,
    ChainConfig,
    GlobalWorkspaceConfig,
    ReaderConfig,
)
from brickwork.systems.global_workspace.data import Addition, Data
from brickwork.training.config import Stage, TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: addition of one-hot numbers, 84 of 100 pairs, 200 steps; for tests, its first losses are pinned."""
    run = addition()
    return replace(run, train=replace(run.train, steps=200, save_every=0))


def small() -> RunConfig:
    """A workspace between the domains of your own vectors: `brickwork train global-workspace --data PATH`; CPU."""
    return RunConfig(
        model=GlobalWorkspaceConfig(task=AlignConfig()),
        data=Data(source="digit-halves", test_share=0.2),
        train=TrainConfig(steps=1000, batch_size=64, learning_rate=1e-3, weight_decay=1e-4, precision="fp32"),
    )


def shapes() -> RunConfig:
    """Image, attributes and caption of made-up scenes (Simple Shapes) in one workspace, 500 of them paired; CPU."""
    run = small()
    return replace(
        run,
        data=replace(run.data, source="simple-shapes", paired=500, limit=5000),
        train=replace(run.train, validate_every=500),
    )


def addition() -> RunConfig:
    """Addition of one-hot numbers with hand-designed modules; pairs of two large digits are never shown. CPU."""
    return RunConfig(
        model=GlobalWorkspaceConfig(task=ChainConfig()),
        data=Data(source="addition"),
        train=TrainConfig(
            steps=400,
            batch_size=84,
            learning_rate=1e-2,
            weight_decay=0.0,
            warmup=0.0,
            schedule="constant",
            precision="fp32",
        ),
    )


def digits() -> RunConfig:
    """Addition modulo 10 of scikit-learn's digits in three stages: reader, controller, learned modules. Minutes on a CPU."""
    task = ChainConfig(reader=ReaderConfig(), increment_hidden=64)
    run = addition()
    return replace(
        run,
        model=GlobalWorkspaceConfig(task=task),
        data=Data(source="addition", addition=Addition(digits="digits", modulo=10)),
        train=replace(run.train, steps=1400, batch_size=128, learning_rate=3e-3),
        stages=(
            Stage(name="reader", steps=400, trains=("reader.*",)),
            Stage(name="controller", steps=400, trains=("chain.controller.*",), learning_rate=1e-2),
            Stage(name="modules", trains=("chain.trained.*", "readout.*")),
        ),
    )


def mnist() -> RunConfig:
    """The same on MNIST with a convolutional encoder, test images for all evaluation. A minute on a CPU."""
    run = digits()
    task = replace(run.model.task, reader=ReaderConfig(network="conv", hidden=16, width=32))
    return replace(
        run,
        model=GlobalWorkspaceConfig(task=task),
        data=Data(source="addition", addition=Addition(digits="mnist", modulo=10)),
        train=replace(run.train, steps=1600),
        stages=(replace(run.stages[0], steps=600), *run.stages[1:]),
    )


def gpu() -> RunConfig:
    """MNIST with a wider encoder and longer stages on one GPU; `--recipe gpu`, not measured."""
    run = mnist()
    task = replace(
        run.model.task,
        reader=ReaderConfig(network="conv", hidden=64, width=64),
    )
    return replace(
        run,
        model=GlobalWorkspaceConfig(task=task),
        train=replace(run.train, steps=8000, batch_size=512),
        stages=tuple(replace(s, steps=n) for s, n in zip(run.stages, (3000, 1000, None))),
    )
