"""Columns of a table as properties of its rows: categories, numbers and truth values, and why a column is none of these.

A missing cell is a value of its own: of a category one more, of a number its mean and a column that says so. No row is lost
to a column that happens to have gaps.

Shape legend: N rows, K columns of a property.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from brickwork.core.config import nearest_column
from brickwork.core.errors import DataError
from brickwork.core.shares import Property
from brickwork.data.readers.cells import has_decimal_comma, is_missing, local_dates, number_of, text_of

MAX_VALUES = 100
"""A category with more different values is a text, as far as shares of variance go."""
_ROWS_PER_VALUE = 5
_FEW_NUMBERS = (
    10  # as many different whole numbers are taken as categories, which holds what a line would and more
)
_TRUTH = ({"true", "false"}, {"yes", "no"}, {"t", "f"}, {"y", "n"})
_CODE = re.compile("0[0-9]+")  # 007 is a name, and no number


def properties_of(
    columns: Mapping[str, Sequence[Any]],
    where: str,
    wanted: Collection[str] = (),
    *,
    rows: Sequence[int] | None = None,
    used: Collection[str] = (),
) -> tuple[list[Property], dict[str, str]]:
    """What can be measured of ``columns``, and why the others cannot: name → reason.

    ``wanted``: measure these columns and no others. ``rows``: those that are measured (none: all); what a column is, is
    read from all of its cells. ``used``: columns that are the inputs themselves.

    Raises:
        DataError: one that is wanted does not exist or cannot be measured; or no column can.
    """
    for name in wanted:
        if name in used:
            raise DataError(
                f"{where}: '{name}' is what the model reads, and no property of it: measure another column, or name the one "
                "to be read with --column"
            )
        if name not in columns:
            raise DataError(f"{where} has no column '{name}' to measure: {nearest_column(name, columns)}")
    properties: list[Property] = []
    left_out: dict[str, str] = {}
    for name, cells in columns.items():
        if wanted and name not in wanted:
            continue
        made = property_of(name, cells, asked_for=bool(wanted))
        if isinstance(made, Property) and rows is not None:
            made = _of_rows(made, cells, rows)
        if isinstance(made, Property):
            properties.append(made)
        elif wanted:
            raise DataError(f"{where}: '{name}' cannot be measured: it {made}")
        else:
            left_out[name] = made
    if not properties:
        reasons = "; ".join(f"'{name}' {reason}" for name, reason in left_out.items())
        raise DataError(
            f"{where} has no column with a property of its rows{': ' + reasons if reasons else ''}; give one with a "
            "category, a number or a truth value for each row"
        )
    return properties, left_out


def _of_rows(whole: Property, cells: Sequence[Any], rows: Sequence[int]) -> Property | str:
    """The property of some rows of its table, or why it is none there."""
    if reason := _nearly_constant(Counter(_value(cells[row]) for row in rows)):
        return f"{reason}, of those that were drawn" if len(rows) < len(cells) else reason
    some = list(rows)
    return replace(whole, columns=whole.columns[some], classes=whole.classes[some])


def _value(cell: Any) -> str | None:
    return None if is_missing(cell) else text_of(cell)


def _nearly_constant(counts: Counter[str | None]) -> str:
    """Why a column with so many cells of each value (``None``: missing) tells nothing; nothing where it does.

    Fitted on nine tenths of the rows and scored on the others, a value of fewer than five rows would be a matter of luck.
    """
    others = counts.total() - max(counts.values())
    if others == 0:
        return "has the same value in every row"
    if others < _ROWS_PER_VALUE:
        return f"has the same value in all rows but {others}"
    return ""


def property_of(name: str, cells: Sequence[Any], *, asked_for: bool = False) -> Property | str:
    """The property in a column; or, in words, why it is none. ``asked_for``: a number that is different in every row counts.

    Raises:
        DataError: numbers with decimal commas.
    """
    there = [cell for cell in cells if not is_missing(cell)]
    if not there:
        return "is empty"
    if 2 * len(there) < len(cells):
        return "is missing in more than half of the rows"
    if any(isinstance(cell, list | dict | bytes) for cell in there):
        return "holds lists or files"
    texts = [_value(cell) for cell in cells]
    counts = Counter(text for text in texts if text is not None)
    if reason := _nearly_constant(Counter(texts)):
        return reason
    if dates := _dates(there):
        days, note = dates
        values = iter(days)
        return _number(name, [None if is_missing(cell) else next(values) for cell in cells], note)
    numbers = _numbers(name, there)
    if numbers is not None and not _few_whole(numbers):
        if len(counts) == len(there) and not asked_for and all(map(_is_integer, there)):
            return "is a different whole number in every row: a name of the row"
        return _number(name, cells)
    if len(counts) == len(there) and len(there) > 2:
        return "is different in every row: a name of the row, or a text"
    if len(counts) > MAX_VALUES or len(there) < _ROWS_PER_VALUE * len(counts):
        return f"has {len(counts):,} different values in {len(there):,} rows: a text, or too few rows of each"
    return _category(name, texts, counts)


def _numbers(name: str, there: Sequence[Any]) -> Float[np.ndarray, " present"] | None:
    """The cells as numbers if all are; ``None`` for truth values, codes and whatever else."""
    if comma := next((cell for cell in there if has_decimal_comma(cell)), None):
        raise DataError(
            f"'{name}' has numbers with decimal commas, for example '{comma.strip()}'; write them with points"
        )
    if all(isinstance(cell, bool | np.bool_) for cell in there):
        return None
    if any(isinstance(cell, str) and _CODE.fullmatch(cell.strip()) for cell in there):
        return None
    values = [number_of(cell) for cell in there]
    return None if None in values else np.asarray(values, dtype=np.float64)


def _dates(there: Sequence[Any]) -> tuple[list[float], str] | None:
    return local_dates(there) if all(isinstance(cell, str) for cell in there) else None


def _is_integer(cell: Any) -> bool:
    """Written as a whole number, as names of rows are: not a date, which is read as the number of its day."""
    if isinstance(cell, str):
        return cell.strip().removeprefix("-").isdigit()
    return isinstance(cell, int | float | np.number) and float(cell) == round(float(cell))


def _whole(numbers: np.ndarray) -> bool:
    return bool((numbers == np.round(numbers)).all())


def _few_whole(numbers: np.ndarray) -> bool:
    return _whole(numbers) and len(np.unique(numbers)) <= _FEW_NUMBERS


def _number(name: str, cells: Sequence[Any], note: str = "") -> Property:
    values = np.array([number_of(cell) for cell in cells], dtype=np.float64)
    there = np.isfinite(values)
    middle, spread = values[there].mean(), values[there].std() or 1.0
    columns = np.where(there, (values - middle) / spread, 0.0)[:, None]
    if not there.all():
        columns = np.column_stack([columns, ~there])
    return Property(
        name=name,
        kind="number",
        columns=columns,
        classes=above_middle(values),
        note=", ".join(filter(None, (note, _missing_note(int((~there).sum()))))),
    )


def above_middle(values: Float[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
    """1 above the median and 0 below, −1 where a value is missing; the median itself goes to the smaller side."""
    there = np.isfinite(values)
    median = np.median(values[there])
    above, below = int((values[there] > median).sum()), int((values[there] < median).sum())
    high = values > median if above >= below else values >= median
    return np.where(there, high, -1).astype(np.int64)


def _category(name: str, texts: Sequence[str | None], counts: Counter[str]) -> Property:
    known = sorted(counts)
    place = {text: number for number, text in enumerate(known)}
    classes = np.array([-1 if text is None else place[text] for text in texts], dtype=np.int64)
    missing = int((classes < 0).sum())
    columns = (classes[:, None] == np.arange(-1 if missing else 0, len(known))).astype(np.float64)
    truth = {text.lower() for text in known} in _TRUTH
    values = "" if truth else f"{len(known)} values"
    notes = [note for note in (values, _missing_note(missing)) if note]
    return Property(
        name=name,
        kind="truth value" if truth else "category",
        columns=columns,
        classes=classes,
        note=", ".join(notes),
    )


def _missing_note(missing: int) -> str:
    return f"{missing:,} missing, a value of their own" if missing else ""
