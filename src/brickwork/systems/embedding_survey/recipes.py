"""Runs of ``embedding-survey``."""

from dataclasses import replace

from brickwork.systems.embedding_survey.config import COMPARE, Config, Data
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: skip-gram on a made-up language; for tests, the same vectors everywhere."""
    return RunConfig(
        model=Config(method="sgns", dimensions=12, epochs=2, min_count=1),
        data=Data(source="toy", limit=200),
        train=TrainConfig(save_every=1),
    )


def smoke_compare() -> RunConfig:
    """Seconds: every method on a made-up language, chosen by pairs that are found; for tests."""
    run = smoke()
    model = Config(method=COMPARE, dimensions=6, min_count=1, buckets=500, vocabulary=60)
    return replace(run, model=model, data=replace(run.data, limit=80))


def small() -> RunConfig:
    """Skip-gram of 100 dimensions on your texts: ``brickwork train embedding-survey --data corpus/``.

    ``--set model.method=fasttext`` and so on: any other method of the catalogue.
    """
    return RunConfig(model=Config(), data=Data(source="python"), train=TrainConfig(save_every=1))


def compare() -> RunConfig:
    """Every method on your texts, measured by their labels, pairs or scores: ``--recipe compare --data labelled.csv``."""
    return replace(small(), model=Config(method=COMPARE))


def gpu() -> RunConfig:
    """Skip-gram of 300 dimensions, which runs on the processor as well as all others; not measured."""
    return replace(small(), model=Config(dimensions=300))
