"""A newer model under a live index: what is accepted, what stays, and which model made which vector."""

import functools
import json
import uuid

import numpy as np
import pytest
from word_vectors import WIDTH, WordVectors

import stores
from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ArtifactError
from brickwork.core.files import FolderLock
from brickwork.data.types import Document
from brickwork.index import backends
from brickwork.index.build import build_index
from brickwork.index.index import open_index
from brickwork.index.lifecycle import repair_index, verify_index
from brickwork.index.manifest import MANIFEST, read_manifest, write_manifest
from brickwork.index.versions import as_stretches, version_of_rows


class Successor(WordVectors):
    """The same vectors, turned a little, by a model of five layers whose last is comparable with the old one's last."""

    def __init__(self, replaces, name="next", turn=0.1, width=WIDTH):
        super().__init__()
        self.axes = ElasticAxes(dims=(width,), layers=(5,))
        self.fingerprint = name
        self.lineage = {"replaces": list(replaces)}
        self.turn = turn
        self.asked = set()

    def raw(self, texts, layers):
        self.asked.add(layers)
        vectors = super().raw(texts, 2)
        return vectors + self.turn * np.roll(vectors, 1, axis=1)


@pytest.fixture
def index(tmp_path, model, documents):
    return build_index(model, documents, tmp_path / "index")


@pytest.fixture
def successor(model):
    return Successor([model.fingerprint])


def versions(folder):
    with open_index(folder) as opened:
        return opened.statistics().versions


def test_queries_of_a_successor_search_the_old_vectors(index, successor):
    before = (index.folder / MANIFEST).read_bytes()
    opened = open_index(index.folder, successor)
    (hits,) = opened.search("word3 word7 word7", top=5, mode="dense")
    asked = successor.encode(["word3 word7 word7"], layers=5)[0]
    expected = np.sort(index.vectors(2) @ asked)[::-1][:5]
    np.testing.assert_allclose([hit.score for hit in hits], expected, atol=1e-6)
    assert successor.asked == {5}, "the depth of the index is not a depth of the successor"
    assert (index.folder / MANIFEST).read_bytes() == before, "looking changes nothing"


def test_it_takes_over_without_touching_a_vector(index, model, successor, monkeypatch):
    vectors = index.vectors(2).copy()
    opened = open_index(index.folder, successor)
    assert opened.replace_model()
    assert not opened.replace_model()
    assert successor.encoded == 0
    np.testing.assert_array_equal(opened.vectors(2), vectors)
    assert verify_index(index.folder) == []
    assert opened.contents.model == model.fingerprint
    assert opened.model == successor.fingerprint
    assert versions(index.folder) == {model.fingerprint: 150, successor.fingerprint: 0}
    # Whoever opens it now gets the new model, and is refused the old one.
    kept = json.loads((index.folder / read_manifest(index.folder).model / "brickwork.json").read_text())
    assert kept == {"seed": 0}
    assert not (index.folder / "model").exists(), "the old model is gone"
    with pytest.raises(ArtifactError, match="was built with model next, not words-0"):
        open_index(index.folder, model)


def test_new_and_changed_documents_are_the_successors(index, model, successor, documents):
    opened = open_index(index.folder, successor)
    changed = [
        Document(**{**vars(documents[0]), "text": "word1 word2"}),
        Document(**{**vars(documents[1]), "meta": {"row": "other"}}),
        *documents[2:],
        Document(id="new", title="", text="word5", source="s"),
    ]
    report = opened.sync(changed)
    assert (report.added, report.updated, report.unchanged, report.encoded) == (1, 2, 148, 3)
    assert versions(index.folder) == {model.fingerprint: 148, successor.fingerprint: 3}
    (hit,) = opened.search("word5", top=1, mode="dense")[0]
    assert (hit.id, round(hit.score, 5)) == ("new", 1.0)


def test_versions_are_kept_through_removing_merging_and_rewriting(index, model, successor, documents):
    opened = open_index(index.folder, successor)
    opened.add([Document(id=f"n{i}", title="", text=f"word{i}", source="s") for i in range(20)])
    opened.remove([f"d{i}" for i in range(10)] + ["n3"])
    assert versions(index.folder) == {model.fingerprint: 140, successor.fingerprint: 19}
    opened.backend.compact()
    assert read_manifest(index.folder).segments[0].versions == ((0, 140), (1, 19))
    third = Successor([successor.fingerprint, model.fingerprint], name="third", turn=0.2)
    opened = open_index(index.folder, third)
    opened.upsert(documents[20:25])
    opened.backend.compact()
    assert read_manifest(index.folder).segments[0].versions == ((0, 135), (1, 19), (2, 5))
    assert versions(index.folder) == {model.fingerprint: 135, successor.fingerprint: 19, "third": 5}
    # Built again, it has one model again.
    build_index(successor, documents, index.folder)
    manifest = read_manifest(index.folder)
    assert (manifest.versions, manifest.segments[0].versions) == ((), ())


def test_what_was_lost_is_made_by_the_model_of_now(index, model, successor):
    opened = open_index(index.folder, successor)
    opened.add([Document(id="new", title="", text="word5", source="s")])
    first = read_manifest(index.folder).segments[0]
    (index.folder / first.vectors["2"]).unlink()
    with pytest.raises(ArtifactError, match="missing"):
        open_index(index.folder)
    report = repair_index(index.folder, successor)
    assert report.documents == 151
    assert versions(index.folder) == {model.fingerprint: 0, successor.fingerprint: 151}
    assert open_index(index.folder, successor).search("word5", top=1)[0][0].id == "new"


