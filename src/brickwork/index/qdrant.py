"""An index in Qdrant, an engine that spreads one collection over many machines.

Qdrant has no transactions; how changes become visible at once all the same is in ``qdrant_state``.

A collection has one named vector for each depth and trained prefix, at unit length; the stages of a plan are
Qdrant's nested ``prefetch``, all in one request. The server is 1.16 or newer (conditional updates).
"""

import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from brickwork.core.config import from_dict, to_dict
from brickwork.core.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    MissingExtraError,
)
from brickwork.core.text import clean_text
from brickwork.data.types import Document
from brickwork.index.contract import ServerBackend
from brickwork.index.filters import OWN_FIELDS, Filter, resolve
from brickwork.index.misfits import misfits
from brickwork.index.qdrant_filters import conditions, key, payload
from brickwork.index.qdrant_state import (
    ALIVE,
    NAMESPACE,
    RECORD,
    CollectionFields,
    State,
    between,
    named,
    server_errors,
    visible,
)
from brickwork.index.types import Contents, Found, Mode, Plan, Statistics, check_batch
from brickwork.representation.truncate import truncate

try:
    from qdrant_client import QdrantClient, models
except ImportError as error:
    raise MissingExtraError("qdrant-client", "qdrant", "an index in Qdrant") from error

FORMAT = 1
POINTS_PER_REQUEST = 256
_STORED = ["id", "title", "text", "source", "meta"]
_LOCATION = re.compile(r"qdrant:(?P<url>https?://[^/@\s]+)/(?P<collection>[A-Za-z0-9_\-]{1,200})/?")
_INDEXES = {"texts": "keyword", "numbers": "float", "truths": "integer"}


