"""Lexical search of an index in a folder: BM25 written out, bm25s, and what changes and damage leave of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brickwork.api.hybrid import learn_dense_weight
from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.core.words import words
from brickwork.data.types import Document
from brickwork.index import postings
from brickwork.index.build import build_index
from brickwork.index.index import open_index
from brickwork.index.lifecycle import repair_index, verify_index
from brickwork.index.local import LocalBackend
from brickwork.index.types import Contents
from brickwork.representation.export_parquet import document_text
from stores import brute_bm25

CONTENTS = Contents(model="m", dims=(2,), layers=(1,), depths=(1,))
WORDS = ["red", "green", "blue", "read_csv", "größe", "der", "über", "x1", "日本語", "the"]


def assert_lexical(backend: LocalBackend, query: str, top: int = 10) -> None:
    """What the backend finds is what the formula orders first."""
    documents = list(backend.documents())
    expected = brute_bm25(query, [document_text(document) for document in documents])
    by_id = {document.id: score for document, score in zip(documents, expected)}
    (results,) = backend.search_words([query], top)
    assert [one.score for one in results] == pytest.approx(
        sorted((score for score in expected if score), reverse=True)[:top], rel=1e-5
    )
    assert [one.score for one in results] == pytest.approx(
        [by_id[one.document.id] for one in results], rel=1e-5
    )
    assert all(one.lexical == one.score and one.dense is None for one in results)


def some(names, texts):
    documents = [
        Document(id=name, title="", text=text, source="s", meta={}) for name, text in zip(names, texts)
    ]
    return documents, {1: np.tile(np.array([[1, 0]], np.float32), (len(documents), 1))}


TEXTS = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
NAMES = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=5, unique=True)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), NAMES, st.lists(TEXTS, min_size=5, max_size=5)),
        st.tuples(st.just("remove"), NAMES, st.none()),
        st.tuples(st.just("compact"), st.none(), st.none()),
        st.tuples(st.just("reopen"), st.none(), st.none()),
    ),
    max_size=8,
)


@settings(
    max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=CHANGES, query=st.lists(st.sampled_from([*WORDS, "nowhere"]), min_size=1, max_size=4))
def test_any_series_of_changes_leaves_the_scores_of_the_formula(tmp_path_factory, changes, query):
    backend = LocalBackend.create(tmp_path_factory.mktemp("series") / "index", CONTENTS)
    for name, ids, texts in changes:
        if name == "upsert":
            backend.upsert(*some(ids, texts))
        elif name == "remove":
            backend.remove([one for one in ids if one in set(backend.ids())])
        elif name == "compact":
            backend.compact()
        else:
            backend = LocalBackend.open(backend.folder)
        assert_lexical(backend, " ".join(query))


def test_scores_do_not_depend_on_how_documents_came_in(tmp_path):
    """Not even in their last bit: one addition, or many with others that were removed again."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(1, 12))) for _ in range(60)]
    names = [f"d{i}" for i in range(60)]
    whole = LocalBackend.create(tmp_path / "whole", CONTENTS)
    whole.add(*some(names, texts))
    parts = LocalBackend.create(tmp_path / "parts", CONTENTS)
    for start in range(0, 60, 7):
        parts.add(*some(names[start : start + 7], texts[start : start + 7]))
        parts.add(*some([f"x{start}"], ["red " * start]))
    parts.remove([f"x{start}" for start in range(0, 60, 7)])
    queries = ["red größe", "read csv", "日本語 x1 x1", "the"]
    for left, right in zip(whole.search_words(queries, 60), parts.search_words(queries, 60)):
        assert [(one.document.id, one.score) for one in left] == [
            (one.document.id, one.score) for one in right
        ]
    parts.compact()
    one = whole.folder / whole.manifest.segments[0].words
    assert (parts.folder / parts.manifest.segments[0].words).read_bytes() == one.read_bytes()


def test_bm25s_agrees(tmp_path, documents):
    import bm25s

    backend = LocalBackend.create(tmp_path / "index", CONTENTS)
    backend.add(documents, {1: np.ones((len(documents), 2), np.float32)})
    model = bm25s.BM25()
    model.index([words(document_text(document)) for document in documents], show_progress=False)
    for query in ("word3 word4", "title7 word1 word1", "word59"):
        expected = model.get_scores(words(query))
        (results,) = backend.search_words([query], 150)
        assert len(results) == np.count_nonzero(expected)
        for one in results:
            assert one.score == pytest.approx(expected[int(one.document.id[1:])], rel=1e-5)


