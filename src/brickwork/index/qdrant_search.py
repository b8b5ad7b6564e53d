"""Searches of one state of an index in Qdrant, by vectors and by words."""

import json
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import ConfigError, MissingExtraError
from brickwork.data.types import Document
from brickwork.index.filters import OWN_FIELDS, Filter, resolve
from brickwork.index.qdrant_filters import conditions
from brickwork.index.qdrant_state import CollectionFields, State, named, visible
from brickwork.index.qdrant_words import VECTOR, asked
from brickwork.index.types import Found, Plan
from brickwork.representation.truncate import truncate

try:
    from qdrant_client import models
except ImportError as error:
    raise MissingExtraError("qdrant-client", "qdrant", "an index in Qdrant") from error

STORED = ["id", "title", "text", "source", "meta"]


class Searcher:
    """Searches of the documents that a filter leaves, in the state after change ``number``.

    Raises:
        ConfigError: a filter on a field that no document has.
    """

    def __init__(self, state: State, number: int, where: Filter | None):
        self._state = state
        self._number = number
        self._allowed = self._read(where)  # None: no document can match

    def by_vectors(
        self, queries: Float[np.ndarray, "queries width"], plan: Plan, layers: int
    ) -> list[list[Found]]:
        """The best documents of each query by a plan, whose prefixes are stored."""
        prefixes = {dim: truncate(queries, dim).tolist() for dim, _ in plan.stages}
        if self._allowed is None or not len(queries):
            return [[] for _ in queries]
        exact = plan.kind != "hnsw"
        every = range(len(queries))
        results = self._ask(every, prefixes, plan, layers, self._allowed, exact=exact)
        if not exact:
            # A walk through a graph may miss documents; the promise is every match.
            few = [row for row in every if len(results[row]) < plan.stages[-1][1]]
            for row, better in zip(few, self._ask(few, prefixes, plan, layers, self._allowed, exact=True)):
                results[row] = better
        return results

    def by_words(self, queries: Sequence[str], top: int) -> list[list[Found]]:
        """The best documents of each query by the words that they share."""
        results: list[list[Found]] = [[] for _ in queries]
        rows = {row: words for row, query in enumerate(queries) if (words := asked(query)) is not None}
        if self._allowed is None or not rows:
            return results
        requests = [
            models.QueryRequest(
                query=words, using=VECTOR, limit=top, filter=self._allowed, with_payload=STORED
            )
            for words in rows.values()
        ]
        for row, one in zip(rows, self._state.client.query_batch_points(self._state.collection, requests)):
            scored = [(document(point.payload or {}), float(point.score)) for point in one.points]
            results[row] = [Found(found, score, lexical=score) for found, score in scored if score > 0]
        return results

    def only(self, ids: Set[str]) -> "Searcher":
        """Searches of some documents alone."""
        one = Searcher(self._state, self._number, None)
        one._allowed = named(sorted(ids), self._number)
        return one

    def _read(self, where: Filter | None) -> models.Filter | None:
        if where is None:
            return visible(self._number)
        if any(name not in OWN_FIELDS for name in where.fields):
            known = fields_of(self._state, self._number)
            for name in where.fields:
                if name not in known:
                    fields = ", ".join((*OWN_FIELDS, *sorted(known - set(OWN_FIELDS))))
                    raise ConfigError(f"filter on '{name}': no document has this field; there are {fields}")
        values = CollectionFields(self._state, self._number)
        allowed = conditions(resolve(where, values), values.texts)
        if allowed is None:
            return None
        must, must_not = allowed
        return models.Filter(must=[visible(self._number), *must], must_not=must_not)

    def _ask(
        self,
        rows: Sequence[int],
        prefixes: Mapping[int, list[list[float]]],
        plan: Plan,
        layers: int,
        allowed: models.Filter,
        *,
        exact: bool,
    ) -> list[list[Found]]:
        if not rows:
            return []
        params = models.SearchParams(exact=exact, hnsw_ef=None if exact else plan.effort)
        requests = []
        for row in rows:
            stage: models.Prefetch | None = None
            for dim, keep in plan.stages:
                stage = models.Prefetch(
                    query=prefixes[dim][row],
                    using=vector_name(layers, dim),
                    limit=keep,
                    prefetch=stage,
                    # The first stage chooses among all; the later ones only see what it kept.
                    filter=allowed if stage is None else None,
                    params=params if stage is None else None,
                )
            assert stage is not None
            requests.append(
                models.QueryRequest(**stage.model_dump(exclude={"score_threshold"}), with_payload=STORED)
            )
        answers = self._state.client.query_batch_points(self._state.collection, requests)
        return [
            [Found(document(p.payload or {}), float(p.score), dense=float(p.score)) for p in one.points]
            for one in answers
        ]


def fields_of(state: State, number: int) -> set[str]:
    """The names that filters may use."""
    return {*OWN_FIELDS, *state.distinct("fields", number)}


def vector_name(depth: int, dim: int) -> str:
    """The name of the vectors of a prefix at one depth."""
    return f"{depth}-{dim}"


def document(stored: Mapping[str, Any]) -> Document:
    """A document from what is stored beside its vectors."""
    return Document(
        id=stored["id"],
        title=stored["title"],
        text=stored["text"],
        source=stored["source"],
        meta=json.loads(stored["meta"]),
    )
