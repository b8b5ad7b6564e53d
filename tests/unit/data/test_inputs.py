"""Inputs to predict for, and the tables that answers are written to."""

import json

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from brickwork.core.errors import DataError
from brickwork.data.config import ColumnNames
from brickwork.data.inputs import read_inputs
from brickwork.data.writers import write_table


def test_texts_come_from_any_documents(tmp_path):
    path = tmp_path / "notes.csv"
    path.write_text("id,text\na,one\nb,two\n")
    assert read_inputs(path, "texts") == (["a", "b"], {"input": ["one", "two"]})


def test_columns_keep_their_names_and_missing_values(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"age": 3, "name": "x"}\n{"age": null, "name": "y"}\n{"age": 5, "name": "z"}\n')
    ids, columns = read_inputs(path, "columns", limit=2)
    assert columns == {"age": [3, None], "name": ["x", "y"]}
    assert len(ids) == len(set(ids)) == 2
    ids, _ = read_inputs(path, "columns", columns=ColumnNames(id="name"))
    assert ids == ["x", "y", "z"]


def test_images_are_an_array(tmp_path):
    images = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 1)
    np.save(tmp_path / "images.npy", images)
    ids, columns = read_inputs(tmp_path / "images.npy", "images")
    assert ids == ["0", "1"]
    assert (columns["input"] == images).all()


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"absent\.csv is not a file; give a table, which this model reads"):
        read_inputs(tmp_path / "absent.csv", "columns")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(DataError, match="run is a folder; give a table"):
        read_inputs(tmp_path / "run", "columns")
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(DataError, match=r"run is no folder of data: it is a run that has not finished"):
        read_inputs(tmp_path / "run", "columns")
    (tmp_path / "empty.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="holds no row"):
        read_inputs(tmp_path / "empty.csv", "columns")
    np.save(tmp_path / "wrong.npy", np.zeros((2, 3)))
    with pytest.raises(DataError, match="one array of uint8"):
        read_inputs(tmp_path / "wrong.npy", "images")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(DataError, match=r"objects\.npy is not an \.npy array of images"):
        read_inputs(tmp_path / "objects.npy", "images")


COLUMNS = {"id": ["a", 'b"c'], "score": np.array([0.5, 1.5]), "vector": np.eye(2)}


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_written_table_is_read_back_by_other_libraries(tmp_path, ending):
    path = tmp_path / f"answers.{ending}"
    write_table(path, COLUMNS)
    if ending == "parquet":
        rows = pyarrow.parquet.read_table(path).to_pylist()
    elif ending == "csv":
        rows = pyarrow.csv.read_csv(path).to_pylist()
        rows = [{**row, "vector": json.loads(row["vector"])} for row in rows]
    else:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == [
        {"id": "a", "score": 0.5, "vector": [1.0, 0.0]},
        {"id": 'b"c', "score": 1.5, "vector": [0.0, 1.0]},
    ]


def test_columns_of_different_lengths_are_a_defect(tmp_path):
    with pytest.raises(ValueError, match="zip"):
        write_table(tmp_path / "x.csv", {"a": [1], "b": [1, 2]})
    assert not (tmp_path / "x.csv").exists()
