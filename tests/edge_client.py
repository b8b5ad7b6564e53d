"""Qdrant's own engine (qdrant-edge-py: the server's Rust code in this process) behind the calls of its client.

The client's local mode is another program, written in Python. What the tests find out about filters, stages and
conditional updates is worth more when the code of the server answers.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import qdrant_edge as edge
from qdrant_client import QdrantClient, models

INDEXES = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "integer": edge.PayloadSchemaType.Integer,
    "float": edge.PayloadSchemaType.Float,
}


class EdgeClient(QdrantClient):
    """One collection in a folder. Takes the client's requests and gives the client's answers."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.shard: Any = None

    def collection_exists(self, name: str) -> bool:
        return self.shard is not None

    def create_collection(
        self,
        name: str,
        vectors_config: dict[str, models.VectorParams],
        sparse_vectors_config: dict[str, models.SparseVectorParams] | None = None,
    ) -> None:
        self.folder.mkdir(parents=True)
        sizes = {
            key: edge.EdgeVectorParams(size=params.size, distance=edge.Distance.Dot)
            for key, params in vectors_config.items()
        }
        sparse = {
            key: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)
            for key in sparse_vectors_config or {}
        }
        self.shard = edge.EdgeShard.create(
            str(self.folder), edge.EdgeConfig(vectors=sizes, sparse_vectors=sparse)
        )

    def restart(self) -> None:
        """Closes the engine and reads everything from the disk again."""
        self.shard.close()
        self.shard = edge.EdgeShard.load(str(self.folder))

    def close(self) -> None:
        self.shard.close()

    def create_payload_index(self, name: str, path: str, kind: models.PayloadSchemaType, wait: bool) -> None:
        self.shard.update(edge.UpdateOperation.create_field_index(path, INDEXES[kind.value]))

    def upsert(
        self,
        name: str,
        points: list[models.PointStruct],
        wait: bool,
        ordering: Any = None,
        update_filter: models.Filter | None = None,
    ) -> None:
        rows = [
            edge.Point(p.id, {key: vector_of(vector) for key, vector in p.vector.items()}, p.payload)
            for p in points
        ]
        condition = None if update_filter is None else translate(update_filter)
        self.shard.update(edge.UpdateOperation.upsert_points(rows, condition))

    def set_payload(self, name: str, payload: dict, points: models.Filter, wait: bool) -> None:
        self.shard.update(edge.UpdateOperation.set_payload_by_filter(translate(points), payload))

    def delete(self, name: str, selector: models.FilterSelector, wait: bool) -> None:
        self.shard.update(edge.UpdateOperation.delete_points_by_filter(translate(selector.filter)))

    def retrieve(self, name: str, ids: list[str], consistency: Any = None) -> list[Any]:
        return self.shard.retrieve(ids, with_payload=True, with_vector=False)

    def count(self, name: str, count_filter: models.Filter, exact: bool) -> Any:
        results = self.shard.count(edge.CountRequest(exact=exact, filter=translate(count_filter)))
        return SimpleNamespace(count=results)

    def scroll(
        self, name: str, scroll_filter: models.Filter, limit: int, offset: Any, with_payload: list[str]
    ) -> tuple[list[Any], Any]:
        return self.shard.scroll(
            edge.ScrollRequest(
                offset=offset, limit=limit, filter=translate(scroll_filter), with_payload=with_payload
            )
        )

    def facet(self, name: str, path: str, facet_filter: models.Filter, limit: int, exact: bool) -> Any:
        return self.shard.facet(
            edge.FacetRequest(key=path, limit=limit, exact=exact, filter=translate(facet_filter))
        )

    def query_batch_points(self, name: str, requests: list[models.QueryRequest]) -> list[Any]:
        return [SimpleNamespace(points=self._query(request)) for request in requests]

    def _query(self, request: models.QueryRequest) -> list[Any]:
        inner = prefetches(request.prefetch)
        return self.shard.query(
            edge.QueryRequest(
                limit=request.limit,
                query=edge.Query.Nearest(vector_of(request.query), using=request.using),
                prefetches=inner,
                filter=None if request.filter is None else translate(request.filter),
                params=parameters(request.params),
                with_payload=request.with_payload,
            )
        )


def vector_of(vector: Any) -> Any:
    """A vector of the client in the engine's types."""
    if isinstance(vector, models.SparseVector):
        return edge.SparseVector(vector.indices, vector.values)
    return vector


def prefetches(stage: Any) -> list[Any]:
    """The stage before, with those before it."""
    if stage is None:
        return []
    return [
        edge.Prefetch(
            limit=stage.limit,
            query=edge.Query.Nearest(stage.query, using=stage.using),
            prefetches=prefetches(stage.prefetch),
            params=parameters(stage.params),
            filter=None if stage.filter is None else translate(stage.filter),
        )
    ]


def parameters(params: models.SearchParams | None) -> Any:
    """How a stage searches."""
    return None if params is None else edge.SearchParams(hnsw_ef=params.hnsw_ef, exact=bool(params.exact))


def translate(condition: Any) -> Any:
    """A filter or condition of the client in the engine's types."""
    if isinstance(condition, models.Filter):
        parts = {
            name: [translate(one) for one in getattr(condition, name)]
            for name in ("must", "should", "must_not")
            if getattr(condition, name)
        }
        return edge.Filter(**parts)
    match = condition.match
    if isinstance(match, models.MatchValue):
        match = edge.MatchValue(match.value)
    elif isinstance(match, models.MatchAny):
        match = edge.MatchAny(match.any)
    limits = None if condition.range is None else edge.RangeFloat(**condition.range.model_dump())
    return edge.FieldCondition(key=condition.key, match=match, range=limits)
