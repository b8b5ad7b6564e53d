"""Runs of ``feature-bias``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.systems.feature_bias.config import Config, Data
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig

_PLAIN = TrainConfig(
    steps=5000,
    batch_size=128,
    learning_rate=0.1,
    optimizer="sgd",
    momentum=0.0,
    weight_decay=0.0,
    warmup=0.0,
    schedule="constant",
    clip_norm=0.0,
    precision="fp32",
    save_every=1000,
    validate_every=0,
    log_every=100,
)


def smoke() -> RunConfig:
    """Seconds: small networks that copy a bit and learn an exclusive or of two; for tests, first losses are pinned."""
    return RunConfig(
        model=Config(features=("copy", "xor2"), widths=(32, 16), replicas=2, watch=100),
        data=Data(bits=8, limit=4096),
        train=replace(_PLAIN, steps=300, learning_rate=0.2, save_every=0),
    )


def small() -> RunConfig:
    """The calibration: four networks of four layers that learn a majority and an exclusive or, and four controls.

    ``brickwork train feature-bias --out runs/bias``, then ``brickwork inspect runs/bias``; some minutes on one core.
    """
    return RunConfig(model=Config(watch=250), data=Data(), train=_PLAIN)


def gpu() -> RunConfig:
    """50 networks and 50 controls at once, one GPU; `--recipe gpu`, not measured."""
    run = small()
    return replace(run, model=replace(run.model, replicas=50))
