"""Runs of ``binary-paragraph-vector``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.systems.binary_paragraph_vector.config import Config, Data
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: made-up facts, codes of 32 and 64 bits; for tests.

    ``brickwork train binary-paragraph-vector --recipe smoke --out runs/smoke``. Its first losses are pinned.
    """
    return RunConfig(
        model=Config(bits=64, sizes=(32, 64), vocabulary=500, min_count=2),
        data=Data(source="toy", limit=400),
        train=TrainConfig(
            steps=100, batch_size=64, learning_rate=5e-3, precision="fp32", weight_decay=0.0, validate_every=0
        ),
    )


def small() -> RunConfig:
    """Your own documents: ``brickwork train binary-paragraph-vector --data docs/``; codes of 32, 64 and 128 bits.

    Without ``--data``: 20 Newsgroups, whose labels nothing is learnt from.
    """
    return RunConfig(
        model=Config(),
        data=Data(source="newsgroups20"),
        train=TrainConfig(
            steps=2400, batch_size=128, learning_rate=2.5e-3, precision="fp32", weight_decay=0.0
        ),
    )


def real() -> RunConfig:
    """Codes of 32 bits and vectors of 128 real numbers, learnt together: search by the one, rank by the other.

    ``brickwork train binary-paragraph-vector --recipe real --data docs/``.
    """
    run = small()
    return replace(run, model=replace(run.model, bits=32, sizes=(), real=128))


def gpu() -> RunConfig:
    """A vocabulary of 50,000 words on one GPU; not measured.

    ``brickwork train binary-paragraph-vector --recipe gpu --data docs/``.
    """
    run = small()
    return replace(
        run,
        model=replace(run.model, vocabulary=50_000),
        train=replace(run.train, steps=20_000, batch_size=2048),
    )
