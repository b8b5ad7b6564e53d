"""The battery that every index backend gets: what the protocol promises, against an oracle of NumPy arrays."""

import contextlib
import datetime as dt
import functools
import os
import signal
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import BrickworkError, ConfigError, DataError
from brickwork.data.types import Document
from brickwork.index.contract import Backend
from brickwork.index.filters import Condition, Filter, parse_filter
from brickwork.index.fusion import Fusion
from brickwork.index.index import Index
from brickwork.index.neighbours import neighbours
from brickwork.index.types import KINDS, Kind, Plan
from stores import (
    CONTENTS,
    TOLERANCE,
    NumpyBackend,
    assert_same_answer,
    document,
    matching_ids,
    postgres_url,
    run_sql,
    vectors_of,
)

pytestmark = [  # what Qdrant's local mode says about itself
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]

LONG = os.environ.get("BRICKWORK_LONG") == "1"
FULL = Plan(stages=((16, 5),))
PLANS = [
    FULL,
    Plan(stages=((4, 3),)),
    Plan(stages=((8, 1000),)),
    Plan(stages=((4, 6), (16, 3))),
    Plan(stages=((4, 8), (8, 6), (16, 4))),
]


class Place(Protocol):
    """Where a backend keeps its documents during a test, and how to break off a change there."""

    def create(self) -> Backend: ...
    def open(self) -> Backend: ...

    def crash(self, backend: Backend, change: Callable[[Backend], None], at: int) -> None:
        """Begins a change and breaks it off before it is complete; ``at`` says how far it comes."""
        ...

    def build(self, backend: Backend, kind: Kind, dim: int) -> None:
        """Makes what a kind of first stage needs, where that is a step of its own."""
        ...


class Local:
    def __init__(self, folder: Path):
        self.folder = folder / f"index-{uuid.uuid4().hex[:8]}"

    def create(self, kind: str = "flat") -> Backend:
        from brickwork.index.local import LocalBackend

        return LocalBackend.create(self.folder, CONTENTS, kind=kind)

    def open(self) -> Backend:
        from brickwork.index.local import LocalBackend

        return LocalBackend.open(self.folder)

    def crash(self, backend: Backend, change: Callable[[Backend], None], at: int) -> None:
        """A process of its own that is killed in its last step, with its lock and its files left behind."""
        child = os.fork()
        if child == 0:
            import brickwork.index.local as local

            local.write_manifest = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            try:
                change(backend)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)

    def build(self, backend: Backend, kind: Kind, dim: int) -> None: ...


class Postgres:
    def __init__(self, folder: Path):
        self.url = postgres_url()
        self.table = f"t{uuid.uuid4().hex[:12]}"
        joint = "&" if "?" in self.url else "?"
        self.location = f"{self.url}{joint}table={self.table}"

    def create(self) -> Backend:
        from brickwork.index.postgres import PostgresBackend

        return PostgresBackend.create(self.location, CONTENTS)

    def open(self) -> Backend:
        from brickwork.index.postgres import PostgresBackend

        return PostgresBackend.open(self.location, CONTENTS)

    def crash(self, backend: Any, change: Callable[[Backend], None], at: int) -> None:
        """The server ends the connection when all rows are sent and the commit is not."""
        execute = backend._connection.execute

        def stopped(statement: Any, *rest: Any, **options: Any) -> Any:
            if statement == "COMMIT":
                run_sql(self.url, "SELECT pg_terminate_backend(%s)", backend._connection.info.backend_pid)
            return execute(statement, *rest, **options)

        backend._connection.execute = stopped
        with pytest.raises(BrickworkError):
            change(backend)

    def build(self, backend: Any, kind: Kind, dim: int) -> None:
        if kind in ("hnsw", "binary"):
            for depth in CONTENTS.depths:
                backend.build(kind, dim, depth)


class Crash(BaseException):
    """The process is gone: nothing that it tries afterwards reaches the server."""


