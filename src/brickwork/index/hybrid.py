"""Searches of a snapshot by words, and by vectors and words together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from brickwork.index.fusion import Fusion, Side, candidate_plan
from brickwork.index.lexical import WordQuery
from brickwork.index.scan import run_plan
from brickwork.index.snapshot import Snapshot
from brickwork.index.types import Plan
from brickwork.representation.truncate import truncate


@dataclass(frozen=True)
class Ranking:
    """The best rows of one query, best first, with the score that orders them and those of both sides."""

    rows: Int[np.ndarray, " hits"]
    scores: Float[np.ndarray, " hits"]
    lexical: Float[np.ndarray, " hits"]
    dense: Float[np.ndarray, " hits"] | None = None

    def hits(self) -> Iterator[tuple[int, float, float | None, float | None]]:
        """Row, score, cosine and BM25 of each."""
        dense = [None] * len(self.rows) if self.dense is None else self.dense.tolist()
        return zip(self.rows.tolist(), self.scores.tolist(), dense, self.lexical.tolist())


def run_words(
    snapshot: Snapshot, queries: Sequence[WordQuery], top: int, allowed: Bool[np.ndarray, " rows"] | None
) -> list[Ranking]:
    """The best rows of each query by BM25, or by the weights of words; only those that have a word of it."""
    rankings = []
    for query in queries:
        scores, rows = snapshot.lexical().score(query).best(top, allowed)
        rankings.append(Ranking(rows, scores, scores))
    return rankings


def run_hybrid(
    snapshot: Snapshot,
    vectors: Float[np.ndarray, "queries width"],
    queries: Sequence[WordQuery],
    plan: Plan,
    fusion: Fusion,
    layers: int,
    allowed: Bool[np.ndarray, " rows"] | None,
) -> list[Ranking]:
    """The best rows of each query by both sides.

    The candidates are the best of each side by :func:`candidate_plan`; all of them get the exact score of both.
    """
    wide = candidate_plan(plan)
    dim, keep = wide.stages[-1]
    dense_best, dense_rows = run_plan(snapshot, vectors, wide, layers, allowed)
    cut = truncate(vectors, dim)
    rankings = []
    for number, query in enumerate(queries):
        there = dense_rows[number] >= 0
        words = snapshot.lexical().score(query)
        words_best, words_rows = words.best(keep, allowed)
        rows = np.union1d(dense_rows[number][there], words_rows)
        dense = snapshot.cosines(rows, layers, cut[number])
        lexical = words.rows[rows]
        scores = fusion.combine(
            Side(dense, dense_best[number][there], int(there.sum())),
            Side(lexical, words_best, int(there.sum())),
        )
        order = np.lexsort((rows, -scores))[: plan.stages[-1][1]]
        rankings.append(Ranking(rows[order], scores[order], lexical[order], dense[order]))
    return rankings
