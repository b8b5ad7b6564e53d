"""Where documents and vectors live: in the folder of the index, or in a store that a location names."""

from typing import TYPE_CHECKING, Any

from brickwork.core.errors import ConfigError

if TYPE_CHECKING:
    from brickwork.index.contract import Backend
    from brickwork.index.types import Contents

SCHEMES = {
    "postgresql": "a PostgreSQL server with pgvector, postgresql://user@host/database",
    "qdrant": "a Qdrant server, qdrant:http://host:6333/collection",
}


def create_backend(location: str, contents: "Contents", *, lexical: bool = True) -> "Backend":
    """A new, empty store; ``lexical``: whether words will be compared, where it can.

    Raises:
        ConfigError: an unknown kind of location. MissingExtraError: the client is not installed.
        ResourceError: the server cannot be reached.
    """
    return _backend(location).create(location, contents, lexical=lexical)


def open_backend(location: str) -> "Backend":
    """The store that :func:`create_backend` made. Raises as that, and ArtifactError where it is not there."""
    return _backend(location).open(location)


def _backend(location: str) -> Any:
    scheme = location.partition(":")[0].lower()
    if scheme in ("postgresql", "postgres"):
        from brickwork.index.postgres import PostgresBackend

        return PostgresBackend
    if scheme == "qdrant":
        from brickwork.index.qdrant import QdrantBackend

        return QdrantBackend
    known = "; ".join(SCHEMES.values())
    raise ConfigError(f"store={location!r} is no location that is known; use {known}; or leave it out")
