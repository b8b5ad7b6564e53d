"""The user's own views: a table with a row for each image, which object it shows, and what was different.

``object, image, angle, hue …``: paths of images are looked for beside the table, or the cells hold the images themselves
(Parquet). Every other column of numbers is a change.
"""

import re
from collections import Counter
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
    turn: float | None = None,
    rotation: Sequence[str] | None = None,
    limit: int | None = None,
    allow_outside: bool = False,
    learnt: Sequence[Change] = (),
) -> Views:
    """The views of a table. Rows without an object, an image that can be read, or one of the numbers are counted and left
    out; so are rows that come twice, and objects with a single view. ``object_column``, ``circular``, ``turn`` and
    ``rotation`` are those of :class:`brickwork.systems.sie.data.TableOptions`. ``learnt``: the changes that a model knows;
    their columns are read as they are, and no others.

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
    views = Counter(text_of(cell) for cell in columns[of] if not is_missing(cell))
    if max(views.values(), default=0) < 2:
        raise DataError(
            f"{path} shows no object in two views or more (column '{of}'): {len(views)} objects with a single view"
        )
    free = {name: columns[name] for name in names if name not in held}
    changes, constant = tuple(learnt), list[str]()
    if not learnt:
        changes, constant = _changes(free, columns[of], circular, rotation, turn, path)
    elif missing := [name for change in learnt for name in change.columns if name not in free]:
        raise DataError(
            f"{path} has no column '{missing[0]}', whose changes the model has learnt: {nearest(missing[0], list(free))}"
        )
    wanted = [column for change in changes for column in change.columns]
    values, kept = _numbers(columns, wanted, report)
    images: dict[int, np.ndarray] = {}
    seen: set[tuple[str, bytes, bytes]] = set()
    pictures = located(columns[roles["image"]], path.parent, allow_outside=allow_outside)
    for row in kept:
        where = row_of(path.name, numbers[row])
        if is_missing(columns[of][row]):
            report.skip(f"'{of}' is empty", where)
            continue
        image = read_image(pictures[row], form or DEFAULT_SIDE, None, report, where)
        if image is not None:
            key = (text_of(columns[of][row]), image.tobytes(), values[row].tobytes())
            report.duplicates += key in seen
            if key not in seen:
                images[row] = image
            seen.add(key)
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
    if constant:
        notes.append(f"the same in all views of each object, so no changes: {', '.join(constant)}")
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
    free: dict[str, list[Any]],
    owners: list[Any],
    circular: Sequence[str] | None,
    rotation: Sequence[str] | None,
    turn: float | None,
    path: Path,
) -> tuple[tuple[Change, ...], list[str]]:
    """Every column of numbers that differs between views of one object, as what it seems to be, or was said to be; and those
    that differ between objects only. Of a constant number the predictor would learn nothing, and could hide behind it.
    """
    for what, given in (("circular", circular), ("rotation", rotation)):
        for name in given or ():
            if name not in free:
                raise DataError(
                    f"{path}: data.table.{what} names '{name}', which is no column of numbers: {nearest(name, list(free))}"
                )
    spreads = {}
    for name, cells in free.items():
        values, filled = _read(cells), sum(not is_missing(cell) for cell in cells)
        finite = np.isfinite(values)
        if filled and finite.sum() >= _LEAST_NUMERIC * filled:
            spreads[name] = (values[finite], _largest_difference(values, owners))
    changes, constant = [], []
    if rotation is not None:
        if not any(name in spreads and spreads[name][1] for name in rotation):
            raise DataError(
                f"{path}: data.table.rotation names {', '.join(rotation)}, which are the same in all views of each object"
            )
        changes.append(Change(name="rotation", columns=tuple(rotation), kind="rotation"))
    for name, (values, largest) in spreads.items():
        if name in (rotation or ()) or len(np.unique(values)) < 2:
            continue
        if not largest:
            constant.append(name)
            continue
        is_round = name in circular if circular is not None else bool(_ROUND.search(name.strip().lower()))
        size = (turn or _turn(values, name)) if is_round else largest
        changes.append(Change(name=name, columns=(name,), kind="circle" if is_round else "line", size=size))
    if turn is not None and not any(change.kind == "circle" for change in changes):
        raise DataError(
            f"{path}: data.table.turn={turn:g} has no effect, as no column lies on a circle; leave it out"
        )
    if not changes:
        same = f" (the same in all views of each object: {', '.join(constant)})" if constant else ""
        raise DataError(
            f"{path} has no column of numbers that says what changed between views (as angle, hue, distance); its other "
            f"columns are: {', '.join(free) or 'none'}{same}"
        )
    return tuple(changes), constant


def _read(cells: Sequence[Any]) -> Float[np.ndarray, " n"]:
    """Numbers of cells; NaN where there is none."""
    return np.array([np.nan if (number := number_of(cell)) is None else number for cell in cells])


def _largest_difference(values: Float[np.ndarray, " n"], owners: Sequence[Any]) -> float:
    """Between two views of one object."""
    ranges: dict[str, tuple[float, float]] = {}
    for value, owner in zip(values.tolist(), owners):
        if np.isfinite(value) and not is_missing(owner):
            low, high = ranges.get(text_of(owner), (value, value))
            ranges[text_of(owner)] = (min(low, value), max(high, value))
    return max((high - low for low, high in ranges.values()), default=0.0)


def _turn(values: Float[np.ndarray, " n"], name: str) -> float:
    """What a whole turn is: 1 where all values lie between 0 and 1 (of hues, between −1 and 1), 2π where they lie within one
    and are no whole numbers, else 360."""
    largest = float(np.abs(values).max())
    if largest <= 1.0 and (float(values.min()) >= 0 or "hue" in name.lower()):
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
