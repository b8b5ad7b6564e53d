"""Whole columns by Arrow: the same as row by row, for every file; durations, decimal commas and missing numbers."""

import gzip
import json
import random
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import islice

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from brickwork.core.errors import DataError
from brickwork.data.inputs import read_inputs
from brickwork.data.readers import typed
from brickwork.data.readers.cells import as_list, has_decimal_comma, is_arrow, number_of, numbers, texts
from brickwork.data.readers.files import ReadReport, column_names, rows
from brickwork.data.readers.typed import read_columns
from brickwork.systems.multimodn import MultiModNClassifier
from brickwork.systems.multimodn.data import Data, TableConfig
from brickwork.systems.multimodn.guesses import column_kind
from brickwork.systems.multimodn.tables import multitask_table


def slowly(path, limit=None):
    """The oracle: the careful reader, row by row."""
    report = ReadReport()
    names = column_names(path)
    numbered = list(islice(rows(path, report), limit))
    return [n for n, _ in numbered], {name: [row.get(name) for _, row in numbered] for name in names}, report


def check_equal(path, limit=None):
    """Both readers say the same of a file, errors and repairs included; returns whether Arrow read it."""
    problem = None
    try:
        numbers_of_rows, wanted, slow = slowly(path, limit)
    except DataError as error:
        problem = str(error)
    if problem is not None:
        with pytest.raises(DataError) as raised:
            read_columns(path, ReadReport(), limit)
        assert str(raised.value) == problem
        return False
    report = ReadReport()
    places, columns = read_columns(path, report, limit)
    assert list(places) == numbers_of_rows
    assert {name: as_list(column) for name, column in columns.items()} == wanted
    assert (report.rows, report.files, report.notes()) == (slow.rows, slow.files, slow.notes())
    for name, column in columns.items():
        fast, held = ReadReport(), ReadReport()
        np.testing.assert_array_equal(numbers(column, fast, name), numbers(wanted[name], held, name))
        assert fast.notes() == held.notes()
        assert texts(column, fast, name).tolist() == texts(wanted[name], held, name).tolist()
    return any(map(is_arrow, columns.values()))


CLEAN = {
    "plain": "a,b\n1,x\n2,y\n",
    "windows": "a,b\r\n1,x\r\n2,y\r\n",
    "no end": "a,b\n1,x\n2,y",
    "semicolons": "a;b\n1;x\n2;y,z\n",
    "quoted": 'a,b\n"1","x, y"\n"say ""no""",z\n',
    "spaces": "a , b\n 1 , x \n",
    "missing": "a,b\n,NA\nnan,?\ninf,-inf\n1,2\n",
    "empty lines": "\n\na,b\n\n1,x\n\n\n2,y\n",
    "letters": "å,b\né,漢\n👍,x\n",
    "byte order mark": "\ufeffa,b\n1,x\n",
    "odd numbers": "a,b\n1e3,1_000\n007,+1\n0x10,1.\n.5,1e400\n",
    "one column": "a\n1\n2\n",
}
NOT_CLEAN = {
    "unclosed quote": 'a,b\n"1,x\n2,y\n',
    "quote in a field": 'a,b\n5" pipe,x\n6" pipe,y\n',
    "line in a field": 'a,b\n"two\nlines",x\n',
    "short row": "a,b\n1\n2,y\n",
    "long row": "a,b\n1,2,3\n2,y\n",
    "nul": "a,b\n1\x00,x\n",
    "old line ends": "a,b\r1,x\r2,y\r",
    "invalid": b"a,b\n\xff,x\n2,y\n",
    "wide": "a,b\n1,x\n".encode("utf-16"),
    "twice": "a,a\n1,2\n",
    "header only": "a,b\n",
    "nothing": "",
}


@pytest.mark.parametrize("name", [*CLEAN, *NOT_CLEAN])
def test_both_readers_say_the_same(tmp_path, name):
    content = CLEAN.get(name, NOT_CLEAN.get(name))
    raw = content if isinstance(content, bytes) else content.encode()
    path = tmp_path / "t.csv"
    path.write_bytes(raw)
    assert check_equal(path) == (name in CLEAN)
    check_equal(path, 1)
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(raw))
    check_equal(packed)
    path = tmp_path / "t.tsv"
    path.write_bytes(raw if name in ("invalid", "wide") else raw.replace(b",", b"\t"))
    check_equal(path)


