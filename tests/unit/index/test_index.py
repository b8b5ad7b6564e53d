"""The index as a folder: what is stored, what is found, what is refused."""

import json
import shutil

import numpy as np
import pytest

from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.data.types import Document
from brickwork.index.build import build_index
from brickwork.index.index import open_index
from brickwork.representation.export_parquet import document_text


def oracle(model, documents, query, dim=16, layers=2):
    """Ids by cosine of prefixes, in float64."""
    vectors = model.raw([document_text(d) for d in documents], layers)[:, :dim].astype(np.float64)
    asked = model.raw([query], layers)[0, :dim].astype(np.float64)
    results = vectors @ asked / np.linalg.norm(vectors, axis=1) / np.linalg.norm(asked)
    order = np.argsort(-results, kind="stable")
    return [documents[i].id for i in order], results[order]


def test_hits_are_the_nearest_documents_with_their_texts(tmp_path, model, documents):
    index = build_index(model, documents, tmp_path / "index")
    assert len(index) == 150
    (hits,) = index.search("word3 word4", top=7, mode="dense")
    ids, scores = oracle(model, documents, "word3 word4")
    assert [hit.id for hit in hits] == ids[:7]
    assert [hit.score for hit in hits] == pytest.approx(scores[:7].tolist(), abs=1e-6)
    for hit in hits:
        document = documents[int(hit.id[1:])]
        assert (hit.title, hit.text, hit.source) == (document.title, document.text, document.source)


@pytest.mark.parametrize("dim", [2, 5, 8])
def test_prefixes_of_any_size_are_searched_and_noted(tmp_path, model, documents, dim):
    index = build_index(model, documents, tmp_path / "index")
    answer = index.answer(["word3 word4", "word9"], top=5, dim=dim, mode="dense")
    for hits, query in zip(answer.hits, ("word3 word4", "word9")):
        assert [hit.id for hit in hits] == oracle(model, documents, query, dim=dim)[0][:5]
    assert answer.dim == dim
    assert bool(answer.notes) is (dim == 5)


def test_every_stored_depth_is_searched(tmp_path, model, documents, exits):
    index = build_index(model, documents, tmp_path / "index", layers=(1, 2))
    for layers in (1, 2):
        (hits,) = index.search("word3", layers=layers, dim=8, mode="dense")
        assert [hit.id for hit in hits] == oracle(model, documents, "word3", dim=8, layers=layers)[0][:10]


def test_a_depth_that_is_not_stored_says_what_to_do(tmp_path, model, documents):
    index = build_index(model, documents, tmp_path / "index")
    with pytest.raises(ConfigError, match=r"layers=1 is not in this index, which holds \[2\].*--layers"):
        index.search("word3", layers=1)


def test_shortlist_and_funnel_equal_their_stages(tmp_path, model, documents):
    index = build_index(model, documents, tmp_path / "index")
    (full,) = index.search("word3 word4", top=5, mode="dense")
    (everything,) = index.search("word3 word4", top=5, shortlist=150, mode="dense")
    assert [h.id for h in everything] == [h.id for h in full]
    assert [h.score for h in everything] == pytest.approx([h.score for h in full], abs=1e-6)
    short = index.answer("word3 word4", top=5, shortlist=20, mode="dense")
    candidates = oracle(model, documents, "word3 word4", dim=2)[0][:20]
    reranked = [i for i in oracle(model, documents, "word3 word4")[0] if i in candidates]
    assert [h.id for h in short.hits[0]] == reranked[:5]
    assert short.stages == ((2, 20), (16, 5))
    assert (short.flops, short.bytes_scanned) == (2 * (150 * 2 + 20 * 16), 4 * (150 * 2 + 20 * 16))
    assert index.answer("word3", top=5, funnel=True, mode="dense").stages == (
        (2, 200),
        (4, 100),
        (8, 50),
        (16, 5),
    )
    assert index.answer("word3", top=5, funnel=[(4, 30)], mode="dense").stages == ((4, 30), (16, 5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "top=0"),
        ({"shortlist": 3}, "shortlist=3 is less than top=10"),
        ({"funnel": [(4, 3)]}, "keeps less than top=10"),
        ({"funnel": [(99, 30)]}, "dim=99 is outside"),
        ({"shortlist": 30, "funnel": True}, "exclude each other"),
        ({"dim": 17}, "dim=17 is outside"),
        ({"layers": 3}, "layers=3 is outside"),
    ],
)
def test_wrong_requests_are_refused(tmp_path, model, documents, options, message):
    index = build_index(model, documents, tmp_path / "index")
    with pytest.raises(ConfigError, match=message):
        index.search("word3", **options)


