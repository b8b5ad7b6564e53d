"""Rows that are lost: told where they are most of the rows, with their places as a person counts them."""

import json
import re
import warnings

import numpy as np
import pytest
from PIL import Image

from brickwork.api import read_data
from brickwork.api import train as training
from brickwork.core.config import override
from brickwork.core.errors import BrickworkWarning, DataError
from brickwork.data.config import DataConfig
from brickwork.data.inputs import read_inputs
from brickwork.data.load import load_task, read_documents
from brickwork.data.readers.captions import read_captions
from brickwork.data.types import Examples, TaskData
from brickwork.systems.multimodn.data import Data
from brickwork.systems.multimodn.tables import multitask_table

LOST = "more than half of the rows are lost: {} of {} can be used"


def texts(i):
    return f"the query number {i} of many", f"the answer number {i * 7} to it"


def scored(path, score_of, rows=50):
    lines = [",".join((*texts(i), str(score_of(i)))) for i in range(rows)]
    path.write_text("\n".join(["sentence1,sentence2,score", *lines]))
    return path


def told(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BrickworkWarning)
        result = call()
    return result, [str(warning.message) for warning in caught]


def labelled(path):
    path.write_text(
        "text,label\n" + "".join(f"{texts(i)[0]},{i % 2 if i % 5 == 0 else ''}\n" for i in range(50))
    )


def plain(path):
    path.write_text("text,note\n" + "".join(f"{texts(i)[0] if i % 5 == 0 else ''},x\n" for i in range(50)))


def broken(path):
    path.write_text(
        "text,label\n" + "".join(f"{texts(i)[0]},{i % 3}{',x' * (i % 5 > 0)}\n" for i in range(50))
    )


@pytest.mark.parametrize("score", ["", "x", "nan"])
def test_scored_pairs_without_a_usable_score(tmp_path, score):
    path = scored(tmp_path / "t.csv", lambda i: i / 50 if i % 5 == 0 else score)
    task, said = told(lambda: load_task(DataConfig(source=str(path)), 0))
    assert LOST.format(10, 50) in said
    assert LOST.format(10, 50) in task.notes
    half = scored(tmp_path / "half.csv", lambda i: i / 50 if i % 2 == 0 else score)
    assert not [
        text for text in told(lambda: load_task(DataConfig(source=str(half)), 0))[1] if "lost" in text
    ]


@pytest.mark.parametrize("write", [labelled, plain, broken])
def test_other_tables_of_which_most_rows_are_lost(tmp_path, write):
    write(tmp_path / "t.csv")
    if write is not plain:  # so short texts alone are no pairs to learn from
        task = told(lambda: load_task(DataConfig(source=str(tmp_path / "t.csv")), 0))
        assert LOST.format(10, 50) in task[1]
    if write is not labelled:  # where the texts alone are read, no row is lost
        assert LOST.format(10, 50) in told(lambda: list(read_documents(tmp_path / "t.csv")))[1]


def test_columns_targets_and_captions_of_which_most_are_lost(tmp_path):
    (tmp_path / "t.csv").write_text(
        "a,label\n" + "".join(f"{i % 7},{i % 2 if i % 5 == 0 else ''}\n" for i in range(50))
    )
    source = str(tmp_path / "t.csv")
    assert LOST.format(10, 50) in told(lambda: multitask_table(tmp_path / "t.csv", Data(source=source), 0))[1]
    broken(tmp_path / "b.csv")
    assert LOST.format(10, 50) in told(lambda: read_inputs(tmp_path / "b.csv", "columns"))[1]
    Image.new("RGB", (8, 8)).save(tmp_path / "good.png")
    rows = [{"image": "good.png" if i == 0 else f"{i}.png", "text": "a text"} for i in range(5)]
    rows.append({"image": "good.png", "text": ""})
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert LOST.format(1, 6) in told(lambda: read_captions(tmp_path / "captions.jsonl", (8, 8, 3)))[1]


