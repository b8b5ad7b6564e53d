"""Which columns of a table are properties of its rows, of which kind, and why others are none."""

import numpy as np
import pytest

from brickwork.core.errors import DataError
from brickwork.core.shares import Property
from brickwork.evaluation.properties import above_middle, properties_of, property_of

N = 40


def cells(*values):
    return [values[i % len(values)] for i in range(N)]


@pytest.mark.parametrize(
    ("values", "kind", "columns"),
    [
        (cells("a", "b", "c"), "category", 3),
        (cells(0, 1, 2, 3), "category", 4),
        (cells("0", "1", "2", "3"), "category", 4),
        (cells(True, False), "truth value", 2),
        (cells("yes", "No"), "truth value", 2),
        ([i / 7 for i in range(N)], "number", 1),
        ([str(i % 20) for i in range(N)], "number", 1),
        (cells("a", "b", None), "category", 3),
        (cells(None, *[i / 3 for i in range(19)]), "number", 2),
        (cells("2020-01-01", *[f"2021-02-{d:02}" for d in range(1, 20)]), "number", 1),
        (cells("007", "012"), "category", 2),
    ],
)
def test_the_kind_of_a_column(values, kind, columns):
    made = property_of("c", values)
    assert (made.kind, made.columns.shape) == (kind, (N, columns))
    assert np.isfinite(made.columns).all()
    assert set(made.classes) <= set(range(-1, 100))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([None] * N, "empty"),
        (cells("a"), "the same value"),
        (cells(None, None, None, 1), "more than half"),
        ([f"text {i}" for i in range(N)], "name of the row"),
        (list(range(N)), "name of the row"),
        ([f"text {i // 2}" for i in range(N)], "different values"),
        ([[1, 2]] * N, "lists"),
        (["a"] * (N - 1) + ["b"], "the same value in all rows but 1"),
        ([0.5] * (N - 4) + [1.5, 2.5, 3.5, None], "the same value in all rows but 4"),
    ],
)
def test_why_a_column_is_no_property(values, why):
    assert why in property_of("c", values)


def test_a_missing_cell_is_a_value_of_its_own_and_nothing_to_be_told_by_a_probe():
    made = property_of("c", cells("a", "b", None))
    assert (made.classes == -1).sum() == N // 3
    assert "13 missing" in made.note
    assert (made.columns.sum(1) == 1).all()


def test_a_number_is_above_its_middle_or_not():
    assert above_middle(np.array([1.0, 2, 3, 4])).tolist() == [0, 0, 1, 1]
    assert above_middle(np.array([0.0, 0, 0, 5, np.nan])).tolist() == [0, 0, 0, 1, -1]
    assert above_middle(np.array([0.0, 5, 5, 5])).tolist() == [0, 1, 1, 1]


def test_a_whole_number_for_each_row_counts_where_it_is_asked_for():
    table = {"n": list(range(N)), "c": cells("a", "b")}
    assert [p.name for p in properties_of(table, "t.csv")[0]] == ["c"]
    assert [p.name for p in properties_of(table, "t.csv", ["n"])[0]] == ["n"]


def test_wrong_columns_are_named():
    table = {"colour": cells("red", "blue"), "id": [f"x{i}" for i in range(N)]}
    with pytest.raises(DataError, match=r"no column 'color' to measure.*colour"):
        properties_of(table, "t.csv", ["color"])
    with pytest.raises(DataError, match="'id' cannot be measured: it is different in every row"):
        properties_of(table, "t.csv", ["id"])
    with pytest.raises(DataError, match=r"t.csv has no column with a property.*'id' is different"):
        properties_of({"id": table["id"]}, "t.csv")
    with pytest.raises(DataError, match="'price' has numbers with decimal commas, for example '1,5'"):
        properties_of({"price": cells("1,5", "2,5")}, "t.csv")


def test_dates_are_numbers_though_each_is_another():
    """A day for each row, as in a diary; whole numbers of which each is another are names of the rows."""
    days = [f"2025-{1 + n // 28:02d}-{1 + n % 28:02d}" for n in range(100)]
    found = property_of("day", days)
    assert isinstance(found, Property)
    assert found.kind == "number"
    assert property_of("row", [str(n) for n in range(100)]) == (
        "is a different whole number in every row: a name of the row"
    )
    assert property_of("row", [float(n) for n in range(100)]) == property_of("row", list(range(100)))


@pytest.mark.parametrize(
    ("text", "iso", "note"),
    [
        ("{d:02}.{m:02}.2024", "2024-{m:02}-{d:02}", ""),
        ("{m}/{d}/2024", "2024-{m:02}-{d:02}", ""),
        ("{d}/{m}/2024", "2024-{m:02}-{d:02}", ""),
    ],
)
def test_dates_as_they_are_written_in_one_country_are_those_that_iso_has(text, iso, note):
    days = [(n % 28 + 1, n % 12 + 1) for n in range(60)]
    local = property_of("c", [text.format(d=d, m=m) for d, m in days])
    wanted = property_of("c", [iso.format(d=d, m=m) for d, m in days])
    assert local.kind == wanted.kind == "number"
    assert (local.columns == wanted.columns).all()
    assert local.note == note


def test_dates_that_could_be_read_in_two_ways_are_said_and_mixed_ones_are_none():
    days = [(n % 11 + 1, n % 7 + 1) for n in range(60)]
    made = property_of("c", [f"{a}/{b}/2024" for a, b in days])
    assert made.note.startswith("read as month/day/year: no day is above 12")
    wanted = property_of("c", [f"2024-{a:02}-{b:02}" for a, b in days])
    assert (made.columns == wanted.columns).all()
    assert isinstance(property_of("c", ["13/01/2024", "01/13/2024"] * 20), Property), (
        "two values of a category"
    )
    assert property_of("c", [f"{n}/{n % 12 + 1}/2024" for n in range(20, 60)]).startswith("is different in")


def test_what_a_column_is_does_not_hang_on_the_rows_that_are_drawn():
    rows = list(range(0, N, 4))
    table = {"n": [n % 12 for n in range(N)], "c": cells("a", "b", "c", "d", "e", "f", "g", "h")}
    whole, part = properties_of(table, "t.csv")[0], properties_of(table, "t.csv", rows=rows)[0]
    assert [one.kind for one in whole] == ["number", "category"]
    assert [(one.name, one.kind) for one in part] == [("n", "number"), ("c", "category")]
    for all_, some in zip(whole, part):
        assert (some.columns == all_.columns[rows]).all()
    table = {"c": ["a"] * 30 + ["b"] * 10, "d": cells("a", "b")}
    left_out = properties_of(table, "t.csv", rows=list(range(32)))[1]
    assert left_out == {"c": "has the same value in all rows but 2, of those that were drawn"}


def test_what_the_model_reads_is_no_property_of_it():
    with pytest.raises(DataError, match="'text' is what the model reads"):
        properties_of({"c": cells("a", "b")}, "t.csv", ["text"], used=("text",))
    with pytest.raises(DataError, match=r"no column 'xyz' to measure: its columns are: alpha, beta$"):
        properties_of({"alpha": cells(1, 2), "beta": cells(1, 2)}, "t.csv", ["xyz"])