def test_filters_are_applied_before_anything_is_left_out(tmp_path, model, documents):
    index = build_index(model, documents, tmp_path / "index")
    for mode in ("lexical", "hybrid"):
        everywhere = index.search("word3 word4", top=150, mode=mode)[0]
        there = index.search("word3 word4", top=5, where="source=file1.txt", mode=mode)[0]
        assert all(hit.source == "file1.txt" for hit in there)
        assert len(there) == 5
        if mode == "lexical":
            wanted = [hit.id for hit in everywhere if hit.source == "file1.txt"][:5]
            assert [hit.id for hit in there] == wanted


def test_words_are_written_in_blocks(tmp_path, monkeypatch, documents):
    """A file that is put in order in many steps says the same as one that is in one."""
    texts = [document_text(document) for document in documents]

    def written(name):
        writer = postings.PostingsWriter(tmp_path / name)
        writer.add(texts[:70])
        writer.add(texts[70:])
        writer.close()
        writer.close()
        return postings.Postings(tmp_path / name, (tmp_path / name).read_bytes(), len(texts))

    whole = written("whole")
    monkeypatch.setattr(postings, "_BATCH", 40)
    monkeypatch.setattr(postings, "_READ", 7)
    monkeypatch.setattr(postings, "_IN_MEMORY", 100)
    blocks = written("blocks")
    assert len(whole.batches) == 1
    assert len(blocks.batches) > 5
    assert whole.lengths.tolist() == blocks.lengths.tolist() == [len(words(text)) for text in texts]
    for word in {*(word for text in texts for word in words(text)), "", "zzz", "A"}:
        for left, right in zip(whole.find(word), blocks.find(word)):
            assert left.tolist() == right.tolist()
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "blocks"}


# --- modes -----------------------------------------------------------------------------------------------------


def test_hybrid_is_the_default_and_shows_both_scores(tmp_path, model, documents):
    index = build_index(model, documents, tmp_path / "index")
    answer = index.answer("word3 word4", top=5)
    assert answer.mode == "hybrid"
    assert answer.fusion is not None
    dense = {hit.id: hit.score for hit in index.search("word3 word4", top=150, mode="dense")[0]}
    lexical = {hit.id: hit.score for hit in index.search("word3 word4", top=150, mode="lexical")[0]}
    for hit in answer.hits[0]:
        assert hit.dense == pytest.approx(dense[hit.id], abs=1e-6)
        assert hit.lexical == pytest.approx(lexical.get(hit.id, 0.0), rel=1e-6)
        assert hit.values()["dense"] == hit.dense
    scores = [hit.score for hit in answer.hits[0]]
    assert scores == sorted(scores, reverse=True)
    assert index.statistics().modes == ("hybrid", "dense", "lexical")


def test_a_weight_of_one_or_nothing_is_one_side_alone(tmp_path, model, documents):
    index = build_index(model, documents, tmp_path / "index")
    query = "word3 word4 word9"
    for weight, mode in ((1.0, "dense"), (0.0, "lexical")):
        fused = index.search(query, top=8, dense_weight=weight)[0]
        alone = index.search(query, top=8, mode=mode)[0]
        assert [hit.id for hit in fused] == [hit.id for hit in alone]


def test_vectors_of_a_smaller_size_count_as_much_less_as_they_keep(tmp_path, model, documents):
    """By the card: 4 of 16 dimensions keep 0.3 / 0.5 of full size's nDCG@10, so 0.5 becomes 0.3."""
    cells = [{"dim": 16, "layers": 2, "ndcg@10": 0.5}, {"dim": 4, "layers": 2, "ndcg@10": 0.3}]
    model.card["measurement"] = {"retrieval": [{"name": "task", "cells": cells}]}
    index = build_index(model, documents, tmp_path / "index")
    answer = index.answer("word3 word4", top=8, dim=4)
    assert answer.fusion.dense_weight == pytest.approx(0.3)
    assert answer.hits == index.search("word3 word4", top=8, dim=4, dense_weight=0.3)
    assert index.answer("word3 word4").fusion.dense_weight == 0.5
    assert index.answer("word3 word4", dim=4, dense_weight=0.5).fusion.dense_weight == 0.5
    assert index.answer("word3 word4", dim=4, fusion="ranks").fusion.dense_weight == 0.5
    index.keep_dense_weight(0.8)
    assert index.answer("word3 word4", dim=4).fusion.dense_weight == pytest.approx(0.48)


