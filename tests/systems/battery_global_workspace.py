"""What the battery has to know of global-workspace: its smoke recipe adds numbers, so images and domains come from here."""

from dataclasses import replace

from brickwork.api import train as api
from brickwork.systems.global_workspace.config import AlignConfig, GlobalWorkspaceConfig, ReaderConfig
from brickwork.systems.global_workspace.data import Data
from brickwork.training.run import RunConfig

UNTESTED = {"task.reader": "goes with images; runs() and the smoke recipe"}


def runs() -> list[RunConfig]:
    return [tiny_digits(), tiny_alignment()]


def tiny_digits() -> RunConfig:
    """Learned modules on scikit-learn's digits, a step of each stage."""
    run = api.recipe("global-workspace", "digits")
    task = replace(
        run.model.task, num_steps=4, hidden=8, reader=ReaderConfig(hidden=16, width=8), increment_hidden=8
    )
    return replace(
        run,
        model=GlobalWorkspaceConfig(task=task),
        train=replace(run.train, steps=3, batch_size=16),
        stages=tuple(replace(stage, steps=1) for stage in run.stages),
    )


def tiny_alignment() -> RunConfig:
    """Upper half, lower half and class of scikit-learn's digits in one small workspace."""
    run = api.recipe("global-workspace", "small")
    return replace(
        run,
        model=GlobalWorkspaceConfig(task=AlignConfig(workspace_dim=8, hidden=16)),
        data=replace(run.data, limit=400),
        train=replace(run.train, steps=20),
    )


def data(folder):
    """Two halves of digits, of which some are seen together."""
    return [Data(source="digit-halves", paired=64)]
