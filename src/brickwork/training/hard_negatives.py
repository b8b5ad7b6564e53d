"""Hard negatives for pairs: texts of other pairs that look like an anchor's positive and are not one.

A negative that the model tells from the positive at once teaches it little; those of a random batch are such. Here the
positives of all training pairs are ranked for each anchor, by BM25 or by the model itself as it is before the training, and
of the best ones those are taken that are, as far as the data says, no answers:

  never     a positive of the same anchor, of a pair of one of its groups, or a text equal to the anchor or one of these
  skip      then so many of the best of the others, among which most unmarked answers are
  margin    then those with at least this share of the positive's own score

The same filters as ``mine_hard_negatives`` of sentence-transformers (``range_min``, ``relative_margin``); the margin is
that of "NV-Retriever: effective hard-negative mining" (Moreira et al. 2024, arXiv 2407.15831: ``TopK-PercPos``, 95 %).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int

from brickwork.core.errors import ArtifactError, DataError, naming_extras
from brickwork.core.seeding import generator_for
from brickwork.core.words import query_words, words
from brickwork.data.config import HardNegatives
from brickwork.data.splits import normalised
from brickwork.data.types import Examples

SKIP, MARGIN, COUNT = 0, 0.95, 1
MOST_GROUPS = 64
"""A text that answers more groups than this is nobody's negative: it would be a false one too often."""
_BLOCK = 512  # anchors that are scored together

Scores = Float32[np.ndarray, " documents"]


@dataclass(frozen=True)
class Pool:
    """The distinct texts of some pairs. ``anchors``, ``documents``: of these; ``anchor_of``, ``document_of``: row -> its
    place there; ``groups_of``: document -> the groups of the pairs that it answers."""

    anchors: list[str]
    documents: list[str]
    anchor_of: Int[np.ndarray, " rows"]
    document_of: Int[np.ndarray, " rows"]
    groups_of: list[list[int]]
    group: Int[np.ndarray, " rows"]

    @classmethod
    def of(cls, pairs: Examples) -> "Pool":
        """The pool of ``pairs``; texts that are equal but for case and spaces are one."""
        columns = pairs.columns
        anchors, anchor_of = _distinct(columns["anchor"])
        documents, document_of = _distinct(columns["positive"])
        group = np.asarray(columns.get("group", range(len(pairs))), dtype=np.int64)
        groups: list[set[int]] = [set() for _ in documents]
        for document, number in zip(document_of.tolist(), group.tolist()):
            groups[document].add(number)
        return cls(anchors, documents, anchor_of, document_of, [sorted(g) for g in groups], group)

    def allowed(self) -> Iterator[tuple[list[int], Bool[np.ndarray, " documents"]]]:
        """For each anchor its rows, and which documents are not known to answer it."""
        place = {normalised(text): number for number, text in enumerate(self.documents)}
        usual = np.array([len(groups) <= MOST_GROUPS for groups in self.groups_of])
        answers: dict[int, list[int]] = {}
        for document, groups in enumerate(self.groups_of):
            for number in groups:
                answers.setdefault(number, []).append(document)
        rows: list[list[int]] = [[] for _ in self.anchors]
        for row, anchor in enumerate(self.anchor_of.tolist()):
            rows[anchor].append(row)
        for anchor, own in enumerate(rows):
            free = usual.copy()
            for row in own:  # their positives are among the answers of their groups
                free[answers[int(self.group[row])]] = False
            itself = place.get(normalised(self.anchors[anchor]))
            if itself is not None:
                free[itself] = False
            yield own, free


@dataclass(frozen=True)
class Mined:
    """``rows``: of the pairs, one for each negative; ``documents``: the negatives, places in ``Pool.documents``; ``filled``:
    how many pairs had none and got one at random."""

    rows: list[int]
    documents: list[int]
    filled: int


def mine(pool: Pool, scores: Iterable[Scores], options: HardNegatives, seed: int) -> Mined:
    """The hard negatives of each pair, hardest first; equal scores in the order of the documents.

    ``scores`` gives, anchor by anchor, how well each document fits. A pair for which the filters leave none gets a random
    one of those that are no known answers, so that no pair is lost; where there is none of these either, it is left out.
    """
    skip = SKIP if options.skip is None else options.skip
    margin = MARGIN if options.margin is None else options.margin
    rows: list[int] = []
    documents: list[int] = []
    filled = 0
    for values, (own, allowed) in zip(scores, pool.allowed(), strict=True):
        for row in own:
            positive = float(values[pool.document_of[row]])
            limit = positive - (1 - margin) * abs(positive)
            chosen = hardest(values, allowed, limit, skip, options.count or COUNT).tolist()
            if not chosen:
                chosen = _random(np.flatnonzero(allowed), seed, row)
                filled += len(chosen)
            rows += [row] * len(chosen)
            documents += chosen
    return Mined(rows, documents, filled)


