"""Texts, tables and images as they should not be: through reading, encoding, indexing and searching (R7, R8, R14)."""

import csv
import json
import random
import time
import warnings

import artifacts
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faults import in_child, mutate, mutate_json

from brickwork.api import train as api
from brickwork.core import registry
from brickwork.core.config import override
from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import BrickworkError, BrickworkWarning, DataError
from brickwork.data.config import DataConfig
from brickwork.data.load import load_task, read_documents
from brickwork.encoders.config import ImageEncoderConfig
from brickwork.encoders.image import ImageEncoder
from brickwork.index.build import build_index
from brickwork.index.index import open_index
from brickwork.representation.model import Representation
from brickwork.training.run import run_from_dict, run_to_dict

SECONDS = 5

HORRORS = {
    "NUL": "a\0b\0",
    "lone surrogate": "half \ud83d here",
    "surrogates the wrong way round": "\udc00\ud800",
    "right-to-left override": "abc\u202edef\u202c",
    "bidirectional marks": "\u200f\u200e\u061c\u2066x\u2069",
    "zero-width": "z\u200be\u200cr\u200do\ufeff",
    "one emoji of seven code points": "👩‍👩‍👧‍👦" * 50,
    "flags and skin tones": "🇩🇪🇯🇵👍🏿",
    "combining marks": "Z" + "\u0301\u0323\u0335" * 500,
    "ligature of eighteen letters": "ﷺ" * 200,
    "line separators": "a\u2028b\u2029c\u0085d\x0be\x0cf",
    "mixed line ends": "a\rb\nc\r\nd",
    "control characters": "".join(map(chr, range(1, 32))) + "\x7f\x9f",
    "non-characters": "\ufffe\uffff\U0010ffff",
    "private use": "\ue000\U000f0000",
    "full width and mathematics": "ＡＢＣ 𝒶𝒷𝒸 ①②③",
    "Turkish i": "İIıi ß ŉ",
    "Thai and Khmer without spaces": "ภาษาไทยไม่มีช่องว่าง ភាសាខ្មែរ",
    "only spaces": " \t\u00a0\u3000\u2009 ",
    "nothing": "",
    "a word of a million letters": "x" * 1_000_000,
    "a line of ten megabytes": "word " * 2_000_000,
    "marks of a tokenizer": "[CLS] [SEP] [PAD] [MASK] [UNK]",
    "markup": "<script>alert(1)</script> '; DROP TABLE documents; --",
    "formats": "{0} %s %n ${HOME} `id` \\x00 \\u0000",
    "a path": "../../etc/passwd",
    "numbers": "NaN inf -0 1e400 0x1p-1074",
}