def test_files_of_random_pieces_are_read_alike(tmp_path):
    draw = random.Random(0)
    pieces = ['"', ",", "\n", "a", "1", " ", '""', "\r\n", "é", ";", "NA", "-2.5", "\t"]
    fields = [
        "",
        "a",
        "-2.5",
        " x ",
        "é",
        "NA",
        '"q"',
        '"a,b"',
        '""',
        '"say ""no"""',
        '" "',
        "'",
        ";",
        "1e5",
        "#",
    ]
    read_by_arrow = 0
    for number in range(400):
        path = tmp_path / f"{number}.csv"
        if number % 2:
            body = "".join(draw.choices(pieces, [1, 8, 6, 5, 5, 1, 1, 2, 1, 1, 2, 2, 1], k=24))
        else:
            body = "".join(
                ",".join(draw.choices(fields, k=2)) + draw.choice(["\n", "\n\n", "\r\n"]) for _ in range(6)
            )
        path.write_text("a,b\n" + body, newline="")
        read_by_arrow += check_equal(path)
    assert read_by_arrow > 150


def test_long_texts_are_cut_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(typed, "MAX_TEXT", 5)
    path = tmp_path / "t.csv"
    path.write_text("a,b\nabcdef,1\n")
    assert not check_equal(path)


def test_parquet_of_every_type(tmp_path):
    days = [datetime(2020, 1, 2, 3, 4, 5, 6), None, datetime(1990, 1, 1)]
    table = pa.table({
        "whole": pa.array([1, None, 2**60], pa.int64()),
        "small": pa.array([1, None, 255], pa.uint8()),
        "fraction": pa.array([1.5, None, float("inf")]),
        "single": pa.array([1.5, None, 0.25], pa.float32()),
        "truth": [True, None, False],
        "decimal": [Decimal("1.25"), None, Decimal("3")],
        "text": ["1.5", None, "NA"],
        "large": pa.array(["x", None, " 2 "], pa.large_string()),
        "day": [date(2020, 2, 1), None, date(1990, 1, 1)],
        "time": pa.array(days, pa.timestamp("us")),
        "seconds": pa.array([d and d.replace(microsecond=0) for d in days], pa.timestamp("s")),
        "zone": pa.array(days, pa.timestamp("us", tz="UTC")),
        "duration": pa.array([timedelta(days=1, hours=6), None, timedelta(seconds=-1)], pa.duration("ms")),
        "nothing": pa.array([None, None, None], pa.null()),
        "series": [[1.0, 2.0], None, []],
        "bytes": [b"a", None, b"b"],
        "code": pa.array(["a", None, "b"]).dictionary_encode(),
    })  # fmt: skip
    path = tmp_path / "t.parquet"
    pq.write_table(table, path, row_group_size=2)
    assert check_equal(path)