class QdrantBackend(ServerBackend):
    """Documents and vectors in a collection of a Qdrant server: ``qdrant:http://host:6333/collection``.

    ``flat`` compares with every point, ``hnsw`` walks the graphs that the server keeps; the other kinds search as
    ``flat``. A key comes from the environment variable QDRANT_API_KEY.
    """

    def __init__(self, client: QdrantClient, collection: str, contents: Contents):
        self.state = State(client, collection)
        self.contents = contents
        self._indexed: set[str] = set()

    @property
    def client(self) -> QdrantClient:
        return self.state.client

    @property
    def collection(self) -> str:
        return self.state.collection

    @classmethod
    def create(
        cls,
        location: str,
        contents: Contents,
        *,
        lexical: bool = True,
        client: QdrantClient | None = None,
    ) -> "QdrantBackend":
        """Makes the collection of an empty index.

        Raises:
            ConfigError: a location that is not one, or a collection that exists.
            ResourceError: the server cannot be reached, or refuses.
        """
        url, collection = parse_location(location)
        client = client or _connect(url)
        with server_errors(collection, "nothing was made"):
            if client.collection_exists(collection):
                raise ConfigError(
                    f"{url} has a collection '{collection}' already; open it, name another, or delete it first"
                )
            sizes = {
                _vector(depth, dim): models.VectorParams(size=dim, distance=models.Distance.DOT)
                for depth in contents.depths
                for dim in contents.dims
            }
            client.create_collection(collection, vectors_config=sizes)
            for name, kind in (("born", "integer"), ("died", "integer"), ("fields", "keyword")):
                client.create_payload_index(collection, name, models.PayloadSchemaType(kind), wait=True)
            backend = cls(client, collection, contents)
            backend._index_fields({key("texts", name) for name in OWN_FIELDS})
            record = {"format": FORMAT, "contents": json.dumps(to_dict(contents)), "number": 0, "writer": ""}
            client.upsert(collection, [models.PointStruct(id=RECORD, vector={}, payload=record)], wait=True)
        return backend

    @classmethod
    def open(
        cls, location: str, contents: Contents | None = None, *, client: QdrantClient | None = None
    ) -> "QdrantBackend":
        """Opens an index; with ``contents``, only one whose vectors are just that.

        Raises:
            ArtifactError: there is no index, one of another format, or one whose vectors come from another model.
            ResourceError: the server cannot be reached, or refuses.
        """
        url, collection = parse_location(location)
        client = client or _connect(url)
        with server_errors(collection, "nothing was changed"):
            there = client.collection_exists(collection) and client.retrieve(collection, [RECORD])
        if not there:
            raise ArtifactError(
                f"{url} has no index in collection '{collection}'; make one with `brickwork index --store`"
            )
        record = there[0].payload or {}
        if record.get("format") != FORMAT:
            raise ArtifactError(
                f"the index in collection '{collection}' of {url} has format {record.get('format')}; this version "
                f"reads {FORMAT}"
            )
        stored = from_dict(Contents, json.loads(record["contents"]))
        if contents is not None and contents != stored:
            raise ArtifactError(
                f"the index in collection '{collection}' of {url} holds vectors of model {stored.model} (sizes "
                f"{list(stored.dims)}, depths {list(stored.depths)}), not of {contents.model} (sizes "
                f"{list(contents.dims)}, depths {list(contents.depths)}): they cannot be compared. Open it with that "
                "model, or name another collection"
            )
        return cls(client, collection, stored)

    def close(self) -> None:
        """Closes the connections."""
        self.client.close()

    # --- reading -------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.state.reading(lambda number: self.state.count(visible(number)))

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Documents by id, in that order."""
        wanted = [clean_text(name) for name in ids]
        documents = self.state.reading(
            lambda number: {p["id"]: _document(p) for p in self.state.scroll(named(wanted, number), _STORED)}
        )
        self._check_known(wanted, documents)
        return [documents[name] for name in wanted]

    def ids(self) -> Iterator[str]:
        """The ids of all documents."""
        return iter(
            self.state.reading(lambda number: [p["id"] for p in self.state.scroll(visible(number), ["id"])])
        )

    def search(
        self,
        queries: Float[np.ndarray, "queries width"],
        plan: Plan,
        *,
        layers: int,
        where: Filter | None = None,
    ) -> list[list[Found]]:
        """The best documents of each query, all from one state; stages must be of prefixes that are stored."""
        self.contents.check_search(queries, layers)
        for dim, _ in plan.stages:
            if dim not in self.contents.dims:
                raise ConfigError(
                    f"dim={dim} is not stored in Qdrant, which holds {list(self.contents.dims)}; use one of these"
                )
        prefixes = {dim: truncate(queries, dim).tolist() for dim, _ in plan.stages}
        return self.state.reading(
            lambda number: self._search(prefixes, len(queries), plan, layers, where, number)
        )

    def filter_notes(self, where: Filter, found: bool) -> tuple[str, ...]:
        """What does not fit the documents that are there now."""
        return self.state.reading(
            lambda number: misfits(where, CollectionFields(self.state, number), found=found)
        )

    def _search(
        self,
        prefixes: dict[int, list[list[float]]],
        count: int,
        plan: Plan,
        layers: int,
        where: Filter | None,
        number: int,
    ) -> list[list[Found]]:
        allowed = self._allowed(where, number)
        if allowed is None or not count:
            return [[] for _ in range(count)]
        exact = plan.kind != "hnsw"
        results = self._ask(range(count), prefixes, plan, layers, allowed, exact)
        if not exact:
            # A walk through a graph may miss documents; the promise is every match.
            few = [row for row in range(count) if len(results[row]) < plan.stages[-1][1]]
            for row, better in zip(few, self._ask(few, prefixes, plan, layers, allowed, True)):
                results[row] = better
        return results

    def _ask(
        self,
        rows: Sequence[int],
        prefixes: dict[int, list[list[float]]],
        plan: Plan,
        layers: int,
        allowed: models.Filter,
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
                    using=_vector(layers, dim),
                    limit=keep,
                    prefetch=stage,
                    # The first stage chooses among all; the later ones only see what it kept.
                    filter=allowed if stage is None else None,
                    params=params if stage is None else None,
                )
            assert stage is not None
            requests.append(
                models.QueryRequest(**stage.model_dump(exclude={"score_threshold"}), with_payload=_STORED)
            )
        answers = self.client.query_batch_points(self.collection, requests)
        return [[Found(_document(p.payload or {}), float(p.score)) for p in one.points] for one in answers]

    def statistics(self) -> Statistics:
        """Counts; ``bytes`` of the vectors as they are sent, the server's own structures not counted."""

        def look(number: int) -> tuple[int, int, set[str]]:
            brought = models.Filter(must=[between("born", lte=number)])
            return self.state.count(visible(number)), self.state.count(brought), self._fields(number)

        live, total, fields = self.state.reading(look)
        size = 4 * sum(self.contents.dims) * len(self.contents.depths)
        return Statistics(
            documents=live,
            removed=total - live,
            kinds=("flat", "hnsw"),
            bytes={"vectors": total * size},
            fields=tuple(sorted(fields)),
        )

    def _fields(self, number: int) -> set[str]:
        return {*OWN_FIELDS, *self.state.distinct("fields", number)}

    def _allowed(self, where: Filter | None, number: int) -> models.Filter | None:
        if where is None:
            return visible(number)
        if any(name not in OWN_FIELDS for name in where.fields):
            known = self._fields(number)
            for name in where.fields:
                if name not in known:
                    fields = ", ".join((*OWN_FIELDS, *sorted(known - set(OWN_FIELDS))))
                    raise ConfigError(f"filter on '{name}': no document has this field; there are {fields}")
        values = CollectionFields(self.state, number)
        allowed = conditions(resolve(where, values), values.texts)
        if allowed is None:
            return None
        must, must_not = allowed
        return models.Filter(must=[visible(number), *must], must_not=must_not)

    # --- writing -------------------------------------------------------------------------------------------

    def add(
        self, documents: Sequence[Document], vectors: Mapping[int, Float[np.ndarray, "documents width"]]
    ) -> None:
        """Adds new documents. Raises as :meth:`~brickwork.index.types.Backend.add`."""
        self._write(documents, vectors, "add")

    def update(
        self, documents: Sequence[Document], vectors: Mapping[int, Float[np.ndarray, "documents width"]]
    ) -> None:
        """Replaces documents by id. Raises as :meth:`~brickwork.index.types.Backend.update`."""
        self._write(documents, vectors, "update")

    def upsert(
        self, documents: Sequence[Document], vectors: Mapping[int, Float[np.ndarray, "documents width"]]
    ) -> None:
        """Adds documents in place of those with the same id."""
        self._write(documents, vectors, "upsert")

    def _write(self, documents: Sequence[Document], vectors: Mapping[int, np.ndarray], mode: Mode) -> None:
        payloads = [payload(document) for document in documents]
        cleaned = [_document(p) for p in payloads]
        ids = [document.id for document in cleaned]
        with self.state.changing() as (number, renew):
            old = [p["id"] for p in self.state.scroll(named(ids, number - 1), ["id"])]
            check_batch(self.contents, cleaned, vectors, mode, set(old))
            # The texts of every field are asked for by conditions on their order, whether it has any or not.
            paths = {key("texts", name) for document in cleaned for name in document.meta}
            self._index_fields(paths | {f"{g}.{name}" for p in payloads for g in _INDEXES for name in p[g]})
            prefixes = {
                _vector(depth, dim): truncate(matrix, dim)
                for depth, matrix in vectors.items()
                for dim in self.contents.dims
            }
            for start in range(0, len(ids), POINTS_PER_REQUEST):
                renew()
                points = [
                    models.PointStruct(
                        id=str(uuid.uuid5(NAMESPACE, f"{number} {ids[row]}")),
                        vector={name: matrix[row].tolist() for name, matrix in prefixes.items()},
                        payload={**payloads[row], "born": number, "died": ALIVE},
                    )
                    for row in range(start, min(start + POINTS_PER_REQUEST, len(ids)))
                ]
                self.client.upsert(self.collection, points, wait=True)
            self._end(old, number)

    def remove(self, ids: Sequence[str]) -> None:
        """Removes documents; an unknown id is a DataError, and none is removed."""
        wanted = [clean_text(name) for name in ids]
        with self.state.changing() as (number, _):
            self._check_known(wanted, [p["id"] for p in self.state.scroll(named(wanted, number - 1), ["id"])])
            self._end(wanted, number)

    def _end(self, ids: Sequence[str], number: int) -> None:
        which = named(ids, number - 1)
        if which is not None:
            self.client.set_payload(self.collection, {"died": number}, points=which, wait=True)

    def _index_fields(self, paths: set[str]) -> None:
        """Payload indexes for what has none yet: filters are fast with them, and facets need them."""
        for path in sorted(paths - self._indexed):
            kind = models.PayloadSchemaType(_INDEXES[path.partition(".")[0]])
            self.client.create_payload_index(self.collection, path, kind, wait=True)
            self._indexed.add(path)

    def _check_known(self, wanted: Sequence[str], known: Any) -> None:
        there = set(known)
        for name in wanted:
            if name not in there:
                raise DataError(f"the id '{name}' is not in collection '{self.collection}'")


def parse_location(location: str) -> tuple[str, str]:
    """The server's address and the collection of ``qdrant:http://host:6333/collection``.

    Raises:
        ConfigError: it reads differently.
    """
    match = _LOCATION.fullmatch(location)
    if match is None:
        raise ConfigError(
            "a Qdrant location reads qdrant:http://host:6333/collection; a key goes into the environment variable "
            "QDRANT_API_KEY"
        )
    return match["url"], match["collection"]


def _connect(url: str) -> QdrantClient:
    # Without the client's own look at the version, which only warns where the server is away.
    return QdrantClient(
        url=url, api_key=os.environ.get("QDRANT_API_KEY"), timeout=60, check_compatibility=False
    )


def _vector(depth: int, dim: int) -> str:
    return f"{depth}-{dim}"


def _document(stored: Mapping[str, Any]) -> Document:
    return Document(
        id=stored["id"],
        title=stored["title"],
        text=stored["text"],
        source=stored["source"],
        meta=json.loads(stored["meta"]),
    )
