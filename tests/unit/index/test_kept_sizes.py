"""An index that keeps less of each vector than the model gives: a prefix, or the signs of one."""

import json

import numpy as np
import pytest
from word_vectors import WordVectors

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.data.types import Document
from brickwork.index.build import build_index
from brickwork.index.index import open_index
from brickwork.index.lifecycle import repair_index, verify_index
from brickwork.representation.export_parquet import document_text


def signs(model, texts, dim):
    return np.where(model.raw(texts, 2)[:, :dim] > 0, 1, -1)


def by_signs(model, documents, query, dim):
    """Cosine of a query's numbers with the signs of each document, in float64."""
    asked = model.raw([query], 2)[0, :dim].astype(np.float64)
    rows = signs(model, [document_text(d) for d in documents], dim)
    return rows @ asked / np.linalg.norm(asked) / dim**0.5


def check_hits(index, model, documents, query, size, top=10, candidates=4, **options):
    """Hits have their cosines, best first, and no document with certainly enough equal bits is missing: which of equally
    many are candidates is not said."""
    (hits,) = index.search(query, top=top, mode="dense", **options)
    ids = [d.id for d in documents]
    cosines = dict(zip(ids, by_signs(model, documents, query, size)))
    scores = [hit.score for hit in hits]
    assert len(hits) == min(top, len(documents))
    assert scores == sorted(scores, reverse=True)
    assert scores == pytest.approx([cosines[hit.id] for hit in hits], abs=1e-6)
    texts = [document_text(d) for d in documents]
    equal = dict(zip(ids, (signs(model, texts, size) == signs(model, [query], size)).sum(1)))
    last = sorted(equal.values(), reverse=True)[min(candidates * top, len(documents)) - 1]
    found = {hit.id for hit in hits}
    for name in ids:
        if equal[name] > last and name not in found:
            assert cosines[name] <= scores[-1] + 1e-6