def test_lost_documents_keep_the_versions_of_the_others(index, model, successor, documents):
    opened = open_index(index.folder, successor)
    opened.upsert(documents[:3])
    opened.backend.compact()  # 147 old ones, then 3 new ones
    path = index.folder / read_manifest(index.folder).segments[0].documents
    content = bytearray(path.read_bytes())
    place = content.find(documents[100].text.encode())
    content[place] ^= 0x01
    path.write_bytes(content)
    report = repair_index(index.folder, successor)
    assert len(report.lost) == 1
    assert versions(index.folder) == {model.fingerprint: 146, successor.fingerprint: 3}


@pytest.mark.parametrize("store", ["stand-in", "postgres"])
def test_an_index_whose_documents_are_elsewhere_takes_a_successor_too(
    tmp_path, model, successor, documents, monkeypatch, store
):
    """The store keeps what it has; the model in the folder is exchanged."""
    location = "postgresql://me@host/db"
    if store == "postgres":
        url = stores.postgres_url()
        location = f"{url}{'&' if '?' in url else '?'}table=t{uuid.uuid4().hex[:12]}"
    else:
        monkeypatch.setattr(backends, "_backend", lambda location: elsewhere())
    folder = tmp_path / "index"
    build_index(model, documents, folder, store=location)
    opened = open_index(folder, successor)
    assert opened.replace_model()
    assert opened.add([Document(id="new", title="", text="word5", source="s")]) == 1
    assert opened.search("word5", top=1)[0][0].id == "new"
    assert len(opened) == 151
    assert opened.contents.model == model.fingerprint
    assert opened.model == successor.fingerprint
    assert sorted(path.name for path in folder.glob("model*")) == ["model-2"]
    assert verify_index(folder) == []
    with pytest.raises(ArtifactError, match="was built with model next, not words-0"):
        open_index(folder, model)


@functools.cache
def elsewhere():
    class Elsewhere(stores.NumpyBackend):
        there: "Elsewhere"

        @classmethod
        def create(cls, location, contents, lexical=False):
            cls.there = cls(contents)
            return cls.there

        @classmethod
        def open(cls, location):
            return cls.there

    return Elsewhere


# ---- what is refused -------------------------------------------------------------------------------------------


def test_strangers_and_other_lengths_are_refused(index, model):
    with pytest.raises(ArtifactError, match=r"unless one was trained to replace the other.*model\.previous"):
        open_index(index.folder, Successor(["somebody"]))
    with pytest.raises(ArtifactError, match=r"16 dimensions and this model makes 8.*encoder\.projection=16"):
        open_index(index.folder, Successor([model.fingerprint], width=8))


def test_an_index_of_several_depths_is_refused(tmp_path, model, documents, exits):
    build_index(model, documents, tmp_path / "deep", layers=[1, 2])
    with pytest.raises(ArtifactError, match=r"full depth only.*--layers 2"):
        open_index(tmp_path / "deep", Successor([model.fingerprint]))


def test_the_newest_state_decides(index, model, successor):
    """Two successors of one model that do not know each other: the second comes too late."""
    late = open_index(index.folder, Successor([model.fingerprint], name="other"))
    open_index(index.folder, successor).replace_model()
    with pytest.raises(ArtifactError, match="was built with model next, not other"):
        late.replace_model()
    assert verify_index(index.folder) == []


def test_a_writer_in_between_keeps_it_out(index, successor):
    opened = open_index(index.folder, successor)
    from brickwork.core.errors import ResourceError

    with FolderLock(index.folder, "a test"), pytest.raises(ResourceError, match="a test"):
        opened.replace_model()


def test_a_failure_leaves_the_old_model(index, model, successor, monkeypatch):
    def full(folder):
        folder.mkdir()
        (folder / "part").write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(successor, "save", full)
    with pytest.raises(OSError, match="disk full"):
        open_index(index.folder, successor).replace_model()
    assert verify_index(index.folder) == []
    assert read_manifest(index.folder).model_now == model.fingerprint
    assert not list(index.folder.glob("model-*"))


def test_damaged_versions_are_refused(index):
    manifest = read_manifest(index.folder)
    (segment,) = manifest.segments
    for stretches in (((0, 10),), ((1, 150),)):
        entry = type(segment)(**{**vars(segment), "versions": stretches})
        write_manifest(index.folder, type(manifest)(**{**vars(manifest), "segments": (entry,)}))
        with pytest.raises(ArtifactError, match="versions that there are not"):
            open_index(index.folder)


def test_another_process_that_writes_takes_up_the_new_model(index, model, successor, monkeypatch):
    """An index that was open all the time encodes with the model that took over meanwhile."""
    monkeypatch.setattr("brickwork.representation.load.load_representation", lambda folder: successor)
    old = open_index(index.folder, model)
    open_index(index.folder, successor).replace_model()
    old.add([Document(id="new", title="", text="word5", source="s")])
    assert versions(index.folder) == {model.fingerprint: 150, successor.fingerprint: 1}
    assert successor.encoded == 1


# ---- stretches -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [[], [0, 0], [1], [0, 0, 1, 1, 1, 0, 2], [2, 2]])
def test_stretches_are_the_versions(rows):
    rows = np.array(rows, dtype=np.int64)
    np.testing.assert_array_equal(version_of_rows(as_stretches(rows), len(rows)), rows)
