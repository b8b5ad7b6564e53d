"""Lines and rows of the user's files, streamed, with every repair counted and told once.

What bad input gets, everywhere: invalid UTF-8 becomes the replacement character, NUL characters are removed,
texts over a million characters are cut, rows that cannot be read are skipped. Nothing of it stops the work
unless no row is left; all of it is counted in a :class:`ReadReport`.
"""

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brickwork.core.errors import DataError, warn
from brickwork.data.readers.csv_records import delimiter_of, records
from brickwork.data.readers.signatures import refuse_other_kinds

MAX_TEXT = 1_000_000  # characters of one text
_MAX_LINE = 32_000_000  # characters of one line of JSON or CSV
_BATCH_ROWS = 256
_FIRST_BYTES = 512
_ESCAPED = re.compile("[\udc80-\udcff]+")  # what "surrogateescape" makes of invalid bytes
_SURROGATE = re.compile("[\ud800-\udfff]")

TABLES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")


@dataclass
class ReadReport:
    """What was read and what had to be repaired or left out.

    ``skipped`` counts rows or files by reason; ``first`` remembers where each kind of trouble was met first.
    """

    files: int = 0
    rows: int = 0
    invalid_utf8: int = 0
    """Texts in which invalid UTF-8 was replaced."""
    nul_bytes: int = 0
    """NUL characters removed."""
    truncated: int = 0
    """Texts cut at a million characters."""
    duplicates: int = 0
    """Examples left out because an equal one came before."""
    skipped: Counter[str] = field(default_factory=Counter)
    doubtful: Counter[str] = field(default_factory=Counter)
    """Rows that were read and may be wrong, by reason."""
    quiet: Counter[str] = field(default_factory=Counter)
    """Files left out on purpose (hidden, other types): told, but no reason for a warning."""
    first: dict[str, str] = field(default_factory=dict)
    unreadable: int = 0
    """Rows of a table that are none, which ``rows`` does not count and ``skipped`` does."""
    table: str = ""
    numbers: Sequence[int] = ()
    """The name of the table whose columns are looked at one by one, and the numbers of their rows in it."""
    _lost: str = ""

    def skip(self, reason: str, where: str) -> None:
        """Counts a row or file that cannot be used."""
        self.skipped[reason] += 1
        self.first.setdefault(reason, where)

    def skip_row(self, reason: str, where: str) -> None:
        """Counts a row that cannot even be read as one."""
        self.unreadable += 1
        self.skip(reason, where)

    def used(self, count: int, seen: int | None = None, what: str = "rows") -> None:
        """Notes how many of all rows (or of ``seen``) can be used: it is told where more than half of them are lost."""
        seen = self.rows + self.unreadable if seen is None else seen
        lost = f"more than half of the {what} are lost: {count:,} of {seen:,} can be used"
        self._lost = lost if 2 * count < seen else ""

    def place(self, position: int) -> str:
        """The row of a cell of a column, as it stands in its file."""
        number = self.numbers[position] if len(self.numbers) else position
        return row_of(self.table, number).strip()

    def doubt(self, reason: str, where: str) -> None:
        """Counts a row that is used and may be wrong."""
        self.doubtful[reason] += 1
        self.first.setdefault(reason, where)

    def messages(self) -> list[str]:
        """One sentence for each kind of repair."""
        messages = []
        if self.invalid_utf8:
            messages.append(
                f"{self.invalid_utf8} texts held invalid UTF-8, replaced by U+FFFD "
                f"(first: {self.first['invalid_utf8']})"
            )
        if self.nul_bytes:
            messages.append(f"{self.nul_bytes} NUL characters removed (first: {self.first['nul_bytes']})")
        if self.truncated:
            messages.append(
                f"{self.truncated} texts cut at {MAX_TEXT:,} characters (first: {self.first['truncated']})"
            )
        messages.extend(
            f"{count} skipped: {reason} (first: {self.first[reason]})"
            for reason, count in self.skipped.items()
        )
        messages.extend(
            f"{count} row{'s'[: count != 1]} {reason} (first: {self.first[reason]})"
            for reason, count in self.doubtful.items()
        )
        return [*messages, self._lost] if self._lost else messages

    def notes(self) -> list[str]:
        """Everything worth telling, duplicates and files left out on purpose included."""
        notes = self.messages()
        if self.duplicates:
            notes.append(f"{self.duplicates} duplicate{'' if self.duplicates == 1 else 's'} left out")
        notes.extend(
            f"{count} file{'' if count == 1 else 's'} left out: {reason}"
            for reason, count in self.quiet.items()
        )
        return notes

    def warn(self) -> None:
        """One :class:`BrickworkWarning` for each kind of repair, with its count."""
        for message in self.messages():
            warn(message)


