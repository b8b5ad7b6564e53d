"""What a user is told of a table: the type of each column, numbers with odd words among them, new categories, targets."""

import json
import re
import shlex
import warnings

import numpy as np
import pandas as pd
import pytest

import brickwork
from brickwork.core.config import override
from brickwork.core.errors import BrickworkWarning, DataError
from brickwork.representation.contract import build_system
from brickwork.representation.kept import save_system
from brickwork.systems.multimodn import MultiModNClassifier
from brickwork.systems.multimodn.config import MultiModNConfig
from brickwork.systems.multimodn.data import Data, TableConfig
from brickwork.systems.multimodn.guesses import column_kind
from brickwork.systems.multimodn.system import System
from brickwork.systems.multimodn.tables import multitask_table, typed_examples

ROWS = 60


def table(path, **columns):
    rng = np.random.default_rng(0)
    held = {
        "height": rng.normal(170, 10, ROWS).round(2).astype(str),
        "colour": rng.choice(["red", "blue"], ROWS),
        "day": [f"2020-{1 + i // 28:02}-{1 + i % 28:02}" for i in range(ROWS)],
        "ride": [f"{1 + i % 3}:{10 + i % 40}" for i in range(ROWS)],
        "label": rng.integers(0, 2, ROWS).astype(str),
    }
    frame = pd.DataFrame({**held, **columns})
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


def with_words(*words, every=20):
    cells = [f"{i % 20}.5" for i in range(ROWS)]
    for place, word in enumerate(words):
        cells[place::every] = [word] * len(cells[place::every])
    return cells


def notes_of(path, **config):
    return " | ".join(multitask_table(path, Data(source=str(path), table=TableConfig(**config)), 0).notes)


def test_the_type_of_each_column_is_told(tmp_path):
    notes = notes_of(table(tmp_path / "t.csv"))
    assert "types: number = height; category = colour; date = day; duration = ride" in notes
    typed = table(
        tmp_path / "t.parquet",
        paid=[True, False] * 30,
        day=pd.date_range("2020-01-01", periods=ROWS, freq="37h"),
    )
    assert (
        "types: number = height; category = colour; date = day; duration = ride; truth value = paid"
        in notes_of(typed)
    )
    wide = table(
        tmp_path / "wide.csv", **{f"c{i}": np.random.default_rng(i).normal(size=ROWS) for i in range(30)}
    )
    assert "number = height, c0, c1, c2, c3, c4 … (31)" in notes_of(wide)


