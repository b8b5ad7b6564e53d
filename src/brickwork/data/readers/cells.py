"""Cells of the user's tables as typed values: numbers, categories, texts, series, images, and what is missing."""

import io
import math
import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from brickwork.core.errors import DataError
from brickwork.core.framing import Framing
from brickwork.data.readers.files import ReadReport, clean
from brickwork.data.readers.images import Shape, decode
from brickwork.data.readers.inside import OUTSIDE, inside

MISSING_WORDS = {"", "na", "n/a", "nan", "null", "none", "?", "<na>", "nat", "#n/a"}
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_DAY_ZERO = datetime(2000, 1, 1)
_SECONDS = 86_400.0
_DURATION = re.compile(
    r"(?:(?P<days>-?[0-9]+) days?,? ?)?"
    r"(?:(?P<sign>[+-])?(?P<hours>[0-9]{1,4}):(?P<minutes>[0-5][0-9])(?::(?P<seconds>[0-5][0-9](?:\.[0-9]+)?))?)?(?<!^)"
)
_LOCAL_DATE = re.compile(r"(?P<a>[0-9]{1,2})(?P<mark>[./])(?P<b>[0-9]{1,2})(?P=mark)(?P<year>[0-9]{4})")
_DECIMAL_COMMA = re.compile(r"[+-]?(?:[0-9]+|[0-9]{1,3}(?:\.[0-9]{3})+),[0-9]+")


def is_missing(value: Any) -> bool:
    """Whether a cell says nothing: ``None``, NaN, an empty text, or one of the usual words for it."""
    if value is None:
        return True
    if isinstance(value, str):
        return value.strip().lower() in MISSING_WORDS
    if isinstance(value, float | np.floating):
        return not math.isfinite(value)
    # pandas marks missing values with objects of its own (NA, NaT), which are equal to nothing.
    return type(value).__name__ in ("NAType", "NaTType")


def number_of(value: Any) -> float | None:
    """A cell as a number: dates in days since 2000, durations in days, truth values as 0 and 1; NaN for what is missing,
    ``None`` for what is no number."""
    if is_missing(value):
        return math.nan
    if isinstance(value, datetime):
        return (value.replace(tzinfo=None) - _DAY_ZERO).total_seconds() / _SECONDS
    if isinstance(value, date):
        return float((value - _DAY_ZERO.date()).days)
    if isinstance(value, timedelta):
        return value.total_seconds() / _SECONDS
    if isinstance(value, np.datetime64 | np.timedelta64):
        return float(_days(np.array(value)))
    try:
        number = float(value)
    except (TypeError, ValueError):
        return _time_number(value.strip()) if isinstance(value, str) else None
    return number if math.isfinite(number) else math.nan


def _time_number(text: str) -> float | None:
    """A date in days since 2000, or a duration (``1 day, 2:30:00``, ``2:30:00``, ``26:30``) in days."""
    if found := _DURATION.fullmatch(text):
        sign = -1.0 if found["sign"] == "-" else 1.0
        hours, minutes, seconds = (float(found[part] or 0) for part in ("hours", "minutes", "seconds"))
        return float(found["days"] or 0) + sign * (3600 * hours + 60 * minutes + seconds) / _SECONDS
    try:
        return number_of(datetime.fromisoformat(text))
    except ValueError:
        return None


def local_dates(texts: Sequence[str]) -> tuple[list[float], str] | None:
    """A column of dates as they are written in one country or another, in days since 2000, and a note where days and months
    could change places; ``None`` where not all are such dates of one form.

    With points the day comes first (31.12.2024). With strokes (12/31/2024) the one of both that is ever above 12 is the
    day; where none is, the month comes first, which is said.
    """
    found = [_LOCAL_DATE.fullmatch(text.strip()) for text in texts]
    parts = [(one["mark"], int(one["a"]), int(one["b"]), int(one["year"])) for one in found if one]
    marks = {mark for mark, *_ in parts}
    if len(parts) < len(found) or len(marks) != 1:
        return None
    day_first = "." in marks or any(a > 12 for _, a, _, _ in parts)
    ambiguous = not day_first and all(b <= 12 for _, _, b, _ in parts)
    try:
        dates = [date(year, b if day_first else a, a if day_first else b) for _, a, b, year in parts]
    except ValueError:
        return None
    note = "read as month/day/year: no day is above 12, so it could be day/month/year" if ambiguous else ""
    return [float((one - _DAY_ZERO.date()).days) for one in dates], note


def is_duration(text: str) -> bool:
    """Whether a text is a duration that :func:`number_of` takes, and no date."""
    return _DURATION.fullmatch(text.strip()) is not None


def has_decimal_comma(value: Any) -> bool:
    """Whether a cell is a number with a comma where its point should be: ``1,5`` or ``1.234,5``."""
    return isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value.strip()) is not None


