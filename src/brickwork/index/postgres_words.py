"""The words of an index in PostgreSQL: BM25 as it is in a folder, in one statement.

``<table>_words``          id, the distinct words of a document, how often each stands in it, and its length
``<table>_words_totals``   one row: how many documents and words there are; changed with them, so nobody counts them all

They are tables of their own, so an index that was made before there were words has neither, and one that is made
without has only the totals.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from brickwork.core.errors import MissingExtraError
from brickwork.core.words import query_words, words
from brickwork.index.lexical import K1, B
from brickwork.index.types import LexicalState

try:
    from psycopg import sql
except ImportError as error:
    raise MissingExtraError("psycopg", "postgres", "an index in PostgreSQL") from error

if TYPE_CHECKING:
    from psycopg import Connection


class Words:
    """The tables of the words beside the table of an index. All methods run in the caller's transaction."""

    def __init__(self, table: str):
        self.table = table
        self._names = sql.Identifier(f"{table}_words"), sql.Identifier(f"{table}_words_totals")

    def _sql(self, text: Any, **parts: sql.Composable) -> sql.Composed:
        return sql.SQL(text).format(words=self._names[0], totals=self._names[1], **parts)

    def state(self, run: "Connection[Any]") -> LexicalState:
        """Whether there are words, there could be, or there are to be none."""
        names = [f"{self.table}_words", f"{self.table}_words_totals"]
        statement = "SELECT to_regclass(%s) IS NOT NULL, to_regclass(%s) IS NOT NULL"
        there, decided = run.execute(statement, names).fetchone() or (False, False)
        return "there" if there else "none" if decided else "missing"

    def create(self, run: "Connection[Any]", *, lexical: bool = True) -> None:
        """Makes the tables; without ``lexical`` a mark that there are to be no words."""
        run.execute(self._sql("CREATE TABLE {totals} (documents bigint NOT NULL, words bigint NOT NULL)"))
        run.execute(self._sql("INSERT INTO {totals} VALUES (0, 0)"))
        if lexical:
            run.execute(
                self._sql(
                    "CREATE TABLE {words} (id text PRIMARY KEY, words text[] NOT NULL, counts integer[] NOT NULL,"
                    " length integer NOT NULL)"
                )
            )
            run.execute(self._sql("CREATE INDEX ON {words} USING gin (words)"))

    def add(self, run: "Connection[Any]", texts: Mapping[str, str]) -> None:
        """Adds the words of texts by id."""
        total = 0
        with (
            run.cursor() as cursor,
            cursor.copy(self._sql("COPY {words} FROM STDIN (FORMAT BINARY)")) as copy,
        ):
            copy.set_types(["text", "text[]", "int4[]", "int4"])
            for name, text in texts.items():
                counts = Counter(words(text))
                length = sum(counts.values())
                copy.write_row([name, list(counts), list(counts.values()), length])
                total += length
        run.execute(
            self._sql("UPDATE {totals} SET documents = documents + %s, words = words + %s"),
            [len(texts), total],
        )

    def remove(self, run: "Connection[Any]", ids: Sequence[str]) -> None:
        """Removes the words of documents."""
        run.execute(
            self._sql(
                "WITH gone AS (DELETE FROM {words} WHERE id = ANY(%s) RETURNING length)"
                " UPDATE {totals} SET documents = documents - (SELECT count(*) FROM gone),"
                " words = words - (SELECT coalesce(sum(length), 0) FROM gone)"
            ),
            [list(ids)],
        )

    def search(
        self,
        run: "Connection[Any]",
        query: str,
        top: int,
        condition: sql.Composable,
        parameters: Mapping[str, Any],
    ) -> list[Any]:
        """The best documents by BM25 (index/lexical.py has the formula): id, title, text, source, meta, score."""
        counts = Counter(word for word in query_words(query) if "\0" not in word)
        statement = self._sql(
            "WITH query AS (SELECT * FROM unnest(%(words)s::text[], %(times)s::int[]) AS q (word, times)),"
            " found AS MATERIALIZED (SELECT w.id, w.length::float8, q.word, q.times,"
            "  w.counts[array_position(w.words, q.word)]::float8 AS frequency"
            "  FROM query q JOIN {words} w ON w.words @> ARRAY[q.word]),"
            " known AS (SELECT word, count(*)::float8 AS having FROM found GROUP BY word),"
            " scored AS (SELECT f.id, sum(f.times * ln(1 + (t.documents - k.having + 0.5) / (k.having + 0.5))"
            "  * f.frequency / (f.frequency + {k1} * (1 - {b} + {b} * f.length"
            "  / (greatest(t.words, 1)::float8 / greatest(t.documents, 1))))) AS score"
            "  FROM found f JOIN known k USING (word) CROSS JOIN {totals} t GROUP BY f.id)"
            " SELECT id, title, text, source, meta, score FROM scored JOIN {documents} USING (id) WHERE {condition}"
            " ORDER BY score DESC, id LIMIT {top}",
            documents=sql.Identifier(self.table),
            condition=condition,
            top=sql.Literal(top),
            k1=sql.SQL("{}::float8").format(sql.Literal(K1)),
            b=sql.SQL("{}::float8").format(sql.Literal(B)),
        )
        values = {**parameters, "words": list(counts), "times": list(counts.values())}
        return run.execute(statement, values).fetchall() if counts else []
