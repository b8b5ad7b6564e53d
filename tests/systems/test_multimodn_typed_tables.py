"""Tables with modalities: what columns are, how they are grouped, what is missing, how rows are split."""

import json
import warnings
from datetime import date, datetime

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from brickwork.core.config import from_dict, override, to_dict
from brickwork.core.errors import BrickworkWarning, ConfigError, DataError
from brickwork.data.config import ColumnNames
from brickwork.data.readers.cells import is_missing, number_of, numbers, read_image, series
from brickwork.data.readers.files import ReadReport
from brickwork.systems.multimodn.data import Data, MissingConfig, TableConfig
from brickwork.systems.multimodn.guesses import chosen_groups, column_kind, guess_groups
from brickwork.systems.multimodn.layout import TableLayout
from brickwork.systems.multimodn.missingness import delete, is_present, label_dependence, simulate
from brickwork.systems.multimodn.row_names import names_rows
from brickwork.systems.multimodn.sets import SETS, TOY_LAYOUT, multimodal_task, toy_columns
from brickwork.systems.multimodn.system import load_data
from brickwork.systems.multimodn.tables import multitask_table, typed_examples


@pytest.mark.parametrize(
    "value", [None, float("nan"), float("inf"), "", " ", "NA", "n/a", "?", "NaN", pd.NA, pd.NaT]
)
def test_missing_cells(value):
    assert is_missing(value)


@pytest.mark.parametrize("value", [0, 0.0, False, "0", "no", "-", [], b""])
def test_cells_that_are_there(value):
    assert not is_missing(value)


def test_numbers():
    assert number_of("1e3") == 1000
    assert number_of(True) == 1
    assert number_of("1.5x") is None
    assert np.isnan(number_of("NA"))
    assert number_of(datetime(2000, 1, 2, 12)) == 1.5
    assert number_of(date(2000, 2, 1)) == 31
    assert number_of("2000-01-11") == 10
    report = ReadReport()
    np.testing.assert_array_equal(
        numbers(["1", "x", None, "2000-01-02"], report, "a"), [1, np.nan, np.nan, 1]
    )
    assert "1 skipped: cells of 'a' are no numbers" in report.messages()[0]
    np.testing.assert_array_equal(
        numbers(pd.Series([1, None], dtype="Int64"), ReadReport(), "a"), [1.0, np.nan]
    )


