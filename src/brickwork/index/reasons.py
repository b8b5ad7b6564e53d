"""The words of a model, where its vectors can be read as such: what an index keeps of them, and why a hit was found."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import ConfigError
from brickwork.data.types import Document
from brickwork.index.encoding import Query
from brickwork.index.postings import WEIGHT_UNITS
from brickwork.index.results import Answer, Hit
from brickwork.index.types import Contents
from brickwork.representation.export_parquet import document_text

if TYPE_CHECKING:
    from brickwork.core.types import ReadsWords


def reader_of(representation: Any) -> "ReadsWords":
    """The model as one whose vectors can be read as words.

    Raises:
        ConfigError: it is none.
    """
    from brickwork.core import registry
    from brickwork.core.types import ReadsWords  # which brings torch

    if not isinstance(representation, ReadsWords):
        able = ", ".join(
            slug for slug in registry.slugs() if "reads words" in registry.card(slug).capabilities
        )
        raise ConfigError(
            f"the vectors of this model cannot be read as words, which explain and words='model' need; models of {able} can"
        )
    return representation


def word_reader(representation: Any, queries: Sequence[str | Query]) -> "ReadsWords":
    """The same, for these queries.

    Raises:
        ConfigError: a query has an image.
    """
    if any(isinstance(query, Query) and query.image is not None for query in queries):
        raise ConfigError("explain names words that connect texts, and a query has an image; leave it out")
    return reader_of(representation)


def with_reasons(answer: Answer, queries: Sequence[str | Query], reader: "ReadsWords", count: int) -> Answer:
    """The answer, each hit with the words that connect the query with it."""
    texts = [query if isinstance(query, str) else query.text for query in queries]
    explained = []
    for text, hits in zip(texts, answer.hits):
        reasons = reader.connections(text, [document_text(_document(hit)) for hit in hits], count)
        explained.append([replace(hit, words=tuple(words)) for hit, words in zip(hits, reasons)])
    return replace(answer, hits=explained)


def _document(hit: Hit) -> Document:
    return Document(id=hit.id, title=hit.title, text=hit.text, source=hit.source)


def counted_words(representation: Any, vectors: Float[np.ndarray, "documents width"]) -> list[dict[str, int]]:
    """The words of documents from their whole vectors, with weights in units of an index."""
    return [
        {word: count for word, weight in one.items() if (count := round(weight * WEIGHT_UNITS)) > 0}
        for one in reader_of(representation).words_of(np.asarray(vectors))
    ]


def check_word_index(representation: Any, contents: Contents, store: str | None, *, lexical: bool) -> None:
    """Refuses an index of a model's words that could not be kept or read.

    Raises:
        ConfigError: another kind of model; vectors that are cut, or not of the full depth; another store; no words at all.
    """
    reader_of(representation)
    if not lexical:
        raise ConfigError("words='model' keeps words, and lexical=False none; leave one of them out")
    if store is not None:
        raise ConfigError(
            f"a model's words are kept in the folder of an index, not in {store}; leave one of them out"
        )
    whole = representation.axes.full_dim, representation.axes.num_layers
    if contents.codec != "float32" or (contents.width, contents.depths[-1]) != whole:
        raise ConfigError(
            "words='model' reads words off whole vectors: leave dim, bits and layers out (searches can still be cut with "
            "--dim)"
        )
