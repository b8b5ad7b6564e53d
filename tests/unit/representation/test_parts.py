"""The parts of a data set together are the data set; each worker makes one of them, the same whoever does it.

Expected documents come from ``read_documents``, which reads a file from its start to its end, and from pyarrow.
"""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from brickwork.core.errors import ArtifactError, BrickworkWarning, ConfigError, DataError, ResourceError
from brickwork.data.config import ColumnNames
from brickwork.data.load import read_documents
from brickwork.data.readers.files import ReadReport
from brickwork.representation import parts as parts_module
from brickwork.representation.export_parquet import MANIFEST
from brickwork.representation.parts import parts_of, raise_collected, read_part, table_files
from brickwork.representation.ray_worker import Job, Worker

from .conftest import make_texts

GOOD = b'{"title": "T\xc3\xa4", "text": "good"}'
LINES = [
    GOOD,
    b'{"text": "plain", "id": "given"}',
    b'{"text": "inv\xffalid and N\x00UL"}',
    b'{"text": "  "}',
    b'{"title": "no text"}',
    b"not json",
    b"[1]",
    b"",
    b"   \t",
    "\u00a0".encode(),
    '{"text": "line\u2028separator"}'.encode(),
]


def joined(data: Path, name: str, shard_size: int, columns: ColumnNames | None = None):
    """Documents and report of all parts of one file, and the parts."""
    report = ReadReport()
    results = parts_of(data, 0, name, columns or ColumnNames(), shard_size)
    return [row for part in results for row in read_part(data, part, report)], report, results


@settings(deadline=None, max_examples=60)
@given(
    lines=st.lists(st.sampled_from(LINES), max_size=30),
    ends=st.sampled_from([b"\n", b"\r\n"]),
    start=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    last=st.booleans(),
    shard_size=st.integers(1, 12),
)
def test_parts_of_jsonl_are_the_file(tmp_path_factory, lines, ends, start, last, shard_size):
    path = tmp_path_factory.mktemp("parts") / "rows.jsonl"
    path.write_bytes(start + GOOD + ends + ends.join(lines) + (ends if last else b""))
    expected = ReadReport()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BrickworkWarning)
        # Shards hold no other columns, so parts do not read them.
        documents = [replace(row, meta={}) for row in read_documents(path, report=expected)]
    results, report, parts = joined(path, "", shard_size)
    assert results == documents
    for name in ("skipped", "invalid_utf8", "nul_bytes", "truncated"):
        assert getattr(report, name) == getattr(expected, name), name
    assert all(part.rows <= shard_size for part in parts)
    assert len({part.shard for part in parts}) == len(parts)


@pytest.mark.parametrize("shard_size", [1, 7, 25, 1000])
def test_parts_of_parquet_are_the_rows(tmp_path, shard_size):
    """Three row groups, the last one shorter; a part never goes over the end of one."""
    texts = make_texts(60)
    texts[13] = ""
    table = pa.table({"n": range(60), "body": texts, "doc_id": [f"d{i}" for i in range(60)]})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=25)
    results, report, parts = joined(tmp_path / "rows.parquet", "", shard_size)
    kept = [i for i in range(60) if i != 13]
    assert [(row.id, row.text, row.source) for row in results] == [
        (f"d{i}", texts[i], f"rows.parquet:{i}") for i in kept
    ]
    assert report.skipped == {"'body' is empty": 1}
    assert [part.rows for part in parts] == {
        1: [1] * 60,
        7: [7, 7, 7, 4, 7, 7, 7, 4, 7, 3],
        25: [25, 25, 10],
        1000: [25, 25, 10],
    }[shard_size]


def test_long_documents_make_short_parts_and_a_line_without_end_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "PART_BYTES", 1000)
    monkeypatch.setattr(parts_module, "MAX_LINE", 400)
    texts = ["a" * 300] * 5 + ["b" * 1500] + ["c"]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    results, report, parts = joined(path, "", 100)
    assert [row.text for row in results] == [*texts[:5], "c"]
    assert [row.id for row in results] == ["0", "1", "2", "3", "4", "6"]
    assert report.skipped == {"line of more than 400 bytes": 1}
    assert [part.rows for part in parts] == [3, 2, 1, 1]
    pq.write_table(pa.table({"text": ["a" * 300] * 10}), tmp_path / "rows.parquet", compression="none",
                   use_dictionary=False)  # fmt: skip
    assert max(part.rows for part in joined(tmp_path / "rows.parquet", "", 100)[2]) <= 3