@pytest.mark.parametrize("dim", [4, 5, 8, 16])
def test_signs_are_compared(tmp_path, model, documents, dim):
    index = build_index(model, documents, tmp_path / "index", dim=dim, codec="bits")
    check_hits(index, model, documents, "word3 word4", dim)
    check_hits(open_index(tmp_path / "index", model), model, documents, "word9", dim)
    (name,) = index.backend.manifest.segments[0].vectors.values()
    assert (tmp_path / "index" / name).stat().st_size == 128 + 150 * -(-dim // 8)


def test_prefixes_of_signs_are_signs_of_prefixes(tmp_path, model, documents):
    index = build_index(model, documents, tmp_path / "index", codec="bits")
    for dim in (2, 4, 8):
        check_hits(index, model, documents, "word3 word4", dim, dim=dim)
    answer = index.answer("word3 word4", top=5, shortlist=40, dim=16, mode="dense")
    assert answer.stages[0][1] == 40
    first = answer.stages[0][0]
    assert answer.bytes_scanned == 150 * -(-first // 8) + 40 * 2
    near = by_signs(model, documents, "word3 word4", first)  # all are candidates: four times 40
    full = by_signs(model, documents, "word3 word4", 16)
    for hit in answer.hits[0]:
        row = int(hit.id[1:])
        assert near[row] >= np.sort(near)[::-1][39] - 1e-6
        assert hit.score == pytest.approx(full[row], abs=1e-6)


def test_vectors_of_the_first_dimensions_alone(tmp_path, model, documents):
    """The same as a search that is cut, from a quarter of the bytes."""
    whole = build_index(model, documents, tmp_path / "whole")
    index = build_index(model, documents, tmp_path / "index", dim=4)
    assert index.contents.dims == (2, 4)
    for query in ("word3 word4", "word9"):
        (expected,) = whole.search(query, dim=4, mode="dense")
        (found,) = index.search(query, mode="dense")
        assert [h.id for h in found] == [h.id for h in expected]
        assert [h.score for h in found] == pytest.approx([h.score for h in expected], abs=1e-6)


@pytest.mark.parametrize("codec", ["float32", "bits"])
def test_changes_keep_the_size(tmp_path, model, documents, codec):
    index = build_index(model, documents[:100], tmp_path / "index", dim=8, codec=codec)
    index.add(documents[100:])
    index.remove([d.id for d in documents[:30]])
    new = Document(id="d40", title="", text="word1 word2", source="x", meta={})
    index.upsert([new])
    now = [*documents[30:40], new, *documents[41:]]
    again = open_index(tmp_path / "index", model)
    assert len(again) == 120
    (hits,) = again.search("word3 word4", top=10, mode="dense")
    texts = [document_text(d) for d in now]
    rows = signs(model, texts, 8) if codec == "bits" else model.raw(texts, 2)[:, :8]
    query = model.raw(["word3 word4"], 2)[0, :8]  # all 120 are few enough to be candidates, or nearly
    cosines = rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
    assert [h.score for h in hits] == pytest.approx(np.sort(cosines)[::-1][:10].tolist(), abs=0.05)
    if codec == "float32":
        assert [h.score for h in hits] == pytest.approx(np.sort(cosines)[::-1][:10].tolist(), abs=1e-5)
    assert again.contents.width == 8
    assert again.contents.codec == codec


def test_filters_and_words_work_with_bits(tmp_path, model, documents):
    index = build_index(model, documents, tmp_path / "index", dim=8, codec="bits")
    some = [d for d in documents if d.meta["row"] < 40]
    check_hits(index, model, some, "word3 word4", 8, where="row < 40")
    few = [d for d in documents if d.meta["row"] < 12]
    check_hits(index, model, few, "word3 word4", 8, where="row < 12")
    (hits,) = index.search("word3 word4", top=5)
    assert len(hits) == 5
    assert {hit.dense is not None or hit.lexical is not None for hit in hits} == {True}


def test_damaged_bits_are_found_and_made_again(tmp_path, model, documents):
    index = build_index(model, documents, tmp_path / "index", dim=8, codec="bits")
    (name,) = index.backend.manifest.segments[0].vectors.values()
    file = tmp_path / "index" / name
    data = bytearray(file.read_bytes())
    data[-1] ^= 0xFF
    file.write_bytes(bytes(data))
    assert verify_index(tmp_path / "index")
    repair_index(tmp_path / "index", model)
    assert not verify_index(tmp_path / "index")
    check_hits(open_index(tmp_path / "index", model), model, documents, "word3 word4", 8)


def test_an_index_of_before_has_no_codec_and_is_one_of_numbers(tmp_path, model, documents):
    build_index(model, documents, tmp_path / "index")
    from brickwork.core.files import checksum

    for name in ("manifest.json", "manifest.copy.json"):
        file = tmp_path / "index" / name
        manifest = json.loads(file.read_text())
        del manifest["contents"]["codec"]
        if "checksum" in manifest:
            del manifest["checksum"]
            manifest["checksum"] = checksum(manifest)
        file.write_text(json.dumps(manifest))
    index = open_index(tmp_path / "index", model)
    assert index.contents.codec == "float32"
    assert len(index.search("word3", mode="dense")[0]) == 10


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dim": 17}, "17"),
        ({"codec": "bits", "kind": "hnsw"}, "bits are compared as they are"),
        ({"codec": "bits", "store": "postgresql://x@y/z"}, "kept in the folder"),
    ],
)
def test_what_cannot_be_kept(tmp_path, model, documents, options, says):
    with pytest.raises(ConfigError, match=says):
        build_index(model, documents, tmp_path / "index", **options)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("options", [{"dim": 8}, {"codec": "bits"}, {"dim": 8, "codec": "bits"}])
def test_vectors_with_parts_are_kept_whole(tmp_path, documents, options):
    """A cut part would have another length, and a query for it other scores."""

    class Parted(WordVectors):
        parts = ("invariant", "equivariant")

        def asked(self, vector, part, change):
            return vector

        def share(self, part):
            return 1.0

    with pytest.raises(ConfigError, match="parts \\(invariant, equivariant\\)"):
        build_index(Parted(), documents, tmp_path / "index", **options)
    assert not (tmp_path / "index").exists()
    assert len(build_index(Parted(), documents, tmp_path / "index")) == 150


def test_an_index_of_another_form_than_its_manifest_says(tmp_path, model, documents):
    build_index(model, documents, tmp_path / "index", dim=8, codec="bits")
    from brickwork.core.files import checksum

    for name in ("manifest.json", "manifest.copy.json"):
        file = tmp_path / "index" / name
        manifest = json.loads(file.read_text())
        manifest["contents"]["codec"] = "float32"
        if "checksum" in manifest:
            del manifest["checksum"]
            manifest["checksum"] = checksum(manifest)
        file.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="does not hold vectors of width 8 as float32"):
        open_index(tmp_path / "index", model)
