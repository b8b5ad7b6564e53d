"""The Qdrant store beyond what every backend promises: claims, writers that die, readers meanwhile, its server away."""

import http.server
import math
import sys
import threading

import pytest

from brickwork.core.errors import ArtifactError, ConfigError, DataError, MissingExtraError, ResourceError
from brickwork.data.types import Document
from brickwork.index.backends import open_backend
from brickwork.index.filters import parse_filter
from brickwork.index.fusion import Fusion
from brickwork.index.types import Contents, Plan
from stores import CONTENTS, document, vectors_of

pytest.importorskip("qdrant_client", reason="qdrant-client is not installed (extra qdrant)")
pytest.importorskip("qdrant_edge", reason="qdrant-edge-py is not installed")
import edge_client
from brickwork.index import qdrant_state
from brickwork.index.qdrant import QdrantBackend, parse_location

LOCATION = "qdrant:http://127.0.0.1:6333/guides"
ALL = Plan(stages=((16, 100),))


@pytest.fixture
def client(tmp_path):
    client = edge_client.EdgeClient(tmp_path / "engine")
    yield client
    if client.shard is not None:
        client.close()


@pytest.fixture
def backend(client):
    backend = QdrantBackend.create(LOCATION, CONTENTS, client=client)
    backend.add([document(f"d{i}", n=i) for i in range(10)], vectors_of(range(10)))
    return backend


def second(client) -> QdrantBackend:
    """Another process with the same collection."""
    return QdrantBackend.open(LOCATION, CONTENTS, client=client)


def points(client) -> int:
    """All points in the engine, the record not counted."""
    return client.shard.count(edge_client.edge.CountRequest()) - 1


@pytest.mark.parametrize(
    "location",
    ["qdrant:/some/folder", "qdrant:http://host:6333", "qdrant:http://u:pw@host/c", "qdrant:http://host/a b"],
)
def test_what_is_no_location_is_refused(location):
    with pytest.raises(ConfigError, match="QDRANT_API_KEY") as caught:
        parse_location(location)
    assert "pw" not in str(caught.value)


def test_no_server_there():
    with pytest.raises(ResourceError, match=r"'guides' cannot be reached.*nothing was changed"):
        QdrantBackend.open("qdrant:http://127.0.0.1:1/guides")
    with pytest.raises(ResourceError, match="nothing was made"):
        QdrantBackend.create("qdrant:http://127.0.0.1:1/guides", CONTENTS)


def test_a_server_that_refuses_is_quoted_and_gets_the_key(monkeypatch):
    """A real HTTP server that answers 403 to everything: what the client sends and what the user reads."""
    seen = []

    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.headers.get("api-key"))
            self.send_error(403, "Forbidden")

        def log_message(self, *_): ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("QDRANT_API_KEY", "secret-key")
    try:
        with (
            pytest.warns(UserWarning, match="insecure connection"),
            pytest.raises(ResourceError, match="403") as caught,
        ):
            QdrantBackend.open(f"qdrant:http://127.0.0.1:{server.server_port}/guides")
    finally:
        server.shutdown()
        server.server_close()
    assert seen == ["secret-key"]
    assert "secret-key" not in str(caught.value)


def test_a_collection_that_exists_is_not_overwritten(backend, client):
    with pytest.raises(ConfigError, match="already"):
        QdrantBackend.create(LOCATION, CONTENTS, client=client)
    assert len(backend) == 10


def test_another_model_or_format_is_refused(backend, client):
    other = Contents(model="other", dims=(4, 8, 16), layers=(1, 2, 3), depths=(1, 3))
    with pytest.raises(ArtifactError, match=r"test-model.*other"):
        QdrantBackend.open(LOCATION, other, client=client)
    everything = qdrant_state.models.Filter()
    client.set_payload("guides", {"format": 99}, points=everything, wait=True)
    with pytest.raises(ArtifactError, match="format 99"):
        second(client)


def test_a_prefix_that_is_not_stored_is_refused(backend):
    with pytest.raises(ConfigError, match=r"dim=5 is not stored.*\[4, 8, 16\]"):
        backend.search(vectors_of([1])[1], Plan(stages=((5, 3),)), layers=1)


@pytest.mark.parametrize("value", [float("inf"), 10**400])
def test_numbers_that_cannot_be_stored_are_refused_by_name(backend, value):
    with pytest.raises(DataError, match="'n'"):
        backend.add([document("n", year=value)], vectors_of([1]))
    assert len(backend) == 10


def test_a_second_writer_is_refused_until_the_first_is_done(backend, client):
    other = second(client)
    with backend.state.changing(), pytest.raises(ResourceError, match="another process is changing"):
        other.remove(["d1"])
    assert len(other) == 10
    other.remove(["d1"])
    assert len(backend) == 9


def test_a_writer_that_was_taken_for_dead_learns_it_and_changes_nothing(backend, client, monkeypatch):
    other = second(client)
    with pytest.raises(ResourceError, match="another process"), backend.state.changing() as (_, renew):
        monkeypatch.setattr(qdrant_state, "CLAIM_SECONDS", 0.0)
        other.remove(["d1"])
        renew()
    assert sorted(backend.ids()) == [f"d{i}" for i in range(10) if i != 1]


