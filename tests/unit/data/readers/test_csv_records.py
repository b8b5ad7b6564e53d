"""A stray quote costs one row and is told; cells over several lines are read as they are written."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickwork.core.errors import DataError
from brickwork.data.readers.csv_records import delimiter_of
from brickwork.data.readers.files import ReadReport, rows

ROWS = [f"{number},document number {number}" for number in range(1000)]


def read(tmp_path, lines, name="a.csv"):
    """The rows by their first cell, and what was told."""
    path = tmp_path / name
    path.write_text("\n".join(["id,text".replace(",", "\t" if name.endswith("tsv") else ","), *lines]) + "\n")
    report = ReadReport()
    values = [row for _, row in rows(path, report)]
    return {row["id"]: row["text"] for row in values}, report.messages()


@pytest.mark.parametrize("closing", [None, '900,another" one', '900,"next"x'])
@pytest.mark.parametrize("place", [0, 500, 899])
def test_an_unclosed_quote_costs_its_row_only(tmp_path, place, closing):
    lines = list(ROWS)
    lines[place] = f'{place},"the unclosed one'
    if closing:
        lines[900] = closing
    found, told = read(tmp_path, lines)
    assert set(map(str, range(1000))) - set(found) == {str(place)}
    assert found["901"] == "document number 901"
    assert any(
        f"a quote that is not closed, or not closed before a delimiter (first: a.csv line {place + 2})" in m
        for m in told
    )


def test_a_quote_at_the_last_row(tmp_path):
    found, told = read(tmp_path, [*ROWS[:9], '9,"open'])
    assert len(found) == 9
    assert "a.csv line 11" in told[0]
    with pytest.raises(
        DataError, match=r"no row that can be read: 1 skipped: a quote that is not closed.*line 2"
    ):
        read(tmp_path, ['9,"open'])
    (tmp_path / "b.csv").write_text('id,"text\n1,one\n')
    with pytest.raises(DataError, match=r"b\.csv line 1, the header, has a quote that is not closed"):
        list(rows(tmp_path / "b.csv", ReadReport()))


@pytest.mark.parametrize("close", [502, 503, 510, 900])
def test_a_quote_that_happens_to_be_closed_is_told(tmp_path, close):
    """By its form it is one cell over many lines; that these look like rows is said, with the line."""
    lines = list(ROWS)
    lines[500], lines[close] = '500,"the unclosed one', f'{close},closes"'
    _, told = read(tmp_path, lines)
    (message,) = told
    assert message.startswith("1 row with a cell over several lines that look like rows of their own")
    assert "first: a.csv line 502" in message


def test_cells_over_several_lines_are_read_and_nothing_is_told(tmp_path):
    cell = 'Dear all,\n\nthis, and that, and "more"\nEnd.'
    lines = [*ROWS[:5], '5,"' + cell.replace('"', '""') + '"', '6,"a, b\nc, d"', *ROWS[7:20]]
    found, told = read(tmp_path, lines)
    assert (found["5"], found["6"], len(found), told) == (cell, "a, b\nc, d", 20, [])


def test_a_quote_within_a_cell_is_kept_and_told(tmp_path):
    found, told = read(tmp_path, ['1,5" pipe', '2,"the "good" one"', "3,x"])
    assert found == {"1": '5" pipe', "2": 'the good" one"', "3": "x"}
    assert told == [
        "1 row with a quote within a quoted cell that is not doubled, read as it stands (first: a.csv line 3)"
    ]


def test_quotes_in_tabs_are_text_where_they_do_not_fit(tmp_path):
    lines = [row.replace(",", "\t") for row in ROWS]
    lines[10], lines[20], lines[30] = '10\t"open', '20\t"Hello" she said', '30\tclosed"'
    lines[40], lines[50] = '40\t"a ""quoted"" cell"', '50\t"over\nlines"'
    lines[999] = '999\t"the last'
    found, told = read(tmp_path, lines, "a.tsv")
    assert len(found) == 1000
    assert told == []
    assert [found[name] for name in ("10", "20", "30", "40", "50", "999")] == [
        '"open',
        '"Hello" she said',
        'closed"',
        'a "quoted" cell',
        "over\nlines",
        '"the last',
    ]


def test_many_open_quotes_take_time_by_the_length_of_the_file(tmp_path):
    found, told = read(tmp_path, [f'{number},"open {number}' for number in range(20_000)] + ["x,y"])
    assert "x" in found
    assert told


CELLS = st.text(st.sampled_from('ab",;\n '), max_size=12)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=6))
def test_what_the_csv_library_writes_is_read_back(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    out = io.StringIO()
    csv.writer(out).writerows([("one", "two", "three"), *table])
    path.write_text(out.getvalue(), newline="")
    assert [tuple(row.values()) for _, row in rows(path, ReadReport())] == table


def test_the_delimiter_is_that_of_most_cells():
    assert delimiter_of('"a;b;c;d",e,f') == ","
    assert delimiter_of("a;b") == ";"
    assert delimiter_of("text") == ","
    assert delimiter_of('id;"a,b,c,d";label') == ";"
