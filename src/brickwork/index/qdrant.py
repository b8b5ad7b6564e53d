"""An index in Qdrant, an engine that spreads one collection over many machines.

Qdrant has no transactions; how changes become visible at once all the same is in ``qdrant_state``.

A collection has one named vector for each depth and trained prefix, at unit length, and a sparse one of the words. The
stages of a plan are Qdrant's nested ``prefetch``, all in one request. The server is 1.16 or newer (conditional updates).
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
from brickwork.index.filters import OWN_FIELDS, Filter
from brickwork.index.fusion import Fusion, search_both
from brickwork.index.misfits import misfits
from brickwork.index.qdrant_filters import key, payload
from brickwork.index.qdrant_search import STORED, Searcher, document, fields_of, vector_name
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
from brickwork.index.qdrant_words import VECTOR, mean_length, stored
from brickwork.index.types import (
    SEARCH_MODES,
    Contents,
    Found,
    LexicalState,
    Mode,
    Plan,
    Statistics,
    check_batch,
)
from brickwork.representation.export_parquet import document_text
from brickwork.representation.truncate import truncate

try:
    from qdrant_client import QdrantClient, models
except ImportError as error:
    raise MissingExtraError("qdrant-client", "qdrant", "an index in Qdrant") from error

FORMAT = 2
READABLE = (1, FORMAT)  # format 1 had no words
POINTS_PER_REQUEST = 256
_LOCATION = re.compile(r"qdrant:(?P<url>https?://[^/@\s]+)/(?P<collection>[A-Za-z0-9_\-]{1,200})/?")
_INDEXES = {"texts": "keyword", "numbers": "float", "truths": "integer"}


class QdrantBackend(ServerBackend):
    """Documents and vectors in a collection of a Qdrant server: ``qdrant:http://host:6333/collection``.

    ``flat`` compares with every point, ``hnsw`` walks the graphs that the server keeps; the other kinds search as
    ``flat``. A key comes from the environment variable QDRANT_API_KEY.
    """

    def __init__(self, client: QdrantClient, collection: str, contents: Contents, *, words: bool):
        self.state = State(client, collection)
        self.contents = contents
        self._words = words
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
                vector_name(depth, dim): models.VectorParams(size=dim, distance=models.Distance.DOT)
                for depth in contents.depths
                for dim in contents.dims
            }
            sparse = {VECTOR: models.SparseVectorParams(modifier=models.Modifier.IDF)} if lexical else None
            client.create_collection(collection, vectors_config=sizes, sparse_vectors_config=sparse)
            for name, kind in (("born", "integer"), ("died", "integer"), ("fields", "keyword")):
                client.create_payload_index(collection, name, models.PayloadSchemaType(kind), wait=True)
            backend = cls(client, collection, contents, words=lexical)
            backend._index_fields({key("texts", name) for name in OWN_FIELDS})
            record = {"format": FORMAT, "contents": json.dumps(to_dict(contents)), "number": 0, "writer": ""}
            record |= {"words": lexical}
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
        if record.get("format") not in READABLE:
            raise ArtifactError(
                f"the index in collection '{collection}' of {url} has format {record.get('format')}; this version "
                f"reads {FORMAT}"
            )
        stored_contents = from_dict(Contents, json.loads(record["contents"]))
        if contents is not None and contents != stored_contents:
            raise ArtifactError(
                f"the index in collection '{collection}' of {url} holds vectors of model {stored_contents.model} (sizes "
                f"{list(stored_contents.dims)}, depths {list(stored_contents.depths)}), not of {contents.model} (sizes "
                f"{list(contents.dims)}, depths {list(contents.depths)}): they cannot be compared. Open it with that "
                "model, or name another collection"
            )
        return cls(client, collection, stored_contents, words=bool(record.get("words")))

    def close(self) -> None:
        """Closes the connections."""
        self.client.close()

    # --- reading -------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.state.reading(lambda number: self.state.count(visible(number)))

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Documents by id, in that order."""
        wanted = [clean_text(name) for name in ids]
        documents = self.known(wanted)
        self._check_known(wanted, documents)
        return [documents[name] for name in wanted]

    def known(self, ids: Sequence[str]) -> dict[str, Document]:
        """The documents by id of those ids that are there."""
        wanted = [clean_text(name) for name in ids]
        return self.state.reading(
            lambda number: {p["id"]: document(p) for p in self.state.scroll(named(wanted, number), STORED)}
        )

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
        self._check(queries, plan, layers)
        return self.state.reading(
            lambda number: self._searcher(number, where).by_vectors(queries, plan, layers)
        )

    def _searcher(self, number: int, where: Filter | None) -> Searcher:
        return Searcher(self.state, number, where)

    def _check(self, queries: np.ndarray, plan: Plan, layers: int) -> None:
        self.contents.check_search(queries, layers)
        for dim, _ in plan.stages:
            if dim not in self.contents.dims:
                raise ConfigError(
                    f"dim={dim} is not stored in Qdrant, which holds {list(self.contents.dims)}; use one of these"
                )

    @property
    def lexical(self) -> LexicalState:
        """``none`` where the collection was made without words: Qdrant adds no vectors to points that are there."""
        return "there" if self._words else "none"

    def search_words(
        self, queries: Sequence[str], top: int, *, where: Filter | None = None
    ) -> list[list[Found]]:
        """The best documents of each query by BM25, as near as ``qdrant_words`` says."""
        self._check_words()
        return self.state.reading(lambda number: self._searcher(number, where).by_words(queries, top))

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
        """The best documents of each query by both sides, all from one state."""
        self._check_words()
        self._check(vectors, plan, layers)
        return self.state.reading(
            lambda number: search_both(self._searcher(number, where), vectors, queries, plan, fusion, layers)
        )

    def _check_words(self) -> None:
        if not self._words:
            raise ConfigError(
                f"collection '{self.collection}' has no words, and Qdrant adds none to what is there: build the index "
                "again, or search with mode='dense'"
            )

    def filter_notes(self, where: Filter, found: bool) -> tuple[str, ...]:
        """What does not fit the documents that are there now."""
        return self.state.reading(
            lambda number: misfits(where, CollectionFields(self.state, number), found=found)
        )

    def statistics(self) -> Statistics:
        """Counts; ``bytes`` of the vectors as they are sent, the server's own structures not counted."""

        def look(number: int) -> tuple[int, int, set[str]]:
            brought = models.Filter(must=[between("born", lte=number)])
            return self.state.count(visible(number)), self.state.count(brought), fields_of(self.state, number)

        live, total, fields = self.state.reading(look)
        size = 4 * sum(self.contents.dims) * len(self.contents.depths)
        return Statistics(
            documents=live,
            removed=total - live,
            kinds=("flat", "hnsw"),
            bytes={"vectors": total * size},
            fields=tuple(sorted(fields)),
            modes=SEARCH_MODES if self._words else ("dense",),
        )

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
        cleaned = [document(p) for p in payloads]
        ids = [document.id for document in cleaned]
        with self.state.changing() as (number, renew):
            old = [p["id"] for p in self.state.scroll(named(ids, number - 1), ["id"])]
            check_batch(self.contents, cleaned, vectors, mode, set(old))
            # The texts of every field are asked for by conditions on their order, whether it has any or not.
            paths = {key("texts", name) for document in cleaned for name in document.meta}
            self._index_fields(paths | {f"{g}.{name}" for p in payloads for g in _INDEXES for name in p[g]})
            prefixes = {
                vector_name(depth, dim): truncate(matrix, dim)
                for depth, matrix in vectors.items()
                for dim in self.contents.dims
            }
            sparse = self._sparse(cleaned)
            for start in range(0, len(ids), POINTS_PER_REQUEST):
                renew()
                points = [
                    models.PointStruct(
                        id=str(uuid.uuid5(NAMESPACE, f"{number} {ids[row]}")),
                        vector={name: matrix[row].tolist() for name, matrix in prefixes.items()}
                        | sparse[row],
                        payload={**payloads[row], "born": number, "died": ALIVE},
                    )
                    for row in range(start, min(start + POINTS_PER_REQUEST, len(ids)))
                ]
                self.client.upsert(self.collection, points, wait=True)
            self._end(old, number)

    def _sparse(self, documents: Sequence[Document]) -> list[dict[str, models.SparseVector]]:
        """The words of documents; lengths are measured by the mean of the first that were written."""
        if not self._words or not documents:
            return [{} for _ in documents]
        texts = [document_text(document) for document in documents]
        mean = self.state.record().get("mean_length") or mean_length(texts)
        self.state.kept["mean_length"] = mean
        return [{VECTOR: stored(text, mean)} for text in texts]

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
