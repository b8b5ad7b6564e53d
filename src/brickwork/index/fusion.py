"""One ranking from two: what vectors and what words say of the same documents.

Cosines and BM25 have other scales, and those of BM25 other ones for every query. Each side is therefore standardised by
its own best candidates, and both are added with one weight; or only the ranks count (reciprocal rank fusion, Cormack et
al. 2009). Bruch et al. 2023, "An Analysis of Fusion Functions for Hybrid Retrieval", compare the two.
"""

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import ConfigError
from brickwork.index.types import Found, Plan

CANDIDATES = 100
"""How many of each side are looked at on both, at least. nDCG@10 was the same from 50 to 200 (lab/LOG.md)."""

_RANKS = 60  # the constant of Cormack et al.
# A few candidates that stand out from many equal ones (the only three documents with a rare word) have hardly any spread:
# no candidate is further from the last one than five of these units.
_WIDEST = 5.0


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """How both sides become one score: ``dense_weight`` of 1 is for the vectors, the rest for the words. Shorter vectors and
    earlier exits say less, so they count less: see :meth:`at`.

    ``by``: ``scores`` adds standardised scores, ``ranks`` adds 1 / (60 + rank) of the candidates of each side.

    Raises:
        ConfigError: a weight outside of 0 … 1, or another way.
    """

    dense_weight: float = 0.5
    by: str = "scores"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.dense_weight) and 0 <= self.dense_weight <= 1):
            raise ConfigError(
                f"dense_weight={self.dense_weight} is outside 0 … 1; 0.5 counts vectors and words alike, 1 only vectors"
            )
        if self.by not in ("scores", "ranks"):
            raise ConfigError(f"fusion '{self.by}' is unknown; use scores or ranks")

    def at(self, kept: float) -> "Fusion":
        """The same for vectors that keep such a share of full size's quality: they count that much less (lab/LOG.md)."""
        return replace(self, dense_weight=self.dense_weight * kept) if self.by == "scores" else self

    def combine(self, dense: "Side", lexical: "Side") -> Float[np.ndarray, " documents"]:
        """The score of each document from both sides, which tell of the same documents in the same order."""
        first, second = (
            side.standardised() if self.by == "scores" else side.by_rank() for side in (dense, lexical)
        )
        return self.dense_weight * first + (1 - self.dense_weight) * second


@dataclass(frozen=True)
class Side:
    """The scores of documents by vectors or by words, and the scores of the best candidates of that side, best first.

    ``num_candidates`` is how many were looked for: where fewer have any word of the query, the others score 0.
    """

    scores: Float[np.ndarray, " documents"]
    best: Float[np.ndarray, " candidates"]
    num_candidates: int

    def standardised(self) -> Float[np.ndarray, " documents"]:
        """The scores less the mean of the best candidates, in units of their spread."""
        best = np.zeros(max(self.num_candidates, len(self.best), 1))
        best[: len(self.best)] = self.best
        unit = max(float(best.std()), float(np.ptp(best)) / _WIDEST)
        # Without any spread (one candidate, or all alike) the side does not tell its candidates apart.
        return (self.scores - best.mean()) / unit if unit > 1e-9 else np.zeros(len(self.scores))

    def by_rank(self) -> Float[np.ndarray, " documents"]:
        """1 / (60 + rank) of those that are among the best candidates, equal scores at equal ranks; 0 for the others."""
        better = np.searchsorted(-self.best, -self.scores, side="left")
        return np.where(better < len(self.best), 1 / (_RANKS + 1 + better), 0.0)


def candidate_plan(plan: Plan) -> Plan:
    """The plan with enough results at its end for a fusion, and no fewer before."""
    least = max(CANDIDATES, plan.stages[-1][1])
    return replace(plan, stages=tuple((dim, max(keep, least)) for dim, keep in plan.stages))


def fuse(
    dense: Sequence[Found],
    lexical: Sequence[Found],
    fusion: Fusion,
    others: tuple[Sequence[Found], Sequence[Found]] | None = None,
) -> list[Found]:
    """The documents of both lists of candidates, best first.

    ``others`` are the scores by vectors of those that only words found, and by words of those that only vectors found
    (who shares no word is left out). Where a store does not give them, such a document counts as the last candidate of
    the side that it is not among.
    """
    documents = {one.document.id: one.document for one in (*dense, *lexical)}
    sides, scores = [], []
    for best, more in zip((dense, lexical), others or ((), ())):
        known = {one.document.id: one.score for one in (*best, *more)}
        whole = best is lexical and (others is not None or len(lexical) < len(dense))
        last = 0.0 if whole or not best else best[-1].score
        every = np.array([known.get(name, last) for name in documents], dtype=np.float64)
        sides.append(Side(every, np.array([one.score for one in best], dtype=np.float64), len(dense)))
        scores.append([known.get(name, 0.0 if whole else None) for name in documents])
    combined = fusion.combine(*sides).tolist()
    found = map(Found, documents.values(), combined, *scores)
    return sorted(found, key=lambda one: -one.score)


@runtime_checkable
class Searcher(Protocol):
    """Searches of one state on a server, by either side; ``only``: of some documents alone, by their ids."""

    def by_vectors(
        self, vectors: Float[np.ndarray, "queries width"], plan: Plan, layers: int
    ) -> list[list[Found]]: ...

    def by_words(self, queries: Sequence[str], top: int) -> list[list[Found]]: ...

    def only(self, ids: Set[str]) -> "Searcher": ...


def search_both(
    searcher: Searcher,
    vectors: Float[np.ndarray, "queries width"],
    queries: Sequence[str],
    plan: Plan,
    fusion: Fusion,
    layers: int,
) -> list[list[Found]]:
    """The best documents of each query by both sides of a server: the candidates of each get the scores of both."""
    wide, top = candidate_plan(plan), plan.stages[-1][1]
    dim, keep = wide.stages[-1]
    sides = zip(searcher.by_vectors(vectors, wide, layers), searcher.by_words(queries, keep))
    results = []
    for row, (dense, lexical) in enumerate(sides):
        near, named = ({one.document.id for one in side} for side in (dense, lexical))
        exact = Plan(stages=((dim, keep),))
        (more,) = searcher.only(named - near).by_vectors(vectors[row : row + 1], exact, layers)
        (other,) = searcher.only(near - named).by_words(queries[row : row + 1], keep)
        results.append(fuse(dense, lexical, fusion, (more, other))[:top])
    return results
