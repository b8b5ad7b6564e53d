"""The scores of single queries beside a run: what measuring leaves and ``choose`` reads."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickwork.core.files import write_json

if TYPE_CHECKING:
    from brickwork.evaluation.measure import Measurement
    from brickwork.representation.model import Representation

SCORES = "scores.json"
"""The score of every held-out query at every size, beside ``evaluation.json``, which has the means."""


def hybrid_words(representation: "Representation") -> Any:
    """What measures hybrid searches of the texts that a model reads; ``None`` for a formal language, which has no words."""
    from brickwork.index.ranking import WordsBeside
    from brickwork.training.run import texts_of

    return WordsBeside if texts_of(representation) is None else None


def write_scores(folder: Path, measurement: "Measurement") -> None:
    """Writes what :func:`choose` reads."""
    if measurement.grids:
        write_json(folder / SCORES, measurement.scores_of_queries())