def write(path, rows):
    """The rows in the format that the name asks for; a lone surrogate as the bytes that broken programs write."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        with open(path, "w", newline="", encoding="utf-8", errors="surrogatepass") as file:
            writer = csv.DictWriter(file, ["id", "text"])
            writer.writeheader()
            writer.writerows(rows)
    else:
        raw = [row["text"].encode("utf-8", "surrogatepass") for row in rows]
        offsets = np.cumsum([0, *map(len, raw)]).astype(np.int64)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(raw))]
        texts = pa.Array.from_buffers(pa.large_string(), len(raw), buffers)
        pq.write_table(pa.table({"id": [row["id"] for row in rows], "text": texts}), path)


@pytest.mark.parametrize("name", ["horrors.jsonl", "horrors.csv", "horrors.parquet"])
def test_every_horror_from_the_file_to_the_search(tmp_path, name, tally):
    """Each is a document that is found by its own text, or was left out and told; nothing stops."""
    rows = [{"id": f"h{number}", "text": text} for number, text in enumerate(HORRORS.values())]
    write(tmp_path / name, rows)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        documents = list(read_documents(tmp_path / name))
        index = build_index(artifacts.model(), documents, tmp_path / "index")
    assert all(issubclass(warning.category, BrickworkWarning) for warning in told)
    assert len({str(warning.message) for warning in told}) == len(told), "each kind is told once"
    empty = {f"h{n}" for n, text in enumerate(HORRORS.values()) if not text.strip()}
    kept = {document.id for document in documents}
    assert kept == {row["id"] for row in rows} - empty
    for document in documents:
        document.text.encode()  # valid Unicode from here on
        assert "\0" not in document.text
        assert len(document.text) <= 1_000_000
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BrickworkWarning)  # cut to the tokens that the model reads
            vectors = index.representation.encode([document.text])
            (hits,) = index.search(document.text[:10_000], len(documents))
        assert np.isfinite(vectors).all()
        assert document.id in {hit.id for hit in hits}
    index.close()
    with open_index(tmp_path / "index") as again:
        assert {d.id: d.text for d in again.backend.documents()} == {d.id: d.text for d in documents}
    tally("R7", "horrible texts read, encoded, indexed and found again, or left out and told", len(rows))


def test_every_horror_as_a_query(tmp_path, tally):
    with build_index(artifacts.model(), artifacts.documents(10), tmp_path / "index") as index:
        for name, text in HORRORS.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", BrickworkWarning)
                if text.strip():
                    assert len(index.search(text, 3)[0]) == 3, name
                else:
                    with pytest.raises(BrickworkError, match="is empty"):
                        index.search(text, 3)
    tally("R7", "horrible queries answered or refused", len(HORRORS))


def test_training_on_horrors(tmp_path, tally):
    """A table of them is a task, and a system can be trained on it."""
    path = tmp_path / "pairs.jsonl"
    texts = [text for name, text in HORRORS.items() if text.strip() and len(text) < 5000]
    path.write_text(
        "".join(json.dumps({"query": t, "text": f"{t} {n}"}) + "\n" for n, t in enumerate(texts * 3))
    )
    settings = [f"data.source={path}", "train.steps=2", "train.batch_size=4", "train.device=cpu"]
    settings += ["model.encoder.width=32", "model.encoder.vocab_size=300", "model.encoder.num_layers=1"]
    run = override(api.recipe("matryoshka", "scratch"), settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BrickworkWarning)
        summary = api.train(run, tmp_path / "run", measure=False)
    assert np.isfinite(summary.result.losses).all()
    tally("R7", "trainings on nothing but horrible texts", 1)


# --- mutated tables and configurations (R14) ---------------------------------------------------------------------


def _good(path):
    rows = [
        {"id": str(n), "text": text, "query": f"about {n}", "label": "ab"[n % 2]}
        for n, text in enumerate(artifacts.texts(30))
    ]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".md":
        path.write_text("".join(f"# {row['query']}\n\n{row['text']}\n\n" for row in rows))
    elif path.suffix == ".html":
        path.write_text("<html><body>" + "".join(f"<h2>{r['query']}</h2><p>{r['text']}</p>" for r in rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "a.md", "a.html"])
def test_mutated_tables(tmp_path, name, tally, long):
    """As documents and as a task to learn; whatever is left of the file is used, or refused with its name."""
    path, count = tmp_path / name, 300 if long else 30
    _good(path)
    good, rng = path.read_bytes(), random.Random(5)

    def fuzz():
        slowest = refused = named = 0
        warnings.simplefilter("ignore", BrickworkWarning)
        for number in range(count):
            path.write_bytes(mutate(good, rng))
            began = time.perf_counter()
            for read in (
                lambda: list(read_documents(path)),
                lambda: load_task(DataConfig(source=str(path)), 0),
            ):
                try:
                    read()
                except DataError as error:
                    named += name in str(error)
                    refused += 1
                except BaseException as error:
                    raise AssertionError(f"case {number}: {path.read_bytes()[:300]!r}") from error
            slowest = max(slowest, time.perf_counter() - began)
        return [slowest, refused - named]

    child = in_child(fuzz, memory=300, seconds=300)
    assert child.status == 0, child.error
    assert child.value[0] < SECONDS
    tally(
        "R14",
        "mutated tables and documents, read as documents and as a task: read, or refused by name",
        2 * count,
    )


def test_a_parquet_column_whose_name_is_not_utf8(tmp_path):
    path = tmp_path / "a.parquet"
    _good(path)
    path.write_bytes(path.read_bytes().replace(b"label", b"l\x80bel"))
    for read in (lambda: list(read_documents(path)), lambda: load_task(DataConfig(source=str(path)), 0)):
        with pytest.raises(
            DataError, match=r"a\.parquet has a column whose name is not valid UTF-8 \(b'l.x80bel'\)"
        ):
            read()


def test_mutated_configurations(tally, long):
    """Every recipe of every system with a value that does not belong: built, or every problem told."""
    runs = [
        run_to_dict(getattr(registry.load(slug, "recipes"), name)())
        for slug in registry.slugs()
        for name in api.recipe_names(slug)
    ]
    count, rng, refused = 1500 if long else 100, random.Random(6), 0
    for _ in range(count):
        value = mutate_json(rng.choice(runs), rng)
        try:
            run_from_dict(value) if isinstance(value, dict) else run_from_dict({})
        except BrickworkError:
            refused += 1
    assert refused > count / 4
    tally("R14", "mutated configurations: taken, or every problem told", count)


# --- images (R8) -------------------------------------------------------------------------------------------------


def test_images_of_the_wrong_shape_or_type(tally):
    """What the encoder takes are arrays; what does not fit is refused with the shape that it wants."""
    encoder = ImageEncoder(ImageEncoderConfig(embedding_dim=8, width=4, depth=1), (8, 8, 3))
    model = Representation(encoder.eval(), ElasticAxes(dims=(8,), layers=(1,)))
    wrong = [
        np.zeros((2, 9, 8, 3), np.uint8),
        np.zeros((2, 8, 8), np.uint8),
        np.zeros((2, 8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((2, 8, 8, 3), np.float32),
        np.zeros((2, 8, 8, 3), np.uint16),
        np.array(["a.png"]),
        np.array([b"\x89PNG"], dtype=object),
    ]
    for images in wrong:
        with pytest.raises(DataError, match="uint8"):
            model.encode(images)
    assert model.encode(np.zeros((0, 8, 8, 3), np.uint8)).shape == (0, 8)
    tally(
        "R8",
        "arrays that are no images of the model's shape: refused with the shape that it wants",
        len(wrong),
    )
