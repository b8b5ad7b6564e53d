"""Runs of ``disambiguated-skipgram``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.systems.disambiguated_skipgram.config import Config, Data
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: a made-up language with homonyms, whose senses are known; for tests."""
    return RunConfig(
        model=Config(
            senses=3, dim=16, window=4, min_count=2, subsample=0.0, negatives=16, batch=256, learning_rate=0.1
        ),
        data=Data(source="homonyms", limit=500),
    )


def small() -> RunConfig:
    """Your texts: ``brickwork train disambiguated-skipgram --data corpus/``; minutes a million words on one core.

    Without ``--data``: the documentation of the installed Python packages.
    """
    return RunConfig(model=Config(epochs=6), data=Data(validation_share=0.02))


def gpu() -> RunConfig:
    """The paper's sizes (5 senses, 300 dimensions), for large texts; not measured."""
    run = small()
    return replace(run, model=replace(run.model, senses=5, dim=300, min_count=20, epochs=3, batch=16_384))
