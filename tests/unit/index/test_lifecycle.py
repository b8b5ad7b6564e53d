"""Damage found and repaired: afterwards the index must answer as before, or say what is lost."""

import numpy as np
import pytest

from brickwork.core.errors import ArtifactError
from brickwork.index.build import build_index
from brickwork.index.index import open_index
from brickwork.index.lifecycle import repair_index, verify_index


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 0x01
    path.write_bytes(content)


def cut(path, _):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove(path, _):
    path.unlink()


@pytest.fixture
def folder(tmp_path, model, documents, monkeypatch):
    """An index with two segments and a removed document, opened with the test's model."""
    index = build_index(model, documents[:100], tmp_path / "index", kind="int8")
    index.add(documents[100:110])
    index.remove("d0")
    monkeypatch.setattr("brickwork.representation.load.load_representation", lambda _: model)
    return tmp_path / "index"


def everything(folder, model, mode="hybrid"):
    """Ids, scores and texts of a search that finds all documents, and the documents in their order."""
    index = open_index(folder, model)
    hits = index.search("word3 word4", top=200, dim=16, mode=mode)[0]
    return [h.id for h in hits], np.array([h.score for h in hits]), list(index.backend.documents())


def test_an_index_in_order_has_no_problems_and_needs_no_repair(folder, model):
    before = open_index(folder, model).backend.manifest
    assert verify_index(folder) == []
    report = repair_index(folder)
    assert (report.documents, report.repaired, report.lost) == (109, (), ())
    assert open_index(folder, model).backend.manifest == before


@pytest.mark.parametrize("damage", [flip, cut, remove])
@pytest.mark.parametrize("pattern", ["segments/*2/vectors-2*", "segments/*4/vectors-2*", "shortlists/int8*"])
def test_vectors_and_shortlists_are_made_anew(folder, model, pattern, damage):
    ids, scores, documents = everything(folder, model)
    (path,) = folder.glob(pattern)
    damage(path, -100)
    name = path.relative_to(folder).as_posix()
    assert [problem.file for problem in verify_index(folder)] == [name]
    with pytest.raises(ArtifactError, match=f"{path.name}.*--repair"):
        open_index(folder, model)
    report = repair_index(folder)
    assert report.repaired == (name,)
    assert report.lost == ()
    assert verify_index(folder) == []
    again = everything(folder, model)
    assert again[0] == ids
    np.testing.assert_allclose(again[1], scores, atol=1e-6)
    assert again[2] == documents
    assert open_index(folder, model).statistics().kinds == ("flat", "int8")


def test_of_damaged_documents_only_the_damaged_are_lost_and_named(folder, model):
    ids, _, documents = everything(folder, model, "dense")
    (path,) = folder.glob("segments/*2/documents.arrow")
    flip(path, path.read_bytes().index(documents[40].text.encode()) + 1)
    report = repair_index(folder)
    assert report.lost == (f"the document '{documents[40].id}'",)
    assert report.documents == 108
    again = everything(folder, model, "dense")  # what BM25 says of the others depends on how many there are
    assert again[0] == [name for name in ids if name != documents[40].id]
    assert again[2] == [*documents[:40], *documents[41:]]


def test_documents_whose_file_was_cut_are_counted(tmp_path, model, documents, monkeypatch):
    """Two batches are written of 600 documents; the second and the end of the file are cut off."""
    from dataclasses import replace

    monkeypatch.setattr("brickwork.representation.load.load_representation", lambda _: model)
    many = [replace(documents[n % 150], id=f"n{n}") for n in range(600)]
    build_index(model, many, tmp_path / "index")
    (path,) = (tmp_path / "index").glob("segments/*/documents.arrow")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"n520")])
    report = repair_index(tmp_path / "index")
    assert report.documents == 512
    assert len(report.lost) == 1
    assert report.lost[0].startswith("88 documents of")
    assert list(open_index(tmp_path / "index", model).backend.ids()) == [f"n{n}" for n in range(512)]


def test_a_file_of_documents_that_is_gone_loses_its_segment_and_says_so(folder, model):
    next(folder.glob("segments/*2/documents.arrow")).unlink()
    report = repair_index(folder)
    assert report.documents == 10
    assert report.lost[0].startswith("100 documents of")
    assert verify_index(folder) == []


def test_lost_marks_bring_removed_documents_back_but_no_replaced_ones(folder, model, documents):
    index = open_index(folder, model)
    index.upsert([documents[5]])
    next(folder.glob("removed-*")).unlink()
    report = repair_index(folder)
    assert "removed ones are back" in report.lost[0]
    assert sorted(open_index(folder, model).backend.ids()) == sorted(d.id for d in documents[:110])


@pytest.mark.parametrize("damage", [flip, cut])
def test_a_damaged_manifest_is_taken_from_its_copy(folder, model, damage):
    before = everything(folder, model)[0]
    damage(folder / "manifest.json", 300)
    assert [problem.file for problem in verify_index(folder)] == ["manifest.json"]
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        open_index(folder, model)
    assert repair_index(folder).repaired == ("manifest.json",)
    assert everything(folder, model)[0] == before
    damage(folder / "manifest.json", 300)
    damage(folder / "manifest.copy.json", 300)
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        repair_index(folder)


def test_a_damaged_model_needs_a_good_copy(folder, model):
    flip(folder / "model" / "brickwork.json", 3)
    with pytest.raises(ArtifactError, match=r"model.*words-0.*--repair --model"):
        repair_index(folder)
    with pytest.raises(ArtifactError, match="words-0"):
        repair_index(folder, type(model)(seed=1))
    before = [path.name for path in folder.iterdir()]
    assert repair_index(folder, model).repaired == ("model/brickwork.json",)
    assert len(before) == len(list(folder.iterdir()))
    assert open_index(folder).search("word3")[0]


def test_a_folder_that_is_no_index_is_not_repaired(tmp_path):
    for call in (verify_index, repair_index):
        with pytest.raises(ArtifactError, match="is not an index"):
            call(tmp_path)
    assert list(tmp_path.iterdir()) == []
