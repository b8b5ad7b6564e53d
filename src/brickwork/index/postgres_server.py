"""The way to a PostgreSQL server: a connection that knows pgvector, what an index there is made of, clear errors."""

import contextlib
from collections.abc import Iterator
from typing import Any

from brickwork.core.config import from_dict
from brickwork.core.errors import ArtifactError, ConfigError, MissingExtraError, ResourceError
from brickwork.index.postgres_sql import Place
from brickwork.index.types import Contents

try:
    import psycopg
    from pgvector.psycopg import register_vector
    from psycopg import sql
except ImportError as error:
    raise MissingExtraError("psycopg and pgvector", "postgres", "an index in PostgreSQL") from error

FORMAT = 2
READABLE = (1, FORMAT)  # format 1 had no words
OLDEST_PGVECTOR = (0, 8)  # the first with iterative scans, which filters over a graph need


def connect(place: Place) -> "psycopg.Connection[Any]":
    """A connection that knows pgvector's types.

    Raises:
        ConfigError: the database does not have pgvector, or an old one; with the command to run.
        ResourceError: the server cannot be reached, or refuses.
    """
    try:
        connection = psycopg.connect(
            place.url, autocommit=True, connect_timeout=10, application_name="brickwork"
        )
    except psycopg.Error as error:
        raise ResourceError(
            f"cannot connect to PostgreSQL at {place.server} ({_first_line(error)}); check that the server runs, "
            "the user, and the password in ~/.pgpass or PGPASSWORD"
        ) from error
    try:
        with server_errors(place, "nothing was changed"):
            row = connection.execute(
                "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
            ).fetchone()
            version = row[0] if row else ""
            if tuple(map(int, version.split(".")[:2] if version else (0, 0))) < OLDEST_PGVECTOR:
                command = "ALTER EXTENSION vector UPDATE" if version else "CREATE EXTENSION vector"
                raise ConfigError(
                    f"the database {place.server} has {f'pgvector {version}' if version else 'no pgvector'}; version "
                    f"0.8 or newer is needed. Run as its administrator: psql '{place.url}' -c '{command}'"
                )
            register_vector(connection)
            # Compiling is for statements that run for seconds; these run for milliseconds.
            connection.execute("SET jit = off")
    except BaseException:
        connection.close()
        raise
    return connection


def read_contents(connection: "psycopg.Connection[Any]", place: Place, *, lock: bool = False) -> Contents:
    """What the vectors of an index are; with ``lock``, other writers wait from here on.

    Raises:
        ArtifactError: there is no index, or one of another format.
    """
    about = sql.Identifier(f"{place.table}_contents")
    statement = sql.SQL("SELECT format, contents FROM {}" + (" FOR UPDATE" if lock else "")).format(about)
    try:
        row = connection.execute(statement).fetchone()
    except psycopg.errors.UndefinedTable:
        row = None
    if row is None:
        raise ArtifactError(
            f"{place.server} has no index in table '{place.table}'; make one with `brickwork index --store`"
        )
    if row[0] not in READABLE:
        raise ArtifactError(
            f"the index in table '{place.table}' of {place.server} has format {row[0]}; this version reads {FORMAT}"
        )
    return from_dict(Contents, row[1])


def check_same(place: Place, wanted: Contents, stored: Contents) -> None:
    """Raises ArtifactError where the vectors are not those that were expected."""
    if wanted != stored:
        raise ArtifactError(
            f"the index in table '{place.table}' of {place.server} holds vectors of model {stored.model} (sizes "
            f"{list(stored.dims)}, depths {list(stored.depths)}), not of {wanted.model} (sizes {list(wanted.dims)}, "
            f"depths {list(wanted.depths)}): they cannot be compared. Open it with that model, or name another table"
        )


@contextlib.contextmanager
def server_errors(place: Place, consequence: str) -> Iterator[None]:
    """Turns the server's refusals into one clear error that says what became of the data."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise ResourceError(
            f"PostgreSQL at {place.server} went away or refused ({_first_line(error)}); {consequence} when the "
            "server is back"
        ) from error
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction) as error:
        raise ResourceError(
            f"PostgreSQL at {place.server} gives no permission ({_first_line(error)}); {consequence} as a user "
            "who may"
        ) from error
    except psycopg.errors.UndefinedTable as error:
        raise ArtifactError(
            f"the table '{place.table}' is gone from {place.server}; build the index again"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
