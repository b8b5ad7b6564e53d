"""The value of one cell by its role: which are missing, and what is a text, a name, a number or a truth value."""

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from brickwork.core.values import json_value
from brickwork.data.readers.files import ReadReport, clean, table_kind

NO_NAMES = ("nan", "null", "<na>", "nat", "inf", "-inf", "+inf", "infinity", "-infinity")
"""Words that programs write for a missing number, and that are no id, class or score."""

_EXACT = 2**53  # whole numbers below it are told apart by floats
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,15})?")


def no_value(value: Any) -> bool:
    """Whether a cell is missing by its type: ``None``, NaN or an infinite number, NA and NaT of pandas and NumPy.

    A text is none of these, whatever it says: see :func:`name_value` for roles in which the word "nan" is no value.
    """
    if isinstance(value, float | np.floating | Decimal):
        return not math.isfinite(value)
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def text_value(value: Any, report: ReadReport, where: str) -> str:
    """A cell as clean text; empty for what is missing. Numbers and truth values become their text."""
    if isinstance(value, dict | list | bytes) or no_value(value):
        return ""
    return clean(value if isinstance(value, str) else str(value), report, where).strip()


def name_value(value: Any, report: ReadReport, where: str) -> str:
    """:func:`text_value` of an id, a class, a score or a group: empty also for :data:`NO_NAMES`, which programs write for
    what is missing. A text, a title or a query keeps these words. A number that is whole has no point, so that a column of
    whole numbers means the same where a missing one has made it a column of floats."""
    if isinstance(value, float | np.floating | Decimal) and -_EXACT < value < _EXACT and value == int(value):
        value = int(value)
    text = text_value(value, report, where)
    return "" if text.lower() in NO_NAMES else text


def number_columns(values: Sequence[dict], path: Path) -> set[str]:
    """The columns of a CSV or TSV file that hold numbers only, as far as ``values``, its first rows, say."""
    if table_kind(path) not in (".csv", ".tsv") or not values:
        return set()
    numeric = set()
    for name in values[0]:
        cells = [
            text for row in values if (text := (row.get(name) or "").strip()).lower() not in ("", *NO_NAMES)
        ]
        if cells and all(_NUMBER.fullmatch(text) for text in cells):
            numeric.add(name)
    return numeric


def plain_value(
    value: Any, path: Path, report: ReadReport, where: str, *, number: bool = False
) -> str | int | float | bool | None:
    """A cell as text, number or truth value; ``None`` for what is missing or none of these.

    In a CSV or TSV file, which has no types, a cell that reads as a number or truth value is one; ``007`` is text, and so
    is ``nan``, unless its column is one of ``number``s.
    """
    if not isinstance(value, str | dict | list | bytes):
        value = json_value(value)  # decimals, dates and times as the index keeps them
    if isinstance(value, bool | int | float) and not no_value(value):
        return value
    text = name_value(value, report, where) if number else text_value(value, report, where)
    if table_kind(path) in (".csv", ".tsv"):
        if _NUMBER.fullmatch(text):
            return float(text) if "." in text else int(text)
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
    return text or None
