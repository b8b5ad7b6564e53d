"""The index that changes: additions, updates from a source, filters, plans, a store elsewhere, long queries."""

import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from brickwork.core.errors import ArtifactError, BrickworkWarning, ConfigError, DataError
from brickwork.data.types import Document
from brickwork.index import backends
from brickwork.index.build import build_index
from brickwork.index.contract import ServerBackend
from brickwork.index.index import open_index
from brickwork.index.reranking import Reranker
from brickwork.index.sync import SyncReport
from brickwork.index.types import Plan


@pytest.fixture
def index(tmp_path, model, documents):
    return build_index(model, documents, tmp_path / "index")


def texts(documents):
    return [f"{d.title}\n{d.text}" if d.title else d.text for d in documents]


def nearest(model, documents, query, top):
    """Ids by cosine in float64, of unit vectors that the model gives."""
    vectors = model.encode(texts(documents), layers=2).astype(np.float64)
    scores = vectors @ model.encode([query], layers=2)[0].astype(np.float64)
    return [documents[i].id for i in np.argsort(-scores, kind="stable")[:top]]


def test_documents_are_added_replaced_and_removed(index, model, documents):
    new = Document(id="new", title="", text="word3 word4 word3 word4", source="s", meta={"row": 1000})
    assert index.add([new]) == 1
    assert index.search("word3 word4", top=1)[0][0].meta == {"row": 1000}
    assert index.upsert([replace(new, text="word9")]) == 1
    now = [*documents, replace(new, text="word9")]
    assert [h.id for h in index.search("word9", top=4, mode="dense")[0]] == nearest(model, now, "word9", 4)
    index.remove("new")
    assert [h.id for h in index.search("word9", top=4, mode="dense")[0]] == nearest(
        model, documents, "word9", 4
    )
    assert index.get("d3") == [documents[3]]


def test_an_update_replaces_what_is_there_and_nothing_else(index, model, documents):
    assert index.update([replace(documents[3], text="word9 word8", meta={"row": 7})]) == 1
    now = [*documents[:3], *documents[4:], replace(documents[3], text="word9 word8")]
    assert [h.id for h in index.search("word9 word8", top=4, mode="dense")[0]] == nearest(
        model, now, "word9 word8", 4
    )
    assert index.get("d3")[0].meta == {"row": 7}
    with pytest.raises(DataError, match="'nobody' is not in the index; upsert adds documents"):
        index.update([replace(documents[5], text="changed"), replace(documents[5], id="nobody")])
    assert index.get("d5") == [documents[5]]
    assert len(index) == 150


def test_an_addition_that_fails_half_way_adds_nothing(index, documents):
    def breaking():
        yield from (replace(d, id=f"x{n}") for n, d in enumerate(documents * 5))
        raise RuntimeError("the reader failed")

    with pytest.raises(RuntimeError, match="the reader failed"):
        index.add(breaking())
    with pytest.raises(DataError, match="'d5' comes twice"):
        index.add([replace(documents[0], id="y"), documents[5], documents[5]])
    assert len(index) == 150
    assert "y" not in set(index.backend.ids())


def test_a_sync_encodes_only_texts_that_are_new(index, model, documents):
    changed = [
        *(replace(d, source="moved.txt") for d in documents[:3]),  # the same text: nothing to encode
        replace(documents[3], text="word1 and something else"),
        *documents[5:],  # d4 is gone
        replace(documents[7], id="copy of d7"),
        Document(id="new", title="", text="word2 word2 word5", source="s"),
    ]
    before = model.encoded
    report = index.sync(changed)
    assert report == SyncReport(added=2, updated=4, removed=1, unchanged=145, encoded=2)
    assert model.encoded - before == 2
    assert {d.id: d for d in index.backend.documents()} == {d.id: d for d in changed}
    assert [h.id for h in index.search("word2 word5", top=9, mode="dense")[0]] == nearest(
        model, changed, "word2 word5", 9
    )
    assert index.sync(changed) == SyncReport(added=0, updated=0, removed=0, unchanged=151, encoded=0)


def test_a_sync_refuses_a_source_that_is_empty_or_names_two_the_same(index, documents):
    with pytest.raises(DataError, match="not emptied by an update"):
        index.sync([])
    with pytest.raises(DataError, match="'d1' comes twice"):
        index.sync([documents[1], documents[2], documents[1]])
    assert len(index) == 150


