"""The catalogue, where sets are looked for, and downloads of official files (made up here)."""

import dataclasses
import hashlib
import io
import json
import tarfile
import urllib.error
import urllib.request
import zipfile

import numpy as np
import pytest

from brickwork.core.errors import DataError
from brickwork.data.config import DataConfig
from brickwork.data.load import load_task
from brickwork.data.sets import downloads, source, sources
from brickwork.data.sets.images import PARTS
from brickwork.data.sets.texts import TASKS
from brickwork.systems.multimodn.sets import SETS


@pytest.fixture(autouse=True)
def _nothing_here(tmp_path, monkeypatch):
    monkeypatch.delenv("BRICKWORK_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_every_entry_says_what_whose_and_where():
    entries = sources.catalogue()
    names = [entry.name for entry in entries]
    assert len(set(names)) == len(names)
    for entry in entries:
        assert all((entry.what, entry.licence, entry.citation, entry.url.startswith("http")))
        assert bool(entry.download) == bool(entry.sha256)
        assert not entry.sha256 or len(entry.sha256) == 64
        assert entry.where()
    assert {entry.name for entry in entries if entry.task} == {*TASKS, *PARTS, *SETS}
    assert {entry.name for entry in entries if entry.download} == set(downloads._CONVERTERS)
    assert {entry.name for entry in entries if entry.is_present()} == {
        "python", "toy", "digits", "toy_ward", "digits_quadrants", "digits_and_noise", "breast_cancer",
    }  # fmt: skip


def test_a_set_is_found_in_the_given_folder_and_then_in_the_cache(tmp_path, monkeypatch):
    vaswani = sources.source("vaswani")
    assert vaswani.folder() is None
    cached = source.cache_folder() / "data"
    for root in (cached, tmp_path / "mine"):
        for file in vaswani.files:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).touch()
    assert sources.locate("vaswani") == cached
    monkeypatch.setenv("BRICKWORK_DATA", str(tmp_path / "mine"))
    assert sources.locate("vaswani") == tmp_path / "mine"
    (tmp_path / "mine" / vaswani.files[0]).unlink()
    assert sources.locate("vaswani") == cached


def test_an_absent_set_says_where_to_get_it_and_where_to_put_it():
    with pytest.raises(DataError) as error:
        load_task(DataConfig(source="nfcorpus"), 0)
    assert str(error.value) == (
        "the data set 'nfcorpus' is not on this machine and has no single official file to download: "
        "get it from https://www.cl.uni-heidelberg.de/statnlpgroup/nfcorpus/ and set BRICKWORK_DATA to a "
        "folder that holds retrieval/nfcorpus_docs.parquet, retrieval/nfcorpus_queries.parquet, "
        "retrieval/nfcorpus_qrels.parquet"
    )
    with pytest.raises(DataError, match="unknown data set 'mnis': did you mean 'mnist'"):
        sources.locate("mnis")
    with pytest.raises(DataError, match="'emoji' is listed for later systems"):
        load_task(DataConfig(source="emoji"), 0)


def serve(monkeypatch, name, payload, *, sha256=None):
    """Makes ``payload`` the official file of a set."""
    results = dataclasses.replace(
        sources.source(name),
        sha256=sha256 or hashlib.sha256(payload).hexdigest(),
        download="https://x.test/f.bin",
    )
    others = [s for s in sources.SOURCES if s.name != name]
    monkeypatch.setattr(sources, "SOURCES", (results, *others))
    asked = []

    class Answer(io.BytesIO):
        headers = {"Content-Length": str(len(payload))}  # noqa: RUF012

    def urlopen(url, timeout):
        asked.append(url)
        return Answer(payload)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


def test_mnist_is_downloaded_once_and_read(monkeypatch):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (40, 28, 28), dtype=np.uint8),
        "y_train": np.arange(40, dtype=np.uint8) % 10,
        "x_test": rng.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "y_test": np.arange(20, dtype=np.uint8) % 10,
    }
    file = io.BytesIO()
    np.savez(file, **arrays)
    asked = serve(monkeypatch, "mnist", file.getvalue())
    for _ in range(2):
        task = load_task(DataConfig(source="mnist"), 0)
        assert np.array_equal(task.test.columns["input"][..., 0], arrays["x_test"])
        assert np.array_equal(task.test.columns["label"], arrays["y_test"])
        assert len(task.train) + len(task.validation) == 40
    assert asked == ["https://x.test/f.bin"]
    assert not list((source.cache_folder() / "downloads").iterdir())


def test_cifar10_binaries_become_the_same_pixels(monkeypatch):
    rng = np.random.default_rng(0)
    records = rng.integers(0, 256, (6, 30, 3073), dtype=np.uint8)
    records[:, :, 0] = np.arange(30) % 10
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        files = {f"data_batch_{n}.bin": records[n - 1].tobytes() for n in range(1, 6)}
        files |= {"test_batch.bin": records[5].tobytes(), "batches.meta.txt": "\n".join(names).encode()}
        for name, content in files.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    serve(monkeypatch, "cifar10", buffer.getvalue())
    task = load_task(DataConfig(source="cifar10"), 0)
    assert task.class_names == tuple(names)
    image = task.test.columns["input"][7]
    # Oracle: the layout as the authors describe it: 1,024 bytes of red, then green, then blue, row by row.
    for channel in range(3):
        plane = records[5, 7, 1 + 1024 * channel : 1 + 1024 * (channel + 1)]
        assert np.array_equal(image[:, :, channel].ravel(), plane)
    assert task.test.columns["label"].tolist() == [n % 10 for n in range(30)]


def test_snli_is_read_from_the_official_archive(monkeypatch):
    def rows(part):
        for n in range(30):
            for label in ("entailment", "contradiction", "neutral", "-"):
                yield {"sentence1": f"{part} {n}", "sentence2": f"{part} {n} {label}", "gold_label": label}

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for part in ("dev", "test"):
            content = "".join(json.dumps(row) + "\n" for row in rows(part))
            file.writestr(f"snli_1.0/snli_1.0_{part}.jsonl", content)
    serve(monkeypatch, "nli_snli", buffer.getvalue())
    task = load_task(DataConfig(source="nli_snli"), 0)
    assert sorted(zip(*(task.test.columns[c] for c in ("anchor", "positive", "negative")))) == sorted(
        (f"test {n}", f"test {n} entailment", f"test {n} contradiction") for n in range(30)
    )


def test_another_file_than_the_known_one_is_refused_and_removed(monkeypatch):
    serve(monkeypatch, "mnist", b"something else", sha256="0" * 64)
    with pytest.raises(DataError, match=r"gave a file with SHA-256 .* expected 0000"):
        load_task(DataConfig(source="mnist"), 0)
    assert not [path for path in source.cache_folder().rglob("*") if path.is_file()]


def test_without_a_network_the_message_tells_both_ways(monkeypatch):
    def urlopen(url, timeout):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(DataError) as error:
        load_task(DataConfig(source="mnist"), 0)
    for part in ("'mnist'", "no route to host", "BRICKWORK_DATA", "mnist/mnist.npz", "https://storage.g"):
        assert part in str(error.value)
