"""Rows of files against the readers of csv, json and pyarrow; the policy for each kind of bad input."""

import csv
import gzip
import json
import tracemalloc
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brickwork.core.errors import BrickworkWarning, DataError
from brickwork.data.load import read_documents
from brickwork.data.readers.files import MAX_TEXT, ReadReport, clean, column_names, rows

# Texts that survive every format: no NUL, no surrogates, no lone carriage return.
TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\x1c\x1d\x1e\x85\u2028\u2029\x0b\x0c"),
    max_size=20,
)
TABLE = st.lists(st.fixed_dictionaries({"query": TEXT, "text": TEXT}), min_size=1, max_size=8)


def write_csv(path, records):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["query", "text"], quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(records)


def write_jsonl(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def write_jsonl_gz(path, records):
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def write_parquet(path, records):
    pq.write_table(pa.Table.from_pylist(records), path)


FORMATS = {
    "a.csv": write_csv,
    "a.jsonl": write_jsonl,
    "a.jsonl.gz": write_jsonl_gz,
    "a.parquet": write_parquet,
}


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=TABLE)
def test_what_other_libraries_write_is_read_back(tmp_path, name, records):
    path = tmp_path / name
    FORMATS[name](path, records)
    report = ReadReport()
    assert list(rows(path, report)) == list(enumerate(records))
    assert report.rows == len(records)
    assert report.messages() == []
    assert sorted(column_names(path)) == ["query", "text"]


def documents(path, **options):
    """All documents, the report and the texts of the warnings."""
    report = ReadReport()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = list(read_documents(path, report=report, **options))
    assert all(issubclass(warning.category, BrickworkWarning) for warning in caught)
    return results, report, [str(warning.message) for warning in caught]


