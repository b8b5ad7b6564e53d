"""What users are given as files: tables (Parquet, CSV or JSON lines, by the ending of the name) and images, atomically."""

import csv
import io
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brickwork.core.errors import ConfigError
from brickwork.core.files import atomic_folder, atomic_path, write_text

_ENDINGS = (".parquet", ".csv", ".jsonl")


def check_table_path(path: Path) -> None:
    """Refuses a name whose ending says no format, before the work is done.

    Raises:
        ConfigError: names the endings.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise ConfigError(
            f"{path}: a table is written as {', '.join(_ENDINGS)}; end the name with one of them"
        )


def write_table(path: Path, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
    """Writes named columns of equal length; a column of vectors (N, D) is a list in each row (JSON in a CSV).

    Raises:
        ConfigError: the ending says no format.
        ResourceError: disk full, no permission.
    """
    check_table_path(path)
    values = {
        name: column.tolist() if isinstance(column, np.ndarray) else list(column)
        for name, column in columns.items()
    }
    rows = (dict(zip(values, row)) for row in zip(*values.values(), strict=True))
    if path.suffix.lower() == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet

        with atomic_path(path) as temporary:
            pyarrow.parquet.write_table(pa.table(values), temporary, compression="zstd")
    elif path.suffix.lower() == ".csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(values)
        writer.writerows([json.dumps(v) if isinstance(v, list) else v for v in row.values()] for row in rows)
        write_text(path, text.getvalue())
    else:
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_images(folder: Path, names: Sequence[str], images: np.ndarray) -> None:
    """Writes images (N, H, W, C) of uint8 as PNG, those of a name in a sub-folder of it, and ``grid.png``: a row a name.

    Names that no folder can have, or that differ only in case, get another one; two names are never in one folder.

    Raises:
        ResourceError: disk full, no permission.
    """
    from PIL import Image

    grey = images.shape[3] == 1
    pictures = [Image.fromarray(image[:, :, 0] if grey else image) for image in images]
    rows: dict[str, list[Any]] = {}
    called = _folders(dict.fromkeys(names))
    for name, picture in zip(names, pictures, strict=True):
        rows.setdefault(called[name], []).append(picture)
    height, width = images.shape[1:3]
    most = max(map(len, rows.values()), default=0)
    grid = Image.new(
        "L" if grey else "RGB", (most * (width + 2), len(rows) * (height + 2)), 255 if grey else "white"
    )
    with atomic_folder(folder) as temporary:
        for row, (name, own) in enumerate(rows.items()):
            (temporary / name).mkdir()
            for place, picture in enumerate(own):
                picture.save(temporary / name / f"{place + 1:04d}.png")
                grid.paste(picture, (place * (width + 2), row * (height + 2)))
        grid.save(temporary / "grid.png")


def _folders(names: Iterable[str]) -> dict[str, str]:
    """A folder for each name, of its own on any file system."""
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = re.sub(r"[^\w\- ]", "_", name)
        tries = (plain if number == 1 else f"{plain}-{number}" for number in itertools.count(1))
        folders[name] = next(one for one in tries if one.casefold() not in taken)
        taken.add(folders[name].casefold())
    return folders