def wired(client: Any, at: int) -> Any:
    """A client that goes down at its write number ``at``: this one and all later calls never arrive."""
    from qdrant_client import QdrantClient

    done = [0]

    def call(name: str, *arguments: Any, **options: Any) -> Any:
        done[0] += name in ("upsert", "set_payload", "delete")
        if done[0] >= at:
            raise Crash
        return getattr(client, name)(*arguments, **options)

    wire = QdrantClient(":memory:")
    for name in ("upsert", "set_payload", "delete", "retrieve", "count", "scroll", "create_payload_index"):
        setattr(wire, name, functools.partial(call, name))
    return wire


@pytest.fixture(autouse=True, scope="module")
def _claims_last_again():
    """:class:`Qdrant` lets claims grow stale at once; tests of other files must not find it so."""
    yield
    with contextlib.suppress(ImportError):
        from brickwork.index import qdrant_state

        qdrant_state.CLAIM_SECONDS = 60.0


class Qdrant:
    """The engine in the client's local mode, or the server of BRICKWORK_TEST_QDRANT."""

    def __init__(self, folder: Path):
        models = pytest.importorskip("qdrant_client", reason="qdrant-client is not installed (extra qdrant)")
        url = os.environ.get("BRICKWORK_TEST_QDRANT")
        self.client = models.QdrantClient(url) if url else models.QdrantClient(":memory:")
        self.location = f"qdrant:{url or 'http://local'}/t{uuid.uuid4().hex[:12]}"

    def make(self, name: str) -> Backend:
        from brickwork.index import qdrant, qdrant_state

        # A claim counts as stale at once: the tests do not wait a minute after each crash.
        qdrant_state.CLAIM_SECONDS = 0.0
        backend = getattr(qdrant.QdrantBackend, name)(self.location, CONTENTS, client=self.client)
        backend.close = lambda: None  # closing the local mode forgets everything
        return backend

    def create(self) -> Backend:
        return self.make("create")

    def open(self) -> Backend:
        return self.make("open")

    def crash(self, backend: Any, change: Callable[[Backend], None], at: int) -> None:
        backend.state.client = wired(self.client, at)
        with pytest.raises(Crash):
            change(backend)

    def build(self, backend: Backend, kind: Kind, dim: int) -> None: ...


class QdrantEngine(Qdrant):
    """The server's own Rust engine in this process; opening reads everything from the disk again."""

    def __init__(self, folder: Path):
        pytest.importorskip("qdrant_edge", reason="qdrant-edge-py is not installed")
        from edge_client import EdgeClient

        self.client = EdgeClient(folder / f"engine-{uuid.uuid4().hex[:8]}")
        self.location = "qdrant:http://engine/collection"

    def open(self) -> Backend:
        self.client.restart()
        return self.make("open")

    def build(self, backend: Backend, kind: Kind, dim: int) -> None:
        self.client.shard.optimize()


PLACES: dict[str, type] = {
    "local": Local,
    "postgres": Postgres,
    "qdrant": Qdrant,
    "qdrant-engine": QdrantEngine,
}


@pytest.fixture(params=PLACES)
def place(request, tmp_path) -> Place:
    return PLACES[request.param](tmp_path)


@pytest.fixture
def backend(place):
    backend = place.create()
    yield backend
    backend.close()


def filled(backend: Backend, count: int = 12) -> NumpyBackend:
    """The same documents in a backend and in the oracle: two have the same vectors, one has zeros."""
    oracle = NumpyBackend()
    documents = [document(f"d{i}", year=2000 + i, tag="ab"[i % 2], odd=bool(i % 2)) for i in range(count)]
    vectors = vectors_of([1, 1, -1, *range(3, count)][:count])
    for one in (backend, oracle):
        one.add(documents, vectors)
    return oracle


def assert_same(backend: Backend, oracle: NumpyBackend) -> None:
    """The same documents, found in the same order from every side."""
    assert len(backend) == len(oracle)
    assert sorted(backend.ids()) == sorted(oracle.ids())
    wanted = sorted(oracle.ids())
    assert backend.get(wanted) == oracle.get(wanted)
    assert_same_search(backend, oracle, Plan(stages=((16, len(oracle) + 3),)))


def assert_same_search(
    backend: Backend, oracle: NumpyBackend, plan: Plan, where: Filter | None = None, layers: int = 3
) -> None:
    queries = vectors_of([1, 50, 51])[layers]
    got, wanted = (one.search(queries, plan, layers=layers, where=where) for one in (backend, oracle))
    for query, left, right in zip(queries, got, wanted, strict=True):
        assert_same_answer(left, right, oracle, query, layers, plan.stages[-1][0])