def test_duplicates_are_counted(index, documents):
    before = index.statistics().duplicates
    assert before == 150 - len(set(texts(documents)))
    index.add([replace(documents[1], id="again"), replace(documents[1], id="and again")])
    assert index.statistics().duplicates == before + 2


@pytest.mark.parametrize(
    "where", ["source=file1.txt", {"row": {"gte": 140}}, "row in 3|4|5, source!=file0.txt"]
)
@pytest.mark.parametrize("options", [{}, {"shortlist": 20}, {"dim": 4}])
def test_filters_leave_only_what_matches_and_fill_up_the_results(index, documents, where, options):
    from brickwork.index.filters import parse_filter

    matching = [d.id for d in documents if parse_filter(where).matches(d)]
    hits = index.search("word3 word4", top=10, where=where, **options)[0]
    assert len(hits) == min(10, len(matching))
    assert {h.id for h in hits} <= set(matching)


def test_plans_recall_and_budget(index):
    plan = Plan(stages=((4, 30), (8, 99)))
    answer = index.answer("word3", top=5, plan=plan, mode="dense")
    assert answer.plan == Plan(stages=((4, 30), (8, 5)))
    assert (answer.dim, answer.stages, len(answer.hits[0])) == (8, answer.plan.stages, 5)
    exact = [h.id for h in index.search("word3 word4")[0]]
    assert [h.id for h in index.search("word3 word4", recall=1.0)[0]] == exact
    assert index.answer("word3", budget_ms=1000.0, mode="dense").plan.stages[-1] == (16, 10)
    for options, message in (
        ({"plan": plan, "recall": 0.9}, "plan and recall exclude"),
        ({"plan": plan, "dim": 8}, "plan and dim exclude"),
        ({"plan": Plan(stages=((4, 3),))}, "keeps less than top=10"),
        ({"plan": Plan(stages=())}, "at least one stage"),
        ({"recall": 0.9, "dim": 8}, "dim excludes recall"),
        ({"recall": 2.0}, "recall=2.0 is outside"),
        ({"budget_ms": 1e-9}, "the fastest is"),
    ):
        with pytest.raises(ConfigError, match=message):
            index.answer("word3", **options)


def test_an_index_of_another_kind_is_searched_through_it(tmp_path, model, documents):
    index = build_index(model, documents, tmp_path / "index", kind="hnsw")
    assert "hnsw" in index.reason
    answer = index.answer("word3 word4", top=5, mode="dense")
    assert answer.plan.stages[-1] == (16, 5)
    assert len({h.id for h in answer.hits[0]} & set(nearest(model, documents, "word3 word4", 5))) >= 4
    with pytest.raises(ConfigError, match="kind='tree' is unknown; choose one of auto, flat"):
        build_index(model, documents, tmp_path / "index", kind="tree")


def test_an_index_built_anew_is_seen_whole_by_its_readers(index, model, documents):
    reader = open_index(index.folder, model)
    other = type(model)(seed=1)
    build_index(other, documents[:20], index.folder)
    assert len(reader.search("word3", top=200)[0]) == 150
    assert reader.refresh()
    assert len(reader) == 20
    assert reader.contents.model == "words-1"
    assert len([path for path in index.folder.iterdir() if path.name.startswith("model")]) == 1


def test_a_query_longer_than_the_model_reads_is_cut_and_said(tmp_path, documents):
    """With a real encoder, which counts what it cuts: 100,000 tokens, of which it reads 64."""
    from brickwork.core.elastic import ElasticAxes
    from brickwork.encoders.build import TextEncoderConfig, build_text_encoder
    from brickwork.representation.model import Representation

    config = TextEncoderConfig(backbone="static", vocab_size=200, max_tokens=64, width=16)
    encoder = build_text_encoder(config, texts=[d.text for d in documents]).eval()
    model = Representation(encoder, ElasticAxes(dims=(8, encoder.embedding_dim), layers=(1,)))
    index = build_index(model, documents, tmp_path / "index")
    query = "word3 word4 " * 50_000
    with pytest.warns(BrickworkWarning, match="longer than 64 tokens"):
        answer = index.answer([query, "word3"], top=3)
    assert answer.notes == ("1 of 2 queries had more than 64 tokens and were cut there",)
    assert [h.id for h in answer.hits[0]] == [h.id for h in index.search(query[:1000], top=3)[0]]
    assert index.answer("word3", top=3).notes == ()


