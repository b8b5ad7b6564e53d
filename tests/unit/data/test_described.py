"""Inputs with what is known of them, from tables, folders and arrays."""

import warnings

import numpy as np
import pytest
from PIL import Image

from brickwork.core.errors import BrickworkWarning, DataError
from brickwork.data.config import ColumnNames
from brickwork.data.described import read_described


def pixels(value):
    return Image.fromarray(np.full((4, 4), value, dtype=np.uint8))


def test_texts_keep_their_other_columns_and_missing_cells(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("id,title,text,topic,price\n7,Head,one,a,1.5\n8,,two,b,\n")
    read = read_described(table, "texts")
    assert read.inputs == ["Head\none", "two"]
    assert read.columns == {
        "id": ["7", "8"],
        "title": ["Head", None],
        "topic": ["a", "b"],
        "price": [1.5, None],
    }
    assert (read.used, read.note) == (("text",), "")


def test_a_limit_is_drawn_from_the_whole_table(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("text,n\n" + "".join(f"row {i},{i}\n" for i in range(100)))
    read = read_described(table, "texts", limit=10)
    assert read.rows == 100
    assert read.columns["n"] == list(range(100)), "what a column is, is read from all of it"
    assert len(read) == 10
    assert read.inputs == [f"row {n}" for n in read.chosen]
    assert max(read.chosen) > 50


def test_no_column_is_lost_and_another_text_is_named(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("source,text,body,nothing\nweb,one,uno,\n,two,due,\n")
    read = read_described(table, "texts")
    assert read.columns == {"source": ["web", None], "body": ["uno", "due"], "nothing": [None, None]}
    assert read.note == "t.csv: the texts are those of 'text'; to read 'body' instead: --column text=body"
    read = read_described(table, "texts", columns=ColumnNames(text="body"))
    assert read.inputs == ["uno", "due"]


def test_rows_of_images_that_were_not_drawn_are_not_lost(tmp_path):
    pixels(10).save(tmp_path / "a.png")
    table = tmp_path / "t.csv"
    table.write_text("photo,n\n" + "".join(f"a.png,{n}\n" for n in range(30)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", BrickworkWarning)
        read = read_described(table, "images", form=(4, 4, 1), limit=6)
    assert (len(read), read.rows, read.columns["n"]) == (6, 30, [str(n) for n in range(30)])


def test_a_folder_of_texts_is_known_by_its_folders(tmp_path):
    for name in ("law", "art"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text(f"about {name}, in a sentence.")
    read = read_described(tmp_path, "texts")
    assert sorted(read.columns["folder"]) == ["art", "law"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_images_of_a_table_by_path_or_inside_of_it(tmp_path, form):
    import pyarrow as pa
    import pyarrow.parquet

    for value in (10, 200):
        pixels(value).save(tmp_path / f"{value}.png")
    table = tmp_path / f"t.{form}"
    if form == "csv":
        table.write_text("photo,dark\n10.png,yes\nmissing.png,no\n200.png,no\n")
    else:
        raw = [(tmp_path / f"{value}.png").read_bytes() for value in (10, 200)]
        pyarrow.parquet.write_table(
            pa.table({"photo": [raw[0], None, raw[1]], "dark": ["yes", "no", "no"]}), table
        )
    with pytest.warns(BrickworkWarning, match="image"):
        read = read_described(table, "images", form=(4, 4, 1))
    assert read.inputs.shape == (2, 4, 4, 1)
    assert read.inputs[:, 0, 0, 0].tolist() == [10, 200]
    assert read.columns == {"dark": ["yes", "no", "no"]}
    assert read.chosen == [0, 2]


def test_a_path_that_leads_out_of_the_folder_is_not_read(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    pixels(10).save(tmp_path / "out.png")
    (inner / "t.csv").write_text("image,c\n../out.png,a\n")
    with pytest.raises(DataError, match="leads outside"):
        read_described(inner / "t.csv", "images", form=(4, 4, 1))
    assert len(read_described(inner / "t.csv", "images", form=(4, 4, 1), allow_outside=True)) == 1


def test_images_in_folders_and_arrays(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "pics" / name).mkdir(parents=True)
        pixels(7).save(tmp_path / "pics" / name / "1.png")
    assert read_described(tmp_path / "pics", "images", form=(4, 4, 1)).columns == {"folder": ["a", "b"]}
    images = np.zeros((3, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", image=images, label=np.array([0, 1, 0]))
    read = read_described(tmp_path / "x.npz", "images", form=(4, 4, 1))
    assert read.inputs.shape == (3, 4, 4, 1)
    assert read.columns == {"label": [0, 1, 0]}
    np.savez(tmp_path / "two.npz", a=images, b=images)
    with pytest.raises(DataError, match=r"one array of images .*a, b"):
        read_described(tmp_path / "two.npz", "images", form=(4, 4, 1))


def test_rows_of_a_table_are_both_inputs_and_what_is_known(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("age,sick\n1,yes\n2,no\n")
    read = read_described(table, "columns")
    assert list(read.inputs) == list(read.columns) == ["age", "sick"]
    assert len(read) == 2


@pytest.mark.parametrize(
    ("name", "content", "kind", "message"),
    [
        ("t.csv", "a,b\n1,2\n", "texts", "none is called like a text"),
        ("t.csv", "a,b\n1,2\n", "images", "this model reads images, and none is called like one"),
        ("t.txt", "words", "images", r"t.txt is no table; give a table"),
    ],
)
def test_bad_sources_are_named(tmp_path, name, content, kind, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_described(tmp_path / name, kind, form=(4, 4, 1))


def test_a_column_that_is_chosen_has_to_exist(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no column 'c'"):
        read_described(tmp_path / "t.csv", "images", columns=ColumnNames(image="c"), form=(4, 4, 1))
    with pytest.raises(DataError, match=r"none\.csv is not a file; give a table of images"):
        read_described(tmp_path / "none.csv", "images", form=(4, 4, 1))
