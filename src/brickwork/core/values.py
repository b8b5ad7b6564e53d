"""Values of metadata as JSON has them: numbers, truth values, texts, lists and objects, whatever they came from."""

import enum
import math
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

from brickwork.core.errors import ConfigError

# Integers of a decimal stay integers up to here; larger ones are stored as the nearest float.
_LARGEST_DIGITS = 30


def whole_number(name: str, value: Any, *, least: int | None = None) -> int:
    """``value`` of the option ``name`` as an integer: one of Python or NumPy, and neither a text nor a truth value.

    Raises:
        ConfigError: it is none, or less than ``least``.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ConfigError(f"{name}={value!r} ({type(value).__name__}): give a whole number")
    if least is not None and value < least:
        raise ConfigError(f"{name}={value}: give at least {least}")
    return int(value)


def json_value(value: Any) -> Any:
    """``value`` as JSON keeps it, so that it means the same wherever it came from.

    Numbers of NumPy, torch and ``decimal`` are numbers; float16 and float32 become the shortest decimal that reads back
    the same (``float32(0.1)`` is 0.1). NaN, NaT and NA are ``None``. Dates and times are ISO 8601 texts, those with
    a time zone in UTC; durations are seconds. Bytes are the text that they are in UTF-8, else hexadecimal digits; sets are
    lists in a fixed order. What is none of this is its ``str``.
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
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes_value(bytes(value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [json_value(item) for item in value]
    if isinstance(value, Set):
        return sorted((json_value(item) for item in value), key=repr)
    if hasattr(value, "dtype") and getattr(value, "ndim", None) is not None:
        return _array_value(value)
    if hasattr(value, "as_py"):  # a scalar of Arrow
        return json_value(value.as_py())
    return _single_value(value)


def _bytes_value(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


def _array_value(value: Any) -> Any:
    """Arrays, and single numbers, of NumPy and torch."""
    if value.ndim:
        return [json_value(item) for item in value]
    if getattr(value, "mask", False):  # of a masked array
        return None
    kind, size = getattr(value.dtype, "kind", ""), getattr(value.dtype, "itemsize", 8)
    if kind == "M":
        return None if value != value else _moment_of_numpy(str(value))
    if kind == "m":
        return None if value != value else _duration_of_numpy(value)
    if kind == "f" and size != 8:
        return json_value(float(str(value)))
    return json_value(value.item())


def _moment_of_numpy(text: str) -> str:
    """Dates as they are, times without a fraction of zeros; years that Python does not know stay as NumPy writes them."""
    try:
        return datetime.fromisoformat(text).isoformat() if "T" in text else text
    except ValueError:
        return text


def _duration_of_numpy(value: Any) -> float | str:
    """Seconds; months and years, which have no fixed length, stay as NumPy writes them."""
    import numpy as np

    try:
        return float(value / np.timedelta64(1, "s"))
    except TypeError:
        return str(value)


def _single_value(value: Any) -> Any:
    if type(value).__name__ == "NAType":  # of pandas, which is not a dependency
        return None
    if isinstance(value, Decimal):
        return _decimal_value(value)
    if isinstance(value, datetime):  # before date, which it is too
        if value != value:  # NaT
            return None
        return (value if value.tzinfo is None else _in_utc(value)).isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return None if value != value else value.total_seconds()
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return json_value(nearest_float(value))
    return str(value)


def nearest_float(value: Any) -> float:
    """A number as a float, one beyond all floats as an infinity."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


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
    return value.replace(tzinfo=UTC) if value.tzinfo is None else _in_utc(value)


def _in_utc(value: datetime) -> datetime:
    """In UTC; the first and the last moment there are for those that would lie beyond them."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        return (datetime.max if value.year > 5000 else datetime.min).replace(tzinfo=UTC)
