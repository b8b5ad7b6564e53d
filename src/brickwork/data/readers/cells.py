"""Cells of the user's tables as typed values: numbers, categories, texts, series, images, and what is missing."""

import io
import math
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from brickwork.core.errors import DataError
from brickwork.data.readers.files import ReadReport, clean
from brickwork.data.readers.images import decode
from brickwork.data.readers.inside import OUTSIDE, inside

MISSING_WORDS = {"", "na", "n/a", "nan", "null", "none", "?", "<na>"}
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_DAY_ZERO = datetime(2000, 1, 1)
_SECONDS = 86_400.0


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
    """A cell as a number: dates in days since 2000, truth values as 0 and 1; ``None`` for what is none, NaN for missing."""
    if is_missing(value):
        return math.nan
    if isinstance(value, datetime):
        return (value.replace(tzinfo=None) - _DAY_ZERO).total_seconds() / _SECONDS
    if isinstance(value, date):
        return float((value - _DAY_ZERO.date()).days)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return _date_number(value) if isinstance(value, str) else None
    return number if math.isfinite(number) else math.nan


def _date_number(text: str) -> float | None:
    try:
        return number_of(datetime.fromisoformat(text.strip()))
    except ValueError:
        return None


def as_list(values: Any) -> list[Any]:
    """A column as a list of Python values: lists, NumPy arrays and columns of data frames are taken."""
    return values.tolist() if hasattr(values, "tolist") else list(values)


def numbers(values: Any, report: ReadReport, column: str) -> np.ndarray:
    """A column as float64, NaN where a cell is missing or, counted in ``report``, is not a number."""
    dtype = getattr(values, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind in "iufb":
        column_values = np.asarray(values, dtype=np.float64)
        return np.where(np.isfinite(column_values), column_values, np.nan)
    cells = as_list(values)
    column_values = np.empty(len(cells))
    for row, value in enumerate(cells):
        number = number_of(value)
        if number is None:
            report.skip(
                f"cells of '{column}' are no numbers and count as missing", f"row {row}: {value!r:.40}"
            )
            number = math.nan
        column_values[row] = number
    return column_values


def texts(values: Any, report: ReadReport, column: str) -> np.ndarray:
    """A column as an object array of clean texts, ``None`` where a cell is missing."""
    cells = as_list(values)
    column_texts = np.empty(len(cells), dtype=object)
    for row, value in enumerate(cells):
        column_texts[row] = None if is_missing(value) else text_of(value, report, f"'{column}' row {row}")
    return column_texts


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
            report.skip(f"cells of '{column}' are no lists of numbers and count as missing", f"row {row}")
            matrices.append(None)
            continue
        array[~np.isfinite(array)] = np.nan
        matrices.append(array if array.ndim == 1 and np.isfinite(array).any() else None)
    return matrices


def read_image(
    value: Any,
    size: int,
    folder: Path | None,
    report: ReadReport,
    where: str,
    *,
    allow_outside: bool = False,
) -> np.ndarray | None:
    """An image (bytes of a file, its path, or an array) as RGB uint8 (size, size, 3), read as :func:`decode` does.

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
            return decode(raw, (size, size, 3))
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
