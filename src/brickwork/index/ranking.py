"""Hybrid rankings of texts in memory: what an index of them would find, without one."""

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from brickwork.index.fusion import CANDIDATES, Fusion, Side
from brickwork.index.lexical import Lexical, LexicalScores
from brickwork.index.postings import Postings, PostingsWriter
from brickwork.representation.nearest import top_k

_TIMED = 16


class WordsBeside:
    """The words of some documents, and what BM25 says of them to each of some queries.

    ``milliseconds``: the median time of one query by words alone.
    """

    def __init__(self, queries: Sequence[str], documents: Sequence[str]):
        self._documents = len(documents)
        lexical = _lexical(documents)
        self._scores: list[tuple[np.ndarray, np.ndarray]] = []
        times: list[float] = []
        for query in queries:
            started = time.perf_counter()
            rows = lexical.score(query).rows
            LexicalScores(rows).best(CANDIDATES, None)
            if len(times) < _TIMED:
                times.append(1000 * (time.perf_counter() - started))
            there = np.flatnonzero(rows)  # most documents share no word with a query
            self._scores.append((there, rows[there]))
        self.milliseconds = statistics.median(times) if times else 0.0

    def rank(
        self,
        queries: Float[np.ndarray, "queries dim"],
        documents: Float[np.ndarray, "documents dim"],
        top: int,
        kept: float = 1.0,
    ) -> Int[np.ndarray, "queries depth"]:
        """The rows of the best documents of each query by vectors and words together, as a hybrid search of an index orders
        them; −1 fills up. Vectors are cut and of unit length; ``kept``: the share of full size's quality that they keep."""
        fusion = Fusion().at(kept)
        keep = min(max(CANDIDATES, top), self._documents)
        dense_best, dense_rows = top_k(queries, documents, keep)
        ranked = np.full((len(queries), min(top, self._documents)), -1, dtype=np.int64)
        for number, (there, values) in enumerate(self._scores):
            words = np.zeros(self._documents, dtype=np.float32)
            words[there] = values
            words_best, words_rows = LexicalScores(words).best(keep, None)
            rows = np.union1d(dense_rows[number], words_rows)
            scores = fusion.combine(
                Side(documents[rows] @ queries[number], dense_best[number], keep),
                Side(words[rows], words_best, keep),
            )
            order = np.lexsort((rows, -scores))[: ranked.shape[1]]
            ranked[number, : len(order)] = rows[order]
        return ranked


def _lexical(documents: Sequence[str]) -> Lexical:
    with tempfile.TemporaryDirectory(prefix="brickwork-words-") as place:
        path = Path(place) / "words.arrow"
        writer = PostingsWriter(path)
        writer.add(documents)
        writer.close()
        return Lexical([(0, Postings(path, path.read_bytes(), len(documents)))], None)
