"""Vectors on disk are those in memory, also after kills; the folder opens in other tools."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.data.types import Document
from brickwork.representation import export_parquet
from brickwork.representation.export_parquet import document_text, encode_to_disk, read_vectors

from .conftest import make_texts


def documents(count: int) -> list[Document]:
    return [
        Document(id=f"d{i}", title=f"title {i}", text=text, source="test")
        for i, text in enumerate(make_texts(count))
    ]


def read_all(folder: Path) -> tuple[list[str], np.ndarray]:
    parts = list(read_vectors(folder))
    return [name for ids, _ in parts for name in ids], np.concatenate([vectors for _, vectors in parts])


def test_the_vectors_are_those_of_encode(model, tmp_path):
    docs = documents(25)
    result = encode_to_disk(model, iter(docs), tmp_path / "v", dim=8, layers=2, shard_size=10)
    assert result == {"documents": 25, "shards": 3, "reused": 0, "dim": 8, "layers": 2}
    ids, vectors = read_all(tmp_path / "v")
    assert ids == [d.id for d in docs]
    expected = model.encode([f"{d.title}\n{d.text}" for d in docs], dim=8, layers=2)
    assert_allclose(vectors, expected, atol=0.02)  # bf16: other batches round differently
    # And as somebody else reads it, without our code.
    table = pq.read_table([tmp_path / "v" / f"vectors-0000{i}.parquet" for i in range(3)]).to_pydict()
    assert table["title"] == [d.title for d in docs]
    assert table["text"] == [d.text for d in docs]
    assert_array_equal(np.array(table["vector"], dtype=np.float32), vectors)


def test_strings_have_their_row_as_id_and_float16_is_half(model, tmp_path):
    texts = make_texts(12)
    encode_to_disk(model, texts, tmp_path / "v", dtype="float16", precision="fp32", progress=True)
    ids, vectors = read_all(tmp_path / "v")
    assert ids == [str(i) for i in range(12)]
    assert vectors.dtype == np.float16
    assert_allclose(vectors.astype(np.float32), model.encode(texts, precision="fp32"), atol=1e-3)


def test_a_title_is_not_encoded_twice():
    def text(title, body):
        return document_text(Document(id="0", title=title, text=body, source=""))

    assert text("", "body") == "body"
    assert text("body", "body starts so") == "body starts so"
    assert text("title", "body") == "title\nbody"


PROGRAM = """
import json, sys, time, torch
torch.set_num_threads(1)
from brickwork.representation.load import load_representation
from brickwork.representation.export_parquet import encode_to_disk
texts = json.load(open(sys.argv[2]))
def slowly():
    for i, text in enumerate(texts):
        if i % 4 == 0:
            time.sleep(0.02)
        yield text
