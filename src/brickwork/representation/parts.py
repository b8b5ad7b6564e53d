"""A set of Parquet and JSONL files as parts that workers can read alone, each of about the size of a shard.

A part is a range of the rows of one file: a range of bytes of JSONL, a range within a row group of Parquet. Its
key is a hash of those bytes and of what else decides its documents, so a part is named by what is in it.
"""

import codecs
import contextlib
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from brickwork.core import errors
from brickwork.core.errors import BrickworkError, DataError
from brickwork.data.config import ColumnNames
from brickwork.data.readers.columns import document_columns
from brickwork.data.readers.files import MAX_TEXT, ReadReport, column_names, row_of
from brickwork.data.readers.inside import files_below
from brickwork.data.readers.values import name_value, text_value
from brickwork.data.types import Document, TextFormat

JSONL, PARQUET = (".jsonl", ".ndjson"), (".parquet",)
# A part also ends here, so that memory stays flat when documents are long.
PART_BYTES = 64_000_000
# A longer line is left out: it would be cut to this many characters in any case, several times over.
MAX_LINE = 32 * MAX_TEXT
_READ_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows ``first`` to ``first + rows`` of a file.

    ``file``: its path relative to the data set, and ``number``, its place among the files. ``group``: the row
    group of Parquet, and ``start`` the row in it; for JSONL, ``start`` and ``stop`` are bytes. ``roles``: the
    column of each role.
    """

    number: int
    file: str
    first: int
    rows: int
    start: int
    stop: int
    group: int
    roles: dict[str, str]
    key: str

    @property
    def shard(self) -> str:
        """The name of the file that this part becomes: its place in the input, and its key."""
        return f"vectors-{self.number:05d}-{self.first:010d}-{self.key}.parquet"

    def where(self) -> str:
        """Its place in words."""
        return f"{self.file} rows {self.first + 1} to {self.first + self.rows}"


def table_files(data: Path, report: ReadReport, *, allow_outside: bool = False) -> list[str]:
    """The Parquet and JSONL files of a data set (``""`` if it is one file), sorted; others are counted in ``report``.

    Raises:
        DataError: it does not exist, or has none.
    """
    if not data.exists():
        raise DataError(f"{data} does not exist; check the path")
    advice = (
        "workers read .parquet and plain .jsonl files; for documents of other types encode without --ray, or "
        "write them as .jsonl first"
    )
    if data.is_file():
        if data.suffix.lower() not in JSONL + PARQUET:
            raise DataError(f"{data} cannot be read in parts: {advice}")
        return [""]
    files = files_below(data, JSONL + PARQUET, report, allow_outside=allow_outside)
    names = sorted(file.relative_to(data).as_posix() for file in files)
    if not names:
        reasons = "".join(f"; {message}" for message in report.messages())
        raise DataError(f"{data} holds no file that can be read in parts: {advice}{reasons}")
    return names


def parts_of(
    data: Path,
    number: int,
    name: str,
    columns: ColumnNames,
    shard_size: int,
    texts: TextFormat | None = None,
) -> list[Part]:
    """The parts of one file, of at most ``shard_size`` rows. The whole file is read once, for the keys.

    Raises:
        DataError: empty, damaged, or without a column of texts.
    """
    path = data / name if name else data
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; remove it, or give a file with at least one row")
    names = column_names(path)
    if texts is not None:
        columns = replace(columns, text=texts.column(names, columns.text, str(path)))
    roles = document_columns(names, columns, str(path))
    ranges = _parquet_ranges if path.suffix.lower() in PARQUET else _jsonl_ranges
    return [
        Part(number=number, file=name or path.name, roles=roles, key=_key(roles, place, digest), **place)
        for place, digest in ranges(path, sorted(set(roles.values())), shard_size)
    ]


def parts_task(
    row: dict[str, Any], data: Path, columns: ColumnNames, shard_size: int, texts: TextFormat | None = None
) -> dict[str, Any]:
    """:func:`parts_of` as a worker runs it: plain values in (``number``, ``name``), and JSON out."""
    with collected_errors() as answer:
        parts = parts_of(data, int(row["number"]), row["name"], columns, shard_size, texts)
        answer["parts"] = [asdict(part) for part in parts]
    return {"result": json.dumps(answer)}


@contextlib.contextmanager
def collected_errors() -> Iterator[dict[str, Any]]:
    """A dictionary for results, in which an error that the user can put right leaves its class and message."""
    answer: dict[str, Any] = {}
    try:
        yield answer
    except BrickworkError as error:
        answer.update(error=type(error).__name__, message=str(error))


def raise_collected(answer: dict[str, Any]) -> dict[str, Any]:
    """What :func:`collected_errors` collected, or its error."""
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["message"])
    return answer


def read_part(data: Path, part: Part, report: ReadReport, texts: TextFormat | None = None) -> list[Document]:
    """The documents of a part; rows without text, of another language than ``texts``, or that are no JSON object are
    counted in ``report``.

    A document without an id column is called by its row number, after its file's name where there are several.

    Raises:
        DataError: the file is damaged.
    """
    single = data.is_file()
    path = data if single else data / part.file
    rows = _parquet_rows if path.suffix.lower() in PARQUET else _jsonl_rows
    documents = []
    for row_number, row in rows(path, part, report):
        where = row_of(part.file, row_number)
        values = {
            role: (name_value if role == "id" else text_value)(row.get(name), report, where)
            for role, name in part.roles.items()
        }
        if not values["text"]:
            report.skip(f"'{part.roles['text']}' is empty", where)
            continue
        if texts is not None and (problem := texts.refuse(values["text"])):
            report.skip(problem[0], f"{where}, {problem[1]}")
            continue
        source = f"{part.file}:{row_number}"
        unnamed = source if "id" in part.roles else str(row_number) if single else f"{part.file}#{row_number}"
        identity = values.get("id") or unnamed
        title = values.get("title", "") if texts is None else ""  # a name is none of the language
        documents.append(Document(id=identity, title=title, text=values["text"], source=source))
    return documents


def _key(roles: dict[str, str], place: dict[str, int], digest: bytes) -> str:
    answer = json.dumps([sorted(roles.items()), sorted(place.items())])
    return hashlib.sha256(answer.encode() + digest).hexdigest()[:16]


def _jsonl_ranges(path: Path, columns: list[str], shard_size: int) -> Iterator[tuple[dict[str, int], bytes]]:
    """Place and hash of each range of lines. A blank line is no row; a too long one is a range without bytes."""
    first = rows = number = start = stop = 0
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataError(f"{path} is UTF-16, which cannot be read in parts; write it as UTF-8")
        file.seek(0)
        while line := file.readline(MAX_LINE):
            begin, stop = stop, file.tell()
            fits = len(line) < MAX_LINE or line.endswith(b"\n")
            count = sum(bool(_text(piece, begin).strip()) for piece in line.splitlines()) if fits else 1
            if rows and (not fits or rows + count > shard_size or stop - start > PART_BYTES):
                yield _place(first, rows, start, begin), digest.digest()
                rows = 0
            if not fits:
                while not line.endswith(b"\n") and (line := file.readline(MAX_LINE)):
                    stop = file.tell()
                yield _place(number, 1, begin, begin), b""
            elif count:
                if not rows:
                    first, start, digest = number, begin, hashlib.sha256()
                rows += count
                digest.update(line)
            elif rows:
                digest.update(line)
            number += count
    if rows:
        yield _place(first, rows, start, stop), digest.digest()


def _place(first: int, rows: int, start: int, stop: int, group: int = -1) -> dict[str, int]:
    return {"first": first, "rows": rows, "start": start, "stop": stop, "group": group}


def _text(raw: bytes, place: int) -> str:
    """As readers.open_text does: invalid bytes come as lone surrogates, which ``clean`` counts and replaces."""
    return (raw.removeprefix(codecs.BOM_UTF8) if place == 0 else raw).decode("utf-8", "surrogateescape")


def _jsonl_rows(path: Path, part: Part, report: ReadReport) -> Iterator[tuple[int, dict[str, Any]]]:
    if part.start == part.stop:
        report.skip(f"line of more than {MAX_LINE:,} bytes", part.where())
        return
    with open(path, "rb") as file:
        file.seek(part.start)
        raw = file.read(part.stop - part.start)
    number = part.first - 1
    for line in io.StringIO(_text(raw, part.start), newline=None):
        text = line.strip()
        if not text:
            continue
        number += 1
        where = row_of(part.file, number)
        if "\0" in text:
            report.nul_bytes += text.count("\0")
            report.first.setdefault("nul_bytes", where)
            text = text.replace("\0", "")
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            report.skip("not a line of JSON", where)
            continue
        if not isinstance(row, dict):
            report.skip("not a JSON object", where)
            continue
        yield number, row


def _parquet_ranges(
    path: Path, columns: list[str], shard_size: int
) -> Iterator[tuple[dict[str, int], bytes]]:
    """Place and hash of each range of rows of a row group; the hash is that of the group's columns of texts."""
    import pyarrow.parquet as pq

    first = 0
    with pq.ParquetFile(path) as file, open(path, "rb") as raw:
        for group in range(file.metadata.num_row_groups):
            facts = file.metadata.row_group(group)
            digest, size = _group_digest(raw, facts, columns)
            if facts.num_rows == 0:
                continue
            rows = max(1, min(shard_size, PART_BYTES * facts.num_rows // max(1, size)))
            for start in range(0, facts.num_rows, rows):
                count = min(rows, facts.num_rows - start)
                yield _place(first + start, count, start, start + count, group), digest
            first += facts.num_rows


def _group_digest(raw: Any, facts: Any, columns: list[str]) -> tuple[bytes, int]:
    """The hash of a row group's bytes in ``columns``, and their size when unpacked."""
    digest, size = hashlib.sha256(), 0
    for index in range(facts.num_columns):
        column = facts.column(index)
        if column.path_in_schema.split(".")[0] not in columns:
            continue
        begin = column.dictionary_page_offset or column.data_page_offset
        raw.seek(min(begin, column.data_page_offset))
        left = column.total_compressed_size
        while left and (block := raw.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
        size += column.total_uncompressed_size
    return digest.digest(), size


def _parquet_rows(path: Path, part: Part, report: ReadReport) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = sorted(set(part.roles.values()))
    place = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_READ_ROWS, [part.group], names, use_threads=False):
                begin, end = max(part.start - place, 0), min(part.stop - place, batch.num_rows)
                if begin < end:
                    columns = [_values(column) for column in batch.slice(begin, end - begin).columns]
                    first = part.first - part.start + place + begin
                    for number, row in enumerate(zip(*columns, strict=True), first):
                        yield number, dict(zip(batch.schema.names, row, strict=True))
                place += batch.num_rows
                if place >= part.stop:
                    return
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is damaged in row group {part.group}: {error}") from error


def _values(column: Any) -> list[Any]:
    """Python values; texts are decoded here, because Arrow lets invalid UTF-8 through and then raises."""
    import pyarrow as pa

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        raw = column.cast(pa.large_binary()).to_pylist()
        return [None if value is None else value.decode("utf-8", "surrogateescape") for value in raw]
    return column.to_pylist()