def assert_same_words(
    backend: Backend,
    oracle: NumpyBackend,
    query: str,
    top: int,
    where: Filter | None = None,
    *,
    exact: bool = True,
) -> None:
    """BM25 finds what the formula finds; not ``exact``: as many documents with a word of the query, best first."""
    (got,), (wanted,) = (one.search_words([query], top, where=where) for one in (backend, oracle))
    if not exact:
        (every,) = oracle.search_words([query], 10_000, where=where)
        assert len(got) == len(wanted)
        assert {one.document.id for one in got} <= {one.document.id for one in every}
        scores = [one.score for one in got]
        assert scores == sorted(scores, reverse=True)
        return
    np.testing.assert_allclose([one.score for one in got], [one.score for one in wanted], rtol=1e-5)
    (every,) = oracle.search_words([query], 10_000)
    scores = {one.document.id: one.score for one in every}
    for one in got:
        assert one.document == oracle.rows[one.document.id][0]
        assert one.score == pytest.approx(scores[one.document.id], rel=1e-5)
        assert (one.lexical, one.dense) == (one.score, None)


def test_words_are_found_by_the_formula(backend):
    oracle = filled(backend)
    for query in ("text of d3", "title", "title d4 d4 d7", "nothing"):
        assert_same_words(backend, oracle, query, 5)
        assert_same_words(backend, oracle, query, 100, parse_filter("tag=a, year<2012"))


def test_both_sides_together(backend):
    filled(backend)
    queries, fusion = vectors_of([3])[1], Fusion(dense_weight=0.4)
    (both,) = backend.search_both(queries, ["title d4"], FULL, fusion, layers=1)
    (dense,) = backend.search(queries, Plan(stages=((16, 1000),)), layers=1)
    (lexical,) = backend.search_words(["title d4"], 1000)
    sides = [{one.document.id: one.score for one in side} for side in (dense, lexical)]
    scores = [one.score for one in both]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    for one in both:
        assert one.dense == pytest.approx(sides[0][one.document.id], abs=TOLERANCE)
        assert one.lexical == pytest.approx(sides[1].get(one.document.id, 0.0), rel=1e-5)


def test_backend_is_one(backend):
    assert isinstance(backend, Backend)
    assert backend.contents == CONTENTS


def test_empty(backend):
    assert len(backend) == 0
    assert list(backend.ids()) == []
    assert backend.get([]) == []
    queries = vectors_of([1, 2])[1]
    assert backend.search(queries, FULL, layers=1) == [[], []]
    assert backend.search(queries, FULL, layers=1, where=parse_filter("source=a")) == [[], []]
    assert backend.search(queries[:0], FULL, layers=1) == []
    assert backend.statistics().documents == 0
    backend.add([], vectors_of([]))
    backend.remove([])
    assert len(backend) == 0


@pytest.mark.parametrize("layers", CONTENTS.depths)
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_search_agrees_with_numpy(backend, plan, layers):
    oracle = filled(backend, 40)
    assert_same_search(backend, oracle, plan, layers=layers)
    assert_same_search(backend, oracle, plan, parse_filter("tag=a, year<2012"), layers)
    assert_same_search(backend, oracle, plan, parse_filter("year=2003"), layers)


def test_statistics(backend):
    oracle = filled(backend)
    backend.remove(["d0", "d3"])
    results = backend.statistics()
    assert results.documents == 10
    assert "flat" in results.kinds
    assert set(results.fields) == oracle.fields()
    assert sum(results.bytes.values()) >= 10 * 2 * 16 * 4  # the vectors at least


def test_documents_come_back_as_they_were(place, backend):
    documents = [
        Document(id="größe ’\"%s'; --", title="", text="zeile\nzeile\t\u2028\U0001f600", source="a\\b"),
        Document(
            id="x" * 300,
            title="t",
            text="long " * 50_000,
            source="",
            meta={"a.b": [1, {"c": None}], "ü": 1.5},
        ),
    ]
    backend.add(documents, vectors_of([1, 2]))
    assert backend.get([documents[1].id, documents[0].id]) == documents[::-1]
    backend.close()
    again = place.open()
    assert again.get([documents[0].id]) == documents[:1]
    again.close()