print("ready", flush=True)
encode_to_disk(load_representation(sys.argv[1]), slowly(), sys.argv[3], shard_size=8, precision="fp32")
"""


def test_killed_twice_it_goes_on_and_ends_the_same(model, tmp_path):
    texts, out = make_texts(160), tmp_path / "v"
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    model.save(tmp_path / "model")
    arguments = [str(tmp_path / name) for name in ("model", "texts.json", "v")]
    kept = []
    for shards in (3, 11):
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE)
        deadline = time.monotonic() + 120
        while not (out / f"vectors-{shards:05d}.parquet").exists():
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        finished = json.loads((out / "vectors.json").read_text())["shards"]
        assert shards <= len(finished) < 20
        kept.append({s["file"]: (out / s["file"]).stat().st_mtime_ns for s in finished})
    (out / ".partial-left.parquet").write_bytes(b"half")
    result = encode_to_disk(model, texts, out, shard_size=8, precision="fp32")
    assert result["documents"] == 160
    assert result["reused"] == 8 * len(kept[1]) > 80
    for times in kept:  # finished shards were not written again
        assert all((out / name).stat().st_mtime_ns == written for name, written in times.items())
    _, vectors = read_all(out)
    whole = encode_to_disk(model, texts, tmp_path / "whole", shard_size=8, precision="fp32")
    assert whole["reused"] == 0
    assert_array_equal(vectors, read_all(tmp_path / "whole")[1])
    assert_allclose(vectors, model.encode(texts, precision="fp32"), atol=2e-6)
    assert not list(out.glob(".partial-*"))
    again = encode_to_disk(model, texts, out, shard_size=8, precision="fp32")
    assert again["reused"] == 160


@pytest.fixture
def folder(model, tmp_path) -> Path:
    encode_to_disk(model, documents(20), tmp_path / "v", shard_size=8)
    return tmp_path / "v"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"dim": 8}, "dim"),
        ({"layers": 1}, "layers"),
        ({"dtype": "float16"}, "dtype"),
        ({"shard_size": 9}, "shard_size"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(model, folder, options, name):
    with pytest.raises(ConfigError, match=f"begun with {name}="):
        encode_to_disk(model, documents(20), folder, **{"shard_size": 8, **options})


def test_another_model_is_refused(static_model, folder):
    with pytest.raises(ConfigError, match="begun with model="):
        encode_to_disk(static_model, documents(20), folder, layers=1, shard_size=8)


def test_a_changed_input_is_noticed(model, folder):
    changed = documents(20)
    changed[3] = Document(id="d3", title="title 3", text="other", source="test")
    with pytest.raises(DataError, match="documents of shard 0 differ"):
        encode_to_disk(model, changed, folder, shard_size=8)
    with pytest.raises(DataError, match="documents of shard 2 differ"):
        encode_to_disk(model, documents(21), folder, shard_size=8)
    with pytest.raises(DataError, match="differ"):
        encode_to_disk(model, documents(5), folder, shard_size=8)


def test_more_documents_after_the_end_are_refused(model, tmp_path):
    encode_to_disk(model, documents(16), tmp_path / "v", shard_size=8)
    with pytest.raises(DataError, match="finished with 16 documents"):
        encode_to_disk(model, documents(20), tmp_path / "v", shard_size=8)


def test_a_damaged_shard_is_named(model, folder):
    path = folder / "vectors-00001.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"vectors-00001\.parquet"):
        encode_to_disk(model, documents(20), folder, shard_size=8)
    with pytest.raises(ArtifactError, match=r"vectors-00001\.parquet"):
        read_all(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(format_version=2),
        lambda m: m["shards"][0].update(file="../../etc/passwd"),
        lambda m: m["shards"][0].pop("documents"),
        lambda m: m.pop("dim"),
    ],
)
def test_a_damaged_manifest_is_refused(model, folder, change):
    manifest = json.loads((folder / "vectors.json").read_text())
    change(manifest)
    manifest.pop("checksum")
    (folder / "vectors.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"vectors\.json"):
        encode_to_disk(model, documents(20), folder, shard_size=8)


def test_nothing_to_encode_and_a_folder_of_something_else(model, tmp_path):
    with pytest.raises(DataError, match="no documents"):
        encode_to_disk(model, [], tmp_path / "v")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="not empty"):
        encode_to_disk(model, ["a"], tmp_path / "other")
    for options in ({"dtype": "int8"}, {"shard_size": 0}):
        with pytest.raises(ConfigError):
            encode_to_disk(model, ["a"], tmp_path / "v", **options)


def test_long_texts_end_a_shard_early(model, tmp_path, monkeypatch):
    monkeypatch.setattr(export_parquet, "SHARD_CHARACTERS", 100)
    result = encode_to_disk(model, ["cat " * 10] * 5, tmp_path / "v")
    assert result["shards"] == 3  # two texts of 40 characters fit into 100


def test_lone_surrogates_do_not_stop_it(model, tmp_path):
    encode_to_disk(model, ["bad \ud800 text", "good"], tmp_path / "v")
    table = pq.read_table(tmp_path / "v" / "vectors-00000.parquet")
    assert table["text"].to_pylist() == ["bad \ufffd text", "good"]
