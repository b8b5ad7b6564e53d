"""The PostgreSQL store beyond what every backend promises: its server goes away, its graphs, what it refuses."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest

from brickwork.core.errors import ArtifactError, ConfigError, DataError, MissingExtraError, ResourceError
from brickwork.data.types import Document
from brickwork.index.backends import open_backend
from brickwork.index.build import build_index
from brickwork.index.filters import parse_filter
from brickwork.index.fusion import Fusion
from brickwork.index.index import open_index
from brickwork.index.types import Contents, Plan
from stores import CONTENTS, NumpyBackend, document, postgres_url, run_sql, start_postgres, vectors_of

pytest.importorskip("psycopg", reason="psycopg is not installed (extra postgres)")
from brickwork.index.postgres import PostgresBackend
from brickwork.index.postgres_sql import jsonb_text, parse_location

FULL = Plan(stages=((16, 5),))


def at(url: str, table: str | None = None) -> str:
    table = table or f"t{uuid.uuid4().hex[:12]}"
    return f"{url}{'&' if '?' in url else '?'}table={table}"


@pytest.fixture
def backend() -> Iterator[PostgresBackend]:
    backend = PostgresBackend.create(at(postgres_url()), CONTENTS)
    backend.add([document(f"d{i}", n=i) for i in range(10)], vectors_of(range(10)))
    yield backend
    backend.close()


def batch(count: int) -> tuple[list[Document], dict[int, np.ndarray]]:
    return [document(f"new{i}") for i in range(count)], vectors_of([i % 50 for i in range(count)])


# --- locations ----------------------------------------------------------------------------------------------


def test_location_is_split_into_what_libpq_and_we_need():
    place = parse_location("postgresql://ann@db.example:6432/library?sslmode=require&table=guides")
    assert (place.table, place.server) == ("guides", "db.example:6432/library")
    assert place.url == "postgresql://ann@db.example:6432/library?sslmode=require"
    assert parse_location("postgresql:///library").url.startswith("postgresql:///library")
    assert parse_location("postgresql:///library").table == "brickwork"


@pytest.mark.parametrize(
    "location", ["postgresql://ann:secret@h/db", "postgresql://ann@h/db?password=secret"]
)
def test_a_password_in_the_location_is_refused_and_not_shown(location):
    with pytest.raises(ConfigError, match="PGPASSWORD") as caught:
        PostgresBackend.create(location, CONTENTS)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("table", ["Guides", "a b", "x;drop table y", "1a", "a" * 41, "", 'a"b', "pg$"])
def test_a_table_name_that_is_not_plain_is_refused(table):
    with pytest.raises(ConfigError, match="table"):
        parse_location(f"postgresql://h/db?table={table}")


@pytest.mark.parametrize("location", ["mysql://h/db", "postgresql://h:port/db"])
def test_what_is_no_location_is_refused(location):
    with pytest.raises(ConfigError):
        parse_location(location)


def test_without_the_client_the_message_has_the_install_line(monkeypatch):
    for name in ("postgres", "postgres_server", "postgres_sql"):
        monkeypatch.delitem(sys.modules, f"brickwork.index.{name}")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'brickwork\[postgres\]'"):
        open_backend("postgresql://h/db")


# --- opening ------------------------------------------------------------------------------------------------


def test_no_server_there():
    with pytest.raises(ResourceError, match=r"127\.0\.0\.1:1/nothing.*check that the server runs"):
        PostgresBackend.open("postgresql://ann@127.0.0.1:1/nothing")


def test_a_database_without_pgvector_is_refused_with_the_command():
    url = postgres_url()
    name = f"bare{uuid.uuid4().hex[:8]}"
    run_sql(url, f"CREATE DATABASE {name}")
    try:
        parts = urlsplit(url)
        other = f"postgresql://{parts.netloc}/{name}?{parts.query}"
        with pytest.raises(ConfigError, match=r"CREATE EXTENSION vector"):
            PostgresBackend.create(other, CONTENTS)
        run_sql(other, "CREATE EXTENSION vector")  # what the message said
        PostgresBackend.create(other, CONTENTS).close()
    finally:
        run_sql(url, f"DROP DATABASE {name}")


def test_a_table_that_exists_is_not_overwritten(backend):
    location = at(postgres_url(), backend.place.table)
    with pytest.raises(ConfigError, match="already"):
        PostgresBackend.create(location, CONTENTS)
    assert len(backend) == 10


def test_what_is_not_an_index_or_of_another_model_is_refused(backend):
    url = postgres_url()
    with pytest.raises(ArtifactError, match="no index in table 'nix'"):
        PostgresBackend.open(at(url, "nix"))
    other = Contents(model="other", dims=(4, 8, 16), layers=(1, 2, 3), depths=(1, 3))
    with pytest.raises(ArtifactError, match=r"test-model.*other"):
        PostgresBackend.open(at(url, backend.place.table), other)
    run_sql(url, f"UPDATE {backend.place.table}_contents SET format = 99")
    with pytest.raises(ArtifactError, match="format 99"):
        PostgresBackend.open(at(url, backend.place.table))


def test_an_index_made_anew_by_another_model_is_not_written_to(backend):
    """Between opening and writing somebody replaced the table: its vectors are of another model."""
    table = backend.place.table
    run_sql(
        postgres_url(), f"""UPDATE {table}_contents SET contents = jsonb_set(contents, '{{model}}', '"x"')"""
    )
    with pytest.raises(ArtifactError, match="model x"):
        backend.add(*batch(1))
    run_sql(postgres_url(), f"DROP TABLE {table}, {table}_contents")
    with pytest.raises(ArtifactError, match=r"gone|no index"):
        len(backend)


# --- what it cannot store -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Document(id="n", title="", text="a\0b", source=""), "NUL"),
        (document("n", tag="a\0b"), "NUL"),
        (document("n", year=float("inf")), "cannot be stored"),
    ],
)
def test_what_postgres_cannot_store_is_refused_by_name(backend, bad, reason):
    with pytest.raises(DataError, match=f"'n'.*{reason}"):
        backend.add([document("fine"), bad], vectors_of([1, 2]))
    assert len(backend) == 10


FLOATS = [1e15, 1e16, 1e22, 1e23, -2.5e30, 1.7976931348623157e308, 1e-7, 5e-324, 0.1, 3.0, 1.5]


def test_floats_stay_floats_in_jsonb():
    """As ``jsonb`` writes a decimal: all its digits, and as many behind the point as it was given."""
    given = {
        "floats": FLOATS,
        "ints": [10**23, 7, 0],
        "words": ['1e23 "and" 1e+23', "\\", 'a "1e5'],
        "1e9": {"deep": [1e40]},
    }
    held = json.loads(
        json.dumps(json.loads(jsonb_text(json.dumps(given)), parse_float=Decimal), default="{:f}".format)
    )
    assert json.loads(jsonb_text(json.dumps(given))) == given
    assert [type(json.loads(text)) for text in held["floats"]] == [float] * len(FLOATS)
    assert [json.loads(text) for text in held["floats"]] == FLOATS
    assert held["ints"] == given["ints"]
    assert held["words"] == given["words"]


def test_large_floats_come_back_as_they_were(backend):
    backend.add([document("large", floats=FLOATS, one=1e23, whole=10**23)], vectors_of([11]))
    (back,) = backend.get(["large"])
    assert back.meta["floats"] == FLOATS
    assert all(type(value) is float for value in back.meta["floats"])
    assert (type(back.meta["one"]), back.meta["one"]) == (float, 1e23)
    assert back.meta["whole"] == 10**23


def test_filters_on_text_that_cannot_be_there(backend):
    with pytest.raises(ConfigError, match="stores no text"):
        backend.search(vectors_of([1])[1], FULL, layers=1, where=parse_filter({"title": "a\0b"}))


def test_lone_surrogates_are_replaced_as_in_the_local_index(backend):
    backend.add([Document(id="s\ud800", title="", text="a\udfff", source="")], vectors_of([1]))
    (results,) = backend.get(["s\ud800"])
    assert (results.id, results.text) == ("s\ufffd", "a\ufffd")


# --- graphs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hnsw", "binary"])
def test_a_graph_is_walked_once_it_is_built(kind):
    """PostgreSQL counts the walks through each graph itself."""
    backend = PostgresBackend.create(at(postgres_url()), CONTENTS)
    rng = np.random.default_rng(0)
    vectors = {depth: rng.standard_normal((3000, 16)).astype(np.float32) for depth in CONTENTS.depths}
    for matrix in vectors.values():
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    backend.add([document(f"d{i}", n=i) for i in range(3000)], vectors)
    plan = Plan(stages=((16, 50), (16, 10)), kind=kind)
    exact = backend.search(vectors[1][:5], plan, layers=1)
    assert backend.statistics().kinds == ("flat",)
    backend.build(kind, 16, 1)
    assert backend.statistics().kinds == ("flat", kind)
    run_sql(postgres_url(), f"ANALYZE {backend.place.table}")
    walked = backend.search(vectors[1][:5], plan, layers=1)
    name = f"{backend.place.table}_{kind}_16_1"

    def walks() -> int:
        return run_sql(
            postgres_url(), "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = %s", name
        )[0][0]

    deadline = time.time() + 20
    while walks() < 5 and time.time() < deadline:
        backend.search(vectors[1][:5], plan, layers=1)  # counts arrive late, with a later transaction
        time.sleep(0.2)
    assert walks() >= 5
    same = [len({a.document.id for a in x} & {b.document.id for b in y}) for x, y in zip(exact, walked)]
    assert sum(same) >= (45 if kind == "hnsw" else 20)  # 16 bits separate 3000 random vectors poorly
    assert all(x[0].document.id == y[0].document.id for x, y in zip(exact, walked))
    # Where the planner has no other way than through the graph, a filter must not cost results either.
    backend._connection.execute("SET enable_seqscan = off")
    backend._connection.execute("SET enable_sort = off")
    few = Plan(stages=((16, 20),), kind=kind, effort=10)
    for hits in backend.search(
        vectors[1][:5], few, layers=1, where=parse_filter({"n": {"in": [*range(0, 3000, 100)]}})
    ):
        assert len(hits) == 20
    backend.close()


def test_builds_that_make_no_sense_are_refused(backend):
    for arguments, message in (
        (("ivf", 16), "no 'ivf' graph"),
        (("hnsw", 17), "17 dimensions"),
        (("hnsw", 4, 2), "after 2"),
    ):
        with pytest.raises(ConfigError, match=message):
            backend.build(*arguments)
    backend.build("hnsw", 4)
    with pytest.raises(ConfigError, match="effort=2000"):
        backend.search(vectors_of([1])[3], Plan(stages=((4, 5),), kind="hnsw", effort=2000), layers=3)


# --- several at once, and servers that go away ---------------------------------------------------------------


def test_writers_wait_for_each_other(backend):
    """Four writers replace the same documents; each state that a reader sees is that of one writer."""
    location = at(postgres_url(), backend.place.table)
    names = [f"d{i}" for i in range(10)]
    errors: list[BaseException] = []

    def write(writer: int) -> None:
        try:
            own = PostgresBackend.open(location)
            for _ in range(5):
                own.upsert([document(name, writer=writer) for name in names], vectors_of([writer] * 10))
            own.close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    backend.upsert([document(name, writer=9) for name in names], vectors_of([9] * 10))
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        (results,) = backend.search(vectors_of([1])[1], Plan(stages=((16, 100),)), layers=1)
        assert len(results) == 10
        assert len({one.document.meta["writer"] for one in results}) == 1
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(backend) == 10


def test_a_connection_that_is_cut_is_opened_again(backend):
    pid = backend._connection.info.backend_pid
    run_sql(postgres_url(), "SELECT pg_terminate_backend(%s)", pid)
    with pytest.raises(ResourceError, match="went away"):
        backend.add(*batch(3))
    backend.add(*batch(3))
    assert len(backend) == 13


@pytest.mark.slow
def test_a_server_killed_in_the_middle_of_an_add_has_nothing_half_written():
    """SIGKILL for the whole server while rows stream in; after its recovery the old documents are there, no other."""
    if os.environ.get("BRICKWORK_TEST_POSTGRES"):
        pytest.skip("BRICKWORK_TEST_POSTGRES is somebody's server: it is not killed")
    folder = Path(tempfile.mkdtemp(prefix="bw-pg-kill-")) / "data"
    url = start_postgres(folder)
    run_sql(url, "CREATE EXTENSION vector")
    location = at(url, "t")
    backend = PostgresBackend.create(location, CONTENTS)
    backend.add([document(f"d{i}") for i in range(10)], vectors_of(range(10)))
    pid = int((folder / "postmaster.pid").read_text().split()[0])
    documents, vectors = batch(40_000)
    documents = [Document(id=d.id, title="", text=d.text * 50, source="") for d in documents]
    copy = backend._copy

    def killed(run, rows, matrices):
        half = len(rows) // 2
        copy(run, rows[:half], {depth: m[:half] for depth, m in matrices.items()})
        (there,) = run.execute("SELECT count(*) FROM t").fetchone()
        assert there == 10 + half  # the server has them, in this transaction
        children = psutil.Process(pid).children()
        os.kill(pid, signal.SIGKILL)
        psutil.wait_procs(
            [psutil.Process(pid), *children] if psutil.pid_exists(pid) else children, timeout=10
        )
        copy(run, rows[half:], {depth: m[half:] for depth, m in matrices.items()})

    backend._copy = killed
    with pytest.raises(ResourceError, match=r"went away.*nothing of the change was stored; run it again"):
        backend.add(documents, vectors)
    backend._copy = copy
    with pytest.raises(ResourceError, match=r"cannot connect.*check that the server runs"):
        backend.add(*batch(1))
    # A process of its own starts the server again, as an administrator would.
    code = (
        "import sys, time; sys.path[:0] = sys.argv[2:]; from pathlib import Path; from stores import start_postgres; \
start_postgres(Path(sys.argv[1])); print('up', flush=True); sys.stdin.read()"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(Path(start_postgres.__code__.co_filename).parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert starter.stdout.readline() == "up\n"
        assert len(backend) == 10
        assert sorted(backend.ids()) == [f"d{i}" for i in range(10)]
        backend.add(*batch(3))
        assert len(backend) == 13
        oracle = NumpyBackend()
        oracle.add([document(f"d{i}") for i in range(10)], vectors_of(range(10)))
        assert backend.get(["d7"]) == oracle.get(["d7"])
        backend.close()
    finally:
        with contextlib.suppress(
            OSError, psutil.NoSuchProcess
        ):  # this process still takes the server for dead
            server = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
            server.send_signal(signal.SIGINT)
            server.wait(timeout=30)
        starter.communicate(timeout=30)
        shutil.rmtree(folder.parent, ignore_errors=True)


def test_an_index_whose_documents_are_on_the_server(tmp_path, model, documents, exits):
    """What a user does: build, search, change and open again give the answers of the index in a folder."""
    here = build_index(model, documents, tmp_path / "here")
    there = build_index(model, documents, tmp_path / "there", store=at(postgres_url()))
    for options in (
        {},
        {"dim": 4},
        {"shortlist": 20},
        {"funnel": True},
        {"mode": "dense"},
        {"mode": "lexical"},
        {"fusion": "ranks", "dense_weight": 0.3},
        {"where": "source=file1.txt, row<50"},
    ):
        queries = ["word1 word2", "word9"]
        for left, right in zip(here.search(queries, **options), there.search(queries, **options)):
            # By rank, documents whose cosines are equal but for rounding change places.
            near = 2e-4 if "fusion" in options else 1e-5
            assert [hit.score for hit in left] == pytest.approx([hit.score for hit in right], abs=near)
    there.remove(["d3"])
    there.close()
    again = open_index(tmp_path / "there", model)
    assert len(again) == len(documents) - 1
    assert again.get(["d5"]) == [documents[5]]
    again.close()


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


# --- words --------------------------------------------------------------------------------------------------


def test_an_index_from_before_there_were_words_gets_them(backend):
    table = backend.place.table
    wanted = {one.document.id: one.score for one in backend.search_words(["title d3 text"], 10)[0]}
    backend.close()
    run_sql(postgres_url(), f"DROP TABLE {table}_words, {table}_words_totals")
    run_sql(postgres_url(), f"UPDATE {table}_contents SET format = 1")
    with contextlib.closing(PostgresBackend.open(at(postgres_url(), table))) as old:
        assert old.lexical == "missing"
        assert old.statistics().modes == ("dense",)
        with pytest.raises(ConfigError, match=r"has no words: an update \(--update\) adds them"):
            old.search_words(["title"], 3)
        old.add([document("later")], vectors_of([3]))  # changes go on as before
        old.remove(["later"])
        old.add_lexical()
        old.add_lexical()
        assert old.lexical == "there"
        again = {one.document.id: one.score for one in old.search_words(["title d3 text"], 10)[0]}
        assert again == pytest.approx(wanted)
    assert run_sql(postgres_url(), f"SELECT format FROM {table}_contents") == [(2,)]


def test_an_index_may_be_made_without_words():
    with contextlib.closing(PostgresBackend.create(at(postgres_url()), CONTENTS, lexical=False)) as backend:
        backend.add([document("d1")], vectors_of([1]))
        assert backend.lexical == "none"
        with pytest.raises(ConfigError, match="it was made without; search with mode='dense'"):
            backend.search_both(vectors_of([1])[1], ["title"], FULL, Fusion(), layers=1)


def test_totals_are_those_of_the_documents(backend):
    backend.upsert([document("d3"), document("new")], vectors_of([3, 4]))
    backend.remove(["d0", "d0", "d1"])
    table = backend.place.table
    counted = run_sql(postgres_url(), f"SELECT count(*), sum(length) FROM {table}_words")
    assert run_sql(postgres_url(), f"SELECT documents, words FROM {table}_words_totals") == counted
    assert counted[0][0] == len(backend) == 9


def test_words_of_any_length_and_any_number(backend):
    rare = " ".join(f"w{i}" for i in range(3000))
    backend.add(
        [
            Document(id="long", title="", text="x" * 100_000 + " needle", source=""),
            Document(id="many", title="", text=rare, source=""),
        ],
        vectors_of([1, 2]),
    )
    assert [one.document.id for one in backend.search_words(["needle"], 3)[0]] == ["long"]
    assert [one.document.id for one in backend.search_words(["w2999 " + rare], 3)[0]] == ["many"]
    assert backend.search_words(["\0 ? 'x"], 3) == [[]]
