"""Sentence similarity: the rank correlation of cosines with human scores, at every size."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import naming_extras
from brickwork.representation.truncate import truncate

if TYPE_CHECKING:
    from brickwork.data.types import Examples
    from brickwork.representation.model import Representation


@naming_extras("a rank correlation")
def spearman(predicted: Float[np.ndarray, " n"], wanted: Float[np.ndarray, " n"]) -> float:
    """Spearman's rank correlation (ties share their mean rank); 0 where either side is constant.

    A constant side has no ranks to correlate; an encoder with one vector for all texts has learnt nothing.
    """
    from scipy import stats

    if len(predicted) < 2 or np.ptp(predicted) == 0 or np.ptp(wanted) == 0:
        return 0.0
    return float(stats.spearmanr(predicted, wanted).statistic)


def similarity_grid(
    representation: "Representation",
    scored: "Examples",
    dims: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
) -> dict[tuple[int, int], float]:
    """(dim, layers) → Spearman correlation on a scored set (columns anchor, positive, score).

    Texts are encoded once for all sizes; texts that occur several times, once.
    """
    from brickwork.representation.encode import encode_exits

    axes = representation.axes
    dims = list(dims or axes.dims)
    layers = sorted(set(layers or axes.layers))
    for dim in dims:
        axes.resolve(dim, None)
    columns = scored.take(range(len(scored)))
    texts = sorted({*columns["anchor"], *columns["positive"]})
    place = {text: row for row, text in enumerate(texts)}
    left, right = (np.array([place[text] for text in columns[name]]) for name in ("anchor", "positive"))
    vectors = encode_exits(representation.encoder, texts, layers=layers)
    return pair_scores(vectors, left, right, np.asarray(columns["score"], dtype=np.float64), dims)


def pair_scores(
    vectors: Mapping[int, np.ndarray],
    left: np.ndarray,
    right: np.ndarray,
    wanted: Float[np.ndarray, " pairs"],
    dims: Sequence[int],
) -> dict[tuple[int, int], float]:
    """(dim, layers) → Spearman between ``wanted`` and the cosines of rows ``left`` and ``right``."""
    scores = {}
    for layers, full in vectors.items():
        for dim in dims:
            cut = truncate(full, dim)
            cosines = np.einsum("nd,nd->n", cut[left], cut[right])
            scores[dim, layers] = spearman(cosines.astype(np.float64), wanted)
    return scores
