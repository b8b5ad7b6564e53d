"""A test of bias of word vectors, before and after it is taken out in two ways.

Shape legend: V words, D dimensions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from brickwork.core.errors import DataError
from brickwork.representation.vectors import WordVectors
from brickwork.systems.embedding_survey import bias

_LEANING = 500
"""Words of each side that are looked for again after debiasing."""
_LEAST = 50  # words of a vocabulary for that


@dataclass(frozen=True, kw_only=True)
class Audit:
    """``effects``: test → how the vectors are → association. ``missing``: test → words that have no vector. ``left_out``:
    why a test could not be made, or a way not be taken. ``recovered``: how the vectors are → how well two clusters still
    tell the sides of the words that leaned most before; ``leaning``: how many these are."""

    effects: Mapping[str, Mapping[str, bias.Association]]
    missing: Mapping[str, Sequence[str]]
    left_out: Sequence[str] = ()
    recovered: Mapping[str, float] = field(default_factory=dict)
    leaning: int = 0


BEFORE, HARD, INLP = "as they are", "hard debiasing", "INLP"


def audit(vectors: WordVectors, columns: Mapping[str, Any], seed: int = 0) -> Audit:
    """Every test of the columns ``test``, ``set`` and ``word`` (data.py); the direction that is taken out is that of the
    pairs of its own ``define a`` and ``define b``, or of its attributes.

    Raises:
        DataError: no test has enough of its words in the vocabulary.
    """
    lists: dict[tuple[str, str], list[str]] = {}
    for test, role, word in zip(columns["test"], columns["set"], columns["word"]):
        lists.setdefault((test, role), []).append(word)
    tests = list(dict.fromkeys(test for test, _ in lists))
    effects, missing, left_out = {}, {}, []
    recovered: dict[str, float] = {}
    count = 0
    for test in tests:
        own = {role: words for (name, role), words in lists.items() if name == test}
        missing[test] = [word for role in bias.ROLES for word in own.get(role, ()) if word not in vectors]
        versions, problem, lost = _versions(vectors, {(test, r): w for r, w in own.items()}, seed)
        if problem:
            left_out.append(f"{test}: {problem}")
        if lost and not recovered:
            recovered, count = lost
        found = {}
        for name, matrix in versions.items():
            sets = [
                matrix[[vectors.places[w] for w in own.get(role, ()) if w in vectors]] for role in bias.ROLES
            ]
            try:
                found[name] = bias.weat(*sets, seed=seed)
            except DataError as error:
                left_out.append(f"{test}: {error}")
                break
        if found:
            effects[test] = found
    if not effects:
        raise DataError(f"no test of bias can be made with these vectors: {'; '.join(left_out)}")
    return Audit(effects=effects, missing=missing, left_out=left_out, recovered=recovered, leaning=count)


def _versions(
    vectors: WordVectors, lists: Mapping[tuple[str, str], Sequence[str]], seed: int
) -> tuple[dict[str, np.ndarray], str, tuple[dict[str, float], int] | None]:
    """The vectors as they are and debiased; why not, where that cannot be; and what two clusters tell of the sides."""
    versions = {BEFORE: vectors.matrix.astype(np.float64)}
    try:
        pairs = [(a, b) for a, b in bias.defining_pairs(lists) if a in vectors and b in vectors]
        rows = [(vectors.places[a], vectors.places[b]) for a, b in pairs]
        versions[HARD] = bias.hard_debias(vectors.matrix, rows)
        first, second = (vectors.matrix[list(side)] for side in zip(*rows))
        axis = bias.direction(first, second)
        leave = [row for pair in rows for row in pair]
        own, labels = bias.leaning(vectors.matrix, axis, min(_LEANING, len(vectors) // 10), leave)
        versions[INLP] = bias.inlp(vectors.matrix, own, labels, seed=seed)
    except DataError as error:
        return versions, str(error), None
    if len(vectors) < _LEAST:
        return versions, "", None
    lost = {name: bias.recovered(matrix, own, labels, seed) for name, matrix in versions.items()}
    return versions, "", (lost, len(own))