def test_rows_to_predict_for_are_numbered_or_named(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,a\nx,1\ny,2\n")
    assert read_inputs(path, "columns") == (["x", "y"], {"id": ["x", "y"], "a": ["1", "2"]})
    path.write_text("a,b\n1,2\n3\n5,6\n")
    with pytest.warns(UserWarning, match="1 skipped"):
        assert read_inputs(path, "columns")[0] == ["0", "2"]


DURATIONS = {
    "1:30": 1.5 / 24, "0:00:36": 0.01 / 24, "26:00": 26 / 24, "-1:00:00": -1 / 24, "2 days": 2.0,
    "1 day, 6:00:00": 1.25, "0 days 12:00:00": 0.5, "-1 days +18:00:00": -0.25, "1 days 00:00:00.5": 1 + 0.5 / 86400,
}  # fmt: skip


@pytest.mark.parametrize("text", DURATIONS)
def test_durations_are_numbers_of_days(text):
    assert number_of(text) == pytest.approx(DURATIONS[text], abs=1e-12)
    assert column_kind([text, text.replace("1", "2"), None]) == "number"


@pytest.mark.parametrize("text", ["", "day", "1:5", "1:75", "a 1:30", ":30", "12:30:61"])
def test_what_is_no_duration(text):
    value = number_of(text)
    assert value is None or np.isnan(value)


def test_durations_and_times_of_pandas_and_numpy_are_one_scale():
    times = pd.to_datetime(["2000-01-03", None, "2000-01-01 12:00"], format="mixed")
    lasting = pd.to_timedelta(["2 days", None, "12:00:00"])
    for held in (times, lasting):
        for given in (
            pd.Series(held),
            held.to_numpy(),
            held.to_numpy().astype(f"{held.dtype.kind}8[s]"),
            list(held),
        ):
            np.testing.assert_array_equal(numbers(given, ReadReport(), "a"), [2.0, np.nan, 0.5])
            assert column_kind(given) == "number"
    assert number_of(np.timedelta64(36, "h")) == 1.5


def test_decimal_commas_are_refused_by_name(tmp_path):
    for cells in (["1,5", "2,25"], ["1.234,5", "2"], ["1.5", "1,5"], ["-1,5", "", "NA"]):
        assert column_kind(cells) == "decimal commas"
    for cells in (["a,5", "2,5"], ["1,2,3", "2,5"], ["red, large", "1,5"]):
        assert column_kind(cells) != "decimal commas"
    assert not has_decimal_comma(1.5)
    path = tmp_path / "t.csv"
    path.write_text("price;age;label\n" + "".join(f"{i},5;{i % 7};{i % 2}\n" for i in range(30)))
    with pytest.raises(
        DataError, match=r"'price' has numbers with decimal commas, for example '0,5'.*ignore"
    ):
        multitask_table(path, Data(source=str(path)), 0)
    ignored = Data(source=str(path), table=TableConfig(ignore=("price",)))
    assert multitask_table(path, ignored, 0).details.names == ("age",)
    targeted = Data(source=str(path), table=TableConfig(targets=("price",)))
    with pytest.raises(DataError, match="'price' has numbers with decimal commas"):
        multitask_table(path, targeted, 0)
    frame = pd.DataFrame({"price": ["1,5", "2,5"] * 10, "age": [1, 2, 3, 4] * 5})
    with pytest.raises(ValueError, match="decimal commas"):
        MultiModNClassifier(max_iter=1).fit(frame, [0, 1] * 10)


def test_words_for_missing_numbers_are_missing_in_every_kind_of_file(tmp_path):
    cells = ["nan", "NA", "inf", "-inf", "NaN", "null", "NaT", "#N/A", "", "1.5"]
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{cell},x\n" for cell in cells))
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"a": cell, "b": "x"}) + "\n" for cell in cells))
    pq.write_table(pa.table({"a": cells, "b": ["x"] * len(cells)}), tmp_path / "t.parquet")
    for ending in ("csv", "jsonl", "parquet"):
        column = read_columns(tmp_path / f"t.{ending}", ReadReport())[1]["a"]
        report = ReadReport()
        np.testing.assert_array_equal(numbers(column, report, "a"), [np.nan] * 9 + [1.5])
        assert not report.notes()


@pytest.mark.parametrize("damage", ["ends early", "bits turned", "no gzip"])
def test_a_damaged_gz_file_is_refused_by_name(tmp_path, damage):
    packed = bytearray(gzip.compress("".join(f"{i},{i * i}\n" for i in range(20_000)).encode()))
    if damage == "ends early":
        packed = packed[: len(packed) // 2]
    elif damage == "bits turned":
        packed[len(packed) // 2 : len(packed) // 2 + 40] = bytes(40)
    else:
        packed = bytearray(b"a,b\n1,2\n")
    path = tmp_path / "damaged.csv.gz"
    path.write_bytes(bytes(packed))
    with pytest.raises(DataError, match=r"damaged\.csv\.gz"):
        read_columns(path, ReadReport())


def test_a_file_that_unpacks_to_too_much_is_read_line_by_line(tmp_path, monkeypatch):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 100))
    assert check_equal(path)
    monkeypatch.setattr(typed, "_MOST_UNPACKED", 50)
    assert not check_equal(path)
