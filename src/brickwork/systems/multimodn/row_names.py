"""Columns that name the rows of a table, and so say nothing of a new row: numbers of rows, keys, identifiers.

Where rows were entered class by class, such a column gives the class away, and a model that reads it is worth nothing
on other rows. They are recognised by their name, by having another whole number or word in each row, and by their order.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from brickwork.data.readers import cells as table_cells

FEWEST_ROWS = 20  # of fewer rows the values alone prove nothing: ages may all be different
MAX_GROUPS = (
    50  # a column called …_id with at most so many values, each in ten rows or more, names groups of rows
)
MOST_EQUAL = 3  # rows of one person that follow each other; in a sorted measurement there are more
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_ID = {"id", "ids", "uid", "uuid", "guid"}
_JOINED = re.compile(
    r"(row|rec|record|user|object|obj|patient|customer|client|case|subject|sample|order|item|person|student|employee|"
    r"product|session|transaction|account|doc|document|entry)(id|uid|uuid|no|nr|num|number|idx|index)"
)
_ROW_NUMBERS = re.compile(
    r"|index|idx|row|rows?[ _.-]?(id|no|nr|num|number|idx|index)|unnamed[:_ ]*[0-9.]*|level_[0-9]+|__index_level_[0-9]+__"
)


def names_rows(name: str, values: Any) -> str | None:
    """Why a column names rows, in words for the user; ``None`` where it does not.

    ``values``: its cells, of which missing ones do not count. Measurements with fractions and dates never name rows, unless
    the column is called an id; neither do texts of several words.
    """
    cells = [value for value in table_cells.as_list(values) if not table_cells.is_missing(value)]
    if not cells or not all(isinstance(value, str | int | float | np.number) for value in cells):
        return None
    if any(isinstance(value, bool | np.bool_) for value in cells):
        return None
    by_name = is_identifier_name(name)
    numbers = whole_numbers(cells)
    distinct = len(set(map(table_cells.text_of, cells))) if numbers is None else len(np.unique(numbers))
    if by_name and not (distinct <= MAX_GROUPS and distinct * 10 <= len(cells)):
        return "called an identifier"
    if _ROW_NUMBERS.fullmatch(name.strip().lower()) and numbers is not None:
        return "called a number of rows"
    if len(cells) < FEWEST_ROWS:
        return None
    if numbers is not None:
        if distinct == len(numbers):
            return "another whole number in each row"
        return "numbers the rows in their order" if _counts_up(numbers) else None
    return "numbers the rows in their order" if _even_steps(cells) else None


def is_identifier_name(name: str) -> bool:
    """Whether a column is called an identifier: ``id``, ``patient_id``, ``PatientID``, ``userid``, ``uuid`` …"""
    words = [word.lower() for word in _WORDS.findall(name)]
    return bool(words) and (words[-1] in _ID or _JOINED.fullmatch("".join(words)) is not None)


def names_groups(name: str, values: Any) -> bool:
    """Whether whole numbers are names of a few groups of rows (``store_id``): a category, not a quantity."""
    cells = [value for value in table_cells.as_list(values) if not table_cells.is_missing(value)]
    return is_identifier_name(name) and whole_numbers(cells) is not None and names_rows(name, values) is None


def whole_numbers(cells: Sequence[Any]) -> np.ndarray | None:
    """The cells as whole numbers (float64); ``None`` where one is none, as a date or a fraction."""
    try:
        numbers = np.array([float(value) for value in cells])
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if len(numbers) and np.isfinite(numbers).all() and (numbers % 1 == 0).all() else None


def _counts_up(numbers: np.ndarray) -> bool:
    """Whether each number is the one before or the next (or the other way), few of each."""
    steps = np.diff(numbers)
    changes = np.flatnonzero(steps)
    longest = np.diff(np.r_[-1, changes, len(steps)]).max()
    return bool(longest <= MOST_EQUAL and (steps[changes] == steps[changes[0]]).all())


def _even_steps(cells: Sequence[Any]) -> bool:
    """Whether fractions go up or down by one and the same step from each row to the next."""
    try:
        steps = np.diff(np.array([float(value) for value in cells]))
    except (TypeError, ValueError, OverflowError):
        return False
    return bool(steps[0] != 0 and np.allclose(steps, steps[0], rtol=1e-6, atol=0))