def refuse_decimal_comma(column: str, value: Any, where: str, instead: str = "") -> None:
    """The one rule for numbers with decimal commas, wherever numbers are read: they are refused, not guessed.

    Raises:
        DataError: ``value`` is one; names column, place and cell. ``instead``: what else can be done.
    """
    if has_decimal_comma(value):
        raise DataError(
            f"{where}: '{column}' has numbers with decimal commas, for example '{value.strip()}'; write them with points"
            f"{instead}"
        )


def without_words(values: Any, words: Sequence[str]) -> Any:
    """A column in which the cells that say one of ``words`` (upper or lower case) are missing; the same one if there is
    none."""
    meant = {word.strip().lower() for word in words}
    cells = as_list(values) if meant else []
    plain = (str, int, float, np.integer, np.floating)
    says = [isinstance(c, plain) and not is_missing(c) and text_of(c).lower() in meant for c in cells]
    return [None if said else cell for cell, said in zip(cells, says)] if any(says) else values


def label_kind(value: Any) -> str:
    """What a label is: ``truth value``, ``number`` (1 and 1.0 are the same one), ``text``, or the name of another type."""
    if isinstance(value, bool | np.bool_):
        return "truth value"
    if isinstance(value, int | float | np.number):
        return "number"
    return "text" if isinstance(value, str) else type(value).__name__


def check_one_kind(labels: Iterable[Any], where: str) -> str:
    """The :func:`label_kind` of all labels that are there; ``text`` where none is.

    Raises:
        DataError: they are of several kinds, as 1 and "1", so that it is not clear which are equal.
    """
    first: dict[str, Any] = {}
    for label in labels:
        if not is_missing(label):
            first.setdefault(label_kind(label), label)
    if len(first) > 1:
        shown = " and ".join(f"{value!r:.40} ({kind})" for kind, value in list(first.items())[:2])
        raise DataError(f"{where} has labels of mixed types: {shown}; make them all of one type")
    return next(iter(first), "text")


def as_list(values: Any) -> list[Any]:
    """A column as a list of Python values: lists, NumPy and Arrow arrays and columns of data frames are taken."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "mM":
        values = values.astype(f"{values.dtype.kind}8[us]")  # finer ones would become bare numbers
    return values.tolist() if hasattr(values, "tolist") else list(values)


def numbers(values: Any, report: ReadReport, column: str) -> np.ndarray:
    """A column as float64, NaN where a cell is missing or, counted in ``report``, is not a number."""
    fast = _arrow_numbers(values) if is_arrow(values) else _array_numbers(values)
    if fast is not None:
        return np.where(np.isfinite(fast), fast, np.nan)
    cells = as_list(values)
    column_values = np.empty(len(cells))
    for row, value in enumerate(cells):
        number = number_of(value)
        if number is None:
            refuse_decimal_comma(column, value, report.place(row))
            report.skip(
                f"cells of '{column}' are no numbers and count as missing",
                f"{report.place(row)}: {value!r:.40}",
            )
            number = math.nan
        column_values[row] = number
    return column_values


def is_arrow(values: Any) -> bool:
    """Whether a column is one of Arrow's arrays."""
    return type(values).__module__.startswith("pyarrow.")


def _array_numbers(values: Any) -> np.ndarray | None:
    dtype = getattr(values, "dtype", None)
    if not isinstance(dtype, np.dtype) or dtype.kind not in "iufbmM":
        return None
    array = np.asarray(values)
    if dtype.kind in "mM":
        return _days(array)
    return array.astype(np.float64)


def _days(times: np.ndarray) -> np.ndarray:
    """Times in days since 2000, or durations in days; NaN where there is none."""
    zero: Any = np.datetime64(_DAY_ZERO, "us") if times.dtype.kind == "M" else np.timedelta64(0, "us")
    fine = times.astype(f"{times.dtype.kind}8[us]")
    days = (fine - zero).astype(np.int64) / 1e6 / _SECONDS
    return np.where(np.isnat(fine), np.nan, days)


