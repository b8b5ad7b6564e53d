"""The content of data in a few digits: equal for equal content in every process, and no other way."""

import numpy as np
import pytest

from brickwork.core.errors import DataError
from brickwork.data.config import DataConfig
from brickwork.data.fingerprints import changed, fingerprint, fingerprint_columns, refuse_other_data
from brickwork.data.load import load_task

COLUMNS = [
    ["a", "bc"],
    ["ab", "c"],
    ["bc", "a"],
    ["a", "bc", ""],
    ["a", "bd"],
    [1, 2],
    [1.0, 2.0],
    ["1", "2"],
    [None, "2"],
    [True, False],
    [[1, 2], [3]],
    [[1], [2, 3]],
    [np.array([1, 2]), None],
    [np.array([1, 3]), None],
    [{"a": 1}],
    [{"a": 2}],
    np.array([1, 2]),
    np.array([1, 2], np.int32),
    np.array([[1], [2]]),
    np.array([1.0, 2.0]),
    np.array(["a", None], object),
    np.arange(4000.0),
    np.where(np.arange(4000) == 2000, 0, np.arange(4000.0)),  # NumPy prints it as the one before
    ["x"] * 1500,
    ["x"] * 1499 + ["y"],
]


def test_each_content_has_digits_of_its_own():
    digits = [fingerprint_columns({"c": column})["c"] for column in COLUMNS]
    assert len(set(digits)) == len(COLUMNS)
    assert digits == [fingerprint_columns({"c": column})["c"] for column in COLUMNS]


def test_arrays_count_by_their_values():
    array = np.arange(12).reshape(3, 4)
    assert fingerprint_columns({"a": array[:, ::2]}) == fingerprint_columns({"a": array[:, ::2].copy()})
    assert fingerprint_columns({"a": np.zeros((0, 3))})["a"].startswith("0:")


def test_what_changed_is_said_by_part_and_column(tmp_path):
    path = tmp_path / "a.csv"
    lines = [f"question {n},answer {n}" for n in range(100)]
    path.write_text("\n".join(["query,text", *lines]))
    before = fingerprint(load_task(DataConfig(source=str(path)), 0))
    assert fingerprint(load_task(DataConfig(source=str(path)), 0)) == before
    assert set(before) == {"train", "validation", "test", "search 1"}
    for row in range(0, 100, 9):  # wherever it is: in training or held out
        path.write_text("\n".join(["query,text", *lines[:row], f"question {row},other", *lines[row + 1 :]]))
        after = fingerprint(load_task(DataConfig(source=str(path)), 0))
        assert changed(before, after)
        with pytest.raises(
            DataError, match=r"data has changed since the run was written: .*train in another folder"
        ):
            refuse_other_data("the run", before, after)
    assert changed(
        {"train": {"a": "3:x", "b": "3:y"}}, {"train": {"a": "4:x", "b": "3:y"}, "test": {"a": "1:z"}}
    ) == [
        "train (a; 3 rows then, 4 now)",
        "test (a; no rows then, 1 now)",
    ]
    refuse_other_data("a run without a record", None, before)
