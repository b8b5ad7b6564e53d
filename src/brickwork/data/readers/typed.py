"""All columns of a table at once: by Arrow where a file is clean, row by row, with every repair counted, where it is not.

A file is clean if Arrow reads what the careful reader of :mod:`brickwork.data.readers.files` would: UTF-8 without NULs, as
many fields in each row as in the header, quotes that close in their line and stand at the ends of fields.
"""

import csv
import gzip
import zlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brickwork.core.errors import DataError
from brickwork.data.readers.csv_records import delimiter_of
from brickwork.data.readers.files import MAX_TEXT, ReadReport, column_names, rows, table_kind

if TYPE_CHECKING:
    import pyarrow as pa

_QUOTE, _NEWLINE = ord('"'), ord("\n")
# More than this is not unpacked into memory at once: the careful reader takes it line by line.
_MOST_UNPACKED = 1 << 30


def read_columns(
    path: Path, report: ReadReport, limit: int | None = None
) -> tuple[Sequence[int], dict[str, Any]]:
    """The numbers of the rows as they stand in the file, and the columns: lists, or Arrow arrays; a cell that a row lacks is
    ``None``. Columns of CSV and TSV are texts.

    Raises:
        DataError: the file is empty, damaged, or of another type.
    """
    table = _clean_table(path)
    if table is not None:
        table = table.slice(0, limit)
        if not len(table):
            raise DataError(f"{path} holds no row that can be read")
        report.files += 1
        report.rows += len(table)
        columns = {name: _one_array(table.column(place)) for place, name in enumerate(table.column_names)}
        return range(len(table)), columns
    names = column_names(path)
    numbered = list(islice(rows(path, report), limit))
    return [number for number, _ in numbered], {
        name: [row.get(name) for _, row in numbered] for name in names
    }


def _one_array(column: "pa.ChunkedArray") -> "pa.Array":
    import pyarrow as pa

    chunks = column.chunks
    return (
        chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks) if chunks else pa.array([], column.type)
    )


def _clean_table(path: Path) -> "pa.Table | None":
    """The table as Arrow reads it; ``None`` where the careful reader has to look at it."""
    import pyarrow as pa

    kind = table_kind(path)
    try:
        if kind == ".parquet" and path.stat().st_size:
            import pyarrow.parquet

            table = pyarrow.parquet.ParquetFile(path).read()
            table.validate(full=True)  # texts that are no UTF-8
        elif kind in (".csv", ".tsv"):
            table = _clean_csv(path, kind)
        else:
            return None
    except (
        pa.ArrowInvalid,
        pa.ArrowNotImplementedError,
        pa.ArrowKeyError,
        OSError,
        UnicodeDecodeError,
        csv.Error,
        EOFError,  # a .gz that ends too early
        zlib.error,
    ):
        return None
    return None if table is None or _has_long_text(table) else table


def _has_long_text(table: "pa.Table") -> bool:
    """Whether a text has to be cut, which is counted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for column in table.columns:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            longest = pc.max(pc.binary_length(column)).as_py()
            if longest is not None and longest > MAX_TEXT:
                return True
    return False


def _clean_csv(path: Path, kind: str) -> "pa.Table | None":
    import pyarrow as pa
    import pyarrow.csv

    raw = _unpacked(path) if path.suffix.lower() == ".gz" else path.read_bytes()
    if raw is None:
        return None
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in raw or raw.count(b"\r") != raw.count(b"\r\n"):
        return None
    start = next((line for line in raw[:1_000_000].split(b"\n") if line.strip()), b"").decode()
    delimiter = "\t" if kind == ".tsv" else delimiter_of(start)
    if (kind == ".tsv" and b'"' in raw) or not _quotes_are_plain(
        raw, delimiter
    ):  # in TSV they are letters of their own
        return None
    (header,) = csv.reader([start.rstrip("\r")], delimiter=delimiter)
    header = [name.strip() for name in header]
    if len(set(header)) < len(header):
        return None
    body = raw[raw.index(start.encode()) + len(start.encode()) :]
    return pyarrow.csv.read_csv(
        pa.BufferReader(body.lstrip(b"\r\n")),
        read_options=pyarrow.csv.ReadOptions(column_names=header),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=False),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False
        ),
    )


def _unpacked(path: Path) -> bytes | None:
    """What a compressed file holds; ``None`` where that is more than is kept in memory."""
    with gzip.open(path) as file:
        raw = file.read(_MOST_UNPACKED + 1)
    return raw if len(raw) <= _MOST_UNPACKED else None


def _quotes_are_plain(raw: bytes, delimiter: str) -> bool:
    """Whether every line has an even number of quotes, and each quote has an end of a field or another quote beside it."""
    data = np.frombuffer(raw, dtype=np.uint8)
    places = np.flatnonzero(data == _QUOTE)
    if not len(places):
        return True
    line_of = np.searchsorted(np.flatnonzero(data == _NEWLINE), places)
    if (np.bincount(line_of) % 2).any():
        return False
    beside = np.array([_QUOTE, _NEWLINE, ord("\r"), ord(delimiter)], dtype=np.uint8)
    around = np.pad(data, 1, constant_values=_NEWLINE)
    return bool((np.isin(around[places], beside) | np.isin(around[places + 2], beside)).all())