def test_reciprocal_ranks(tmp_path, model, documents):
    index = build_index(model, documents, tmp_path / "index")
    query = "word3 word4"
    ranks = [
        {hit.id: rank for rank, hit in enumerate(index.search(query, top=100, mode=mode)[0], 1)}
        for mode in ("dense", "lexical")
    ]
    for hit in index.search(query, top=10, fusion="ranks", dense_weight=0.3)[0]:
        parts = [
            weight / (60 + side[hit.id]) if hit.id in side else 0.0 for weight, side in zip((0.3, 0.7), ranks)
        ]
        assert hit.score == pytest.approx(sum(parts), rel=0.05)  # equal scores share a rank


def test_options_that_have_no_effect_are_refused(tmp_path, model, documents):
    index = build_index(model, documents, tmp_path / "index")
    with pytest.raises(ConfigError, match="mode 'lexica' is unknown; use hybrid, dense, lexical"):
        index.search("word3", mode="lexica")
    with pytest.raises(ConfigError, match="dim and layers say how vectors are compared"):
        index.search("word3", mode="lexical", dim=4, layers=2)
    with pytest.raises(
        ConfigError, match=r"dense_weight can be given with mode='hybrid' only; this search is dense"
    ):
        index.search("word3", mode="dense", dense_weight=0.4)
    with pytest.raises(ConfigError, match=r"dense_weight=1\.5 is outside 0 … 1"):
        index.search("word3", dense_weight=1.5)
    with pytest.raises(ConfigError, match="fusion 'rank' is unknown; use scores or ranks"):
        index.search("word3", fusion="rank")
    with pytest.raises(ConfigError, match="top"):
        index.search("word3", mode="lexical", top=0)


def test_a_query_of_unknown_words_finds_by_vectors_alone(tmp_path, model, documents):
    index = build_index(model, documents, tmp_path / "index")
    assert index.search("nowhere", mode="lexical")[0] == []
    hybrid = index.search("nowhere", top=7)[0]
    assert [hit.id for hit in hybrid] == [hit.id for hit in index.search("nowhere", top=7, mode="dense")[0]]
    assert [hit.lexical for hit in hybrid] == [0.0] * 7


def test_lexical_search_needs_no_model(tmp_path, model, documents):
    build_index(model, documents, tmp_path / "index")
    index = open_index(tmp_path / "index")  # its copy of this model could not be loaded
    answer = index.answer(["word3", "word4 word5"], top=3, mode="lexical")
    assert (answer.dim, answer.layers, answer.plan, answer.encode_milliseconds) == (0, 0, None, 0.0)
    assert [len(hits) for hits in answer.hits] == [3, 3]


def test_a_weight_is_learnt_where_queries_are_enough(tmp_path, model):
    """The vectors point away from the documents that are wanted, the words to them."""
    colours = [f"colour{i}" for i in range(30)]
    documents = [Document(id=c, title="", text=f"{c} of a house", source="s", meta={}) for c in colours]
    index = build_index(model, documents, tmp_path / "index")
    encode = model.encode
    model.encode = lambda texts, **options: (
        -encode(texts, **options) if texts[0].startswith("?") else encode(texts, **options)
    )
    queries = [f"? {c}" for c in colours]
    choice = learn_dense_weight(index, queries, [{c: 1} for c in colours])
    assert choice.weight < 0.5
    assert choice.scores[choice.best] == max(choice.scores.values())
    assert choice.scores[choice.weight] > choice.scores[1.0]
    assert choice.gain > choice.standard_error
    one = learn_dense_weight(index, queries[:1], [{"colour0": 1}])
    assert one.weight == 0.5, "one query decides nothing"
    with pytest.raises(DataError, match="2 queries have 1 judgements"):
        learn_dense_weight(index, queries[:2], [{}])
    with pytest.raises(ConfigError, match="name@k"):
        learn_dense_weight(index, queries[:1], [{}], metric="ndcg")


