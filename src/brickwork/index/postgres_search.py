"""Searches of an index in PostgreSQL, by vectors and by words, within one transaction."""

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import ConfigError, MissingExtraError
from brickwork.data.types import Document
from brickwork.index.filters import OWN_FIELDS, Filter, resolve
from brickwork.index.postgres_sql import INDEXED, TableFields, dims_of, graph_name, search, where_clause
from brickwork.index.postgres_words import Words
from brickwork.index.types import Found, Kind, Plan
from brickwork.representation.truncate import truncate

try:
    from psycopg import sql
except ImportError as error:
    raise MissingExtraError("psycopg", "postgres", "an index in PostgreSQL") from error

if TYPE_CHECKING:
    from psycopg import Connection

MAX_EFFORT = 1000  # pgvector's limit of hnsw.ef_search


class Searcher:
    """Searches of the documents that a filter leaves, in the transaction of ``run``.

    Raises:
        ConfigError: a filter on a field that no document has.
    """

    def __init__(self, run: "Connection[Any]", table: str, where: Filter | None):
        self._run = run
        self._table = table
        if where is not None:
            self._check_fields(where)
            where = resolve(where, TableFields(run, table))
        self._condition, self._parameters = where_clause(where)

    def by_vectors(
        self, queries: Float[np.ndarray, "queries width"], plan: Plan, layers: int
    ) -> list[list[Found]]:
        """The best documents of each query by a plan."""
        prefixes = {dim: truncate(queries, dim) for dim in dims_of(plan.stages)}
        graph = plan.kind in INDEXED and self._has_graph(plan.kind, layers, plan.stages[0][0])
        if graph:
            _set_effort(self._run, plan)
        walked = search(self._table, plan, layers, self._condition, graph=graph)
        exact = search(self._table, plan, layers, self._condition, graph=False)
        results = []
        for number in range(len(queries)):
            vectors = {f"v{dim}": prefix[number] for dim, prefix in prefixes.items()}
            rows = self._run.execute(walked, {**self._parameters, **vectors}).fetchall()
            if graph and len(rows) < plan.stages[-1][1]:
                # A graph may have parts that a walk does not reach; the promise is every match.
                rows = self._run.execute(exact, {**self._parameters, **vectors}).fetchall()
            results.append([Found(document(row), -float(row[5]), dense=-float(row[5])) for row in rows])
        return results

    def only(self, ids: Set[str]) -> "Searcher":
        """Searches of some documents alone."""
        one = Searcher(self._run, self._table, None)
        one._condition = sql.SQL("id = ANY(%(only)s)")
        one._parameters = {"only": list(ids)}
        return one

    def by_words(self, queries: Sequence[str], top: int) -> list[list[Found]]:
        """The best documents of each query by BM25."""
        words = Words(self._table)
        results = []
        for query in queries:
            rows = words.search(self._run, query, top, self._condition, self._parameters)
            results.append([Found(document(row), row[5], lexical=row[5]) for row in rows])
        return results

    def _check_fields(self, where: Filter) -> None:
        table = sql.Identifier(self._table)
        for name in where.fields:
            if name in OWN_FIELDS:
                continue
            statement = sql.SQL("SELECT EXISTS (SELECT 1 FROM {} WHERE meta ? %s)").format(table)
            (there,) = self._run.execute(statement, [name]).fetchone() or (False,)
            if not there:
                every = sql.SQL("SELECT DISTINCT jsonb_object_keys(meta) FROM {}").format(table)
                keys = {key for (key,) in self._run.execute(every).fetchall()}
                fields = ", ".join((*OWN_FIELDS, *sorted(keys - set(OWN_FIELDS))))
                raise ConfigError(f"filter on '{name}': no document has this field; there are {fields}")

    def _has_graph(self, kind: Kind, depth: int, dim: int) -> bool:
        name = graph_name(self._table, kind, depth, dim)
        (exists,) = self._run.execute("SELECT to_regclass(%s) IS NOT NULL", [name]).fetchone() or (False,)
        return bool(exists)


def _set_effort(run: "Connection[Any]", plan: Plan) -> None:
    """What a walk through the graph spends, for this transaction; it goes on until enough documents match."""
    effort = plan.effort or min(max(plan.stages[0][1], 64), MAX_EFFORT)
    if not 1 <= effort <= MAX_EFFORT:
        raise ConfigError(f"effort={effort} is outside 1 … {MAX_EFFORT}, the limit of pgvector")
    for name, value in (
        ("hnsw.ef_search", str(effort)),
        ("hnsw.iterative_scan", "relaxed_order"),
        ("hnsw.max_scan_tuples", str(2**31 - 1)),
    ):
        run.execute("SELECT set_config(%s, %s, true)", [name, value])


def document(row: Sequence[Any]) -> Document:
    """A row of id, title, text, source and meta."""
    return Document(id=row[0], title=row[1], text=row[2], source=row[3], meta=row[4])
