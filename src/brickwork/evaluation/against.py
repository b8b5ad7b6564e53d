"""Whether a training helped a search: a model against what its user has without it, on the same held-out queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from brickwork.evaluation.grid import GridResult
from brickwork.evaluation.significance import paired_bootstrap

METRIC = "ndcg@10"
UNTOUCHED = "the untouched model"
"""A pretrained model as it was published: its own token limit, prompts and full size."""


@dataclass(frozen=True, kw_only=True)
class Against:
    """A model at full size against ``other`` on the retrieval set ``task``: mean nDCG@10 of both, and the 95 % interval of
    ours − theirs, paired over queries."""

    task: str
    other: str
    ours: float
    theirs: float
    low: float
    high: float

    @property
    def outcome(self) -> str:
        """``better`` or ``worse``, or ``open`` where the interval holds zero."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "open"

    @property
    def sentence(self) -> str:
        """In words, with the numbers."""
        verb = {"better": "better than", "worse": "worse than", "open": "not clearly different from"}[
            self.outcome
        ]
        if self.ours == self.theirs and self.low == self.high:
            verb = "the same as"
        difference = f"{self.ours - self.theirs:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"
        return f"{self.task}: nDCG@10 {self.ours:.3f}, {verb} {self.other} ({self.theirs:.3f}; {difference})"


def against(
    grid: GridResult, untouched: GridResult | None, baselines: Mapping[str, Mapping[str, Sequence[float]]]
) -> tuple[Against, ...]:
    """The full size of ``grid`` against that of the untouched model, if there is one, and against ``baselines``: name →
    metric → score of every query."""
    theirs = {} if untouched is None else {UNTOUCHED: _full(untouched)}
    theirs |= {name: scores[METRIC] for name, scores in baselines.items()}
    ours = np.asarray(_full(grid))
    return tuple(compared(grid.name, name, ours, np.asarray(scores)) for name, scores in theirs.items())


def against_cut(grid: GridResult, untouched: GridResult) -> Against | None:
    """The same at one small size, which both models are cut to: the trained size nearest to an eighth of the dimensions and
    half of the layers. ``None`` where the untouched model was not measured there, or where it is the full size."""
    dims, depths = ({getattr(cell, name) for cell in grid.cells} for name in ("dim", "layers"))
    dim = min(dims, key=lambda value: (abs(value - max(dims) / 8), value))
    layers = min(depths, key=lambda value: (abs(value - max(depths) / 2), value))
    theirs = [cell for cell in untouched.cells if (cell.dim, cell.layers) == (dim, layers)]
    if not theirs or (dim, layers) == (max(dims), max(depths)):
        return None
    size = f"{grid.name}, both cut to {dim} dims and {layers} layer{'' if layers == 1 else 's'}"
    ours = grid.cell(dim, layers).scores[METRIC]
    return compared(size, UNTOUCHED, np.asarray(ours), np.asarray(theirs[0].scores[METRIC]))


def _full(grid: GridResult) -> Sequence[float]:
    return max(grid.cells, key=lambda cell: (cell.layers, cell.dim)).scores[METRIC]


def compared(task: str, other: str, ours: np.ndarray, theirs: np.ndarray) -> Against:
    """Scores of the same queries, ours against those of ``other``. Shapes: both (queries,)."""
    difference = paired_bootstrap(theirs, ours)
    return Against(
        task=task,
        other=other,
        ours=float(ours.mean()),
        theirs=float(theirs.mean()),
        low=difference.low,
        high=difference.high,
    )
