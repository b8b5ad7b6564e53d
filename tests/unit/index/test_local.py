"""The embedded store: changes, states seen by readers, formats; what is found is compared with NumPy in float64."""

import errno
import json
import os
import shutil
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest

from brickwork.core.errors import ArtifactError, BrickworkWarning, ConfigError, DataError, ResourceError
from brickwork.core.files import FolderLock, checksum, sha256_file
from brickwork.data.types import Document
from brickwork.index.filters import parse_filter
from brickwork.index.local import LocalBackend
from brickwork.index.manifest import FORMAT
from brickwork.index.types import KINDS, Contents, Plan

CONTENTS = Contents(model="m", dims=(4, 8, 16), layers=(1, 2), depths=(2,))
FULL = Plan(stages=((16, 5),))


def made(numbers, **meta):
    """Documents called by number, with random unit vectors that the number determines."""
    documents = [
        Document(id=f"d{n}", title="", text=f"text {n}", source="s", meta={"n": n, **meta}) for n in numbers
    ]
    rows = [np.random.default_rng(n).standard_normal(16) for n in numbers]
    vectors = np.array(rows, dtype=np.float32).reshape(-1, 16)
    return documents, {2: vectors / np.linalg.norm(vectors, axis=1, keepdims=True)}


def query(seed=99):
    return np.random.default_rng(seed).standard_normal((1, 16)).astype(np.float32)


def nearest(numbers, asked, keep=5):
    """Ids by cosine, sorted in float64."""
    scores = made(numbers)[1][2].astype(np.float64) @ asked[0]
    return [f"d{numbers[i]}" for i in np.argsort(-scores)[:keep]]


def results(backend, asked, plan=FULL, where=None):
    return [one.document.id for one in backend.search(asked, plan, layers=2, where=parse_filter(where))[0]]


@pytest.fixture
def backend(tmp_path):
    return LocalBackend.create(tmp_path / "index", CONTENTS)


def files(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_many_small_changes_leave_few_segments_and_the_right_documents(backend):
    alive = []
    for number in range(50):
        backend.add(*made([number]))
        alive.append(number)
        if number % 10 == 9:
            backend.remove([f"d{alive.pop(0)}"])
    assert len(backend.manifest.segments) <= 32
    assert results(backend, query()) == nearest(alive, query())
    assert [int(name[1:]) for name in backend.ids()] == alive
    assert results(LocalBackend.open(backend.folder), query()) == nearest(alive, query())


def test_an_index_with_many_removed_rows_gives_their_space_back(backend):
    backend.add(*made(range(100)))
    before = backend.statistics()
    backend.remove([f"d{n}" for n in range(30)])
    assert backend.statistics().removed == 30
    backend.remove(["d30"])
    after = backend.statistics()
    assert after.removed == 0
    assert after.bytes["vectors"] < 0.75 * before.bytes["vectors"]
    assert results(backend, query()) == nearest(list(range(31, 100)), query())
    named = {"manifest.json", "manifest.copy.json", *backend.manifest.files}
    assert files(backend.folder) == named  # nothing of the old state is left, the lock included


def test_removing_everything_and_beginning_again(backend):
    backend.add(*made(range(3)))
    backend.remove(["d0", "d1", "d2"])
    assert len(backend) == 0
    assert backend.search(query(), FULL, layers=2) == [[]]
    assert list(backend.ids()) == []
    backend.add(*made([7]))
    assert results(backend, query()) == ["d7"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "flat"])
def test_kinds_find_what_was_added_after_they_were_built_and_nothing_removed(tmp_path, kind):
    backend = LocalBackend.create(tmp_path / "index", CONTENTS, kind=kind)
    backend.add(*made(range(200)))
    (entry,) = backend.manifest.shortlists
    plan = Plan(stages=((entry.dim, 300), (16, 5)), kind=kind)
    backend.add(*made(range(200, 230)))  # a tail that no shortlist covers
    best = nearest(list(range(230)), query())
    backend.remove(best[:2])
    alive = [n for n in range(230) if f"d{n}" not in best[:2]]
    assert backend.manifest.shortlists == (entry,)
    assert results(backend, query(), plan) == nearest(alive, query())
    assert results(backend, query(), Plan(stages=((entry.dim, 300),), kind=kind))[0].startswith("d")
    few = nearest([n for n in alive if n >= 195], query())
    assert results(backend, query(), plan, "n>=195") == few
    backend.add(*made(range(230, 260)))  # now more than a fifth is in the tail
    assert backend.manifest.shortlists[0].rows == 258
    assert results(backend, query(), plan) == nearest([*alive, *range(230, 260)], query())
    assert backend.statistics().kinds == ("flat", kind)


