"""Runs of ``class-means``."""

from brickwork.systems.class_means.system import Config

from brickwork.data.config import DataConfig
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """The digits that come with scikit-learn, in five rounds; a checkpoint after every second one."""
    return RunConfig(
        model=Config(), data=DataConfig(source="digits"), train=TrainConfig(save_every=2, log_every=1)
    )


def small() -> RunConfig:
    """The same as smoke: it is a toy, and there is nothing larger to be had from it."""
    return smoke()


def gpu() -> RunConfig:
    """The same as smoke: it is a toy, and a GPU would have nothing to do for it."""
    return smoke()
