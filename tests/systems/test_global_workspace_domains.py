"""Vectors of domains from every kind of file, with rows that lack some, and one clear error for each kind of bad file."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from brickwork.core.config import override
from brickwork.core.errors import ConfigError, DataError
from brickwork.data.inputs import read_inputs
from brickwork.systems.global_workspace.data import Data
from brickwork.systems.global_workspace.domains import domain_array, domain_task, group_columns

ROWS = 40


def vectors():
    rng = np.random.default_rng(0)
    return {
        "image": rng.normal(size=(ROWS, 3)).astype(np.float32),
        "sound": rng.normal(size=(ROWS, 2)).astype(np.float32),
    }


def everything(path):
    task = domain_task(Data(source=str(path)), seed=0)
    parts = [part.columns for part in (task.train, task.validation, task.test)]
    return task, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def write(path, columns):
    if path.suffix == ".npz":
        np.savez(path, **columns)
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(
            pa.table({n: [list(map(float, r)) for r in v] for n, v in columns.items()}), path
        )
    else:
        names = [f"{n}_{i}" for n, v in columns.items() for i in range(v.shape[1])]
        rows = np.concatenate(list(columns.values()), 1)
        path.write_text("\n".join([",".join(names), *(",".join(map(repr, r)) for r in rows.tolist())]))
    return path


@pytest.mark.parametrize("ending", ["npz", "parquet", "csv"])
def test_every_format_gives_the_same_rows(tmp_path, ending):
    columns = vectors()
    task, columns_read = everything(write(tmp_path / f"pairs.{ending}", columns))
    assert task.kind == "domains"
    for name, values in columns.items():
        np.testing.assert_allclose(np.sort(columns_read[name], 0), np.sort(values, 0), rtol=1e-6)
    # rows stay together
    match = {
        tuple(image): sound for image, sound in zip(columns["image"].round(5).tolist(), columns["sound"])
    }
    for image, sound in zip(columns_read["image"].round(5).tolist(), columns_read["sound"]):
        np.testing.assert_allclose(match[tuple(image)], sound, rtol=1e-5)


def test_names_group_columns():
    names = ["image_0", "image_1", "sound.red", "sound.blue", "size", "x_1"]
    assert group_columns(names) == {
        "image": ["image_0", "image_1"], "sound": ["sound.red", "sound.blue"], "size": ["size"], "x_1": ["x_1"]
    }  # fmt: skip


def test_rows_may_lack_a_domain(tmp_path):
    path = tmp_path / "pairs.csv"
    lines = ["a_0,a_1,b", "1,2,3", "4,,5", ",,6", "7,8,", "9,10,11", "12,13,14", ",,"]
    path.write_text("\n".join(lines))
    task, columns_read = everything(path)
    there = {name: np.isfinite(values).all(1) for name, values in columns_read.items()}
    assert (len(columns_read["a"]), there["a"].sum(), there["b"].sum()) == (6, 4, 5)
    assert np.isnan(columns_read["a"][~there["a"]]).all()  # "4," lacks one number, and so the domain
    assert any("1 rows without any domain" in note for note in task.notes)
    assert any("3 of 6 rows have two or more" in note for note in task.notes)


def test_texts_are_left_out_and_told(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("name,a,b\n" + "\n".join(f"n{i},{i},{2 * i}" for i in range(20)))
    task, columns_read = everything(path)
    assert list(columns_read) == ["a", "b"]
    assert any("left out: name" in note for note in task.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a_0,a_1,b\n1,2,3\n1,x,3\n4,5,6\n", "'a_1', row 1 is 'x'"),
        ("a,b\n[1,2],3\n[1],4\n[1,2],5\n", "'a', row 1 has 1 numbers"),
        ("a\n1\n2\n3\n", "needs two domains or more"),
        ("a,b\n1,\n2,\n,3\n,4\n", "no row has two domains"),
        ("a,b\n1,2\n", "has 1 rows with a value"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text if "[" not in text else text.replace("[1,2]", '"[1,2]"').replace("[1]", '"[1]"'))
    with pytest.raises(DataError, match=message):
        domain_task(Data(source=str(path)), seed=0)


def test_a_missing_file_and_a_damaged_one(tmp_path):
    with pytest.raises(DataError, match="is not a file"):
        domain_task(Data(source=str(tmp_path / "none.csv")), seed=0)
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(DataError, match=r"not an .npz file"):
        domain_task(Data(source=str(tmp_path / "bad.npz")), seed=0)
    np.savez(tmp_path / "pickle.npz", a=np.array([{"x": 1}] * 5, dtype=object), b=np.ones(5))
    with pytest.raises(DataError, match=r"not an .npz file"):
        domain_task(Data(source=str(tmp_path / "pickle.npz")), seed=0)
    np.savez(tmp_path / "uneven.npz", a=np.ones((5, 2)), b=np.ones((4, 2)))
    with pytest.raises(DataError, match="same number of rows"):
        domain_task(Data(source=str(tmp_path / "uneven.npz")), seed=0)


def test_part_of_a_domain_is_refused():
    with pytest.raises(DataError, match="lacks the columns a_1"):
        domain_array({"a_0": [1, 2]}, "a", ["a_0", "a_1"])
    assert domain_array({"b": [1, 2]}, "a", ["a_0", "a_1"]) is None


def test_few_pairs_of_the_halves():
    counts = {}
    for name, options in {
        "all": {},
        "few": {"paired": 64},
        "alone": {"paired": 64, "unpaired": False},
    }.items():
        train = domain_task(Data(source="digit-halves", **options), seed=0).train
        num_domains = np.stack([np.isfinite(values[:, 0]) for values in train.columns.values()]).sum(0)
        counts[name] = (len(train), int((num_domains == 3).sum()), int((num_domains == 1).sum()))
    whole = counts["all"][0]
    assert counts == {"all": (whole, whole, 0), "few": (whole, 64, whole - 64), "alone": (64, 64, 0)}
    for settings, message in (
        (["paired=0"], "paired is 0; use a positive number"),
        (["unpaired=false"], "unpaired has no effect without paired"),
    ):
        with pytest.raises(ConfigError, match=message):
            override(Data(source="digit-halves"), settings)


def test_arrays_of_an_npz_are_inputs(tmp_path):
    path = write(tmp_path / "pairs.npz", vectors())
    ids, columns = read_inputs(path, "columns", limit=3)
    assert ids == ["0", "1", "2"]
    np.testing.assert_array_equal(columns["image"], vectors()["image"][:3])