def test_readers_keep_their_state_until_they_refresh(backend):
    backend.add(*made(range(10)))
    reader = LocalBackend.open(backend.folder)
    assert not reader.refresh()
    backend.remove([f"d{n}" for n in range(9)])  # compacts: the files that the reader has open are gone
    backend.add(*made(range(20, 25)))
    assert results(reader, query()) == nearest(list(range(10)), query())
    assert reader.get(["d3"])[0].text == "text 3"
    assert reader.refresh()
    assert results(reader, query()) == nearest([9, *range(20, 25)], query())


def test_two_writers_take_turns_and_see_each_other(backend):
    other = LocalBackend.open(backend.folder)
    backend.add(*made([0]))
    other.add(*made([1]))
    with pytest.raises(DataError, match="'d1' is there already"):
        backend.add(*made([1]))
    assert len(backend) == len(other) == 2
    with FolderLock(backend.folder, "testing"), pytest.raises(ResourceError, match=r"is in use.*testing"):
        backend.add(*made([2]))
    backend.add(*made([2]))


def test_a_lock_whose_owner_is_gone_is_taken_over(backend):
    owner = {"pid": 2**22 + 1, "started": 1.0, "host": os.uname().nodename, "purpose": "adding"}
    (backend.folder / ".lock").write_text(json.dumps(owner))
    backend.add(*made([1]))
    assert len(backend) == 1


WRITER = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_local import LocalBackend, made
backend = LocalBackend.open(Path(sys.argv[1]))
for round in range(15):
    backend.upsert(*made(range(10), round=round))
    backend.remove(["d0"])
    backend.add(*made([0], round=round))
    if round % 5 == 0:
        backend.compact()
"""


def test_a_reader_in_a_loop_sees_whole_states_while_another_process_writes(backend):
    """The oracle is the writer's rule: ten documents, or nine without the first, all but it of one round."""
    backend.add(*made(range(10), round=-1))
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(backend.folder), str(Path(__file__).parent)]
    )
    states = opened = 0
    try:
        while process.poll() is None:
            states += backend.refresh()
            if states % 5 == 1:
                backend = LocalBackend.open(backend.folder)
                opened += 1
            documents = backend.get(list(backend.ids()))
            assert {d.id for d in documents} in ({f"d{n}" for n in range(k, 10)} for k in (0, 1))
            assert len({d.meta["round"] for d in documents if d.id != "d0"}) == 1
            one = backend.search(query(), Plan(stages=((8, 6), (16, 3))), layers=2)[0]
            assert [hit.document.id for hit in one] == nearest([int(d.id[1:]) for d in documents], query(), 3)
    finally:
        process.wait()
    assert process.returncode == 0
    assert states > 5
    assert opened
    backend.refresh()
    assert {d.meta["round"] for d in backend.documents()} == {14}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_older_formats_say_that_the_index_must_be_built_again(backend, version):
    values = json.loads((backend.folder / "manifest.json").read_text())
    (backend.folder / "manifest.json").write_text(json.dumps({**values, "format": version}))
    with pytest.raises(ArtifactError, match=f"format {version}; this version reads format {FORMAT}: build"):
        LocalBackend.open(backend.folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "link", "folder/inside"])
def test_names_that_leave_the_folder_are_refused_before_they_are_read(backend, tmp_path, name):
    (tmp_path / "outside").write_text("secret")
    (backend.folder / "link").symlink_to(tmp_path / "outside")
    (backend.folder / "folder").symlink_to(tmp_path)
    values = json.loads((backend.folder / "manifest.json").read_text())
    values["files"][name] = {"bytes": 6, "sha256": sha256_file(tmp_path / "outside")}
    values.pop("checksum")
    (backend.folder / "manifest.json").write_text(json.dumps({**values, "checksum": checksum(values)}))
    with pytest.raises(ArtifactError, match=r"outside the index|is missing"):
        LocalBackend.open(backend.folder)