def row_of(name: str, number: int) -> str:
    """The place of a row of a table for people, who count from 1: the first row below the header is row 1."""
    return f"{name} row {number + 1}"


def clean(text: str, report: ReadReport, where: str) -> str:
    """The text without NULs and lone surrogates, at most :data:`MAX_TEXT` long; repairs are counted."""
    text = _without_nul(text, report, where)
    if not text.isascii() and _SURROGATE.search(text):
        report.invalid_utf8 += 1
        report.first.setdefault("invalid_utf8", where)
        text = _SURROGATE.sub("�", _ESCAPED.sub(lambda match: "�" * len(match[0]), text))
    if len(text) > MAX_TEXT:
        report.truncated += 1
        report.first.setdefault("truncated", where)
        text = text[:MAX_TEXT]
    return text


def _without_nul(text: str, report: ReadReport, where: str) -> str:
    if "\0" in text:
        report.nul_bytes += text.count("\0")
        report.first.setdefault("nul_bytes", where)
        text = text.replace("\0", "")
    return text


def open_text(path: Path, encoding: str = "utf-8-sig") -> io.TextIOWrapper:
    """A file as text: UTF-8 (with or without BOM), UTF-16 with BOM, or ``encoding``; gzip by its ending, any line ends.

    Invalid bytes come as lone surrogates, which :func:`clean` counts and replaces.

    Raises:
        DataError: the file cannot be opened.
    """
    try:
        raw: Any = gzip.open(path, "rb") if path.suffix.lower() == ".gz" else open(path, "rb")  # noqa: SIM115
        try:
            start = raw.read(4)
            raw.seek(0)
        except BaseException:
            raw.close()
            raise
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return io.TextIOWrapper(raw, encoding="utf-16", errors="replace")
    return io.TextIOWrapper(raw, encoding=encoding, errors="surrogateescape")


def lines(path: Path, max_line: int = _MAX_LINE) -> Iterator[tuple[str, bool]]:
    """The lines of a file with their ends, and whether the rest of a line over ``max_line`` was dropped.

    Raises:
        DataError: the file cannot be read, or its compression is damaged.
    """
    with open_text(path) as file:
        try:
            while line := file.readline(max_line):
                dropped = False
                rest = line
                while len(rest) == max_line and not rest.endswith("\n"):
                    rest = file.readline(max_line)
                    dropped |= rest not in ("", "\n")
                yield line, dropped
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} is damaged and cannot be read to its end: {error}") from error


def _first_bytes(file: io.TextIOWrapper, path: Path) -> bytes:
    """The beginning of an opened file, unpacked."""
    try:
        return bytes(file.buffer.read(_FIRST_BYTES))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged and cannot be read to its end: {error}") from error


def rows(path: Path, report: ReadReport, columns: Sequence[str] | None = None) -> Iterator[tuple[int, dict]]:
    """The rows of a JSONL, CSV, TSV or Parquet file as (row number from 0, values by column).

    ``columns`` saves reading the others of a Parquet file. Rows are numbered as they stand in the file, so a
    skipped row leaves a gap and the others keep their numbers.

    Raises:
        DataError: the file is empty, of another type, or none of its rows can be read.
    """
    kind = table_kind(path)
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; give a file with at least one row")
    report.files += 1
    before = report.rows
    if kind != ".parquet":
        with open_text(path) as file:
            refuse_other_kinds(path, _first_bytes(file, path))
    if kind == ".parquet":
        parsed = _parquet(path, columns)
    elif kind in (".csv", ".tsv"):
        parsed = _csv(path, kind, report)
    else:
        parsed = _jsonl(path, report)
    for number, row in parsed:
        report.rows += 1
        yield number, row
    if report.rows == before:
        reasons = "; ".join(report.messages())
        raise DataError(f"{path} holds no row that can be read{': ' + reasons if reasons else ''}")