class OneVector:
    """A stand-in for a representation whose every query has the same vectors."""

    axes = ElasticAxes(dims=CONTENTS.dims, layers=CONTENTS.layers)
    encoder = None

    def encode(self, inputs, *, layers):
        return vectors_of([3] * len(inputs))[layers]


def test_documents_that_are_there_and_their_neighbours(backend):
    documents = [
        Document(id=f"{name}.md#{number}", title="", text=f"{name} {number}", source=f"{name}.md")
        for number in (2, 0, 1, 3)
        for name in ("a", "b")
    ]
    backend.add(documents, vectors_of(range(8)))
    there = backend.known(["a.md#1", "none", "b.md#3", "zero\0"])
    assert {name: document.text for name, document in there.items()} == {"a.md#1": "a 1", "b.md#3": "b 3"}
    assert backend.known([]) == {}
    around = neighbours(backend, [("a.md#1", "a.md"), ("b.md#3", "b.md"), ("a.md#0", "a.md")], 2)
    assert [[[d.text for d in side] for side in sides] for sides in around] == [
        [["a 0"], ["a 2", "a 3"]],
        [["b 1", "b 2"], []],
        [[], ["a 1", "a 2"]],
    ]
    backend.remove(["a.md#2"])
    assert [[d.text for d in side] for side in neighbours(backend, [("a.md#1", "a.md")], 2)[0]] == [
        ["a 0"],
        [],
    ]


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_hits_are_grouped_by_their_source(backend, mode, tmp_path):
    filled(backend, 30)
    index = Index(tmp_path, backend, OneVector())
    options = {"mode": mode} | ({"dense_weight": 0.5} if mode == "hybrid" else {})  # no folder keeps one here
    every = index.search("title d4", 30, **options)[0]
    groups = index.search("title d4", 30, **options, group_by="source", neighbours=1)[0]
    best: dict[str, float] = {}  # equal scores may change places
    for hit in every:
        best.setdefault(hit.source, hit.score)
    assert [hit.score for hit in groups] == pytest.approx(list(best.values()), abs=TOLERANCE)
    assert {hit.source: hit.score for hit in groups} == pytest.approx(best, abs=TOLERANCE)
    assert sorted(one.id for hit in groups for one in (hit, *hit.others)) == sorted(hit.id for hit in every)


def test_upsert_replaces_and_adds(backend):
    oracle = filled(backend)
    documents = [document("d3", new=1), document("fresh")]
    for one in (backend, oracle):
        one.upsert(documents, vectors_of([90, 91]))
    assert_same(backend, oracle)


def test_update_replaces_and_adds_nothing(backend):
    oracle = filled(backend)
    for one in (backend, oracle):
        one.update([document("d3", new=1), document("d0")], vectors_of([90, 91]))
        one.update([], vectors_of([]))
    assert_same(backend, oracle)


def test_remove(backend):
    oracle = filled(backend)
    for one in (backend, oracle):
        one.remove(["d3", "d0"])
    assert_same(backend, oracle)
    for one in (backend, oracle):  # an id may come back
        one.add([document("d3")], vectors_of([7]))
    assert_same(backend, oracle)


def bad(seeds: list[int], depth: int) -> dict[int, np.ndarray]:
    vectors = vectors_of(seeds)
    vectors[depth][-1, 3] = np.nan
    return vectors