def test_rows_are_counted_from_one(tmp_path):
    """The first row below the header is row 1, in every reader; a row that is left out before keeps its number."""
    path = tmp_path / "t.csv"
    path.write_text(
        'a,label\n1,0\n"2,1\n3,,x\n4,1\nred,0\n' + "".join(f"{i % 7},{i % 2}\n" for i in range(30))
    )
    said = " ".join(told(lambda: multitask_table(path, Data(source=str(path)), 0))[1])
    assert "cells of 'a' are no numbers" not in said  # a few odd words make a category
    path.write_text(
        "a,b,label\n1,1,0\n2,2\n3,3,\n" + "".join(f"{i % 7},{i % 5},{i % 2}\n" for i in range(30))
    )
    said = " ".join(told(lambda: multitask_table(path, Data(source=str(path)), 0))[1])
    assert "1 skipped: no target is known (first: t.csv row 3)" in said
    scores = scored(tmp_path / "s.csv", lambda i: "x" if i == 2 else i / 50)
    assert "first: s.csv row 3" in " ".join(told(lambda: load_task(DataConfig(source=str(scores)), 0))[1])


@pytest.mark.parametrize("cell", ["0,75", "3,14", "1.000,5"])
def test_scores_with_decimal_commas_are_refused_with_the_row(tmp_path, cell):
    path = scored(tmp_path / "t.csv", lambda i: f'"{cell}"' if i == 3 else i / 50)
    words = rf"t\.csv row 4: 'score' has numbers with decimal commas, for example '{re.escape(cell)}'; write"
    with pytest.raises(DataError, match=words):
        load_task(DataConfig(source=str(path)), 0)


@pytest.mark.parametrize("rows", [3, 8])
def test_a_part_that_is_empty_is_told_with_what_to_do(tmp_path, rows):
    path = scored(tmp_path / "t.csv", lambda i: i / 50, rows=rows)
    run = override(training.recipe("matryoshka", "scratch"), [f"data.source={path}"])
    with pytest.warns(
        BrickworkWarning, match=rf"its {rows} examples leave none for validation.*larger shares"
    ):
        task = training.build(run)[1]
    assert len(task.train)
    assert not len(task.validation)
    shares = ["data.validation_share=0.34", "data.test_share=0.34"]
    task, said = told(lambda: training.build(override(run, shares))[1])
    assert all(map(len, (task.train, task.validation, task.test)))
    assert not said
    without = override(run, ["data.validation_share=0", "data.test_share=0"])
    assert not told(lambda: training.build(without))[1]


def test_a_part_that_is_empty_because_texts_are_shared(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("anchor,positive\n" + "".join(f"one query,{texts(i)[1]}\n" for i in range(60)))
    run = override(training.recipe("matryoshka", "scratch"), [f"data.source={path}"])
    with pytest.warns(BrickworkWarning, match="examples that share a text stay together"):
        training.build(run)


def test_nothing_to_train_on_is_refused(tmp_path):
    parts = dict.fromkeys(("train", "validation", "test"), Examples({}))
    empty = TaskData(name="t", kind="pairs", modality="text", **parts)
    with pytest.raises(DataError, match="its 0 examples leave none to train on"):
        read_data.check_parts(empty, DataConfig())


def test_arrays_have_no_rows_that_are_lost(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 8, 8, 3), np.uint8))
    assert not told(lambda: read_inputs(tmp_path / "a.npy", "images"))[1]


def test_what_was_warned_of_is_not_told_twice(tmp_path):
    path = scored(tmp_path / "t.csv", lambda i: i / 50 if i % 5 == 0 else "x")
    (task, said) = told(lambda: load_task(DataConfig(source=str(path)), 0))
    assert [line.strip() for line in read_data.data_lines(task)][-2:] == said
    assert not set(said) & {line.strip() for line in read_data.data_lines(task, said)}
