"""Search without labels: the first half of a text looks for its second."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import BrickworkWarning
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


@contextlib.contextmanager
def cut_alike() -> Iterator[None]:
    """Texts that are longer than the encoders read are cut, of all arms alike, without a word on each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BrickworkWarning)
        yield
