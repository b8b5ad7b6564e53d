"""CSV, TSV, JSONL and Parquet tables with typed columns in modalities, any of which may be missing, and several targets."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brickwork.core.config import nearest
from brickwork.core.errors import DataError, warn
from brickwork.data import splits
from brickwork.data.readers import cells as table_cells
from brickwork.data.readers.files import ReadReport, table_kind
from brickwork.data.readers.inside import need_file
from brickwork.data.readers.typed import read_columns
from brickwork.data.types import Examples, TaskData
from brickwork.systems.multimodn.data import Data
from brickwork.systems.multimodn.guesses import plan_table
from brickwork.systems.multimodn.layout import ModalityLayout, TableLayout, TargetLayout
from brickwork.systems.multimodn.missingness import is_present, simulate

Columns = Mapping[str, Any]
"""The user's columns by name: lists, arrays, Arrow arrays or columns of a data frame, all of one length."""


def multitask_table(path: Path, config: Data, seed: int, layout: TableLayout | None = None) -> TaskData:
    """A table as a task with modalities and targets: those of ``layout``, which was learnt, else those that
    ``config.table`` chooses, or a guess.

    Raises:
        DataError: no target, unknown column names, a modality without a single value, too few rows.
    """
    need_file(path, "a table: .csv, .tsv, .jsonl or .parquet")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; give a file with a header and at least two rows")
    report = ReadReport()
    report.table = path.name
    report.numbers, raw = read_columns(path, report, config.limit)
    words = config.table.na_values if layout is None else layout.na_values
    raw = {name: table_cells.without_words(values, words) for name, values in raw.items()}
    notes: Sequence[str] = ()
    if layout is None:
        layout, notes = plan_table(raw, config, str(path), typed=table_kind(path) not in (".csv", ".tsv"))
    examples = typed_examples(
        layout, raw, report=report, where=str(path), folder=path.parent, allow_outside=config.allow_outside
    )
    kept = _labelled(examples, layout, report)
    report.used(len(kept))
    if len(kept) < 2:
        raise DataError(f"{path} has {len(kept)} rows with a known target; training needs 2 or more")
    for role, column in (("group", config.columns.group), ("time", config.table.time)):
        if column is not None and column not in raw:
            raise DataError(f"{path} has no column '{column}' (wanted as {role}): {nearest(column, raw)}")
    group, time = config.columns.group, config.table.time
    keys = None
    if group is not None:
        cells = table_cells.as_list(raw[group])
        keys = [str(cells[row]) for row in kept]
    times = None if time is None else table_cells.numbers(raw[time], report, time)[kept]
    report.warn()
    return multitask(
        path.name,
        layout,
        examples.select(kept),
        config,
        seed,
        keys=keys,
        times=times,
        notes=(*notes, *report.notes()),
    )


def multitask(
    name: str,
    layout: TableLayout,
    examples: Examples,
    config: Data,
    seed: int,
    *,
    keys: Sequence[str] | None = None,
    times: np.ndarray | None = None,
    notes: Iterable[str] = (),
) -> TaskData:
    """The task: rows split by ``keys`` (default: each for itself) or, where given, in the order of ``times``; then
    missing values are simulated in training and validation, if the configuration asks for it."""
    count = len(examples)
    if times is not None:
        parts = _split_by_time(times, config)
    else:
        parts = splits.split(
            [str(row) for row in range(count)] if keys is None else keys,
            validation_share=config.validation_share,
            test_share=config.test_share,
            max_held_out=config.max_held_out,
            seed=seed,
        )
    train, validation, test = splits.select(examples, parts)
    missing = config.table.missing
    if missing.modality:
        train = simulate(train, layout, missing, seed)
        validation = simulate(validation, layout, missing, seed + 1)
    for modality in layout.modalities:
        if len(train) and not is_present(train, modality.name).any():
            raise DataError(
                f"{name}: modality '{modality.name}' ({', '.join(modality.columns) or 'no columns'}) is missing from all "
                f"{len(train)} training rows, so nothing can be learnt from it; leave it out of data.table.modalities, "
                "or fill its columns"
            )
    return TaskData(
        name=name,
        kind="multitask",
        modality="table",
        train=train,
        validation=validation,
        test=test,
        notes=tuple(notes),
        details=layout,
    )