def test_more_results_than_documents_and_no_query(tmp_path, model, documents):
    index = build_index(model, documents[:3], tmp_path / "index")
    assert len(index.search("word3", top=50)[0]) == 3
    assert len(index.search("word3", top=50, shortlist=60)[0]) == 3
    assert index.search([]) == []
    with pytest.raises(ConfigError, match="query 2 of 2 is empty"):
        index.search(["word3", "  "])


def test_opened_again_in_another_place(tmp_path, model, documents):
    built = build_index(model, documents, tmp_path / "index")
    before = built.search(["word3", "word4 word5"])
    shutil.move(tmp_path / "index", tmp_path / "moved")
    assert open_index(tmp_path / "moved", model).search(["word3", "word4 word5"]) == before


def test_the_model_comes_from_the_index_when_none_is_given(tmp_path, model, documents, monkeypatch):
    build_index(model, documents, tmp_path / "index")
    asked = []
    monkeypatch.setattr(
        "brickwork.representation.load.load_representation", lambda folder: asked.append(folder) or model
    )
    index = open_index(tmp_path / "index")
    assert asked == []  # nothing is loaded before the first query
    assert index.search("word3")[0]
    assert asked == [tmp_path / "index" / "model"]


def test_another_model_is_refused(tmp_path, model, documents):
    build_index(model, documents, tmp_path / "index")
    with pytest.raises(ArtifactError, match="built with model words-0, not words-1"):
        open_index(tmp_path / "index", type(model)(seed=1))


@pytest.mark.parametrize(
    "name", ["documents.arrow", "vectors-2.safetensors", "model/brickwork.json", "manifest.json"]
)
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_files_are_refused_by_name(tmp_path, model, documents, name, damage):
    build_index(model, documents, tmp_path / "index")
    (path,) = (tmp_path / "index").rglob(name)
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=name):
        open_index(tmp_path / "index", model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99.*update Brickwork"),
        ({"format": "2"}, "format 2"),
        ({"generation": 30}, "checksum"),
        ({"checksum": "0" * 64}, "checksum"),
    ],
)
def test_a_manifest_that_was_changed_is_refused(tmp_path, model, documents, change, message):
    build_index(model, documents, tmp_path / "index")
    path = tmp_path / "index" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ArtifactError, match=message):
        open_index(tmp_path / "index", model)


def test_missing_folder_says_how_to_make_one(tmp_path, model):
    with pytest.raises(ArtifactError, match="brickwork index"):
        open_index(tmp_path / "nothing", model)


def test_nothing_to_index_leaves_nothing(tmp_path, model):
    with pytest.raises(DataError, match="no documents"):
        build_index(model, [], tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_index_and_no_leftovers(tmp_path, model, documents):
    build_index(model, documents[:10], tmp_path / "index")

    def breaking():
        yield from documents
        raise RuntimeError("the reader failed")

    with pytest.raises(RuntimeError, match="the reader failed"):
        build_index(model, breaking(), tmp_path / "index")
    assert len(open_index(tmp_path / "index", model)) == 10
    assert [p.name for p in tmp_path.iterdir()] == ["index"]
    assert len(build_index(model, documents, tmp_path / "index")) == 150


def test_a_folder_with_something_else_is_not_replaced(tmp_path, model, documents):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not an index"):
        build_index(model, documents, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_vector_that_is_not_finite_names_the_document(tmp_path, model, documents, monkeypatch):
    encode = model.encode

    def broken(inputs, **options):
        vectors = encode(inputs, **options)
        vectors[7, 3] = np.nan
        return vectors

    monkeypatch.setattr(model, "encode", broken)
    with pytest.raises(DataError, match="'d7'"):
        build_index(model, documents, tmp_path / "index")


def test_documents_are_streamed(tmp_path, model):
    """Never more than one batch of documents is taken ahead of what was encoded."""
    ahead = []

    def stream():
        for i in range(2000):
            ahead.append(i - model.encoded)
            yield Document(id=str(i), title="", text=f"word{i % 7}", source="s", meta={})

    index = build_index(model, stream(), tmp_path / "index", progress=True)
    assert max(ahead) <= 512
    assert len(index) == 2000


def test_documents_come_back_as_they_were(tmp_path, model, documents):
    index = build_index(model, documents, tmp_path / "index")
    assert index.get([d.id for d in reversed(documents)]) == documents[::-1]
    assert list(index.backend.documents()) == documents


def test_a_query_that_says_nothing_to_the_model_is_told(tmp_path, model, documents, monkeypatch):
    """Its vector is 0: every document is as far from it."""
    index, known = build_index(model, documents, tmp_path / "index"), model.vector
    monkeypatch.setattr(
        model,
        "vector",
        lambda word, layers: 0 * known(word, layers) if word == "zzz" else known(word, layers),
    )
    assert "no word of 1 of 2 queries" in " ".join(index.answer(["zzz", "word3"], mode="dense").notes)
    assert "knows no word" not in " ".join(index.answer("word3", mode="dense").notes)