KINDS = {
    "number": [1.5, 2, None],
    "number from texts": ["1", "2", ""],
    "number from dates": [datetime(2020, 1, 1), datetime(2020, 1, 2)],
    "category": ["a", "b"] * 5,
    "category from truth words": ["yes", "no", "yes", "no"],
    "text": [f"the patient number {i} is well" for i in range(30)],
    "image": [b"\x89PNG", b"\xff\xd8"],
    "image from paths": ["a.png", "b/c.JPG", ""],
    "series": [[1.0, 2.0], None, [3.0]],
    "nested": [{"a": 1}, {"a": 2}],
    "empty": [None, "", "NA"],
    "constant": ["a", "a"],
    "identifier": [f"id{i}" for i in range(60)],
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_are_guessed_from_values(name):
    assert column_kind(KINDS[name]) == name.split(" from ")[0]


def test_groups_are_guessed_from_names():
    assert guess_groups(dict.fromkeys(("lab_a", "lab_b", "vital_x", "vital_y", "age"), "number")) == {
        "lab": ["lab_a", "lab_b"],
        "vital": ["vital_x", "vital_y"],
        "other": ["age"],
    }
    assert guess_groups(dict.fromkeys(("lab.a_1", "lab.b_1", "v.a_2", "v.b_2"), "number")) == {
        "lab": ["lab.a_1", "lab.b_1"],
        "v": ["v.a_2", "v.b_2"],
    }
    assert guess_groups({"a": "number", "b": "category", "photo": "image"}) == {
        "a": ["a"],
        "b": ["b"],
        "photo": ["photo"],
    }
    many = [f"c{i}" for i in range(9)]
    assert guess_groups(dict.fromkeys(many, "number")) == {"table": many}


rng = np.random.default_rng(0)
NAMES_OF_ROWS = {
    "id": rng.permutation(60) * 2,
    "patient_id": [f"p{i % 30}" for i in range(60)],
    "PatientID": rng.integers(10_000, 20_000, 60),
    "userid": [str(i) for i in rng.integers(0, 99, 60)],
    "uuid": [f"{i:08x}-aaaa" for i in range(60)],
    "index": [i % 30 for i in range(60)],
    "Unnamed: 0": [str(i) for i in range(60)],
    "": list(range(60)),
    "row number": [float(i) for i in range(60)],
    "shuffled": rng.permutation(60),
    "codes of five digits": rng.choice(90_000, 60, replace=False) + 10_000,
    "from the top": list(range(60, 0, -1)),
    "two rows each": [i // 2 for i in range(60)],
    "with gaps": [None if i % 9 == 0 else i for i in range(60)],
    "evenly spaced": [0.1 * i for i in range(60)],
}
FEATURES = {
    "height": rng.normal(170, 10, 60),
    "sorted height": np.sort(rng.normal(170, 10, 60)),
    "age": rng.integers(20, 80, 60),
    "sorted age": np.sort(rng.integers(0, 20, 60)),
    "day": [datetime(2020, 1, 1 + i % 28) for i in range(60)],
    "day as text": [f"2020-{1 + i // 28:02}-{1 + i % 28:02}" for i in range(60)],
    "date_id of the month": rng.integers(0, 12, 60),
    "paid": rng.integers(0, 2, 60),
    "smoker": [True, False] * 30,
    "heat index": rng.normal(size=60),
    "few rows": [3, 1, 7, 5],
    "note": [f"the patient number {i} is well" for i in range(60)],
}


@pytest.mark.parametrize("name", NAMES_OF_ROWS)
def test_columns_that_name_rows_are_recognised(name):
    assert names_rows(name, NAMES_OF_ROWS[name])


@pytest.mark.parametrize("name", FEATURES)
def test_measurements_dates_and_texts_name_no_rows(name):
    assert names_rows(name, FEATURES[name]) is None


def test_columns_that_name_rows_are_no_features(tmp_path):
    """Rows were entered class by class: the number of the row would give the class away. The notes say how to keep one."""
    path = tmp_path / "t.csv"
    path.write_text(
        "id,nr of row,store_id,age,label\n"
        + "".join(f"{1000 + i},{i},{i % 3},{20 + i * 7 % 50},{int(i >= 100)}\n" for i in range(200))
    )
    task = multitask_table(path, Data(source=str(path)), 0)
    assert task.details.names == ("store_id", "age")
    assert task.details.modality("store_id").categories == ("store_id",)
    notes = " ".join(task.notes)
    assert "id (called an identifier), nr of row (another whole number in each row)" in notes
    assert "data.table.keep=id" in notes
    kept = Data(source=str(path), table=TableConfig(keep=("id",)))
    assert multitask_table(path, kept, 0).details.names == ("id", "store_id", "age")
    every = Data(source=str(path), table=TableConfig(modalities=("all=*",)))
    assert multitask_table(path, every, 0).details.modality("all").columns == ("age", "store_id")
    named = Data(source=str(path), table=TableConfig(modalities=("all=age|id",)))
    assert multitask_table(path, named, 0).details.modality("all").columns == ("age", "id")
    path.write_text("id,label\n" + "".join(f"{i},{i % 2}\n" for i in range(50)))
    with pytest.raises(DataError, match="no column to learn from beside label; 'id' is left out"):
        multitask_table(path, Data(source=str(path)), 0)


def test_the_column_of_groups_is_no_feature(parquet):
    config = Data(
        source=str(parquet), table=TableConfig(targets=("outcome",)), columns=ColumnNames(group="who")
    )
    assert "who" not in multitask_table(parquet, config, 0).details.names


def test_groups_are_chosen_by_names_and_patterns():
    columns = ["TEMP", "PRES", "PM2.5", "PM10", "wd"]
    assert chosen_groups(("weather=TEMP|PRES", "particles=PM*"), columns, "f") == {
        "weather": ["TEMP", "PRES"],
        "particles": ["PM2.5", "PM10"],
    }
    with pytest.raises(DataError, match=r"f has no column 'TEM'.*did you mean 'TEMP'"):
        chosen_groups(("weather=TEM",), columns, "f")


@pytest.fixture
def parquet(tmp_path):
    """A hundred rows with typed columns, a series, an image, and gaps."""
    from io import BytesIO

    from PIL import Image

    png = BytesIO()
    Image.new("RGB", (5, 4), (10, 200, 30)).save(png, "PNG")
    rows = 100
    table = pyarrow.table(
        {
            "lab_a": pyarrow.array([None if i % 7 == 0 else i / 10 for i in range(rows)]),
            "lab_b": list(range(rows)),
            "wave": [[float(i), 1.0] if i % 5 else None for i in range(rows)],
            "photo": [png.getvalue() if i % 4 else None for i in range(rows)],
            "day": [datetime(2020, 1, 1 + i % 28) for i in range(rows)],
            "who": [f"p{i // 2}" for i in range(rows)],
            "outcome": ["good" if i % 3 else "bad" for i in range(rows)],
            "cost": pyarrow.array([None if i == 3 else i * 1.5 for i in range(rows)]),
        }
    )
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(table, path)
    return path


def test_a_parquet_table_becomes_a_task(parquet):
    table = TableConfig(targets=("outcome", "cost"), ignore=("who",), keep=("lab_b",))
    task = multitask_table(parquet, Data(source=str(parquet), table=table, image_size=8), 0)
    assert (task.kind, task.modality) == ("multitask", "table")
    assert {m.name: m.kind for m in task.details.modalities} == {
        "lab_a": "table", "lab_b": "table", "day": "table", "wave": "series", "photo": "image",
    }  # fmt: skip
    assert task.details.target("outcome").classes == ("bad", "good")
    assert not task.details.target("cost").is_class
    assert len(task.train) + len(task.validation) + len(task.test) == 100
    row = task.train.columns
    image = next(p for p in row["photo"] if p is not None)
    assert image.shape == (8, 8, 3)
    assert image[0, 0].tolist() == [10, 200, 30]
    assert next(w for w in row["wave"] if w is not None).shape == (2, 1)
    assert from_dict(TableLayout, json.loads(json.dumps(to_dict(task.details)))) == task.details
    assert is_present(task.train, "wave").sum() == sum(w is not None for w in row["wave"])


@pytest.mark.filterwarnings("ignore:1 skipped. no target is known")
def test_rows_are_split_by_group_and_by_time(parquet):
    table = TableConfig(targets=("cost",), modalities=("labs=lab_a|lab_b",))
    config = Data(source=str(parquet), table=table, columns=ColumnNames(group="who"), test_share=0.3)
    task = multitask_table(parquet, config, 0)
    person = [set((np.asarray(p.columns["labs"])[:, 1] // 2).tolist()) for p in (task.train, task.test)]
    assert not person[0] & person[1]
    assert len(task.test)
    timed = override(config, ["table.time=lab_b", "columns.group=none"])
    task = multitask_table(parquet, timed, 0)
    assert task.train.columns["labs"][:, 1].max() < task.validation.columns["labs"][:, 1].min()
    assert task.validation.columns["labs"][:, 1].max() < task.test.columns["labs"][:, 1].min()


def test_odd_tables(tmp_path):
    path = tmp_path / "t.csv"
    for text, message in (
        ("", "is empty"),
        ("a,label\n1,x\n", "only the class 'x'"),
        ("a,label\n1,x\n2,y\n3,z\n", "is it an identifier"),
        ("a,label\n1,\n2,\n", "missing from every row"),
        ("label\n0\n1\n0\n1\n", "no column to learn from"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            multitask_table(path, Data(source=str(path)), 0)
    with pytest.raises(DataError, match="not a file"):
        multitask_table(tmp_path / "none.csv", Data(source="x"), 0)


LABELS = {
    "whole.csv": (["0", "1"], [0, 1]),
    "numbers.csv": (["1.0", "2", "1"], [1.0, 2.0]),
    "codes.csv": (["007", "008"], ["007", "008"]),
    "words.csv": (["yes", "no"], ["no", "yes"]),
    "texts.jsonl": (["1", "2"], ["1", "2"]),
    "whole.jsonl": ([1, 2], [1, 2]),
    "numbers.jsonl": ([1.0, 2, 1], [1.0, 2.0]),
    "truth.jsonl": ([True, False], [False, True]),
}


def labelled_table(path, labels, rows=40):
    """A table in which ``a`` says what the label is."""
    chosen = [labels[i % len(labels)] for i in range(rows)]
    if path.suffix == ".csv":
        path.write_text("a,label\n" + "".join(f"{i % 7},{label}\n" for i, label in enumerate(chosen)))
    else:
        path.write_text(
            "".join(json.dumps({"a": i % 7, "label": label}) + "\n" for i, label in enumerate(chosen))
        )
    return path


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_predicted_in_the_type_that_they_had(tmp_path, name):
    labels, wanted = LABELS[name]
    path = labelled_table(tmp_path / name, labels)
    (target,) = multitask_table(path, Data(source=str(path)), 0).details.targets
    given = [target.label(place) for place in range(len(target.classes))]
    assert given == wanted
    assert [type(label) for label in given] == [type(label) for label in wanted]


@pytest.mark.parametrize("labels", [[1, "1"], [True, 1], ["a", 2.5], [False, "no"]])
def test_labels_of_mixed_types_are_refused_in_tables(tmp_path, labels):
    path = labelled_table(tmp_path / "t.jsonl", labels)
    with pytest.raises(DataError, match="the target 'label' has labels of mixed types"):
        multitask_table(path, Data(source=str(path)), 0)


def test_labels_of_another_type_than_those_that_were_learnt_are_refused(tmp_path):
    path = labelled_table(tmp_path / "t.jsonl", [0, 1])
    layout = multitask_table(path, Data(source=str(path)), 0).details
    for given in ([0, 1, None], [0.0, 1.0, float("nan")], ["0", "1.0", ""]):
        codes = typed_examples(layout, {"a": [1, 2, 3], "label": given}).columns["target.label"]
        np.testing.assert_array_equal(codes, [0, 1, -1])
    with pytest.raises(DataError, match="labels that are a truth value, and the model learnt a number"):
        typed_examples(layout, {"a": [1, 2], "label": [True, False]})
    path = labelled_table(tmp_path / "u.jsonl", ["0", "1"])
    layout = multitask_table(path, Data(source=str(path)), 0).details
    with pytest.raises(DataError, match="labels that are a number, and the model learnt a text"):
        typed_examples(layout, {"a": [1, 2], "label": [0, 1]})


def test_rows_without_any_target_are_left_out_and_counted(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,label\n" + "".join(f"{i % 7},{'' if i in (2, 5) else i % 2}\n" for i in range(20)))
    with pytest.warns(BrickworkWarning, match=r"2 skipped: no target is known \(first: t.csv row 3\)"):
        task = multitask_table(path, Data(source=str(path)), 0)
    assert len(task.train) + len(task.validation) + len(task.test) == 18


def test_strange_classes_and_series_are_refused_or_counted():
    layout = TOY_LAYOUT
    raw = {**toy_columns(8, 0), "sick": ["maybe"] * 8}
    with pytest.raises(DataError, match="class 'maybe', which is none of no, yes"):
        typed_examples(layout, raw)
    report = ReadReport()
    assert series([[1, "x"], [], 3.0, None, [np.nan]], report, "s") == [None] * 5
    assert report.skipped
    with pytest.warns(BrickworkWarning, match="different lengths within a row"):
        result = typed_examples(layout, {**toy_columns(8, 0), "wave": [[1.0]] * 8, "flow": [[1.0, 2.0]] * 8})
    assert result.columns["monitor"] == [None] * 8


def test_images_that_cannot_be_read_are_missing(tmp_path):
    report = ReadReport()
    (tmp_path / "text.png").write_text("no image")
    assert read_image("text.png", 8, tmp_path, report, "row 0") is None
    assert read_image("absent.png", 8, tmp_path, report, "row 1") is None
    assert read_image(b"", 8, tmp_path, report, "row 2") is None
    assert read_image({"bytes": b"junk"}, 8, tmp_path, report, "row 3") is None
    assert sum(report.skipped.values()) == 4
    assert "row 0 text.png" in report.messages()[0]


def test_an_image_made_to_fill_the_memory_is_not_decoded(tmp_path):
    """A PNG whose header promises 30,000 × 30,000 pixels."""
    from io import BytesIO

    from PIL import Image

    held = BytesIO()
    Image.new("L", (8, 8)).save(held, "PNG")
    raw = bytearray(held.getvalue())
    raw[16:24] = (30_000).to_bytes(4, "big") * 2
    report = ReadReport()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read_image(bytes(raw), 8, tmp_path, report, "row 0") is None
    assert report.skipped


# ---- missing values --------------------------------------------------------------------------------------------


def labelled(rows=1000):
    rng = np.random.default_rng(0)
    from brickwork.data.types import Examples

    layout = multimodal_task(Data(source="breast_cancer", limit=60), 0).details
    y = rng.integers(0, 2, rows)
    columns = {name: rng.normal(size=(rows, 10)) for name in layout.names}
    return layout, Examples({**columns, "target.tumour": y})


@pytest.mark.parametrize(
    ("mechanism", "expected"), [("mcar", (0.4, 0.4)), ("mnar", (0.0, 0.4)), ("mar", (0.2, 0.2))]
)
def test_simulated_missing_values_are_as_many_as_chosen(mechanism, expected):
    layout, examples = labelled()
    config = MissingConfig(modality="error", mechanism=mechanism, rate=0.4, label=1, driver="mean")
    result = simulate(examples, layout, config, 0)
    y, gone = examples.columns["target.tumour"], ~is_present(result, "error")
    for label, share in enumerate(expected):
        assert gone[y == label].mean() == pytest.approx(share, abs=0.05 if mechanism != "mnar" else 0.002)
    if mechanism == "mar":
        high = examples.columns["mean"][:, 0] > np.median(examples.columns["mean"][:, 0])
        assert not gone[~high].any()
    assert is_present(examples, "error").all(), "the original is left alone"
    assert is_present(result, "worst").all()


def test_deletion_of_every_kind():
    examples = typed_examples(TOY_LAYOUT, toy_columns(20, 0))
    for name in TOY_LAYOUT.names:
        result = delete(examples, name, [1, 3])
        assert not is_present(result, name)[[1, 3]].any()
        others = [row for row in range(20) if row not in (1, 3)]
        assert (is_present(result, name)[others] == is_present(examples, name)[others]).all()


def test_dependence_is_found_where_it_is_and_not_elsewhere():
    """By hand: 50 of 100 against 10 of 100 gives χ² with Yates = 36.2; and 200 random tables give hardly a finding."""
    there = np.r_[np.arange(100) >= 50, np.arange(100) >= 10]
    y = np.r_[np.zeros(100), np.ones(100)].astype(np.int64)
    (result,) = label_dependence({"m": there}, {"y": y}, {"y": ("a", "b")})
    from scipy.stats import chi2

    assert result.p == pytest.approx(
        chi2.sf((abs(50 * 90 - 50 * 10) - 100) ** 2 * 200 / (60 * 140 * 100 * 100), 1)
    )
    assert result.shares == (("a", 0.5), ("b", 0.1))
    assert "50 % where it is a, 10 % where it is b" in str(result)
    rng = np.random.default_rng(0)
    null = sum(
        len(label_dependence({"m": rng.random(100) < 0.7}, {"y": rng.normal(size=100)}, {}))
        for _ in range(200)
    )
    assert null <= 2
    assert not label_dependence({"m": np.ones(200, dtype=bool)}, {"y": y}, {"y": ("a", "b")})


# ---- known sets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETS)
def test_known_sets_are_what_their_layout_says(name, data_folder):
    if name == "cifar10_described":
        pytest.skip("reads 50,000 images; the recipe gpu uses it")
    limit = None if name in ("breast_cancer", "student_performance") else 300
    task = load_data(Data(source=name, limit=limit), 0)
    for modality in task.details.modalities:
        assert is_present(task.train, modality.name).any()
        if modality.kind == "table":
            assert task.train.columns[modality.name].shape[1] == len(modality.numbers)
    for target in task.details.targets:
        assert len(task.train.columns[target.column]) == len(task.train)


def test_choices_without_effect_on_a_known_set_are_refused():
    with pytest.raises(DataError, match=r"data\.table\.time has no effect"):
        load_data(Data(source="breast_cancer", table=TableConfig(time="x")), 0)
    with pytest.raises(ConfigError, match="rate is 2"):
        override(Data(), ["table.missing.rate=2"])
