"""An index in PostgreSQL with pgvector: documents beside their vectors in one table, changed in transactions.

``<table>``             id, title, text, source, meta (jsonb), and one ``vector`` column for each stored depth
``<table>_words``       the words of each document (index/postgres_words.py)
``<table>_contents``    one row: the format, and what the vectors are (:class:`~brickwork.index.types.Contents`)
``<table>_<kind>_<dim>_<depth>``    the graphs for first stages, made by :meth:`PostgresBackend.build`

Every change is one transaction, and writers wait for each other at the row of contents. Every search reads one
snapshot. Passwords come from ``~/.pgpass`` or ``PGPASSWORD``; they are neither taken in a location nor shown.
"""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from brickwork.core.config import to_dict
from brickwork.core.errors import ConfigError, DataError, MissingExtraError
from brickwork.core.text import clean_text
from brickwork.data.types import Document
from brickwork.index.contract import ServerBackend
from brickwork.index.filters import OWN_FIELDS, Filter
from brickwork.index.fusion import Fusion, search_both
from brickwork.index.misfits import misfits
from brickwork.index.postgres_search import Searcher, document
from brickwork.index.postgres_server import FORMAT, check_same, connect, read_contents, server_errors
from brickwork.index.postgres_sql import (
    INDEXED,
    Place,
    TableFields,
    column,
    create_graph,
    jsonb_text,
    parse_location,
)
from brickwork.index.postgres_words import Words
from brickwork.index.store import batches, meta_text
from brickwork.index.types import (
    SEARCH_MODES,
    Contents,
    Found,
    Kind,
    LexicalState,
    Mode,
    Plan,
    Statistics,
    check_batch,
)
from brickwork.representation.export_parquet import document_text

try:
    import psycopg
    from psycopg import sql
    from psycopg.types.json import Jsonb
except ImportError as error:
    raise MissingExtraError("psycopg and pgvector", "postgres", "an index in PostgreSQL") from error

_COLUMNS = ("id", "title", "text", "source", "meta")