def test_a_claim_is_renewed_with_every_batch(backend, client, monkeypatch):
    """Four batches that take 40 seconds each by the clock: nobody may take over at 160."""
    monkeypatch.setattr("brickwork.index.qdrant.POINTS_PER_REQUEST", 1)
    now = [1000.0]
    monkeypatch.setattr(qdrant_state.time, "time", lambda: now[0])
    other = second(client)
    refused = []
    upsert = client.upsert

    def slow(name, points, **options):
        if "born" in points[0].payload:
            now[0] += 40
            with pytest.raises(ResourceError, match="another process"):
                other.remove(["d1"])
            refused.append(now[0])
        return upsert(name, points, **options)

    client.upsert = slow
    backend.add([document(f"n{i}") for i in range(4)], vectors_of(range(4)))
    assert refused == [1040.0, 1080.0, 1120.0, 1160.0]
    assert len(other) == 14


def test_a_change_is_seen_whole_or_not_at_all(backend, client):
    """Before every request of an upsert and a removal, another reader looks: only two answers ever come."""
    reader = second(client)
    seen = []

    def look() -> None:
        (results,) = reader.search(vectors_of([1])[1], ALL, layers=1)
        seen.append((len(reader), sorted((one.document.id, one.document.meta["n"]) for one in results)))

    def watched(call):
        def looked(*arguments, **options):
            look()
            return call(*arguments, **options)

        return looked

    for name in ("upsert", "set_payload", "delete"):
        setattr(client, name, watched(getattr(client, name)))
    before = [(f"d{i}", i) for i in range(10)]
    after = sorted([(f"d{i}", i) for i in range(5)] + [(f"d{i}", 50) for i in range(5, 15)])
    backend.upsert([document(f"d{i}", n=50) for i in range(5, 15)], vectors_of(range(20, 30)))
    assert len(seen) >= 5
    assert all(state == (10, before) for state in seen)
    seen.clear()
    look()
    backend.remove([f"d{i}" for i in range(10)])
    assert len(seen) >= 5
    assert all(state == (15, after) for state in seen)
    assert sorted(reader.ids()) == [f"d{i}" for i in range(10, 15)]


def test_old_versions_are_cleared_away_by_the_next_change(backend, client):
    backend.upsert([document(f"d{i}", n=1) for i in range(10)], vectors_of(range(10)))
    assert points(client) == 20
    assert backend.statistics().removed == 10
    backend.remove(["d0"])
    assert points(client) == 10
    assert backend.statistics().removed == 1


def test_a_reader_begins_again_when_its_versions_are_cleared_away(backend, client):
    """Two changes pass while a reader is between its record and its points: it must not answer with too few."""
    reader, query = second(client), client.query_batch_points
    rounds = []

    def late(*arguments):
        if len(rounds) < 2:
            rounds.append(1)
            for _ in range(2):
                backend.upsert([document(f"d{i}", n=len(rounds)) for i in range(10)], vectors_of(range(10)))
        return query(*arguments)

    client.query_batch_points = late
    (results,) = reader.search(vectors_of([1])[1], ALL, layers=1)
    assert sorted((one.document.id, one.document.meta["n"]) for one in results) == [
        (f"d{i}", 2) for i in range(10)
    ]


def test_a_reader_that_is_always_overtaken_says_so(backend, client):
    reader, query = second(client), client.query_batch_points

    def late(*arguments):
        backend.upsert([document("d0", n=0)], vectors_of([0]))
        return query(*arguments)

    client.query_batch_points = late
    with pytest.raises(ResourceError, match="changed 20 times"):
        reader.search(vectors_of([1])[1], ALL, layers=1)


def test_without_the_client_the_message_has_the_install_line(monkeypatch):
    for name in ("qdrant", "qdrant_filters", "qdrant_state"):
        monkeypatch.delitem(sys.modules, f"brickwork.index.{name}")
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'brickwork\[qdrant\]'"):
        open_backend(LOCATION)


def test_values_of_another_kind_are_told(backend):
    def notes(text):
        return backend.filter_notes(parse_filter(text), found=False)

    assert not notes("n>=3, id=d1, title=none")
    (note,) = notes("n>=three")
    assert "its values are numbers" in note
    assert "'three' is of another kind and matches nothing" in note
    backend.add([document("dated", day="2024-05-01")], vectors_of([11]))
    (note,) = notes("day=2024-5-1")
    assert "its values are dates, for example 2024-05-01; '2024-5-1' is of another kind" in note


def test_a_collection_without_words_says_so(client):
    backend = QdrantBackend.create(LOCATION, CONTENTS, lexical=False, client=client)
    backend.add([document("d1")], vectors_of([1]))
    for one in (backend, second(client)):
        assert one.lexical == "none"
        assert one.statistics().modes == ("dense",)
        with pytest.raises(ConfigError, match=r"Qdrant adds none to what is there.*mode='dense'"):
            one.search_words(["title"], 3)
        with pytest.raises(ConfigError, match="words cannot be added"):
            one.add_lexical()


def test_lengths_are_measured_by_the_first_documents(backend, client):
    """What is stored of a word must not change with documents that come later; another process goes on with the same."""
    (before,) = backend.search_words(["d3"], 1)
    mean = backend.state.record()["mean_length"]
    assert mean == 5
    second(client).add([Document(id="long", title="", text="word " * 500, source="")], vectors_of([1]))
    assert backend.state.record()["mean_length"] == mean
    (after,) = backend.search_words(["d3"], 1)
    idf = [math.log(1 + (count - 1 + 0.5) / 1.5) for count in (10, 11)]
    assert after[0].score / before[0].score == pytest.approx(idf[1] / idf[0], rel=1e-4)


def test_a_query_without_words_finds_nothing_by_words(backend):
    assert backend.search_words(["?", "d3"], 2)[0] == []
    (both,) = backend.search_both(vectors_of([3])[1], ["?"], ALL, Fusion(), layers=1)
    assert len(both) == 10
    assert both[0].lexical == 0
