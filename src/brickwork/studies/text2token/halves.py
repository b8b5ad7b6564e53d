"""Search without labels: the first half of a text looks for its second."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from brickwork.evaluation.retrieval import score


def halves(text: str) -> tuple[str, str]:
    """The first and the second half of a text's words."""
    words = text.split()
    middle = (len(words) + 1) // 2
    return " ".join(words[:middle]), " ".join(words[middle:])


def found_by(first: Float[np.ndarray, "n width"], second: Float[np.ndarray, "n width"]) -> float:
    """nDCG@10 of row i of ``second`` for row i of ``first``, by cosine of unit vectors."""
    ranked = np.argsort(-(first @ second.T), axis=1, kind="stable")[:, :10]
    relevant: Sequence[dict[int, int]] = [{row: 1} for row in range(len(ranked))]
    return float(score(ranked, relevant, ["ndcg@10"])["ndcg@10"].mean())