def hardest(
    scores: Scores, allowed: Bool[np.ndarray, " documents"], limit: float, skip: int, count: int
) -> Int[np.ndarray, " hardest"]:
    """The ``count`` best of the ``allowed`` after the first ``skip``, without those at or above ``limit`` and those of
    score 0 (to BM25 they share no word); equal scores by place."""
    above = allowed & (scores >= limit)
    below = allowed & ~above & (scores != 0)
    places = np.flatnonzero(below)
    skip = max(0, skip - int(above.sum()))
    wanted = skip + count
    if len(places) > wanted:
        least = np.partition(scores[places], len(places) - wanted)[len(places) - wanted]
        places = places[scores[places] >= least]
    return places[np.lexsort((places, -scores[places]))][skip:wanted]


def cosines(vectors: Callable[[Sequence[str], str], np.ndarray], pool: Pool) -> Iterator[Scores]:
    """Cosines of each anchor with all documents. ``vectors`` encodes texts in a role, ``query`` or ``document``."""
    documents = _unit(vectors(pool.documents, "document"))
    anchors = _unit(vectors(pool.anchors, "query"))
    for start in range(0, len(anchors), _BLOCK):
        yield from anchors[start : start + _BLOCK] @ documents.T


@naming_extras("hard negatives by BM25")
def bm25(pool: Pool) -> Iterator[Scores]:
    """BM25 of each anchor with all documents (bm25s, k1 = 1.5, b = 0.75).

    Raises:
        MissingExtraError: bm25s is not installed.
    """
    import bm25s

    corpus = [words(text) for text in pool.documents]
    known = {word for document in corpus for word in document}
    ranker = bm25s.BM25()
    if known:
        ranker.index(corpus, show_progress=False)
    for text in pool.anchors:
        asked = [word for word in query_words(text) if word in known]
        yield ranker.get_scores(asked) if asked else np.zeros(len(corpus), dtype=np.float32)


def triplets(pairs: Examples, pool: Pool, mined: Mined) -> Examples:
    """The pairs with their negatives, a row for each: also ``negative_group`` (rows, K), the groups that a negative answers,
    filled up with −1, so that in a batch it is no candidate for these.

    Raises:
        DataError: there is no negative at all.
    """
    if not mined.rows:
        raise DataError(
            "no training pair has a hard negative: all texts answer the same group; leave data.hard_negatives out, or give "
            "pairs of more than one group"
        )
    taken = dict(pairs.take(mined.rows))
    groups = [pool.groups_of[document] for document in mined.documents]
    padded = np.full((len(groups), max(map(len, groups))), -1, dtype=np.int64)
    for row, numbers in enumerate(groups):
        padded[row, : len(numbers)] = numbers
    taken["group"] = pool.group[mined.rows].tolist()
    return Examples(
        {**taken, "negative": [pool.documents[d] for d in mined.documents], "negative_group": padded}
    )


def to_dict(mined: Mined) -> dict[str, Any]:
    """For JSON: a run that is resumed goes on with the same negatives, on another machine too."""
    return {"rows": mined.rows, "documents": mined.documents, "filled": mined.filled}


def from_dict(values: Any, pool: Pool, source: str) -> Mined:
    """What :func:`to_dict` gave.

    Raises:
        ArtifactError: it is not that, or does not fit the pairs; names ``source``.
    """
    try:
        mined = Mined(
            [int(r) for r in values["rows"]], [int(d) for d in values["documents"]], int(values["filled"])
        )
        fits = len(mined.rows) == len(mined.documents)
        fits &= all(0 <= row < len(pool.anchor_of) for row in mined.rows)
        fits &= all(0 <= document < len(pool.documents) for document in mined.documents)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{source} holds no mined negatives ({error!r}); train in another folder"
        ) from error
    if not fits:
        raise ArtifactError(
            f"{source} does not fit the training pairs, which have changed since; bring the data back as it was, or train "
            "in another folder"
        )
    return mined


def _distinct(texts: Any) -> tuple[list[str], Int[np.ndarray, " rows"]]:
    """The texts without repetitions (as :func:`normalised`), each as it came first, and the place of every row's."""
    place: dict[str, int] = {}
    kept: list[str] = []
    rows = []
    for text in texts:
        number = place.setdefault(normalised(text), len(kept))
        if number == len(kept):
            kept.append(text)
        rows.append(number)
    return kept, np.array(rows, dtype=np.int64)


def _random(places: Int[np.ndarray, " places"], seed: int, row: int) -> list[int]:
    if not len(places):
        return []
    draw = torch.randint(len(places), (1,), generator=generator_for(seed, row, "hard-negative"))
    return [int(places[int(draw)])]


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