def test_a_folder_of_files(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    rows = '{"text": "one"}\n{"text": "two"}\n'
    for name in ("b/x.jsonl", "a.ndjson", ".hidden/y.jsonl", "notes.md", "old.jsonl.gz"):
        (tmp_path / name).write_text(rows)
    report = ReadReport()
    assert table_files(tmp_path, report) == ["a.ndjson", "b/x.jsonl"]
    assert report.quiet == {"hidden": 1, "type .md": 1, "type .gz": 1}
    results, _, _ = joined(tmp_path, "b/x.jsonl", 10)
    assert [row.id for row in results] == ["b/x.jsonl#0", "b/x.jsonl#1"], (
        "a row number alone would be there twice"
    )


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_the_key_is_of_what_is_in_the_part(tmp_path, ending):
    path = tmp_path / f"rows.{ending}"

    def shards(texts, columns=None):
        rows = {"text": texts, "other": texts}
        if ending == "jsonl":
            path.write_text("".join(f'{{"text": "{text}", "other": "{text}"}}\n' for text in texts))
        else:
            pq.write_table(pa.table(rows), path, row_group_size=2)
        return [part.shard for part in joined(path, "", 2, columns)[2]]

    texts = ["one", "two", "three", "four", "five"]
    before = shards(texts)
    assert shards(texts) == before
    changed = shards([*texts[:2], "THREE", *texts[3:]])
    assert [old == new for old, new in zip(before, changed, strict=True)] == [True, False, True]
    assert shards([*texts, "six"])[:2] == before[:2], "what is added changes the last part only"
    assert not set(shards(texts, ColumnNames(text="other"))) & set(before)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("rows.csv", b"text\none\n", r"cannot be read in parts: .*without --ray"),
        ("rows.jsonl.gz", b"", "cannot be read in parts"),
        ("rows.jsonl", b"", "is empty"),
        ("rows.jsonl", '{"text": "one"}'.encode("utf-16"), "is UTF-16"),
        ("rows.jsonl", b'{"number": 1, "other": 2}\n', "none is called like a text"),
        ("rows.parquet", b"PAR1 nothing of the kind PAR1", "not a readable Parquet file"),
    ],
)
def test_input_that_cannot_be_read_in_parts(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        table_files(path, ReadReport())
        joined(path, "", 10)


def test_no_input(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        table_files(tmp_path / "nothing", ReadReport())
    (tmp_path / "notes.md").write_text("hello")
    with pytest.raises(DataError, match="holds no file that can be read in parts"):
        table_files(tmp_path, ReadReport())


def test_a_parquet_file_damaged_inside(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": make_texts(500)}), path, compression="zstd")
    parts = parts_of(path, 0, "", ColumnNames(), 1000)
    raw = bytearray(path.read_bytes())
    raw[60:3000] = bytes(2940)
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"rows\.parquet is damaged in row group 0"):
        read_part(path, parts[0], ReadReport())


@pytest.fixture
def work(model, tmp_path):
    """A worker's job on 20 rows in parts of 8, the texts, and what it is asked."""
    texts = make_texts(20)
    data, folder = tmp_path / "rows.jsonl", tmp_path / "vectors"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    folder.mkdir()
    (folder / MANIFEST).write_text("{}")
    model.save(tmp_path / "model")
    job = Job(
        model=str(tmp_path / "model"), fingerprint=model.fingerprint, data=data, folder=folder, dim=8, layers=2,
        dtype="float32", normalize=True, precision="fp32", gpu=False,
    )  # fmt: skip
    return job, texts, parts_of(data, 0, "", ColumnNames(), 8)


def ask(worker, part, sha256=None):
    task = {"part": vars(part), "sha256": sha256}
    return raise_collected(json.loads(worker({"task": json.dumps(task)})["result"]))


def test_a_worker_makes_the_shard_of_a_part_once(work, model):
    job, texts, parts = work
    made = ask(Worker(job), parts[1])
    assert (made["rows"], made["notes"]["documents"]) == (8, 8)
    table = pq.read_table(job.folder / parts[1].shard).to_pydict()
    assert table["id"] == [str(i) for i in range(8, 16)]
    assert table["text"] == texts[8:16]
    assert_allclose(table["vector"], model.encode(texts[8:16], dim=8, layers=2, precision="fp32"), atol=1e-6)
    again = ask(Worker(replace(job, model="no longer there")), parts[1], made["shard"]["sha256"])
    assert again == made
    assert sorted(path.name for path in job.folder.iterdir()) == sorted([MANIFEST, parts[1].shard])


def test_texts_that_the_model_cuts_are_counted_and_nothing_warns(work):
    job, _, _ = work
    job.data.write_text(json.dumps({"text": "seven old birds " * 30}) + '\n{"text": "short"}\n{"text": ""}\n')
    (part,) = parts_of(job.data, 0, "", ColumnNames(), 8)
    notes = ask(Worker(job), part)["notes"]
    assert (notes["documents"], notes["cut"], notes["repairs"]["skipped"]) == (2, 1, {"'text' is empty": 1})


def test_a_part_without_documents_is_no_shard(work):
    job, _, _ = work
    job.data.write_text('{"text": ""}\n')
    (part,) = parts_of(job.data, 0, "", ColumnNames(), 8)
    made = ask(Worker(job), part)
    assert (made["shard"], made["notes"]["repairs"]["skipped"]) == (None, {"'text' is empty": 1})
    assert not (job.folder / part.shard).exists()


def test_what_a_worker_refuses(work, tmp_path):
    job, _, parts = work
    path = job.folder / parts[0].shard
    made = ask(Worker(job), parts[0])
    whole = path.read_bytes()
    for damaged, sha256 in ((whole[:-9], None), (whole[:200] + b"!" + whole[201:], made["shard"]["sha256"])):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=f"{path.name} is damaged; remove this file"):
            ask(Worker(job), parts[0], sha256)
    path.unlink()
    with pytest.raises(ArtifactError, match="is another model on"):
        ask(Worker(replace(job, fingerprint="0" * 16)), parts[0])
    with pytest.raises(ConfigError, match=r"does not see .*have to be on a file system that all machines"):
        ask(Worker(replace(job, folder=tmp_path / "elsewhere")), parts[0])
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="its torch sees none"):
            ask(Worker(replace(job, gpu=True)), parts[0])


def test_a_part_that_ends_its_worker_is_given_up(work, monkeypatch):
    """SystemExit stands for a kill: the worker cannot say anything."""
    job, _, parts = work

    def end(*arguments, **options):
        raise SystemExit

    monkeypatch.setattr("brickwork.representation.model.Representation.encode", end)
    for _ in range(3):
        with pytest.raises(SystemExit):
            ask(Worker(job), parts[2])
    with pytest.raises(ResourceError, match=r"rows\.jsonl rows 17 to 20 ended 3 workers"):
        ask(Worker(job), parts[2])