class ElsewhereBackend(ServerBackend):
    """A stand-in for a store that is not a folder: what was added is kept by the location."""

    kept: ClassVar[dict] = {}

    def __init__(self, location):
        self.contents, self.documents = self.kept[location]

    @classmethod
    def create(cls, location, contents, *, lexical):
        cls.kept[location] = (contents, {})
        return cls(location)

    open = classmethod(lambda cls, location: cls(location))

    def __len__(self):
        return len(self.documents)

    def add(self, documents, vectors):
        self.documents.update({d.id: d for d in documents})

    update = upsert = add

    def remove(self, ids):
        for name in ids:
            del self.documents[name]

    def get(self, ids):
        return [self.documents[name] for name in ids]

    def known(self, ids):
        return {name: self.documents[name] for name in ids if name in self.documents}

    def ids(self):
        return iter(list(self.documents))

    def search(self, queries, plan, *, layers, where=None): ...

    def statistics(self): ...

    def close(self): ...


def test_an_index_may_keep_its_documents_elsewhere(tmp_path, model, documents, monkeypatch):
    monkeypatch.setattr(backends, "_backend", lambda location: ElsewhereBackend)
    store = "postgresql://me@host/db"
    build_index(model, documents, tmp_path / "index", store=store)
    assert sorted(p.name for p in (tmp_path / "index").iterdir()) == [
        "manifest.copy.json",
        "manifest.json",
        "model",
    ]
    index = open_index(tmp_path / "index", model)
    assert index.sync(documents[10:]) == SyncReport(added=0, updated=0, removed=10, unchanged=140, encoded=0)
    assert len(open_index(tmp_path / "index", model)) == 140
    with pytest.raises(ConfigError, match="recall and budget_ms need documents that are in the folder"):
        index.answer("word3", recall=0.9)
    contents, kept = ElsewhereBackend.kept[store]
    ElsewhereBackend.kept[store] = (replace(contents, model="other"), kept)
    with pytest.raises(ArtifactError, match="do not belong together"):
        open_index(tmp_path / "index", model)


def test_tables_elsewhere_are_made_when_the_folder_is_as_good_as_there(
    tmp_path, model, documents, monkeypatch
):
    """Whoever is killed after that goes on with an update; tables without a folder would have to be dropped by hand."""
    found = []

    class Watched(ElsewhereBackend):
        @classmethod
        def create(cls, location, contents, *, lexical=True):
            found.extend(file.name for file in tmp_path.rglob("*.json"))
            return super().create(location, contents, lexical=lexical)

    monkeypatch.setattr(backends, "_backend", lambda location: Watched)
    build_index(model, documents, tmp_path / "index", store="postgresql://me@host/other")
    assert {"manifest.json", "brickwork.json"} <= set(found)


def test_a_location_that_is_unknown_lists_those_that_are_not(tmp_path, model, documents):
    with pytest.raises(ConfigError, match=r"store='mysql://x' is no location.*postgresql://"):
        build_index(model, documents, tmp_path / "index", store="mysql://x")


def test_the_examples_of_the_page_run(index, model, documents, tmp_path, monkeypatch):
    """The blocks as printed, at sizes that the stand-in has."""
    page = (Path(__file__).parents[3] / "docs/how-to/index.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 4
    monkeypatch.setattr("brickwork.representation.load.load_representation", lambda _: model)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    index.add([Document(id="b", title="", text="word1", source="guide.md", meta={"year": 2020})])
    index.folder.rename("runs/docs-index")
    names = {"documents": documents}
    exec(blocks[0].replace("dim=96, layers=3", "dim=8, layers=2").replace("2.0)", "99.0)"), names)
    exec(blocks[1], names)
    assert names["choice"].weight == 0.5
    monkeypatch.setattr(Reranker, "load", lambda path: object.__new__(Reranker))
    monkeypatch.setattr(Reranker, "scores", lambda self, pairs: np.arange(len(pairs), dtype=np.float32))
    exec(blocks[2], names)
    exec(blocks[3], names)
    assert len(names["index"]) == 150
    assert names["report"].removed == 1