def table_kind(path: Path) -> str:
    """The ending that tells the type of a table, without ``.gz``.

    Raises:
        DataError: it is none of the types that can be read.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    ending = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else "".join(suffixes[-1:])
    if ending not in TABLES:
        advice = "; write one JSON object a line and call it .jsonl" if ending == ".json" else ""
        raise DataError(f"{path} is of no type that can be read as rows ({', '.join(TABLES)}){advice}")
    return ending


def column_names(path: Path) -> list[str]:
    """The columns of a table: the header, the schema, or the keys of the first row of JSONL."""
    report = ReadReport()
    if table_kind(path) == ".parquet" and path.stat().st_size:
        with _parquet_file(path) as file:
            return list(file.schema_arrow.names)
    for _, row in rows(path, report):
        return list(row)
    raise DataError(f"{path} holds no rows")


def plain_columns(path: Path) -> list[str]:
    """:func:`column_names` without columns of a Parquet file that hold lists, structures or bytes."""
    if table_kind(path) != ".parquet" or not path.stat().st_size:
        return column_names(path)
    import pyarrow as pa

    kinds = (pa.types.is_nested, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    with _parquet_file(path) as file:
        return [
            field.name for field in file.schema_arrow if not any(is_kind(field.type) for is_kind in kinds)
        ]


def _jsonl(path: Path, report: ReadReport) -> Iterator[tuple[int, dict]]:
    number = -1
    for line_number, (line, cut) in enumerate(lines(path), start=1):
        text = line.strip()
        if not text:
            continue
        number += 1
        where = f"{path.name} line {line_number}"
        if cut:
            report.skip_row(f"line of more than {_MAX_LINE:,} characters", where)
            continue
        try:
            row = json.loads(_without_nul(text, report, where))
        except (ValueError, RecursionError):
            report.skip_row("not a line of JSON", where)
            continue
        if not isinstance(row, dict):
            report.skip_row("not a JSON object", where)
            continue
        yield number, row


def _csv(path: Path, kind: str, report: ReadReport) -> Iterator[tuple[int, dict]]:
    csv.field_size_limit(max(csv.field_size_limit(), 2 * _MAX_LINE))

    def text_lines() -> Iterator[tuple[int, str]]:
        for line_number, (line, cut) in enumerate(lines(path), start=1):
            where = f"{path.name} line {line_number}"
            if cut:
                report.skip_row(f"line of more than {_MAX_LINE:,} characters", where)
            else:
                yield line_number, _without_nul(line, report, where)

    first = next((line for line, _ in lines(path) if line.strip()), "")
    delimiter = "\t" if kind == ".tsv" else delimiter_of(first)
    read = records(text_lines(), delimiter, tabbed=kind == ".tsv", max_size=_MAX_LINE)
    opening = next(read, None)
    if opening is None:
        raise DataError(f"{path} is empty; give a file with a header and at least one row")
    if opening.cells is None:
        raise DataError(f"{path} line {opening.line}, the header, has {opening.problem}; close it")
    header = [name.strip() for name in opening.cells]
    if len(set(header)) < len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise DataError(f"{path} has two columns called {', '.join(map(repr, twice))}; rename one")
    for number, record in enumerate(read):
        where = f"{path.name} line {record.line}"
        if record.cells is None:
            report.skip_row(record.problem, where)
        elif len(record.cells) != len(header):
            report.skip_row(
                f"another number of fields than the {len(header)} of the header",
                f"{where}, {len(record.cells)} fields",
            )
        else:
            if record.problem:
                report.doubt(record.problem, where)
            yield number, dict(zip(header, record.cells))


def _parquet_file(path: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        _ = file.schema_arrow.names  # Arrow decodes the names of the columns here, or when it opens the file
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} has a column whose name is not valid UTF-8 ({error.object!r}); write the file again with "
            "another name for it"
        ) from error
    return file


def _parquet(path: Path, columns: Sequence[str] | None) -> Iterator[tuple[int, dict]]:
    import pyarrow

    number = 0
    with _parquet_file(path) as file:
        names = [name for name in file.schema_arrow.names if columns is None or name in columns]
        try:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=names):
                values = [_arrow_values(column) for column in batch.columns]
                for row in zip(*values):
                    yield number, dict(zip(batch.schema.names, row))
                    number += 1
        except (pyarrow.ArrowInvalid, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} is damaged after row {number}: {error}") from error


def _arrow_values(column: Any) -> list[Any]:
    """Python values; texts are decoded here, because Arrow lets invalid UTF-8 through and then raises.

    Numbers of 16 and 32 bits become the shortest decimal that reads back the same, 0.1 and not 0.10000000149.
    """
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        raw = column.cast(pa.large_binary()).to_pylist()
        return [None if value is None else value.decode("utf-8", "surrogateescape") for value in raw]
    if pa.types.is_float32(column.type) or pa.types.is_float16(column.type):
        kind = np.float32 if pa.types.is_float32(column.type) else np.float16
        return [None if value is None else float(str(kind(value))) for value in column.to_pylist()]
    return column.to_pylist()
