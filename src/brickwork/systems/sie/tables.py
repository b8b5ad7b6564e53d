"""The user's own views: a table with a row for each image, which object it shows, and what was different.

``object, image, angle, hue …``: paths of images are looked for beside the table, or the cells hold the images themselves
(Parquet). Every other column of numbers is a change.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from brickwork.core.config import nearest
from brickwork.core.errors import DataError
from brickwork.core.framing import Framing
from brickwork.data.config import ColumnNames
from brickwork.data.readers.cells import (
    as_list,
    is_missing,
    located,
    number_of,
    read_image,
    refuse_decimal_comma,
    text_of,
)
from brickwork.data.readers.columns import match
from brickwork.data.readers.files import TABLES, ReadReport, row_of
from brickwork.data.readers.typed import read_columns
from brickwork.systems.sie.changes import Change

DEFAULT_SIDE = 64
_OBJECT = (
    "object",
    "object_id",
    "objectid",
    "obj",
    "item",
    "item_id",
    "thing",
    "instance",
    "sku",
    "product",
    "group",
)
_ROUND = re.compile(
    r"angle|hue|yaw|pitch|roll|azimuth|rotation|orientation|heading|theta|phi|degrees|^deg$|^rot"
)
_LEAST_NUMERIC = 0.5  # of the cells of a column, to be one of numbers


@dataclass(frozen=True)
class Views:
    """N views: images, values of the M ``columns``, which object each is of, and its class where there are classes."""

    images: UInt8[np.ndarray, "n height width channels"]
    values: Float[np.ndarray, "n m"]
    columns: tuple[str, ...]
    changes: tuple[Change, ...]
    objects: Int[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"] | None
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


def is_table(path: Path) -> bool:
    """Whether a path is called like a table."""
    return any(suffix.lower() in TABLES for suffix in path.suffixes[-2:])


def read_views(
    path: Path,
    form: Framing | int | None,
    chosen: ColumnNames,
    *,
    object_column: str | None = None,
    circular: Sequence[str] | None = None,
    rotation: Sequence[str] | None = None,
    limit: int | None = None,
    allow_outside: bool = False,
) -> Views:
    """The views of a table. Rows without an object, an image that can be read, or one of the numbers are counted and left
    out; so are objects with a single view.

    Raises:
        DataError: no column of objects, images or changes; no object with two views.
    """
    report = ReadReport()
    numbers, cells = read_columns(path, report, limit)
    columns = {name: as_list(column) for name, column in cells.items()}
    report.numbers, report.table = numbers, path.name
    names = list(columns)
    roles = match(names, chosen, str(path))
    of = _object_column(names, object_column, roles, path)
    if "image" not in roles:
        raise DataError(
            f"{path} has the columns {', '.join(names)}: none is called like an image. Say which it is: --column image=NAME"
        )
    held = {of, roles["image"], *(roles[role] for role in ("label", "id") if role in roles)}
    changes = _changes(columns, [name for name in names if name not in held], circular, rotation, path)
    wanted = [column for change in changes for column in change.columns]
    values, kept = _numbers(columns, wanted, report)
    images: dict[int, np.ndarray] = {}
    pictures = located(columns[roles["image"]], path.parent, allow_outside=allow_outside)
    for row in kept:
        where = row_of(path.name, numbers[row])
        if is_missing(columns[of][row]):
            report.skip(f"'{of}' is empty", where)
            continue
        image = read_image(pictures[row], form or DEFAULT_SIDE, None, report, where)
        if image is not None:
            images[row] = image
        elif is_missing(pictures[row]):
            report.skip(f"'{roles['image']}' is empty", where)
    owners = {row: text_of(columns[of][row]) for row in images}
    views_of: dict[str, int] = {}
    for owner in owners.values():
        views_of[owner] = views_of.get(owner, 0) + 1
    rows = [row for row in images if views_of[owners[row]] > 1]
    single = sum(count == 1 for count in views_of.values())
    report.used(len(rows))
    notes = [f"{single} objects with a single view were left out"] if single else []
    notes += report.notes()
    if not rows:
        reasons = "; ".join(notes) or "there is nothing in it"
        raise DataError(f"{path} shows no object in two views or more (column '{of}'): {reasons}")
    report.warn()
    order = {owner: number for number, owner in enumerate(dict.fromkeys(owners[row] for row in rows))}
    labels, class_names = _labels(columns.get(roles.get("label", "")), rows)
    return Views(
        np.stack([images[row] for row in rows]),
        values[rows],
        tuple(wanted),
        changes,
        np.array([order[owners[row]] for row in rows]),
        labels,
        class_names,
        tuple(notes),
    )


def _object_column(names: list[str], chosen: str | None, roles: dict[str, str], path: Path) -> str:
    if chosen is not None:
        if chosen not in names:
            raise DataError(
                f"{path} has no column '{chosen}' (wanted as the object): {nearest(chosen, names)}"
            )
        return chosen
    if "group" in roles:
        return roles["group"]
    by_lower = {name.strip().lower(): name for name in names}
    for usual in _OBJECT:
        if usual in by_lower:
            return by_lower[usual]
    raise DataError(
        f"{path} has the columns {', '.join(names)}: none is called like an object. Say which column tells what is "
        "shown: --set data.table.object=NAME"
    )


def _changes(
    columns: dict[str, list[Any]],
    free: list[str],
    circular: Sequence[str] | None,
    rotation: Sequence[str] | None,
    path: Path,
) -> tuple[Change, ...]:
    """Every free column of numbers that takes more than one value, as what it seems to be, or was said to be."""
    for what, given in (("circular", circular), ("rotation", rotation)):
        for name in given or ():
            if name not in free:
                raise DataError(
                    f"{path}: data.table.{what} names '{name}', which is no column of numbers: {nearest(name, free)}"
                )
    changes = []
    if rotation is not None:
        changes.append(Change(name="rotation", columns=tuple(rotation), kind="rotation"))
    for name in free:
        read = np.array([np.nan if (number := number_of(cell)) is None else number for cell in columns[name]])
        values = read[np.isfinite(read)]
        filled = sum(not is_missing(cell) for cell in columns[name])
        if (
            name in (rotation or ())
            or not filled
            or len(values) < _LEAST_NUMERIC * filled
            or len(np.unique(values)) < 2
        ):
            continue
        is_round = name in circular if circular is not None else bool(_ROUND.search(name.strip().lower()))
        size = _turn(values) if is_round else float(np.ptp(values))
        changes.append(Change(name=name, columns=(name,), kind="circle" if is_round else "line", size=size))
    if not changes:
        raise DataError(
            f"{path} has no column of numbers that says what changed between views (as angle, hue, distance); its columns "
            f"are: {', '.join(columns)}"
        )
    return tuple(changes)


def _turn(values: Float[np.ndarray, " n"]) -> float:
    """What a whole turn is: 1 where all values lie within one, 2π where they do and are no whole numbers, else 360."""
    largest = float(np.abs(values).max())
    if largest <= 1.0:
        return 1.0
    if largest <= 2 * np.pi + 1e-6 and not np.array_equal(values, np.round(values)):
        return 2 * float(np.pi)
    return 360.0


def _numbers(
    columns: dict[str, list[Any]], wanted: Sequence[str], report: ReadReport
) -> tuple[Float[np.ndarray, "n m"], list[int]]:
    """The values, and the rows that have all of them."""
    count = len(next(iter(columns.values()), ()))
    values = np.full((count, len(wanted)), np.nan)
    for place, name in enumerate(wanted):
        for row, cell in enumerate(columns[name]):
            number = number_of(cell)
            refuse_decimal_comma(name, cell, report.place(row))
            if number is None or not np.isfinite(number):
                report.skip(f"'{name}' is not a number", report.place(row))
            else:
                values[row, place] = number
    return values, np.flatnonzero(np.isfinite(values).all(axis=1)).tolist()


def _labels(
    cells: list[Any] | None, rows: Sequence[int]
) -> tuple[Int[np.ndarray, " n"] | None, tuple[str, ...]]:
    """Class numbers of the rows; none where a row has no class, or all have the same."""
    if cells is None or any(is_missing(cells[row]) for row in rows):
        return None, ()
    given = [text_of(cells[row]) for row in rows]
    names = sorted(set(given))
    if len(names) < 2:
        return None, ()
    return np.array([names.index(name) for name in given]), tuple(names)
