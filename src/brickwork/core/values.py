"""Values of metadata as JSON has them: numbers, truth values, texts, lists and objects, whatever they came from."""

import enum
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import Any

# Integers of a decimal stay integers up to here; larger ones are stored as the nearest float.
_LARGEST_DIGITS = 30


def json_value(value: Any) -> Any:
    """``value`` as JSON keeps it, so that it means the same wherever it came from.

    Numbers of NumPy, torch and ``decimal`` are numbers; float16 and float32 become the shortest decimal that reads back
    the same (``float32(0.1)`` is 0.1). NaN, NaT and NA are ``None``. Dates and times are ISO 8601 texts, those with
    a time zone in UTC; sets are lists in a fixed order. What is none of this is its ``str``.
    """
    kind = type(value)
    if kind in (str, bool, int) or value is None:
        return value
    if kind is float:
        return None if value != value else value
    if isinstance(value, enum.Enum):
        return json_value(value.value)
    if isinstance(value, Mapping):
        return {str(name): json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((json_value(item) for item in value), key=repr)
    if hasattr(value, "dtype") and getattr(value, "ndim", None) is not None:
        return _array_value(value)
    return _single_value(value)


def _array_value(value: Any) -> Any:
    """Arrays, and single numbers, of NumPy and torch."""
    if value.ndim:
        return [json_value(item) for item in value]
    kind, size = getattr(value.dtype, "kind", ""), getattr(value.dtype, "itemsize", 8)
    if kind == "M":
        return (
            None
            if value != value
            else json_value(datetime.fromisoformat(str(value)))
            if "T" in str(value)
            else str(value)
        )
    if kind == "m":
        return None if value != value else str(value)
    if kind == "f" and size < 8:
        return json_value(float(str(value)))
    return json_value(value.item())


def _single_value(value: Any) -> Any:
    if type(value).__name__ == "NAType":  # of pandas, which is not a dependency
        return None
    if isinstance(value, Decimal):
        return _decimal_value(value)
    if isinstance(value, datetime):  # before date, which it is too
        if value != value:  # NaT
            return None
        return (value if value.tzinfo is None else value.astimezone(UTC)).isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float | Fraction):
        return json_value(float(value))
    return str(value)


def _decimal_value(value: Decimal) -> int | float | None:
    if value.is_nan():
        return None
    if value.is_finite() and value.adjusted() < _LARGEST_DIGITS and value == value.to_integral_value():
        return int(value)
    return float(value)


def read_date(text: str) -> datetime | None:
    """The moment that an ISO 8601 date or date and time names, in UTC where it names no zone; ``None`` for other texts.

    A date alone is its first moment. Forms without hyphens, and weeks, are not taken: ``20200102`` is a number.
    """
    if not (10 <= len(text) <= 40 and text[4] == text[7] == "-" and text[:4].isdigit() and text.isascii()):
        return None
    try:
        return as_moment(datetime.fromisoformat(text))
    except ValueError:
        return None


def as_moment(value: date) -> datetime:
    """A date, or date and time, as a moment in UTC; one without a zone is taken to be in it."""
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
