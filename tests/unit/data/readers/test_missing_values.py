"""What is missing by its type is missing in every reader and role; the word "nan" is where a number or a name is asked."""

import json
import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from brickwork.core.errors import BrickworkWarning, DataError
from brickwork.data.config import ColumnNames, DataConfig
from brickwork.data.inputs import read_inputs
from brickwork.data.load import load_task, read_documents
from brickwork.data.readers.files import ReadReport
from brickwork.data.readers.values import name_value, no_value, text_value
from brickwork.representation.parts import parts_of, read_part

NAN = float("nan")
MISSING = [
    None,
    NAN,
    math.inf,
    -math.inf,
    np.float32("nan"),
    Decimal("NaN"),
    pd.NA,
    pd.NaT,
    np.datetime64("NaT", "ns"),
]


def write(path, rows):
    """Rows as JSON lines (in which Python writes NaN), CSV or Parquet."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        pd.DataFrame(rows, columns=names).to_csv(path, index=False, na_rep="nan")
    else:
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    return path


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_values_that_are_missing_by_their_type(value):
    assert no_value(value)
    assert text_value(value, ReadReport(), "") == ""


def test_words_are_texts_and_no_names():
    for word in ("nan", "NaN", "null", "NULL", "<NA>", "NaT", "inf"):
        assert text_value(word, ReadReport(), "") == word
        assert name_value(word, ReadReport(), "") == ""
    for value, text in ((0, "0"), (0.0, "0"), (False, "False"), ("none", "none"), ("na", "na")):
        assert not no_value(value)
        assert name_value(value, ReadReport(), "") == text


WHOLE = [1, 1.0, np.float32(1), np.float64(1), Decimal("1.00"), "1", " 1 "]


@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_a_whole_number_is_one_name_whatever_its_type(value):
    assert name_value(value, ReadReport(), "") == "1"
    assert name_value("1.0", ReadReport(), "") == "1.0"  # a text stays as it stands
    for number, text in ((1.5, "1.5"), (1e300, "1e+300"), (Decimal("1.50"), "1.50")):
        assert name_value(number, ReadReport(), "") == text


def test_a_missing_number_does_not_rename_the_others(tmp_path):
    """A column of whole numbers becomes one of floats where a number is missing."""
    rows = pd.DataFrame({"id": [7, None, 8], "text": ["a", "b", "c"], "label": [0, None, 1]})
    rows.to_parquet(tmp_path / "t.parquet", index=False)
    documents = list(read_documents(tmp_path / "t.parquet"))
    assert [document.id for document in documents] == ["7", "t.parquet:1", "8"]
    with pytest.warns(BrickworkWarning, match="'label' is empty"):
        task = load_task(DataConfig(source=str(tmp_path / "t.parquet")), 0)
    assert task.class_names == ("0", "1")


def test_nan_in_json_is_missing_in_every_role(tmp_path):
    rows = [
        {"id": 1, "title": NAN, "text": "one", "year": NAN},
        {"id": NAN, "text": "two"},
        {"id": 3, "text": NAN},
    ]
    with pytest.warns(BrickworkWarning, match=r"1 skipped: 'text' is empty \(first: a.jsonl row 3\)"):
        first, second = read_documents(write(tmp_path / "a.jsonl", rows))
    assert (first.id, first.title, first.text, first.meta) == ("1", "", "one", {})
    assert (second.id, second.text) == ("a.jsonl:1", "two")


def test_a_text_that_is_such_a_word_stays(tmp_path):
    """A bread, a name, a language: nothing vanishes from columns of text."""
    (tmp_path / "a.csv").write_text(
        "id,title,text,language,year\n1,Nan,null,nan,2020\n2,Null,NaN,en,nan\n3,x,y,fr,\n"
    )
    documents = list(read_documents(tmp_path / "a.csv"))
    assert [(d.title, d.text, d.meta) for d in documents] == [
        ("Nan", "null", {"language": "nan", "year": 2020}),
        ("Null", "NaN", {"language": "en"}),
        ("x", "y", {"language": "fr"}),
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_scores_that_are_none_skip_their_row_and_are_counted(tmp_path, name):
    scores = [0.5, NAN, 0.9, math.inf] * 10
    rows = [{"sentence1": f"a {n}", "sentence2": f"b {n}", "score": score} for n, score in enumerate(scores)]
    with pytest.warns(BrickworkWarning, match="20 skipped: 'score' is empty"):
        task = load_task(DataConfig(source=str(write(tmp_path / name, rows))), 0)
    kept = [s for part in (task.train, task.validation, task.test) for s in part.columns["score"]]
    assert sorted(set(kept)) == [0.5, 0.9]
    assert len(kept) == 20


def test_scores_that_are_words(tmp_path):
    (tmp_path / "a.csv").write_text(
        "sentence1,sentence2,score\n"
        + "".join(f"a {n},b {n},{s}\n" for n, s in enumerate(["0.1", "good", "1e999", ".9"]))
    )
    with pytest.warns(BrickworkWarning, match="2 skipped: 'score' is not a number"):
        assert sum(map(len, _parts(tmp_path / "a.csv"))) == 2


def _parts(path):
    task = load_task(DataConfig(source=str(path)), 0)
    return task.train, task.validation, task.test


@pytest.mark.parametrize("score", [5, -1, 1.5])
def test_scores_without_a_range_are_refused(tmp_path, score):
    rows = [{"sentence1": f"a {n}", "sentence2": f"b {n}", "score": score} for n in range(20)]
    with pytest.raises(DataError, match=f"all scores are {score}.*give scores from 0 to 1"):
        _parts(write(tmp_path / "a.jsonl", rows))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_a_class_is_never_called_nan(tmp_path, name):
    rows = [{"text": f"text {n} here", "label": ["a", "b", None][n % 3]} for n in range(60)]
    with pytest.warns(BrickworkWarning, match="20 skipped: 'label' is empty"):
        task = load_task(DataConfig(source=str(write(tmp_path / name, rows))), 0)
    assert task.class_names == ("a", "b")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_a_row_without_an_id_gets_one_that_no_other_row_has(tmp_path, name):
    ids = ["1", "2", None, "3", f"{name}:4", f"{name}:2", None, "nan"]
    rows = [{"id": value, "text": f"text {n}"} for n, value in enumerate(ids)]
    path = write(tmp_path / name, rows)
    found = [document.id for document in read_documents(path)]
    assert found == ["1", "2", f"{name}:2'", "3", f"{name}:4", f"{name}:2", f"{name}:6", f"{name}:7"]
    assert read_inputs(path, "columns")[0] == found
    assert read_inputs(path, "texts")[0] == found


def test_parts_that_workers_read_call_rows_alike(tmp_path):
    path = write(
        tmp_path / "a.jsonl", [{"id": value, "text": f"text {n}"} for n, value in enumerate(["1", NAN, "3"])]
    )
    parts = parts_of(path, 0, "", ColumnNames(), 100)
    found = [document.id for part in parts for document in read_part(path, part, ReadReport())]
    assert found == ["1", "a.jsonl:1", "3"] == [document.id for document in read_documents(path)]


def test_ids_that_come_twice_are_told_with_their_rows(tmp_path):
    (tmp_path / "a.csv").write_text("id,text\nx,one\ny,two\nx,three\nx,four\n")
    with pytest.warns(
        BrickworkWarning, match=r"2 rows with the id of an earlier row \(first: a.csv row 3, 'x', as row 1\)"
    ):
        assert len(list(read_documents(tmp_path / "a.csv"))) == 4