@pytest.mark.parametrize(
    ("documents", "vectors", "error", "message"),
    [
        (made([0])[0], {2: np.ones((1, 8), np.float32)}, ConfigError, r"shape \[1, 8\] do not fit.*16"),
        (made([0])[0], {1: made([0])[1][2]}, ConfigError, r"depths \[1\]; this index stores \[2\]"),
        (made([0])[0], {2: np.full((1, 16), np.nan, np.float32)}, DataError, "'d0' of s is not finite"),
        (made([0, 1])[0], made([0])[1], DataError, "1 vectors at depth 2 for 2 documents"),
        (*made([0, 0]), DataError, "'d0' comes twice"),
        (*made([5]), DataError, "'d5' is there already; upsert replaces"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_changes_nothing(backend, documents, vectors, error, message):
    backend.add(*made([5]))
    before = backend.manifest
    with pytest.raises(error, match=message):
        backend.add(documents, vectors)
    assert backend.manifest == LocalBackend.open(backend.folder).manifest == before
    assert files(backend.folder) == {"manifest.json", "manifest.copy.json", *before.files}


def test_unknown_ids_fields_depths_and_widths_say_what_there_is(backend):
    backend.add(*made(range(3), tag="a"))
    for change in (backend.remove, backend.get):
        with pytest.raises(DataError, match="'d9' is not in the index"):
            change(["d0", "d9"])
    assert len(backend) == 3
    with pytest.raises(
        ConfigError, match="'year': no document has this field; there are id, title, source, n, tag"
    ):
        results(backend, query(), where="year>2000")
    with pytest.raises(ConfigError, match=r"layers=1 is not in this index, which holds \[2\]"):
        backend.search(query(), FULL, layers=1)
    with pytest.raises(ConfigError, match="queries of 8 dimensions"):
        backend.search(query()[:, :8], FULL, layers=2)
    assert len(results(backend, query(), Plan(stages=((4, 50), (16, 50))))) == 3


def test_a_disk_that_is_full_leaves_the_index_as_it_was(backend):
    import resource

    backend.add(*made(range(5)))
    before = files(backend.folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(ResourceError, match=r"larger than is allowed|disk is full"):
            backend.add(*made(range(10, 2000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(backend.folder) == before
    assert results(backend, query()) == nearest(list(range(5)), query())
    backend.add(*made(range(10, 12)))


@pytest.mark.parametrize("removed", [1, 40])  # forty of a hundred: the index is compacted as well
def test_a_change_whose_n_th_call_fails_is_made_or_not_made(tmp_path, monkeypatch, removed):
    """Every call that makes or moves a file fails once: what is told is what a reader finds, and nothing is left."""
    start = LocalBackend.create(tmp_path / "start", CONTENTS)
    start.add(*made(range(100)))
    gone = [f"d{n}" for n in range(removed)]
    outcomes = set()
    for number in range(1, 100, 1 if removed == 1 else 2):
        folder = tmp_path / f"index{number}"
        shutil.copytree(start.folder, folder)
        backend = LocalBackend.open(folder)
        calls = 0
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore", BrickworkWarning)

            def failing(call, number=number):
                def maybe(*arguments, **options):
                    nonlocal calls
                    calls += 1
                    if calls == number:
                        raise OSError(errno.ENOSPC, "No space left on device")
                    return call(*arguments, **options)

                return maybe

            for name in ("fsync", "replace", "chmod", "link", "open", "mkdir"):
                patch.setattr(os, name, failing(getattr(os, name)))
            try:
                backend.remove(gone)
                left = 100 - removed
            except ResourceError:
                left = 100
        assert len(backend) == len(LocalBackend.open(folder)) == left
        outcomes.add(left)
        backend.add(*made([500]))
        assert files(folder) == {"manifest.json", "manifest.copy.json", *backend.manifest.files}
        if calls < number:
            break
    assert outcomes == {100, 100 - removed}
    assert calls < number


def test_no_permission_is_said(backend, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(ResourceError, match="no permission to write here"):
        backend.add(*made([1]))


def test_texts_without_a_valid_form_are_stored_with_a_replacement(backend):
    document = Document(id="\ud800x", title="a\udfff", text="b\x00", source="s", meta={"k": "\ud800"})
    backend.add([document], made([1])[1])
    (stored,) = backend.get(["\ud800x"])
    assert (stored.id, stored.title, stored.text, stored.meta) == (
        "\ufffdx",
        "a\ufffd",
        "b\x00",
        {"k": "\ufffd"},
    )


def test_metadata_filters_agree_with_their_definition(backend):
    """:func:`filters.resolve` is the definition; values of all kinds that Python confuses are in the metadata."""
    from stores import matching_ids  # not above: processes of these tests import this file without the others

    values = [1, True, 1.0, "1", 0, False, None, "", "a", 2**60, 2**60 + 1, float("inf"), [1], {"x": 1}, -0.0]
    documents = [
        Document(id=f"d{i}", title="", text=str(i), source="ab"[i % 2], meta={"v": v} if i % 5 else {})
        for i, v in enumerate(values)
    ]
    backend.add(documents, made(range(len(values)))[1])
    for operator in ("eq", "ne", "lt", "lte", "gt", "gte"):
        for wanted in (1, True, 1.0, "1", "a", 0, 2**60, 2**60 + 1, 0.5):
            where = parse_filter({"v": {operator: wanted}, "source": {"in": ["a", "c"]}})
            got = backend.search(query(), Plan(stages=((16, 50),)), layers=2, where=where)[0]
            assert {one.document.id for one in got} == set(matching_ids(where, documents))