REFUSED = {
    "known id": (lambda b: b.add([document("n"), document("d3")], vectors_of([1, 2])), DataError, "d3"),
    "id twice in add": (
        lambda b: b.add([document("n"), document("n")], vectors_of([1, 2])),
        DataError,
        "'n'",
    ),
    "id twice in upsert": (lambda b: b.upsert([document("n")] * 2, vectors_of([1, 2])), DataError, "'n'"),
    "id twice in update": (
        lambda b: b.update([document("d1")] * 2, vectors_of([1, 2])),
        DataError,
        "'d1' comes",
    ),
    "unknown id in update": (
        lambda b: b.update([document("d1"), document("nobody")], vectors_of([1, 2])),
        DataError,
        "'nobody' is not in the index",
    ),
    "NUL in update": (lambda b: b.update([document("a\0b")], vectors_of([1])), DataError, "a"),
    "nan in update": (
        lambda b: b.update([document("d2"), document("d1")], bad([1, 2], 1)),
        DataError,
        "'d1'",
    ),
    "nan in add": (lambda b: b.add([document("n"), document("m")], bad([1, 2], 3)), DataError, "'m'"),
    "nan in upsert": (lambda b: b.upsert([document("n"), document("d1")], bad([1, 2], 1)), DataError, "'d1'"),
    "depth missing": (lambda b: b.add([document("n")], {1: vectors_of([1])[1]}), ConfigError, "1, 3"),
    "other width": (
        lambda b: b.add([document("n")], {d: v[:, :8] for d, v in vectors_of([1]).items()}),
        ConfigError,
        "16",
    ),
    "vectors missing": (lambda b: b.add([document("n")], vectors_of([])), DataError, "0 vectors"),
    "remove unknown": (lambda b: b.remove(["d1", "nobody"]), DataError, "nobody"),
    "get unknown": (lambda b: b.get(["d1", "nobody"]), DataError, "nobody"),
    "get NUL": (lambda b: b.get(["a\0b"]), DataError, "not in"),
    "remove NUL": (lambda b: b.remove(["a\0b"]), DataError, "not in"),
    "other depth": (lambda b: b.search(vectors_of([1])[1], FULL, layers=2), ConfigError, r"layers=2"),
    "other query": (
        lambda b: b.search(vectors_of([1])[1][:, :8], FULL, layers=1),
        ConfigError,
        "8 dimensions",
    ),
    "unknown field": (
        lambda b: b.search(vectors_of([1])[1], FULL, layers=1, where=parse_filter("nix=1")),
        ConfigError,
        "nix.*odd, .*tag, .*year|nix.*year",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name_and_nothing_changed(backend, name):
    oracle = filled(backend)
    act, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        act(backend)
    assert_same(backend, oracle)


def test_a_field_vanishes_with_its_last_document(backend):
    filled(backend, 4)
    backend.upsert([document("d0", rare=1)], vectors_of([5]))
    where = parse_filter("rare=1")
    (results,) = backend.search(vectors_of([5])[1], FULL, layers=1, where=where)
    assert [one.document.id for one in results] == ["d0"]
    backend.remove(["d0"])
    with pytest.raises(ConfigError, match="rare"):
        backend.search(vectors_of([5])[1], FULL, layers=1, where=where)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_near_the_exact_search(kind, place):
    """600 documents in 60 groups of 10: the ten nearest of a group's middle are the group."""
    backend = place.create(kind) if isinstance(place, Local) else place.create()
    rng = np.random.default_rng(0)
    middles = rng.standard_normal((60, 16))
    rows = np.repeat(middles, 10, axis=0) + 0.1 * rng.standard_normal((600, 16))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    vectors = {depth: rows.astype(np.float32) for depth in CONTENTS.depths}
    documents = [document(f"d{i}", group=i // 10, odd=bool(i % 2)) for i in range(600)]
    backend.add(documents[:500], {d: v[:500] for d, v in vectors.items()})
    place.build(backend, kind, 16)
    backend.add(documents[500:], {d: v[500:] for d, v in vectors.items()})
    queries = middles[:20].astype(np.float32)
    plan = Plan(stages=((16, 100), (16, 10)), kind=kind)
    results = backend.search(queries, plan, layers=1)
    right = sum(int(one.document.id[1:]) // 10 == group for group, hits in enumerate(results) for one in hits)
    assert right >= 0.95 * 200
    where = parse_filter("odd=true")
    for hits in backend.search(queries, plan, layers=1, where=where):
        assert len(hits) == 10
        assert all(where.matches(one.document) for one in hits)
    for hits in backend.search(queries[:3], plan, layers=1, where=parse_filter("group=7")):
        assert sorted(one.document.id for one in hits) == [f"d{i}" for i in range(70, 80)]
    everything = Plan(stages=((16, 1000),), kind=kind)
    assert [len(hits) for hits in backend.search(queries[:3], everything, layers=3)] == [600] * 3
    backend.close()


# --- filters ------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["", "a", "b", "B", "a b", "ä", "1", "true", "null", "z'\"%\\", "\U0001f600", "\uffff"]
)
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**53, -(2**53), 0.5, -0.0, 1.0, 1e15, 1e-300]),
    st.floats(-1e15, 1e15),
)
VALUES = st.one_of(st.booleans(), NUMBERS, WORDS)
STORED = st.one_of(VALUES, st.none(), st.just([1]), st.just({"a": 1}))
NAMES = ["year", "tag", "a.b", "ü"]
FIELDS = st.sampled_from([*NAMES, "id", "title", "source"])
METAS = st.dictionaries(st.sampled_from(NAMES), STORED)
WANTED = st.one_of(VALUES, st.sampled_from([float("inf"), float("-inf"), float("nan")]))
CONDITIONS = st.one_of(
    st.tuples(FIELDS, st.sampled_from(["eq", "ne", "lt", "lte", "gt", "gte"]), WANTED),
    st.tuples(FIELDS, st.just("in"), st.lists(WANTED, min_size=1, max_size=3).map(tuple)),
)
DRAWN = st.lists(CONDITIONS, min_size=1, max_size=3)


def as_filter(drawn: list[tuple[str, Any, Any]]) -> Filter:
    """Made after drawing: the checks of shapes in the tests use random numbers, which strategies must not."""
    return Filter(tuple(Condition(*one) for one in drawn))


POOL = [
    0,
    1,
    -2,
    9,
    10,
    2.5,
    -0.0,
    1e15,
    True,
    False,
    "",
    "1",
    "10",
    "9",
    "B",
    "a",
    "ä",
    "\uffff",
    "\U0001f600",
]


def test_every_operator_with_every_kind_of_value(backend):
    """One document for each value and some without a comparable one: each operator with each value as the filter."""
    stored = [*POOL, None, [1], {"a": 1}]
    documents = [document(f"d{i}", x=value) for i, value in enumerate(stored)] + [document("without")]
    backend.add(documents, vectors_of([1] * len(documents)))
    beyond = [float("inf"), float("-inf"), float("nan"), 10**400, -(10**400)]
    for wanted in [*POOL, *beyond]:
        for sign in ("eq", "ne", "lt", "lte", "gt", "gte", "in"):
            where = as_filter([("x", sign, (wanted, "9") if sign == "in" else wanted)])
            (results,) = backend.search(vectors_of([1])[1], Plan(stages=((4, 100),)), layers=1, where=where)
            matching = set(matching_ids(where, documents))
            assert {one.document.id for one in results} == matching, where


@given(data=st.data())
@settings(
    max_examples=400 if LONG else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=not LONG,
)
def test_filters_mean_the_same_everywhere(backend, data):
    """Six documents with made-up metadata: exactly those that filters.resolve leaves are found."""
    oracle = NumpyBackend()
    documents = [
        Document(id=f"d{i}", title=data.draw(WORDS), text="t", source=data.draw(WORDS), meta=data.draw(METAS))
        for i in range(6)
    ]
    for one in (backend, oracle):
        one.upsert(documents, vectors_of([1, 1, 2, 3, 4, 5]))
    for drawn in data.draw(st.lists(DRAWN, min_size=4, max_size=4)):
        where = as_filter(drawn)
        try:
            wanted = oracle.search(vectors_of([1])[1], FULL, layers=1, where=where)
        except ConfigError:
            with pytest.raises(ConfigError, match="no document has this field"):
                backend.search(vectors_of([1])[1], FULL, layers=1, where=where)
            continue
        got = backend.search(vectors_of([1])[1], Plan(stages=((16, 10),)), layers=1, where=where)
        everything = set(matching_ids(where, documents))
        assert {one.document.id for one in got[0]} == everything, where
        assert min(len(everything), 5) == len(wanted[0])


TYPED = {
    "a": {"zip": "01234", "code": "1e5", "year": 2019, "day": dt.date(2024, 1, 5), "price": Decimal("12.50")},
    "b": {"zip": "90210", "code": "x", "year": 2020, "day": dt.datetime(2024, 2, 1, 12), "price": 3},
    "c": {"zip": "90211", "year": "n/a", "day": "2024-03-01T00:00:00Z", "ok": np.bool_(True)},
    "d": {
        "pub year": np.int64(1999),
        "place": "Bern, CH",
        "rate": np.float32(0.1),
        "tag": "a|b",
        "q": 'say "hi"',
    },
}
FOUND = {
    "zip=01234": "a",
    "zip in 01234|90210": "ab",
    "zip!=01234": "bcd",
    "zip>=90210": "bc",
    "zip<9": "a",
    "code=1e5": "a",
    "code>a": "b",
    "year>=2020": "b",  # and not the text n/a
    "year=n/a": "c",
    "year!=2020": "acd",
    "title=1984": "b",
    "title>1984": "acd",
    "id=a": "a",
    "day=2024-01-05": "a",
    "day>2024-01-05": "bc",
    "day<2024-02-01 13:00": "ab",
    "day=2024-03-01": "c",
    "price>=10": "a",
    "price=12.5": "a",
    "ok=true": "c",
    '"pub year" >= 1990': "d",
    'place = "Bern, CH"': "d",
    "rate=0.1": "d",
    'tag="a|b"': "d",
    'tag in x|"a|b"': "d",
    'q="say \\"hi\\""': "d",
    'year="2020"': "",  # in quotes it is text, and the field holds text as well
}
MAPPED: list[tuple[dict[str, Any], str]] = [
    ({"zip": 90210}, "b"),
    ({"zip": {"gt": 90210}}, "c"),
    ({"title": 1984}, "b"),
    ({"price": {"gte": "10"}}, "a"),
    ({"price": Decimal("3")}, "b"),
    ({"year": np.int64(2020)}, "b"),
    ({"rate": np.float32(0.1)}, "d"),
    ({"day": {"gte": dt.date(2024, 2, 1)}}, "bc"),
    ({"day": {"lt": "2024-02-01T12:00:01"}}, "ab"),
    ({"day": np.datetime64("2024-01-05")}, "a"),
    ({"day": {"in": [dt.date(2024, 1, 5), dt.datetime(2024, 3, 1, tzinfo=dt.UTC)]}}, "ac"),
    ({"ok": True}, "c"),
    ({"zip": {"in": np.array([90210, 90211])}}, "bc"),
]


def test_values_mean_what_the_field_holds(backend):
    """Texts that look like numbers, NumPy's numbers, decimals, dates: the same answers on every backend."""
    documents = [
        Document(id=name, title="1984" if name == "b" else "Zebra", text=name, source="s", meta=meta)
        for name, meta in TYPED.items()
    ]
    backend.add(documents, vectors_of([1, 2, 3, 4]))
    for wanted, ids in [*FOUND.items(), *MAPPED]:
        where = parse_filter(wanted)
        (hits,) = backend.search(vectors_of([1])[1], FULL, layers=1, where=where)
        assert "".join(sorted(hit.document.id for hit in hits)) == ids, wanted
    assert backend.get(["a", "d"])[0].meta["price"] == 12.5
    assert backend.get(["d"])[0].meta == {**TYPED["d"], "rate": 0.1}
    backend.add([document("e", year=float("nan"))], vectors_of([5]))  # missing, and no error
    assert backend.get(["e"])[0].meta == {"year": None}


# --- crashes and sequences ----------------------------------------------------------------------------------


# Writes to Qdrant: claim, three to clear away, then renew, points, end (upsert) or end (remove), and commit.
CRASHES = [
    (where, name, at)
    for where in PLACES
    for name, writes in (("upsert", 8), ("remove", 6))
    for at in (range(1, writes + 1) if where.startswith("qdrant") else [1])
]


@pytest.mark.parametrize(("where", "name", "at"), CRASHES)
def test_a_crash_and_then_another_change(tmp_path, where, name, at):
    """What a dead writer left behind is not there, and does not come back with the next change that succeeds."""
    place = PLACES[where](tmp_path)
    backend = place.create()
    oracle = filled(backend, 6)

    def change(one: Backend) -> None:
        if name == "upsert":
            one.upsert([document("d1", new=1), document("fresh")], vectors_of([70, 71]))
        else:
            one.remove(["d1", "d2"])

    place.crash(backend, change, at)
    backend.close()
    backend = place.open()
    assert_same(backend, oracle)
    for one in (backend, oracle):
        one.upsert([document("d5", other=1), document("other")], vectors_of([80, 81]))
    assert_same(backend, oracle)
    for one in (backend, oracle):
        change(one)
    assert_same(backend, oracle)
    backend.close()


IDS = st.lists(st.sampled_from([f"d{i}" for i in range(9)]), max_size=4)
SEEDS = st.integers(-1, 6)


class Sequences(RuleBasedStateMachine):
    """Any order of changes, searches, reopenings and crashes: afterwards the backend is what the oracle is."""

    make: Callable[[], Place]

    @initialize()
    def start(self) -> None:
        self.place = type(self).make()
        self.backend = self.place.create()
        self.oracle = NumpyBackend()

    def teardown(self) -> None:
        if hasattr(self, "backend"):
            self.backend.close()

    def both(self, name: str, *arguments: Any) -> None:
        """The same call to both: the same kind of error, or none."""
        try:
            getattr(self.oracle, name)(*arguments)
        except BrickworkError as error:
            with pytest.raises(type(error)):
                getattr(self.backend, name)(*arguments)
        else:
            getattr(self.backend, name)(*arguments)

    def batch(self, data: Any, ids: list[str]) -> tuple[list[Document], dict[int, np.ndarray]]:
        metas = [data.draw(METAS) for _ in ids]
        return [document(name, **meta) for name, meta in zip(ids, metas)], vectors_of(
            [data.draw(SEEDS) for _ in ids]
        )

    @rule(data=st.data(), ids=IDS, name=st.sampled_from(["add", "update", "upsert"]))
    def write(self, data: Any, ids: list[str], name: str) -> None:
        self.both(name, *self.batch(data, ids))

    @rule(ids=IDS)
    def remove(self, ids: list[str]) -> None:
        self.both("remove", ids)

    @rule(ids=IDS)
    def get(self, ids: list[str]) -> None:
        self.both("get", ids)

    @rule(plan=st.sampled_from(PLANS), drawn=st.none() | DRAWN, layers=st.sampled_from(CONTENTS.depths))
    def search(self, plan: Plan, drawn: list | None, layers: int) -> None:
        where = None if drawn is None else as_filter(drawn)
        if where is not None and not set(where.fields) <= self.oracle.fields():
            with pytest.raises(ConfigError):
                self.backend.search(vectors_of([1])[1], plan, layers=layers, where=where)
            return
        assert_same_search(self.backend, self.oracle, plan, where, layers)

    @rule(query=st.sampled_from(["title text", "text of d1", "d2 d4 d4", "nothing"]), top=st.integers(1, 20))
    def search_words(self, query: str, top: int) -> None:
        # After changes, Qdrant's numbers are near those of the documents that are there (index/qdrant_words.py).
        exact = not isinstance(self.place, Qdrant)
        assert_same_words(self.backend, self.oracle, query, top, exact=exact)

    @rule()
    def reopen(self) -> None:
        self.backend.close()
        self.backend = self.place.open()

    @rule(data=st.data(), ids=IDS.filter(bool).map(lambda ids: sorted(set(ids))), at=st.integers(1, 6))
    def crash_in_upsert(self, data: Any, ids: list[str], at: int) -> None:
        documents, vectors = self.batch(data, ids)
        self.place.crash(self.backend, lambda backend: backend.upsert(documents, vectors), at)
        self.reopen()

    @precondition(lambda self: len(self.oracle))
    @rule(at=st.integers(1, 6))
    def crash_in_remove(self, at: int) -> None:
        ids = sorted(self.oracle.ids())[:2]
        self.place.crash(self.backend, lambda backend: backend.remove(ids), at)
        self.reopen()

    @invariant()
    def same(self) -> None:
        if hasattr(self, "backend"):
            assert_same(self.backend, self.oracle)


@pytest.mark.parametrize("name", PLACES)
def test_any_sequence_of_changes(name, tmp_path):
    from hypothesis.stateful import run_state_machine_as_test

    machine = type(name, (Sequences,), {"make": staticmethod(lambda: PLACES[name](tmp_path))})
    examples, steps = (150, 40) if LONG else (6, 15)
    if name == "qdrant-engine":  # each opening reads its disk
        examples = 20 if LONG else 3
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=not LONG,
        ),
    )
