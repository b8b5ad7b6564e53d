"""What the battery has to know of global-workspace."""

from brickwork.systems.global_workspace.data import Data

UNTESTED = {"task.reader": "goes with images; recipes smoke and smoke_digits"}


def data(folder):
    """Two halves of digits, of which some are seen together."""
    return [Data(source="digit-halves", paired=64)]
