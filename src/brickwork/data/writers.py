"""Tables for the user: Parquet, CSV or JSON lines, by the ending of the name, atomically."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brickwork.core.errors import ConfigError
from brickwork.core.files import atomic_path, write_text

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