def _arrow_numbers(values: Any) -> np.ndarray | None:
    """An Arrow column as float64; ``None`` where its cells have to be looked at one by one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        words = pc.utf8_trim_whitespace(values)
        missing = pc.is_in(pc.utf8_lower(words), value_set=pa.array(sorted(MISSING_WORDS), kind))
        values = pc.if_else(missing, pa.scalar(None, kind), words)
    elif (
        (pa.types.is_timestamp(kind) and kind.tz is None)
        or pa.types.is_date(kind)
        or pa.types.is_duration(kind)
    ):
        unit = pa.duration("us") if pa.types.is_duration(kind) else pa.timestamp("us")
        try:
            return _days(values.cast(unit, safe=False).to_numpy(zero_copy_only=False))
        except pa.ArrowInvalid:
            return None
    elif not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    ):
        return None
    try:
        # Whole numbers beyond 2^53 are rounded, as Python's float() does.
        return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64)
    except pa.ArrowInvalid:
        return None


def texts(values: Any, report: ReadReport, column: str) -> np.ndarray:
    """A column as an object array of clean texts, ``None`` where a cell is missing."""
    if is_arrow(values) and str(values.type) in ("string", "large_string"):
        coded = values.dictionary_encode()
        known = np.array([*map(_clean_or_none, coded.dictionary.to_pylist()), None], dtype=object)
        return known[coded.indices.fill_null(len(known) - 1).to_numpy(zero_copy_only=False)]
    cells = as_list(values)
    column_texts = np.empty(len(cells), dtype=object)
    for row, value in enumerate(cells):
        column_texts[row] = (
            None if is_missing(value) else text_of(value, report, f"'{column}' {report.place(row)}")
        )
    return column_texts


def _clean_or_none(text: str) -> str | None:
    """A text of a clean table, in which nothing has to be counted."""
    return None if is_missing(text) else text_of(text)


def text_of(value: Any, report: ReadReport | None = None, where: str = "") -> str:
    """A cell as text; whole numbers without a point, so that 1 and 1.0 are the same category."""
    if isinstance(value, float) and value == int(value):
        value = int(value)
    return clean(str(value), report or ReadReport(), where).strip()


def series(cells: Sequence[Any], report: ReadReport, column: str) -> list[np.ndarray | None]:
    """Each cell, a list of numbers, as float64 (time,); ``None`` where there is none or nothing in it is finite."""
    matrices: list[np.ndarray | None] = []
    for row, value in enumerate(cells):
        if value is None or isinstance(value, float):
            matrices.append(None)
            continue
        try:
            array = np.asarray([math.nan if v is None else v for v in value], dtype=np.float64)
        except (TypeError, ValueError):
            report.skip(
                f"cells of '{column}' are no lists of numbers and count as missing", report.place(row)
            )
            matrices.append(None)
            continue
        array[~np.isfinite(array)] = np.nan
        matrices.append(array if array.ndim == 1 and np.isfinite(array).any() else None)
    return matrices


def read_image(
    value: Any,
    size: int | Shape | Framing,
    folder: Path | None,
    report: ReadReport,
    where: str,
    *,
    allow_outside: bool = False,
) -> np.ndarray | None:
    """An image (bytes of a file, its path, or an array) as RGB uint8 (size, size, 3), of another shape, or framed;
    :func:`decode` reads it.

    A path that is a text is looked for in ``folder``, and not outside of it unless ``allow_outside``; a :class:`TableText`
    is looked for where its table lies. Without a folder a text is taken as it stands, as a ``Path`` always is, which no
    table holds. An image that cannot be read is counted in ``report`` and is missing.
    """
    if isinstance(value, dict):  # how Hugging Face's datasets keep images
        value = value.get("bytes") or value.get("path")
    if is_missing(value):
        return None
    if isinstance(value, np.ndarray):
        return value.astype(np.uint8)
    raw: io.BufferedIOBase
    try:
        if isinstance(value, bytes | bytearray | memoryview):
            raw = io.BytesIO(value)
        else:
            if isinstance(value, TableText):
                folder, allow_outside = value.folder, value.allow_outside
            named = Path(str(value))
            path = (
                named if folder is None or isinstance(value, Path) else inside(folder, named, allow_outside)
            )
            if path is None:
                report.skip(OUTSIDE, f"{where} {value}"[:200])
                return None
            raw = open(path, "rb")  # noqa: SIM115
        with raw:
            return decode(raw, (size, size, 3) if isinstance(size, int) else size)
    except (OSError, ValueError, TypeError, DataError) as error:
        shown = f" {value}" if isinstance(value, str | Path) else ""
        report.skip("images cannot be read and count as missing", f"{where}{shown}: {error}"[:200])
        return None


class TableText(str):
    """A text of a table, which knows where the table lies: should it name a file, then one in ``folder``."""

    folder: Path
    allow_outside: bool


def located(cells: Sequence[Any], folder: Path, *, allow_outside: bool = False) -> list[Any]:
    """A column as it is, but its texts, and the paths of images of the datasets library, know the ``folder`` of the table.

    What reads the cells later decides which of them are images; a name without a place would then be looked for in the
    working folder.
    """

    def placed(cell: Any) -> Any:
        if isinstance(cell, dict) and isinstance(cell.get("path"), str):
            return {**cell, "path": placed(cell["path"])}
        if not isinstance(cell, str):
            return cell
        text = TableText(cell)
        text.folder, text.allow_outside = folder, allow_outside
        return text

    return [placed(cell) for cell in cells]