# --- older indexes, damage -------------------------------------------------------------------------------------


def without_words(folder):
    """The index as it was written by format 4."""
    from brickwork.core.files import checksum

    values = json.loads((folder / "manifest.json").read_text())
    values.pop("checksum")
    for segment in values["segments"]:
        (folder / segment["words"]).unlink()
        values["files"].pop(segment.pop("words"))
    values.pop("analyzer")
    values["format"] = 4
    for name in ("manifest.json", "manifest.copy.json"):
        (folder / name).write_text(json.dumps({**values, "checksum": checksum(values)}))


def test_an_older_index_says_so_and_gets_words_by_an_update(tmp_path, model, documents):
    build_index(model, documents, tmp_path / "index", kind="int8").add([replace(documents[0], id="again")])
    without_words(tmp_path / "index")
    assert verify_index(tmp_path / "index") == []
    index = open_index(tmp_path / "index", model)
    answer = index.answer("word3", top=3)
    assert answer.mode == "dense"
    assert "an update of it (--update) adds them" in answer.notes[0]
    assert index.answer("word3", top=3, mode="dense").notes == ()
    for mode in ("lexical", "hybrid"):
        with pytest.raises(ConfigError, match=r"written without the words.*--update"):
            index.search("word3", mode=mode)
    index.add([replace(documents[1], id="and again")])  # changes go on as before
    reader = open_index(tmp_path / "index", model)
    now = [*documents, replace(documents[0], id="again"), replace(documents[1], id="and again")]
    before = model.encoded
    report = index.sync(now)
    assert (report.unchanged, model.encoded) == (152, before)
    assert_lexical(index.backend, "word3 word4")
    assert index.statistics().kinds == ("flat", "int8")
    assert reader.answer("word3", top=3).mode == "dense"
    reader.refresh()
    assert reader.answer("word3", top=3).mode == "hybrid"
    assert verify_index(tmp_path / "index") == []


def test_an_index_may_be_made_without_words(tmp_path, model, documents):
    index = build_index(model, documents, tmp_path / "index", lexical=False)
    answer = index.answer("word3", top=3)
    assert (answer.mode, answer.notes) == ("dense", ())
    with pytest.raises(ConfigError, match="holds no words"):
        index.search("word3", mode="hybrid")
    index.sync(documents)
    assert index.statistics().modes == ("dense",)


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_words_are_found_and_made_anew(tmp_path, model, documents, damage, monkeypatch):
    monkeypatch.setattr("brickwork.representation.load.load_representation", lambda _: model)
    index = build_index(model, documents[:100], tmp_path / "index")
    index.add(documents[100:])
    index.remove("d0")
    before = [(hit.id, hit.score) for hit in index.search("word3 word4", top=50, mode="lexical")[0]]
    path = tmp_path / "index" / index.backend.manifest.segments[0].words
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    name = path.relative_to(tmp_path / "index").as_posix()
    assert [problem.file for problem in verify_index(tmp_path / "index")] == [name]
    with pytest.raises(ArtifactError, match=r"words\.arrow.*--repair"):
        open_index(tmp_path / "index", model)
    report = repair_index(tmp_path / "index")
    assert (report.repaired, report.lost, report.documents) == ((name,), (), 149)
    assert verify_index(tmp_path / "index") == []
    after = open_index(tmp_path / "index", model).search("word3 word4", top=50, mode="lexical")[0]
    assert [(hit.id, hit.score) for hit in after] == before


def test_a_file_of_words_that_lies_is_refused(tmp_path):
    writer = postings.PostingsWriter(tmp_path / "words")
    writer.add(["red green", "green"])
    writer.close()
    content = (tmp_path / "words").read_bytes()
    with pytest.raises(ArtifactError, match="do not fit the documents"):
        postings.Postings(tmp_path / "words", content, 1)
    with pytest.raises(ArtifactError, match="cannot be read"):
        postings.Postings(tmp_path / "words", content[:40], 2)
