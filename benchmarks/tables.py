"""Reading a table and typing its columns: Arrow against the careful reader. 200,000 rows of 5 numbers and 6 categories.

python benchmarks/tables.py [--rounds 3]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from brickwork.data.readers import cells
from brickwork.data.readers.files import ReadReport, column_names, rows
from brickwork.data.readers.typed import read_columns
from common import begin, environment, save

ROWS = 200_000
NUMBERS = tuple(f"number{i}" for i in range(5))
CATEGORIES = tuple(f"category{i}" for i in range(6))


def made_up() -> pa.Table:
    """The table; a twentieth of the categories is missing."""
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {name: rng.normal(size=ROWS).round(4) for name in NUMBERS}
    words = np.array([*(f"value {i}" for i in range(19)), ""], dtype=object)
    columns |= {name: words[rng.integers(0, len(words), ROWS)] for name in CATEGORIES}
    return pa.table(columns)


def by_rows(path: Path) -> dict[str, Any]:
    """What :func:`read_columns` does with a file that is not clean."""
    columns: dict[str, list[Any]] = {name: [] for name in column_names(path)}
    for _, row in rows(path, ReadReport()):
        for name, column in columns.items():
            column.append(row.get(name))
    return columns


def seconds(path: Path, read: Any) -> tuple[float, float]:
    """To read, and to make numbers and texts of all columns."""
    start = time.perf_counter()
    columns = read(path)
    middle = time.perf_counter()
    for name, values in columns.items():
        (cells.numbers if name in NUMBERS else cells.texts)(values, ReadReport(), name)
    return middle - start, time.perf_counter() - middle


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    begin()
    table, results = made_up(), {}
    readers = {"by rows": by_rows, "by Arrow": lambda path: read_columns(path, ReadReport())[1]}
    with tempfile.TemporaryDirectory() as folder:
        for ending, write in (("csv", pyarrow.csv.write_csv), ("parquet", pyarrow.parquet.write_table)):
            path = Path(folder) / f"table.{ending}"
            write(table, path)
            for name, read in readers.items():
                rounds = [seconds(path, read) for _ in range(options.rounds)]
                results[f"{ending}, {name}"] = {
                    what: round(statistics.median(column), 3)
                    for what, column in zip(("read", "type"), zip(*rounds))
                }
    save("tables", {**environment(), "rows": ROWS, "seconds": results})


if __name__ == "__main__":
    main()