def _split_by_time(times: np.ndarray, config: Data) -> splits.Parts:
    """The newest rows are the test part, those before them validation."""
    order = np.argsort(np.nan_to_num(times, nan=-np.inf), kind="stable").tolist()
    test = min(round(config.test_share * len(order)), config.max_held_out)
    validation = min(round(config.validation_share * len(order)), config.max_held_out)
    train = len(order) - test - validation
    return splits.Parts(
        sorted(order[:train]), sorted(order[train : train + validation]), sorted(order[train + validation :])
    )


def _labelled(examples: Examples, layout: TableLayout, report: ReadReport) -> list[int]:
    """Rows of which at least one target is known; the others are counted."""
    labelled = np.zeros(len(examples), dtype=bool)
    for target in layout.targets:
        labelled |= is_known(np.asarray(examples.columns[target.column]))
    for row in np.flatnonzero(~labelled):
        report.skip("no target is known", report.place(int(row)))
    return np.flatnonzero(labelled).tolist()


def is_known(target: np.ndarray) -> np.ndarray:
    """Which values of a target column are known."""
    return target >= 0 if target.dtype.kind == "i" else np.isfinite(target)


def typed_examples(
    layout: TableLayout,
    raw: Any,
    *,
    report: ReadReport | None = None,
    where: str = "the data",
    folder: Path | None = None,
    allow_outside: bool = False,
    with_targets: bool = True,
) -> Examples:
    """The user's columns (:data:`Columns`, or a data frame) as the layout describes them.

    Columns that play no role are ignored. A modality none of whose columns is there is missing from all rows, with a
    warning. Images that are paths are looked for in ``folder`` and, unless ``allow_outside``, nowhere else; without a
    folder they are the caller's own paths.

    Raises:
        DataError: some columns of a modality are there and others are not, a target is unknown, lengths differ.
    """
    problems = report or ReadReport()
    if not (isinstance(raw, Mapping) or hasattr(raw, "columns")):
        raise DataError(
            f"{where}: give columns by name, as a dictionary or data frame, not a {type(raw).__name__}"
        )
    raw = {str(name): raw[name] for name in (raw if isinstance(raw, Mapping) else raw.columns)}
    if plain := [name for name, held in raw.items() if isinstance(held, str) or not hasattr(held, "__len__")]:
        raise DataError(f"{where}: '{plain[0]}' is a single value; give a list with one for each row")
    lengths = {name: len(values) for name, values in raw.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{where}: columns of different lengths: {lengths}")
    if layout.na_values:
        held = [name for name, values in raw.items() if getattr(values, "ndim", 1) == 1]
        raw |= {name: table_cells.without_words(raw[name], layout.na_values) for name in held}
    count = next(iter(lengths.values()), 0)
    unknown = sorted(set(raw) - {c for m in layout.modalities for c in m.columns})
    columns: dict[str, Any] = {}
    gone: list[ModalityLayout] = []
    for modality in layout.modalities:
        if typed := _already(modality, raw, where):
            columns.update(typed)
            continue
        absent = [name for name in modality.columns if name not in raw]
        if absent and len(absent) < len(modality.columns):
            hints = f" (there is {', '.join(map(repr, unknown))})" if unknown else ""
            raise DataError(
                f"{where} has no column {', '.join(map(repr, absent))} of modality '{modality.name}'{hints}. Give all "
                f"of its columns ({', '.join(modality.columns)}; empty cells are fine), or none"
            )
        if absent:
            gone.append(modality)
            columns.update(nothing(modality, count))
        else:
            columns.update(_modality(modality, raw, problems, folder, allow_outside))
    if gone and len(gone) == len(layout.modalities):
        wanted = ", ".join(column for modality in gone for column in modality.columns[:4])
        raise DataError(
            f"{where} has none of the columns that the model reads ({wanted}{', …' if len(wanted) > 200 else ''}); it has "
            f"{', '.join(unknown[:8]) or 'none'}"
        )
    if gone:
        _warn_of_absent(gone, unknown, where)
    if with_targets:
        for target in layout.targets:
            if target.column in raw:
                columns[target.column] = np.asarray(raw[target.column])
                continue
            if target.name not in raw:
                raise DataError(
                    f"{where} has no column '{target.name}' to learn: {nearest(target.name, raw)}"
                )
            columns[target.column] = _target(target, raw[target.name], problems, where)
    if report is None:
        problems.warn()
    return Examples(columns)


def _already(modality: ModalityLayout, raw: Columns, where: str) -> dict[str, Any]:
    """The parts of a modality that come as :class:`TableLayout` describes them: an array of numbers (rows, columns), a
    list of series (time, variables) or of images (height, width, channels), by the name of the modality.

    Raises:
        DataError: another number of columns, variables or channels than the model knows.
    """
    held = raw.get(modality.name)
    if modality.kind == "table":
        if getattr(held, "ndim", 1) != 2:
            return {}
        sizes = {
            "": len(modality.numbers),
            ".categories": len(modality.categories),
            ".texts": len(modality.texts),
        }
        parts = {f"{modality.name}{part}": size for part, size in sizes.items() if size or not part}
        for name, size in parts.items():
            shape = tuple(getattr(raw.get(name), "shape", ()))
            if len(shape) != 2 or shape[1] != size:
                raise DataError(f"{where}: '{name}' has shape {shape}; the model takes (rows, {size})")
        dtypes = {name: object if name != modality.name else np.float64 for name in parts}
        return {name: np.asarray(raw[name], dtype=dtypes[name]) for name in parts}
    wanted = 3 if modality.kind == "image" else 2
    cells = [] if held is None else [cell for cell in held if cell is not None]
    if not cells or getattr(cells[0], "ndim", 0) != wanted:
        return {}
    shape = tuple(modality.shape) if wanted == 3 else (len(modality.numbers),)
    for cell in cells:
        actual = cell.shape if wanted == 3 else cell.shape[1:]
        if actual != shape:
            raise DataError(f"{where}: '{modality.name}' holds {cell.shape}; the model takes {shape}")
    return {modality.name: held if isinstance(held, np.ndarray) else list(held)}  # type: ignore[arg-type]


def _warn_of_absent(gone: Sequence[ModalityLayout], unknown: list[str], where: str) -> None:
    others = f" (columns that the model does not know: {', '.join(unknown[:8])})" if unknown else ""
    wanted = [column for modality in gone for column in modality.columns]
    lower = {name.lower(): name for name in unknown}
    close = {name: difflib.get_close_matches(name.lower(), lower, 1, 0.7) for name in wanted}
    meant = {name: lower[found[0]] for name, found in close.items() if found}
    others += "".join(f"; is '{there}' meant to be '{name}'?" for name, there in list(meant.items())[:4])
    names = ", ".join(f"'{modality.name}' ({', '.join(modality.columns[:4])})" for modality in gone)
    several = "modality" if len(gone) == 1 else "modalities"
    warn(f"{where} has none of the columns of {several} {names}: missing from every row{others}")


def nothing(modality: ModalityLayout, count: int) -> dict[str, Any]:
    """The columns of a modality that is missing from all of ``count`` rows."""
    if modality.kind != "table":
        return {modality.name: [None] * count}
    columns: dict[str, Any] = {modality.name: np.full((count, len(modality.numbers)), np.nan)}
    for part in ("categories", "texts"):
        if names := getattr(modality, part):
            columns[f"{modality.name}.{part}"] = np.full((count, len(names)), None, dtype=object)
    return columns


def _modality(
    modality: ModalityLayout, raw: Columns, report: ReadReport, folder: Path | None, allow_outside: bool
) -> dict[str, Any]:
    name = modality.name
    if modality.kind == "image":
        size = modality.framing or modality.shape[0]
        (column,) = modality.numbers
        cells = table_cells.as_list(raw[column])
        return {
            name: [
                table_cells.read_image(
                    value,
                    size,
                    folder,
                    report,
                    f"'{column}' {report.place(row)}",
                    allow_outside=allow_outside,
                )
                for row, value in enumerate(cells)
            ]
        }
    if modality.kind == "series":
        variables = [table_cells.series(table_cells.as_list(raw[c]), report, c) for c in modality.numbers]
        return {name: [_stack(cells, report, name, row) for row, cells in enumerate(zip(*variables))]}
    count = len(raw[modality.columns[0]])
    columns: dict[str, Any] = {name: np.empty((count, len(modality.numbers)))}
    for place, column in enumerate(modality.numbers):
        columns[name][:, place] = table_cells.numbers(raw[column], report, column)
    for part in ("categories", "texts"):
        if names := getattr(modality, part):
            texts = np.empty((count, len(names)), dtype=object)
            for place, column in enumerate(names):
                texts[:, place] = table_cells.texts(raw[column], report, column)
            columns[f"{name}.{part}"] = texts
    return columns


def _stack(
    cells: Sequence[np.ndarray | None], report: ReadReport, modality: str, row: int
) -> np.ndarray | None:
    """The variables of one row as (time, variables); one that is missing is NaN throughout."""
    lengths = {len(cell) for cell in cells if cell is not None}
    if not lengths:
        return None
    if len(lengths) > 1:
        report.skip(
            f"series of '{modality}' have different lengths within a row and count as missing",
            report.place(row),
        )
        return None
    (length,) = lengths
    return np.stack([np.full(length, np.nan) if cell is None else cell for cell in cells], axis=1)


def _target(target: TargetLayout, values: Any, report: ReadReport, where: str) -> np.ndarray:
    if not target.is_class:
        return table_cells.numbers(values, report, target.name)
    places = {name: place for place, name in enumerate(target.classes)}
    cells = _labels(target, values, report, where)
    strange = sorted({cell for cell in cells if cell is not None and cell not in places})
    if strange:
        raise DataError(
            f"{where}: target '{target.name}' has the class '{strange[0]}', which is none of "
            f"{', '.join(target.classes[:12])}; use data with the same classes"
        )
    return np.array([-1 if cell is None else places[cell] for cell in cells], dtype=np.int64)


def _labels(target: TargetLayout, values: Any, report: ReadReport, where: str) -> np.ndarray:
    """The names of the classes of a column, ``None`` where a label is missing. Texts may be numbers (as in CSV); no other
    type may be another.

    Raises:
        DataError: labels of mixed types, or of another type than those that were learnt.
    """
    cells = table_cells.as_list(values)
    kind = table_cells.check_one_kind(cells, f"{where}: the target '{target.name}'")
    wanted = "number" if target.labels == "whole number" else target.labels
    if kind not in ("text", wanted) and not all(map(table_cells.is_missing, cells)):
        raise DataError(
            f"{where}: the target '{target.name}' has labels that are a {kind}, and the model learnt a {wanted}; give "
            "labels of that type"
        )
    if wanted == "number":
        numbers = [None if table_cells.is_missing(cell) else table_cells.number_of(cell) for cell in cells]
        cells = [cell if number is None else number for cell, number in zip(cells, numbers)]
    elif wanted == "truth value":
        cells = [cell.strip().capitalize() if isinstance(cell, str) else cell for cell in cells]
    return table_cells.texts(cells, report, target.name)
