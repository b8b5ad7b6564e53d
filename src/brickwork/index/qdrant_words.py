"""Words as Qdrant compares them: sparse vectors, whose weights times those of a query add up to BM25.

The part of a word in a document, f / (f + k1 · (1 − b + b · length / mean length)), is stored; the part of how rare it is
the server multiplies in (its modifier IDF, which is Lucene's). So two things are not quite as in a folder: the mean length
is that of the first documents that were written, since later ones cannot change what is stored; and versions of documents
that the last change ended count among the others until the next change clears them away.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

from brickwork.core.errors import MissingExtraError
from brickwork.core.words import query_words, words
from brickwork.index.lexical import K1, B

try:
    from qdrant_client import models
except ImportError as error:
    raise MissingExtraError("qdrant-client", "qdrant", "an index in Qdrant") from error

VECTOR = "words"


def mean_length(texts: Sequence[str]) -> float:
    """The mean number of words of texts, at least one."""
    return max(sum(len(words(text)) for text in texts) / max(len(texts), 1), 1.0)


def stored(text: str, mean: float) -> models.SparseVector:
    """The words of a document with their parts of BM25."""
    counts = Counter(words(text))
    norm = K1 * (1 - B + B * sum(counts.values()) / mean)
    return _sparse({word: count / (count + norm) for word, count in counts.items()})


def asked(query: str) -> models.SparseVector | None:
    """The words of a query, as often as they come; ``None`` where it has none."""
    counts = Counter(query_words(query))
    return _sparse({word: float(count) for word, count in counts.items()}) if counts else None


def _sparse(weights: dict[str, float]) -> models.SparseVector:
    """Words by the first four bytes of a hash; of a million words about a hundred share theirs with another one."""
    by_place: dict[int, float] = {}
    for word, weight in weights.items():
        place = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "little")
        by_place[place] = by_place.get(place, 0.0) + weight
    return models.SparseVector(indices=list(by_place), values=list(by_place.values()))
