"""Pairs of images to read a change off: a table with two columns of images."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from brickwork.core.errors import DataError
from brickwork.core.framing import Framing
from brickwork.data.readers.cells import is_missing, read_image
from brickwork.data.readers.files import ReadReport
from brickwork.data.readers.images import ENDINGS, Shape

_USUAL = (("first", "second"), ("image1", "image2"), ("image_1", "image_2"), ("before", "after"), ("a", "b"))


def read_pairs(columns: Mapping[str, Any], form: Shape | Framing) -> tuple[np.ndarray, np.ndarray]:
    """The images of both columns, in the shape that the model takes. A path that a table names is looked for beside it.

    Raises:
        DataError: no two such columns; an image that is missing or cannot be read, with its row and column.
    """
    first, second = (_images(columns[name], name, form) for name in pair_columns(columns))
    return first, second


def names_of_pairs(columns: Mapping[str, Any]) -> dict[str, list[str]]:
    """The files of both columns as the table calls them, for the answers; nothing where a cell is an image itself."""
    both = {name: list(columns[name]) for name in pair_columns(columns)}
    named = all(isinstance(cell, str) for cells in both.values() for cell in cells)
    return {name: [str(cell) for cell in cells] for name, cells in both.items()} if named else {}


def pair_columns(columns: Mapping[str, Any]) -> tuple[str, str]:
    """Which two columns hold the images: called as usual, else the only two with images in their first row.

    Raises:
        DataError: there are not two.
    """
    by_lower = {name.strip().lower(): name for name in columns}
    for first, second in _USUAL:
        if first in by_lower and second in by_lower:
            return by_lower[first], by_lower[second]
    shown = [name for name, cells in columns.items() if len(cells) and _is_image(cells[0])]
    if len(shown) != 2:
        raise DataError(
            f"the columns are {', '.join(columns)}: call the two with the images 'first' and 'second'"
            + (f" ({len(shown)} columns hold images)" if shown else "")
        )
    return shown[0], shown[1]


def _is_image(cell: Any) -> bool:
    if isinstance(cell, dict):
        return "bytes" in cell or "path" in cell
    if isinstance(cell, np.ndarray):
        return cell.ndim == 3
    return isinstance(cell, bytes) or (isinstance(cell, str) and cell.strip().lower().endswith(ENDINGS))


def _images(cells: Any, column: str, form: Shape | Framing) -> np.ndarray:
    """Raises DataError for the first that cannot be used."""
    shape = form.shape if isinstance(form, Framing) else form
    images = np.empty((len(cells), *shape), dtype=np.uint8)
    for row, cell in enumerate(cells):
        report, where = ReadReport(), f"row {row + 1}, '{column}'"
        if is_missing(cell):
            raise DataError(f"{where} is empty; every row needs two images")
        image = read_image(cell, form, None, report, where)
        if image is None:
            reason, first = next(iter(report.first.items()))
            raise DataError(f"{first}: {reason}; every row needs two images that can be read")
        if image.shape != shape:
            raise DataError(f"{where} holds an array of shape {image.shape}; the model takes {shape}")
        images[row] = image
    return images
