"""Vectors of several domains, row by row: what a workspace aligns. From .npz, Parquet, CSV, TSV or JSON lines.

A domain is an array of an .npz file, (N, D) or (N,); a column that holds lists of numbers; or several columns of numbers
with a common name: ``image.0, image.1``, ``image.red, image.blue`` or ``image_0, image_1``. A column of numbers alone is a
domain of one dimension. A row may lack a domain (empty, null or NaN): it then trains what needs no pair.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import DataError
from brickwork.core.seeding import generator_for
from brickwork.data import splits
from brickwork.data.readers.arrays import read_npz
from brickwork.data.readers.cells import is_missing
from brickwork.data.readers.files import ReadReport, column_names, rows
from brickwork.data.readers.inside import need_file
from brickwork.data.types import Examples, TaskData
from brickwork.systems.global_workspace.data import MADE_UP, Data
from brickwork.systems.global_workspace.simple_shapes import simple_shapes

Layout = Mapping[str, Sequence[str]]
"""Domain → the columns of the file that are its dimensions, or the one column or array that is its vector."""

_NUM_SHAPES = 2000
_PART = re.compile(r"(?P<domain>.+?)(?:\.(?P<name>[^.]+)|_(?P<number>\d+))$")


def domain_task(config: Data, seed: int) -> TaskData:
    """``digit-halves`` or ``simple-shapes``, with all rows paired or ``config.paired``, or the user's file.
    ``simple-shapes`` (``simple_shapes.py``) are 2,000 scenes, or as many as ``limit`` says.

    The task is of kind ``domains``: one float32 array (rows, D) a domain.

    Raises:
        DataError: the file cannot be read, holds fewer than two domains, or a domain without any value.
    """
    report = ReadReport()
    notes: list[str] = []
    layout: Layout = {}
    if config.source == "simple-shapes":
        columns = simple_shapes(config.limit or _NUM_SHAPES)
    elif config.source == "digit-halves":
        columns = _digit_halves(config.limit)
    else:
        columns, layout, notes = _read(Path(config.source).expanduser(), config, report)
    num_domains = sum(np.isfinite(values[:, 0]).astype(int) for values in columns.values())
    kept = np.flatnonzero(num_domains > 0)
    if len(kept) < 3:
        raise DataError(f"{config.source} has {len(kept)} rows with a value; training needs at least 3")
    if len(kept) < len(num_domains):
        notes.append(f"{len(num_domains) - len(kept)} rows without any domain are left out")
    examples = Examples(columns).select(kept.tolist())
    parts = splits.split(
        [str(row) for row in range(len(examples))],
        validation_share=config.validation_share,
        test_share=config.test_share,
        max_held_out=config.max_held_out,
        seed=seed,
    )
    train, validation, test = splits.select(examples, parts)
    if config.paired is not None:
        train = _with_pairs(train, config.paired, config.unpaired, seed)
    for name in columns:
        if len(train) and not np.isfinite(np.asarray(train.columns[name])[:, 0]).any():
            raise DataError(
                f"{config.source}: the domain '{name}' is missing from all {len(train)} training rows, so nothing can be "
                "learnt of it; leave it out or correct the file"
            )
    paired = int((num_domains[kept] > 1).sum())
    if paired == 0:
        raise DataError(
            f"{config.source}: no row has two domains, so nothing says what belongs together; give at least some pairs"
        )
    widths = ", ".join(f"{name} ({values.shape[1]})" for name, values in columns.items())
    notes += [f"domains: {widths}; {paired:,} of {len(kept):,} rows have two or more", *report.notes()]
    report.warn()
    return TaskData(
        name=Path(config.source).name,
        kind="domains",
        modality="numbers",
        train=train,
        validation=validation,
        test=test,
        notes=tuple(notes),
        details=layout,
    )


def group_columns(names: Sequence[str]) -> Layout:
    """Columns by domain, by the rules at the top of this file; a lone ``x_1`` is a domain called ``x_1``."""
    layout: dict[str, list[str]] = {}
    for name in names:
        part = _PART.match(name)
        layout.setdefault(part["domain"] if part else name, []).append(name)
    return {d if len(c) > 1 or c[0].startswith(f"{d}.") else c[0]: c for d, c in layout.items()}


def domain_array(
    columns: Mapping[str, Any], domain: str, parts: Sequence[str]
) -> Float[np.ndarray, "rows dim"] | None:
    """The vectors of a domain, NaN in rows that lack it; ``None`` if its columns are not there.

    It may be there as one array or column called ``domain``, or as the columns ``parts``.

    Raises:
        DataError: some of its columns are missing, or a cell is no number or has another length; names column and row.
    """
    if domain in columns:
        return _vectors(columns[domain], domain)
    missing = [part for part in parts if part not in columns]
    if len(missing) == len(parts):
        return None
    if missing:
        raise DataError(
            f"domain '{domain}' lacks the columns {', '.join(missing)}; give all of its columns or none"
        )
    return _whole_rows(np.concatenate([_vectors(columns[part], part) for part in parts], 1))


def _whole_rows(values: np.ndarray) -> np.ndarray:
    """A row that lacks one number lacks the domain."""
    values = values.astype(np.float32)
    values[~np.isfinite(values).all(1)] = np.nan
    return values


def _vectors(values: Any, name: str) -> np.ndarray:
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        flat = values.reshape(len(values), -1) if values.size else values.reshape(len(values), 1)
        return _whole_rows(flat.astype(np.float32))
    cells = [_cell(value, name, row) for row, value in enumerate(values)]
    width = next((len(cell) for cell in cells if cell), 1)
    for row, cell in enumerate(cells):
        if cell and len(cell) != width:
            raise DataError(
                f"column '{name}', row {row} has {len(cell)} numbers and the rows before it {width}; all vectors of a "
                "domain must be of one length"
            )
    return _whole_rows(
        np.array([cell or [np.nan] * width for cell in cells], np.float32).reshape(len(cells), width)
    )


def _cell(value: Any, name: str, row: int) -> list[float]:
    """A cell as numbers; empty where it is missing."""
    if is_missing(value):
        return []
    try:
        if isinstance(value, str) and value.strip().startswith("["):
            value = [float(part) for part in value.strip()[1:-1].split(",") if part.strip()]
        return [float(part) for part in (value if isinstance(value, list | tuple | np.ndarray) else [value])]
    except (TypeError, ValueError):
        raise DataError(
            f"column '{name}', row {row} is {str(value)[:40]!r}; a domain is made of numbers or lists of numbers"
        ) from None


def _read(path: Path, config: Data, report: ReadReport) -> tuple[dict[str, np.ndarray], Layout, list[str]]:
    made_up = " or ".join(MADE_UP)
    need_file(path, f"an .npz of arrays, or a table with vectors of two or more domains, or {made_up}")
    raw, notes = (read_npz(path), []) if path.suffix.lower() == ".npz" else _table(path, config.limit, report)
    raw = {name: values[: config.limit] for name, values in raw.items()}
    layout = group_columns(list(raw))
    columns = {
        d: values for d, parts in layout.items() if (values := domain_array(raw, d, parts)) is not None
    }
    if len(columns) < 2:
        raise DataError(
            f"{path} holds {', '.join(columns) or 'no domain'}; an alignment needs two domains or more: arrays of an .npz, "
            "columns of lists, or columns named DOMAIN.NAME or DOMAIN_0, DOMAIN_1 …"
        )
    return columns, layout, notes


def _table(path: Path, limit: int | None, report: ReadReport) -> tuple[dict[str, Any], list[str]]:
    names = column_names(path)
    table = [row for _, row in islice(rows(path, report), limit)]
    columns = {name: [row.get(name) for row in table] for name in names}
    texts = [name for name, values in columns.items() if not _numeric(values)]
    notes = [f"columns without numbers are left out: {', '.join(texts)}"] if texts else []
    return {name: values for name, values in columns.items() if name not in texts}, notes


def _numeric(values: Sequence[Any]) -> bool:
    """Whether the first value that is there is a number or a list of numbers."""
    for row, value in enumerate(values):
        try:
            if _cell(value, "", row):
                return True
        except DataError:
            return False
    return False


def _with_pairs(examples: Examples, num_pairs: int, unpaired: bool, seed: int) -> Examples:
    """All but ``num_pairs`` rows keep one domain only, in turn, or without ``unpaired`` are left out."""
    order = np.random.default_rng(generator_for(seed, 0, "pairs").initial_seed()).permutation(len(examples))
    if not unpaired:
        return examples.select(order[:num_pairs].tolist())
    columns = {name: np.array(values) for name, values in examples.columns.items()}
    for place, values in enumerate(columns.values()):
        values[[row for i, row in enumerate(order[num_pairs:]) if i % len(columns) != place]] = np.nan
    return Examples(columns)


def _digit_halves(limit: int | None) -> dict[str, np.ndarray]:
    """scikit-learn's digits: the upper and the lower half of each image, and its class, as three domains."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    kept = splits.pick(len(digits.target), limit)
    pixels = (digits.data[kept] / 16).astype(np.float32)
    return {
        "upper": pixels[:, :32],
        "lower": pixels[:, 32:],
        "label": np.eye(10, dtype=np.float32)[digits.target[kept]],
    }