def test_short_floats_of_parquet_are_the_decimals_that_were_written(tmp_path):
    """Also where a column is a dictionary; a filter then finds them by what a user writes."""
    columns = {
        "half": pa.array([np.float16(0.1), None], pa.float16()),
        "single": pa.array([0.1, None], pa.float32()),
        "double": pa.array([0.1, None]),
        "dictionary": pa.array([0.1, None], pa.float32()).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    values = [row for _, row in rows(tmp_path / "t.parquet", ReadReport())]
    assert values == [dict.fromkeys(columns, 0.1), dict.fromkeys(columns)]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet", "a.txt", "a.md"])
def test_an_empty_file_is_named(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"")
    with pytest.raises(DataError, match=rf"{name} (is empty|holds no text)"):
        list(read_documents(path))


def test_header_without_rows_and_one_row(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,text\n")
    with pytest.raises(DataError, match=r"a\.csv holds no row that can be read"):
        list(read_documents(path))
    path.write_text("id,text\nx7,hello\n")
    (only,), report, told = documents(path)
    assert (only.id, only.text, only.source) == ("x7", "hello", "a.csv:0")
    assert (report.rows, told) == (1, [])


def test_ragged_rows_are_skipped_counted_and_the_first_is_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,one\n2\n3,"three\nlines"\n4,four,more\n5,five\n')
    results, report, told = documents(path)
    assert [(d.id, d.text) for d in results] == [("1", "one"), ("3", "three\nlines"), ("5", "five")]
    assert [d.source for d in results] == ["a.csv:0", "a.csv:2", "a.csv:4"]
    assert told == [
        "2 skipped: another number of fields than the 2 of the header (first: a.csv line 3, 1 fields)"
    ]
    assert sum(report.skipped.values()) == 2


def test_only_ragged_rows_are_an_error_with_the_reason(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,text\n1\n2\n")
    with pytest.raises(DataError, match=r"no row that can be read: 2 skipped: another number of fields"):
        list(read_documents(path, columns=None))


def test_an_unclosed_quote_and_a_doubled_column_are_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,text\n1,2\n")
    with pytest.raises(DataError, match="two columns called 'text'; rename one"):
        list(read_documents(path))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path, delimiter):
    path = tmp_path / "a.csv"
    path.write_text(f"id{delimiter}text\n1{delimiter}a b\n")
    assert documents(path)[0][0].text == "a b"


def test_lines_that_are_not_json_objects_are_skipped_and_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\nnot json\n\n[1]\n' + "[" * 100_000 + '\n{"text": "two"}\n')
    results, _, told = documents(path)
    assert [(d.id, d.text) for d in results] == [("0", "one"), ("4", "two")]
    assert told == [
        "2 skipped: not a line of JSON (first: a.jsonl line 2)",
        "1 skipped: not a JSON object (first: a.jsonl line 4)",
        "more than half of the rows are lost: 2 of 5 can be used",
    ]


def test_json_array_files_get_advice(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[]")
    with pytest.raises(DataError, match=r"write one JSON object a line and call it \.jsonl"):
        list(read_documents(path))


def test_invalid_utf8_is_replaced_counted_and_told_once(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,text\n1,caf\xe9\n2,fine\n3,\xff\xfe!\n")
    results, report, told = documents(path)
    # The oracle: Python's own replacement.
    assert [d.text for d in results] == [b"caf\xe9".decode(errors="replace"), "fine", "��!"]
    assert report.invalid_utf8 == 2
    assert told == ["2 texts held invalid UTF-8, replaced by U+FFFD (first: a.csv row 1)"]


def test_invalid_utf8_in_jsonl_parquet_txt_and_escaped_surrogates(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "caf\xe9"}\n{"text": "\\ud83d alone"}\n')
    assert [d.text for d in documents(tmp_path / "a.jsonl")[0]] == ["caf�", "� alone"]
    raw = pa.array([b"caf\xe9", b"ok"], pa.binary())
    broken = pa.StringArray.from_buffers(2, raw.buffers()[1], raw.buffers()[2])
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    results, report, _ = documents(tmp_path / "a.parquet")
    assert ([d.text for d in results], report.invalid_utf8) == (["caf�", "ok"], 1)
    (tmp_path / "a.txt").write_bytes(b"caf\xe9\n")
    assert documents(tmp_path / "a.txt")[0][0].text == "caf�"


def test_nul_bytes_are_removed_and_counted(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"id,text\n1,a\0b\0\n2,c\n")
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a\0b"}\n{"text": "c\\u0000d"}\n')
    (tmp_path / "a.txt").write_bytes(b"a\0b " + b"word " * 50)
    results, report, told = documents(tmp_path / "a.csv")
    assert ([d.text for d in results], report.nul_bytes) == (["ab", "c"], 2)
    assert told == ["2 NUL characters removed (first: a.csv line 2)"]
    results, report, _ = documents(tmp_path / "a.jsonl")
    assert ([d.text for d in results], report.nul_bytes) == (["ab", "cd"], 2)
    results, report, _ = documents(tmp_path / "a.txt")
    assert results[0].text.startswith("ab word")
    assert report.nul_bytes == 1


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_a_line_of_ten_megabytes_is_cut_and_counted(tmp_path, name):
    path = tmp_path / name
    long = "word " * 2_000_000
    content = {
        "a.csv": f"id,text\n1,{long}\n2,short\n",
        "a.jsonl": json.dumps({"text": long}) + '\n{"text": "short"}\n',
        "a.txt": long + "\n\nshort\n",
    }
    path.write_text(content[name])
    results, report, told = documents(path)
    assert report.truncated == 1
    assert len(told) == 1
    assert told[0].startswith("1 texts cut at 1,000,000 characters (first: ")
    assert results[-1].text.endswith("short")
    assert sum(len(d.text) for d in results) <= MAX_TEXT + 10


def test_byte_order_mark_mixed_line_ends_and_utf16(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfid,text\r\n1,one\n2,two\r3,three\r\n")
    assert [d.text for d in documents(tmp_path / "a.csv")[0]] == ["one", "two", "three"]
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n{"text": "two"}\r{"text": "three"}')
    assert [d.text for d in documents(tmp_path / "a.jsonl")[0]] == ["one", "two", "three"]
    (tmp_path / "a.txt").write_bytes("naïve\r\n\r\nsecond".encode("utf-16"))
    assert documents(tmp_path / "a.txt")[0][0].text == "naïve\n\nsecond"


def test_empty_texts_are_skipped_and_rows_keep_their_numbers(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text": "  "}\n{"text": null}\n{"other": 1}\n{"text": 7}\n')
    results, _, told = documents(path)
    assert [(d.id, d.text) for d in results] == [("0", "a"), ("4", "7")]
    assert told == [
        "3 skipped: 'text' is empty (first: a.jsonl row 2)",
        "more than half of the rows are lost: 2 of 5 can be used",
    ]


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"a\.parquet is not a readable Parquet file"):
        list(read_documents(tmp_path / "a.parquet"))
    whole = gzip.compress(b'{"text": "a"}\n' * 10_000)
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.jsonl\.gz is damaged and cannot be read to its end"):
        list(read_documents(tmp_path / "a.jsonl.gz"))
    (tmp_path / "b.jsonl.gz").write_bytes(b"not gzip at all")
    with pytest.raises(DataError, match=r"b\.jsonl\.gz cannot be read"):
        list(read_documents(tmp_path / "b.jsonl.gz"))


def test_what_does_not_exist_or_is_of_another_type_is_named(tmp_path):
    with pytest.raises(DataError, match="does not exist, and it is no known data set"):
        read_documents(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"did you mean 'nfcorpus'"):
        read_documents("nfcorpu")
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(DataError, match=r"a\.pdf is of no type that can be read.*text files are read too"):
        read_documents(tmp_path / "a.pdf")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.txt"])
def test_reading_holds_a_small_part_of_the_file_in_memory(tmp_path, name):
    path = tmp_path / name
    count, text = 3_000, ("word" * 12 + " ") * 45
    if name == "a.parquet":
        pq.write_table(pa.table({"text": [text] * count}), path, use_dictionary=False, compression="none")
    elif name == "a.txt":
        path.write_text((text + "\n\n") * count)
    else:
        line = {"a.csv": f'"{text}"\n', "a.jsonl": json.dumps({"text": text}) + "\n"}[name]
        path.write_text(("text\n" if name == "a.csv" else "") + line * count)
    assert path.stat().st_size > 6_500_000
    tracemalloc.start()
    seen = sum(1 for _ in read_documents(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen >= count // 4
    assert peak < 2_500_000


def test_clean_counts_only_what_it_repairs():
    report = ReadReport()
    assert clean("fine 😀 é", report, "x") == "fine 😀 é"
    assert report == ReadReport()


@pytest.mark.parametrize(
    "name", ["a.csv", "a.jsonl", "a.parquet", "a.txt", "a.md", "a.rst", "a.html", "a.py"]
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([b"", b"text\n", b'{"text": "a"}\n', b"PAR1", b"# T\n", b"<p>", b"\xff\xfe"]),
    content=st.binary(max_size=200),
)
def test_any_bytes_give_clean_texts_or_a_data_error(tmp_path, name, start, content):
    path = tmp_path / name
    path.write_bytes(start + content)
    message = ""
    try:
        results, _, _ = documents(path)
    except DataError as error:
        results, message = [], str(error)
    assert results or name in message
    for document in results:
        assert document.text.strip()
        document.text.encode("utf-8")  # no lone surrogates
        assert "\0" not in document.text


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("<meta charset='iso-8859-1'><p>caf\xe9 \x80</p>".encode("latin-1"), "café €"),
        (b'<?xml version="1.0" encoding="shift_jis"?><p>' + "日本".encode("shift_jis"), "日本"),
        (b'<meta http-equiv="Content-Type" content="text/html; charset=koi8-r"><p>\xd4', "т"),
        ("<meta charset='latin1'><p>café".encode(), "café"),  # it says so, and is none
        (b"<meta charset='zip'><p>caf\xe9", "caf�"),
        (b"<meta charset='none-such'><p>caf\xe9", "caf�"),
        ("<p>café".encode("utf-16"), "café"),
        ("<p>café".encode("utf-8-sig"), "café"),
    ],
)
def test_pages_are_decoded_as_they_say(tmp_path, content, wanted):
    path = tmp_path / "a.html"
    path.write_bytes(content)
    assert [document.text for document in documents(path)[0]] == [wanted]