@pytest.mark.parametrize("words", [("-",), ("unknown",), ("-", "unknown"), ("not known, yet",)])
def test_numbers_with_a_few_words_among_them_are_told_and_can_be_missing(tmp_path, words):
    path = table(tmp_path / "t.csv", pulse=with_words(*words))
    notes = notes_of(path)
    assert "'pulse' is read as a category, although most of its filled cells are numbers" in notes
    assert all(f"{word!r} (3)" in notes for word in words)
    (advice,) = re.findall(r"is missing: --set (.*?)(?: \||$)", notes)
    (setting,) = shlex.split(advice)
    config = override(Data(source=str(path)), [setting.removeprefix("data.")])
    assert sorted(config.table.na_values) == sorted(words)
    task = multitask_table(path, config, 0)
    assert task.details.modality("pulse").numbers == ("pulse",)
    assert "although" not in " ".join(task.notes)
    new = {"height": ["1"], "colour": ["red"], "day": [""], "ride": [""], "pulse": [words[0].upper()]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what was missing at fit is missing at predict, and is no odd cell
        assert np.isnan(typed_examples(task.details, new, with_targets=False).columns["pulse"]).all()


def test_a_number_that_means_missing(tmp_path):
    """-999 in a table with types, in features and in the target."""
    pulse, days = np.arange(ROWS) % 31, np.arange(ROWS) * 1.5
    pulse[::7], days[::6] = -999, -999
    path = table(tmp_path / "t.parquet", pulse=pulse, days=days)
    config = Data(source=str(path), table=TableConfig(targets=("days",), na_values=("-999",)))
    with pytest.warns(BrickworkWarning, match="10 skipped: no target is known"):
        task = multitask_table(path, config, 0)
    assert sum(map(len, (task.train, task.validation, task.test))) == 50
    assert np.nanmin(task.train.columns["pulse"]) >= 0


@pytest.mark.parametrize("distinct", [30, ROWS])
def test_a_column_that_is_left_out_for_its_words_is_told_as_well(tmp_path, distinct):
    """With many different numbers a word makes an identifier of the column, which is left out."""
    cells = [f"{(i % distinct) * 1.37:.2f}" for i in range(ROWS)]
    cells[3] = "-"
    notes = notes_of(table(tmp_path / "t.csv", pulse=cells))
    assert re.search(r"'pulse' is .*although.*'-' \(1\)", notes)


def test_words_are_words_where_numbers_are_few(tmp_path):
    assert "although" not in notes_of(table(tmp_path / "t.csv", size=["1", "2", "XL", "M", "L", "S"] * 10))


def test_a_target_of_numbers_and_words_names_the_words(tmp_path):
    path = table(tmp_path / "t.csv", days=[f"{i}.5" if i else "-" for i in range(ROWS)])
    with pytest.raises(
        DataError, match=r"60 classes in 60 rows; 'days' would be read as a class.*na_values=-$"
    ):
        notes_of(path, targets=("days",))


@pytest.mark.parametrize(
    ("values", "chosen", "words"),
    [
        ([0, 1, 2], "y", r"targets: y \(3 classes: 0, 1, 2; whole numbers, learnt as a number with --set \S+=y:number\)"),
        (range(40), "y", r"targets: y \(a number; whole numbers, learnt as classes with --set \S+=y:class\)"),
        ([0, 1, 2], "y:class", r"targets: y \(3 classes: 0, 1, 2\)"),
        ([0, 1, 2], "y:number", r"targets: y \(a number\)"),
        ([0.5, 1, 2], "y", r"targets: y \(a number\)"),
        (["a", "b"], "y", r"targets: y \(2 classes: a, b\)"),
    ],
)  # fmt: skip
def test_what_a_target_is_learnt_as_is_told(tmp_path, values, chosen, words):
    column = [list(values)[i % len(values)] for i in range(ROWS)]
    for name in ("t.csv", "t.parquet"):
        assert re.search(words + r"( \||$)", notes_of(table(tmp_path / name, y=column), targets=(chosen,)))


def test_categories_that_training_never_saw_are_told(tmp_path):
    path = table(tmp_path / "t.csv")
    data = multitask_table(path, Data(source=str(path)), 0)
    save_system(build_system("multimodn", brickwork.recipe("multimodn").model, data, 0), tmp_path / "model")
    new = table(tmp_path / "new.csv", colour=["red", "teal", "mauve", None, "ochre", "teal"] * 10)
    told = r"never seen in training: 'colour' \(40 of 50 cells: 'teal', 'mauve', 'ochre'\)"
    with (
        pytest.warns(BrickworkWarning, match=told),
        pytest.warns(BrickworkWarning, match="never in training"),
    ):
        brickwork.predict(tmp_path / "model", new)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        brickwork.predict(tmp_path / "model", path)


def test_the_estimators_tell_new_categories_and_odd_cells():
    frame = pd.DataFrame(
        {"colour": ["red", "blue"] * 30, "height": np.random.default_rng(0).normal(size=ROWS)}
    )
    model = MultiModNClassifier(max_iter=1, random_state=0).fit(frame, [0, 1, 1] * 20)
    with pytest.warns(BrickworkWarning, match=r"never seen in training: 'colour' \(1 of 2 cells: 'teal'\)"):
        model.predict(pd.DataFrame({"colour": ["red", "teal"], "height": [0.0, 1.0]}))
    frame["pulse"] = with_words("-")
    with pytest.warns(BrickworkWarning, match=r"'pulse' \(category; '-'\).*make them NaN"):
        MultiModNClassifier(max_iter=1, random_state=0).fit(frame, [0, 1, 1] * 20)


def test_decimal_commas_are_one_rule_with_the_row(tmp_path):
    """At training and at predict; a few odd words beside them change nothing."""
    assert column_kind(["1,5", "2,5", "3,5", "4,5", "5,5", "6,5", "7", "8", "9", "-"]) == "decimal commas"
    cells = ["1.5", "2.5", "3,14", *with_words()[3:]]
    path = table(tmp_path / "t.csv", pulse=cells)
    with pytest.raises(
        DataError, match=r"t\.csv row 3: 'pulse' has numbers with decimal commas, for example '3,14'"
    ):
        notes_of(path)
    good = table(tmp_path / "good.csv", pulse=with_words())
    data = multitask_table(good, Data(source=str(good)), 0)
    save_system(build_system("multimodn", brickwork.recipe("multimodn").model, data, 0), tmp_path / "model")
    with pytest.raises(
        DataError, match=r"t\.csv: row 3: 'pulse' has numbers with decimal commas, for example '3,14'"
    ):
        brickwork.predict(tmp_path / "model", path)


def test_words_that_mean_missing_are_kept_in_a_model(tmp_path):
    """In the run folder too, where whoever predicts knows nothing of the options of the training."""
    cells = ["-" if i % 3 == 0 else f"{(i % 17) * 1.37:.2f}" for i in range(ROWS)]
    path = table(tmp_path / "t.csv", pulse=cells)
    data = Data(source=str(path), table=TableConfig(na_values=("-",)))
    task = multitask_table(path, data, 0)
    system = System.build(MultiModNConfig(), task, None, 0)
    again = System.restore(json.loads(json.dumps(system.architecture())), None)
    assert again.layout.na_values == system.layout.na_values == ("-",)


@pytest.mark.parametrize("every", [2, 5, 9, 20])
def test_words_among_numbers_are_told_however_many(tmp_path, every):
    cells = ["-" if i % every == 0 else f"{i * 1.37:.2f}" for i in range(ROWS)]
    assert re.search(r"'pulse' is .*although most.*'-' \(", notes_of(table(tmp_path / "t.csv", pulse=cells)))
    path = table(tmp_path / "c.csv", pulse=[cell.replace(".", ",") for cell in cells])
    if every > 4:
        with pytest.raises(DataError, match="'pulse' has numbers with decimal commas"):
            notes_of(path)
