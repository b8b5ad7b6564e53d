"""BM25 over a state of an index: how well the words of a query fit each document.

    score = Σ over the words of the query   idf · f / (f + k1 · (1 − b + b · length / mean length))
    idf = ln(1 + (N − n + ½) / (n + ½))

f is how often a document has the word, n how many documents have it, of N: Lucene's form (Kamphuis et al. 2020, "Which
BM25 do you mean?"), which is the default of bm25s too, with its k1 and b. N, n and the mean length are those of the
documents that are there now, through all segments, so a score does not depend on how the documents came in or what was
removed since. bm25s itself stores finished scores, all of which one added document would change.

Of an index that keeps the words of its model, a count is a weight, and a query comes as weights too: the score is the
product of both, as of any two sparse vectors.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt

from brickwork.core.words import query_words
from brickwork.index.postings import WEIGHT_UNITS, Postings

WordQuery = str | Mapping[str, float]
"""A text, or the weights of words."""
K1 = 1.5
B = 0.75


@dataclass(frozen=True)
class LexicalScores:
    """The score of each row for one query; 0 where it has none of its words."""

    rows: Float[np.ndarray, " rows"]

    def best(
        self, keep: int, allowed: Bool[np.ndarray, " rows"] | None
    ) -> tuple[Float[np.ndarray, " hits"], Int[np.ndarray, " hits"]]:
        """Scores and rows of up to ``keep`` allowed rows with a word of the query, best first, equal scores by row."""
        matching = np.flatnonzero(self.rows if allowed is None else self.rows * allowed)
        scores = self.rows[matching]
        if len(matching) > keep:
            least = np.partition(scores, len(scores) - keep)[len(scores) - keep]
            good = scores >= least  # all that equal the last place: which of them stay is decided by row
            matching, scores = matching[good], scores[good]
        order = np.lexsort((matching, -scores))[:keep]
        return scores[order], matching[order]


class Lexical:
    """The words of all segments of a state, and what BM25 takes from them.

    ``parts`` are the first row and the words of each segment; ``live`` marks the rows that are not removed.
    """

    def __init__(self, parts: Sequence[tuple[int, Postings]], live: Bool[np.ndarray, " rows"] | None):
        self._parts = parts
        self._live = live
        self.rows = sum(postings.rows for _, postings in parts)
        lengths = np.concatenate([np.zeros(0, np.int64), *(postings.lengths for _, postings in parts)])
        there = lengths if live is None else lengths[live]
        self.documents = len(there)
        mean = max(int(there.sum()), 1) / max(self.documents, 1)
        self._norms = (K1 * (1 - B + B * lengths / mean)).astype(np.float32)

    def score(self, query: WordQuery) -> LexicalScores:
        """BM25 of every row for a query, where a word that it repeats counts as often; or the product of weights."""
        scores = np.zeros(self.rows, dtype=np.float32)
        if not isinstance(query, str):
            return self._product(query, scores)
        for word, times in Counter(query_words(query)).items():
            found = [(start, *postings.find(word)) for start, postings in self._parts]
            having = sum(self._num_live(start, rows) for start, rows, _ in found)
            weight = np.float32(times * math.log(1 + (self.documents - having + 0.5) / (having + 0.5)))
            for start, rows, counts in found:
                places = rows.astype(np.int64) + start
                frequency = counts.astype(np.float32)
                scores[places] += weight * (frequency / (frequency + self._norms[places]))
        return LexicalScores(scores)

    def _product(self, query: Mapping[str, float], scores: Float[np.ndarray, " rows"]) -> LexicalScores:
        for word, weight in query.items():
            for start, postings in self._parts:
                rows, counts = postings.find(word)
                scores[rows.astype(np.int64) + start] += np.float32(weight / WEIGHT_UNITS) * counts
        return LexicalScores(scores)

    def _num_live(self, start: int, rows: UInt[np.ndarray, " rows"]) -> int:
        return len(rows) if self._live is None else int(self._live[rows.astype(np.int64) + start].sum())
