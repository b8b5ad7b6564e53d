"""The pictures of a run."""

from typing import TYPE_CHECKING, Any

from brickwork.data.types import Examples

if TYPE_CHECKING:
    from brickwork.systems.embedding_survey.system import System


def quality_drawings(system: "System", examples: Examples) -> list[Any]:
    return []


def bias_drawings(system: "System", examples: Examples) -> list[Any]:
    return []