class PostgresBackend(ServerBackend):
    """Documents and vectors in a table of a PostgreSQL server.

    ``flat`` compares with every vector that matches the filter. ``hnsw`` and ``binary`` walk a graph where
    :meth:`build` has made one for the prefix, else they search as ``flat``; so do ``int8`` and ``ivf``.
    One connection, used by one thread at a time; a broken one is opened again at the next call.
    """

    def __init__(self, place: Place, contents: Contents, connection: "psycopg.Connection[Any]"):
        self.place = place
        self.contents = contents
        self._connection = connection
        self._lock = threading.Lock()
        self._words = Words(place.table)
        self._lexical: LexicalState = "missing"

    @classmethod
    def create(cls, location: str, contents: Contents, *, lexical: bool = True) -> "PostgresBackend":
        """Makes the tables of an empty index at ``postgresql://user@host:port/database?table=name``.

        ``lexical``: whether words will be compared.

        Raises:
            ConfigError: a location that is not one, a table that exists, or a database without pgvector.
            ResourceError: the server cannot be reached, or refuses.
        """
        place = parse_location(location)
        connection = connect(place)
        table, about = sql.Identifier(place.table), sql.Identifier(f"{place.table}_contents")
        vectors = [
            sql.SQL("{} vector({}) STORAGE MAIN NOT NULL").format(
                sql.Identifier(column(depth)), sql.Literal(contents.width)
            )
            for depth in contents.depths
        ]
        make = sql.SQL(
            "CREATE TABLE {} (id text PRIMARY KEY, title text NOT NULL, text text NOT NULL,"
            " source text NOT NULL, meta jsonb NOT NULL, {})"
        ).format(table, sql.SQL(", ").join(vectors))
        try:
            with server_errors(place, "nothing was made"), connection.transaction():
                connection.execute(make)
                connection.execute(
                    sql.SQL("CREATE TABLE {} (format integer NOT NULL, contents jsonb NOT NULL)").format(
                        about
                    )
                )
                connection.execute(
                    sql.SQL("INSERT INTO {} VALUES (%s, %s)").format(about),
                    [FORMAT, json.dumps(to_dict(contents))],
                )
                Words(place.table).create(connection, lexical=lexical)
        except psycopg.errors.DuplicateTable as error:
            connection.close()
            raise ConfigError(
                f"{place.server} has a table '{place.table}' already; open it, name another with ?table=…, or "
                f"remove it: DROP TABLE {place.table}, {place.table}_contents, {place.table}_words, "
                f"{place.table}_words_totals"
            ) from error
        except BaseException:
            connection.close()
            raise
        return cls(place, contents, connection)

    @classmethod
    def open(cls, location: str, contents: Contents | None = None) -> "PostgresBackend":
        """Opens an index; with ``contents``, only one whose vectors are just that.

        Raises:
            ArtifactError: there is no index, one of another format, or one whose vectors come from another model.
            ConfigError: a location that is not one, or a database without pgvector.
            ResourceError: the server cannot be reached, or refuses.
        """
        place = parse_location(location)
        connection = connect(place)
        try:
            with server_errors(place, "nothing was changed"), connection.transaction():
                stored = read_contents(connection, place)
            if contents is not None:
                check_same(place, contents, stored)
        except BaseException:
            connection.close()
            raise
        return cls(place, stored, connection)

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def __len__(self) -> int:
        with self._reading() as run:
            (count,) = run.execute(self._sql("SELECT count(*) FROM {}")).fetchone() or (0,)
        return int(count)

    def add(
        self, documents: Sequence[Document], vectors: Mapping[int, Float[np.ndarray, "documents width"]]
    ) -> None:
        """Adds new documents in one transaction. Raises as :meth:`~brickwork.index.types.Backend.add`."""
        self._write(documents, vectors, "add")

    def update(
        self, documents: Sequence[Document], vectors: Mapping[int, Float[np.ndarray, "documents width"]]
    ) -> None:
        """Replaces documents by id in one transaction. Raises as :meth:`~brickwork.index.types.Backend.update`."""
        self._write(documents, vectors, "update")

    def upsert(
        self, documents: Sequence[Document], vectors: Mapping[int, Float[np.ndarray, "documents width"]]
    ) -> None:
        """Adds documents in place of those with the same id, in one transaction."""
        self._write(documents, vectors, "upsert")

    def _write(self, documents: Sequence[Document], vectors: Mapping[int, np.ndarray], mode: Mode) -> None:
        rows = [_row(document) for document in documents]
        named = [replace(d, id=row[0]) for d, row in zip(documents, rows)]
        with self._changing() as run:
            known = self._known(run, [row[0] for row in rows])
            check_batch(self.contents, named, vectors, mode, known)
            if known:
                self._delete(run, known)
            self._copy(run, rows, vectors)
            if self._words.state(run) == "there":
                self._words.add(run, {row[0]: _words_of(*row[:4]) for row in rows})

    def remove(self, ids: Sequence[str]) -> None:
        """Removes documents in one transaction; an unknown id is a DataError, and none is removed."""
        wanted = [clean_text(name) for name in ids]
        with self._changing() as run:
            self._check_known(wanted, self._known(run, wanted))
            self._delete(run, wanted)

    def _delete(self, run: "psycopg.Connection[Any]", ids: Sequence[str]) -> None:
        run.execute(self._sql("DELETE FROM {} WHERE id = ANY(%s)"), [list(ids)])
        if self._words.state(run) == "there":
            self._words.remove(run, ids)

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Documents by id, in that order."""
        wanted = [clean_text(name) for name in ids]
        documents = self.known(wanted)
        self._check_known(wanted, documents)
        return [documents[name] for name in wanted]

    def known(self, ids: Sequence[str]) -> dict[str, Document]:
        """The documents by id of those ids that are there."""
        wanted = [clean_text(name) for name in ids]
        with self._reading() as run:
            statement = self._sql("SELECT id, title, text, source, meta FROM {} WHERE id = ANY(%s)")
            rows = run.execute(statement, [_possible(wanted)]).fetchall()
        return {row[0]: document(row) for row in rows}

    def ids(self) -> Iterator[str]:
        """The ids of all documents."""
        with self._reading() as run:
            rows = run.execute(self._sql("SELECT id FROM {}")).fetchall()
        return iter([name for (name,) in rows])

    def search(
        self,
        queries: Float[np.ndarray, "queries width"],
        plan: Plan,
        *,
        layers: int,
        where: Filter | None = None,
    ) -> list[list[Found]]:
        """The best documents of each query, all from one snapshot."""
        self.contents.check_search(queries, layers)
        with self._reading() as run:
            return self._searcher(run, where).by_vectors(queries, plan, layers)

    def _searcher(self, run: "psycopg.Connection[Any]", where: Filter | None) -> Searcher:
        return Searcher(run, self.place.table, where)

    @property
    def lexical(self) -> LexicalState:
        """Whether there are tables of words; asked until there are."""
        if self._lexical != "there":
            with self._reading() as run:
                self._lexical = self._words.state(run)
        return self._lexical

    def search_words(
        self, queries: Sequence[str], top: int, *, where: Filter | None = None
    ) -> list[list[Found]]:
        """The best documents of each query by BM25, all from one snapshot."""
        self._check_words()
        with self._reading() as run:
            return self._searcher(run, where).by_words(queries, top)

    def search_both(
        self,
        vectors: Float[np.ndarray, "queries width"],
        queries: Sequence[str],
        plan: Plan,
        fusion: Fusion,
        *,
        layers: int,
        where: Filter | None = None,
    ) -> list[list[Found]]:
        """The best documents of each query by both sides, from one snapshot."""
        self._check_words()
        self.contents.check_search(vectors, layers)
        with self._reading() as run:
            return search_both(self._searcher(run, where), vectors, queries, plan, fusion, layers)

    def _check_words(self) -> None:
        if self.lexical != "there":
            advice = "an update (--update) adds them" if self.lexical == "missing" else "it was made without"
            raise ConfigError(
                f"the index in table '{self.place.table}' has no words: {advice}; search with mode='dense'"
            )

    def add_lexical(self) -> None:
        """Reads the words of the documents that are there, in one transaction."""
        with self._changing() as run:
            if self._words.state(run) != "missing":
                return
            self._words.create(run)
            # An older Brickwork would write documents without their words.
            about = sql.Identifier(f"{self.place.table}_contents")
            run.execute(sql.SQL("UPDATE {} SET format = %s").format(about), [FORMAT])
            names = [name for (name,) in run.execute(self._sql("SELECT id FROM {}")).fetchall()]
            statement = self._sql("SELECT id, title, text, source FROM {} WHERE id = ANY(%s)")
            for some in batches(names, 1024):
                rows = run.execute(statement, [some]).fetchall()
                self._words.add(run, {row[0]: _words_of(*row) for row in rows})

    def filter_notes(self, where: Filter, found: bool) -> tuple[str, ...]:
        """What does not fit the documents that are there now."""
        with self._reading() as run:
            return misfits(where, TableFields(run, self.place.table), found=found)

    def build(self, kind: Kind, dim: int, depth: int | None = None) -> None:
        """Makes the graph for first stages of ``kind`` on a prefix (default: of the deepest vectors).

        The server keeps it up to date from then on. Readers go on meanwhile, writers wait.

        Raises:
            ConfigError: a kind for which there is no graph here, or a prefix or depth that is not there.
        """
        depth = self.contents.depths[-1] if depth is None else depth
        if kind not in INDEXED:
            raise ConfigError(f"PostgreSQL has no '{kind}' graph; build one of {', '.join(INDEXED)}, or none")
        if depth not in self.contents.depths or not 1 <= dim <= self.contents.width:
            raise ConfigError(
                f"no vectors of {dim} dimensions after {depth} layers in this index; it holds up to "
                f"{self.contents.width} after {list(self.contents.depths)}"
            )
        with self._changing() as run:
            run.execute(create_graph(self.place.table, kind, depth, dim))

    def statistics(self) -> Statistics:
        """What the table holds; ``bytes`` count graphs under the names that they have in the database."""
        with self._reading() as run:
            count, total = run.execute(
                self._sql(
                    "SELECT count(*), pg_table_size({}::regclass) FROM {}", sql.Literal(self.place.table)
                )
            ).fetchone() or (0, 0)
            fields = run.execute(self._sql("SELECT DISTINCT jsonb_object_keys(meta) FROM {}")).fetchall()
            modes = SEARCH_MODES if self._words.state(run) == "there" else ("dense",)
            graphs = run.execute(
                "SELECT indexrelname, pg_relation_size(indexrelid) FROM pg_stat_user_indexes WHERE relid = %s::regclass",
                [self.place.table],
            ).fetchall()
        sizes = {"table": int(total), **{str(name): int(size) for name, size in graphs}}
        kinds = [kind for kind in INDEXED if any(f"{self.place.table}_{kind}_" in name for name in sizes)]
        names = tuple(sorted({*OWN_FIELDS, *(name for (name,) in fields)}))
        return Statistics(
            documents=int(count), kinds=("flat", *kinds), bytes=sizes, fields=names, modes=modes
        )

    def _sql(self, text: str, *first: sql.Composable) -> sql.Composed:
        return sql.SQL(text).format(*first, sql.Identifier(self.place.table))

    @contextlib.contextmanager
    def _reading(self) -> Iterator["psycopg.Connection[Any]"]:
        """One snapshot for all statements of a call."""
        with self._lock, server_errors(self.place, "nothing was changed"):
            run = self._connected()
            with run.transaction():
                run.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                yield run

    @contextlib.contextmanager
    def _changing(self) -> Iterator["psycopg.Connection[Any]"]:
        """One transaction; writers wait here for each other."""
        with self._lock:
            with server_errors(self.place, "nothing of the change was stored; run it again"):
                run = self._connected()
                run.execute("BEGIN")
            try:
                with server_errors(self.place, "nothing of the change was stored; run it again"):
                    check_same(self.place, self.contents, read_contents(run, self.place, lock=True))
                    yield run
            except BaseException:
                with contextlib.suppress(psycopg.Error):
                    run.execute("ROLLBACK")
                raise
            with server_errors(
                self.place, "the change is stored as a whole or not at all; look before running it again"
            ):
                run.execute("COMMIT")

    def _connected(self) -> "psycopg.Connection[Any]":
        if self._connection.closed:
            self._connection = connect(self.place)
        return self._connection

    def _known(self, run: "psycopg.Connection[Any]", ids: Sequence[str]) -> list[str]:
        rows = run.execute(self._sql("SELECT id FROM {} WHERE id = ANY(%s)"), [_possible(ids)]).fetchall()
        return [name for (name,) in rows]

    def _check_known(self, wanted: Sequence[str], known: Sequence[str] | Mapping[str, Any]) -> None:
        there = set(known)
        for name in wanted:
            if name not in there:
                raise DataError(
                    f"the id '{name}' is not in table '{self.place.table}' of {self.place.server}"
                )

    def _copy(
        self,
        run: "psycopg.Connection[Any]",
        rows: Sequence[tuple[str, ...]],
        vectors: Mapping[int, np.ndarray],
    ) -> None:
        """Sends rows in PostgreSQL's binary form: 4 bytes a number where text takes about 11, and nothing to parse."""
        names = [*_COLUMNS, *(column(depth) for depth in self.contents.depths)]
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
            sql.Identifier(self.place.table), sql.SQL(", ").join(map(sql.Identifier, names))
        )
        with run.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types([*["text"] * 4, "jsonb", *["vector"] * len(self.contents.depths)])
            for number, row in enumerate(rows):
                meta = Jsonb(row[-1], dumps=str)  # it is JSON text already
                copy.write_row([*row[:-1], meta, *(vectors[depth][number] for depth in self.contents.depths)])


def _row(document: Document) -> tuple[str, ...]:
    """A document's columns, its metadata as JSON text.

    Raises:
        DataError: text with a NUL or a number that is not finite, neither of which PostgreSQL stores.
    """
    meta = jsonb_text(meta_text(document, finite=True))
    texts = (document.id, document.title, document.text, document.source, meta)
    if any("\0" in text for text in texts) or "\\u0000" in meta:
        raise DataError(
            f"document {document.id!r} of {document.source} contains a NUL character, which PostgreSQL does not "
            "store; take it out"
        )
    return tuple(clean_text(text) for text in texts)


def _words_of(name: str, title: str, text: str, source: str) -> str:
    """What is encoded of a document, which is where its words are taken from."""
    return document_text(Document(id=name, title=title, text=text, source=source))


def _possible(ids: Sequence[str]) -> list[str]:
    """Without those that PostgreSQL cannot hold, and which are therefore not there."""
    return [name for name in ids if "\0" not in name]
