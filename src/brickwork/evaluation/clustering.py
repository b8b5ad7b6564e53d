"""How well groups that were found agree with groups that are given, and how well the words of a topic go together.

Shape legend: N items, V words.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from brickwork.core.errors import naming_extras

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Labels = Int[np.ndarray, " items"] | Sequence[int] | Sequence[str]


@naming_extras("scores of clusters")
def clustering_scores(given: Labels, found: Labels) -> dict[str, float]:
    """``ari``: the Rand index, 0 for chance and 1 for the same groups (Hubert & Arabie 1985). ``v``: harmonic mean of
    homogeneity and completeness, which many small groups raise (Rosenberg & Hirschberg 2007). ``paired f``: F1 of the pairs
    that stand together, which few large groups raise (Artiles et al. 2009).
    """
    from sklearn.metrics import adjusted_rand_score, v_measure_score
    from sklearn.metrics.cluster import pair_confusion_matrix

    (_, only_found), (only_given, both) = pair_confusion_matrix(given, found).astype(float)
    pairs = 2 * both + only_found + only_given
    return {
        "ari": float(adjusted_rand_score(given, found)),
        "v": float(v_measure_score(given, found)),
        "paired f": 2 * both / pairs if pairs else 1.0,
    }


def npmi(topics: Sequence[Sequence[int]], bags: "csr_matrix") -> list[float]:
    """The coherence of each topic, from −1 (never together) by 0 (by chance) to 1 (always): the mean over the pairs of its
    words of ln(p_ij / (p_i p_j)) / −ln p_ij (Bouma 2009; Aletras & Stevenson 2013).

    ``bags``: counts of words in reference texts (:meth:`~brickwork.data.vocabulary.Vocabulary.bags`); p is the share of
    texts that have the word, or both. Two words that stand in every text count 1; fewer than two words have no pairs: NaN.
    """
    return [_npmi(bags[:, list(topic)]) for topic in topics]


def _npmi(bags: "csr_matrix") -> float:
    has = (bags.toarray() > 0).astype(np.float64)
    share = has.T @ has / max(len(has), 1)
    first, second = np.triu_indices(has.shape[1], 1)
    both, chance = share[first, second], np.diag(share)[first] * np.diag(share)[second]
    if not len(both):
        return float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.log(both / chance) / -np.log(both)
    return float(np.where(both == 0, -1.0, np.where(both == 1, 1.0, values)).mean())
