"""Runs of ``global-workspace``."""

from dataclasses import replace

from brickwork.systems.global_workspace.config import (
    AlignConfig,
    BaselineConfig,
    ChainConfig,
    GlobalWorkspaceConfig,
    ReaderConfig,
)
from brickwork.systems.global_workspace.data import Addition, Data
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: addition of one-hot numbers, 84 of 100 pairs, 200 steps; for tests, its first losses are pinned."""
    run = addition()
    return replace(run, recipe="smoke", train=replace(run.train, steps=200, save_every=0))


def smoke_digits() -> RunConfig:
    """Seconds: learned modules on scikit-learn's digits, one step of each phase; for tests of what options do."""
    run = digits()
    reader = ReaderConfig(hidden=16, width=8, steps=1)
    task = replace(
        run.model.task, num_steps=4, hidden=8, reader=reader, controller_steps=1, increment_hidden=8
    )
    train = replace(run.train, steps=3, batch_size=16)
    return replace(run, recipe="smoke_digits", model=GlobalWorkspaceConfig(task=task), train=train)


def smoke_align() -> RunConfig:
    """Seconds: upper half, lower half and class of scikit-learn's digits in one small workspace; for tests."""
    run = small()
    task = AlignConfig(workspace_dim=8, hidden=16)
    data = replace(run.data, limit=400)
    return replace(
        run,
        recipe="smoke_align",
        model=GlobalWorkspaceConfig(task=task),
        data=data,
        train=replace(run.train, steps=20),
    )


def smoke_baseline() -> RunConfig:
    """Seconds: a transformer on one-hot numbers, without a workspace; for tests of what options do."""
    run = smoke()
    task = BaselineConfig(network="transformer", width=8, num_layers=2, num_heads=2)
    return replace(run, recipe="smoke_baseline", model=GlobalWorkspaceConfig(task=task))


def small() -> RunConfig:
    """A workspace between the domains of your own vectors: `brickwork train global-workspace --data PATH`; CPU."""
    return RunConfig(
        system="global-workspace",
        recipe="small",
        model=GlobalWorkspaceConfig(task=AlignConfig()),
        data=Data(source="digit-halves", test_share=0.2),
        train=TrainConfig(steps=1000, batch_size=64, learning_rate=1e-3, weight_decay=1e-4, precision="fp32"),
    )


def shapes() -> RunConfig:
    """Image, attributes and caption of made-up scenes (Simple Shapes) in one workspace, 500 of them paired; CPU."""
    run = small()
    return replace(
        run,
        recipe="shapes",
        data=replace(run.data, source="simple-shapes", paired=500, limit=5000),
        train=replace(run.train, validate_every=500),
    )


def addition() -> RunConfig:
    """Addition of one-hot numbers with hand-designed modules; pairs of two large digits are never shown. CPU."""
    return RunConfig(
        system="global-workspace",
        recipe="addition",
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
    """Addition modulo 10 of scikit-learn's digits: encoder, controller, then learned modules. Minutes on a CPU."""
    task = ChainConfig(reader=ReaderConfig(), controller_steps=400, increment_hidden=64)
    run = addition()
    return replace(
        run,
        recipe="digits",
        model=GlobalWorkspaceConfig(task=task),
        data=Data(source="addition", addition=Addition(digits="digits", modulo=10)),
        train=replace(run.train, steps=1400, batch_size=128, learning_rate=3e-3),
    )


def mnist() -> RunConfig:
    """The same on MNIST with a convolutional encoder, test images for all evaluation. A minute on a CPU."""
    run = digits()
    task = replace(run.model.task, reader=ReaderConfig(network="conv", hidden=16, width=32, steps=600))
    return replace(
        run,
        recipe="mnist",
        model=GlobalWorkspaceConfig(task=task),
        data=Data(source="addition", addition=Addition(digits="mnist", modulo=10)),
        train=replace(run.train, steps=1600),
    )


def gpu() -> RunConfig:
    """MNIST with a wider encoder and longer phases on one GPU; `--recipe gpu`, not measured."""
    run = mnist()
    task = replace(
        run.model.task,
        reader=ReaderConfig(network="conv", hidden=64, width=64, steps=3000),
        controller_steps=1000,
    )
    return replace(
        run,
        recipe="gpu",
        model=GlobalWorkspaceConfig(task=task),
        train=replace(run.train, steps=8000, batch_size=512),
    )


def paper() -> RunConfig:
    """The paper's settings are not known to us (only its abstract is); this is `mnist` for longer. Documented, not run."""
    run = mnist()
    return replace(run, recipe="paper", train=replace(run.train, steps=10_000))
