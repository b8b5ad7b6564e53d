"""The page of counts is what the committed counts give, and the tally adds up as it says."""

import json

import pytest
import table


def line(row="R1", what="kills", count=2, limit=None, test="a.py"):
    return json.dumps({"row": row, "what": what, "count": count, "limit": limit, "test": test})


def test_the_page_is_generated_from_the_counts():
    if not table.COUNTS.is_file():
        pytest.skip("make reliability has not been run yet")
    wanted = table.markdown(json.loads(table.COUNTS.read_text()))
    assert table.PAGE.read_text() == wanted, "run python tests/reliability/table.py"


def test_equal_lines_are_added_and_measurements_are_the_largest():
    kills, growth, memory = table.collect(
        [
            line(count=2),
            line(count=3, test="b.py"),
            line("R19", "MB", 1.5, 20),
            line("R19", "MB", 0.5, 20),
            line("R3", "flips", 7),
        ]
    )[:3]
    assert (kills["count"], kills["test"]) == (5, "a.py, b.py")
    assert growth["what"] == "flips"
    assert (memory["count"], memory["limit"]) == (1.5, 20)


def test_a_row_that_nobody_knows_is_refused():
    with pytest.raises(SystemExit, match="R99"):
        table.collect([line("R99")])


def test_what_was_not_possible_is_told_and_measurements_carry_their_limits():
    entries = table.collect(
        [
            json.dumps({"row": "R6", "what": "a full tmpfs", "missing": "needs root", "test": "a.py"}),
            line("R10", "MB", 3, 20),
            line("R11", "seconds", 0.5, 5.0358),
            line("R13", "laws", 1200),
        ]
    )
    page = table.markdown(
        {"date": "d", "cpu": "c", "minutes": 1, "version": "v", "long": True, "entries": entries}
    )
    assert "| a full tmpfs | not here: needs root | `a.py` |" in page
    assert "| MB | 3 (at most 20) | `a.py` |" in page
    assert "| seconds | 0.5 (at most 5.04) | `a.py` |" in page
    assert "| laws | 1,200 | `a.py` |" in page
    assert "Not counted in this run: R1 (killed)" in page
