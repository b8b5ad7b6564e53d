"""The good rows of a damaged file of documents: each row carries a hash of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickwork.data.types import Document
from brickwork.index.store import COLUMNS, ROW_HASH, THUMBNAIL, read_meta, row_hash

if TYPE_CHECKING:
    import pyarrow as pa

# What stands before the stream of batches in a file.
_MAGIC_BYTES = 8


def readable_rows(path: Path, rows: int) -> tuple[dict[int, Document], list[str]]:
    """The documents by row whose hash is right, and in words which are lost of the ``rows`` that there were."""
    documents: dict[int, Document] = {}
    lost: dict[int, str] = {}
    for start, batch in _batches(path, rows):
        names = (*COLUMNS, ROW_HASH, THUMBNAIL)
        if not set(names) <= set(batch.schema.names):
            continue
        columns = [batch.column(name).to_pylist() for name in names]
        for place, (*values, digest, thumbnail) in enumerate(zip(*columns)):
            try:
                texts = [value.decode() for value in values]
            except UnicodeDecodeError:
                texts = []
            if texts and row_hash(texts, thumbnail) == digest:
                fields: dict[str, Any] = dict(zip(COLUMNS, texts))
                fields |= {"meta": read_meta(fields["meta"], path), "thumbnail": thumbnail}
                documents[start + place] = Document(**fields)
            else:
                lost[start + place] = f"the document '{values[0].decode(errors='replace')}'"
    return documents, [*lost.values(), *_gaps({*documents, *lost}, rows, path)]


def _gaps(known: set[int], rows: int, path: Path) -> Iterator[str]:
    first = None
    for row in range(rows + 1):
        gone = row < rows and row not in known
        if gone and first is None:
            first = row
        elif not gone and first is not None:
            yield f"{row - first} documents of {path} whose ids cannot be read"
            first = None


def _batches(path: Path, rows: int) -> Iterator[tuple[int, "pa.RecordBatch"]]:
    """The batches that can be read, with the number of their first row, which is counted from either end."""
    import pyarrow as pa

    try:
        data = path.read_bytes()
    except OSError:
        return
    start = 0
    try:
        reader = pa.ipc.open_file(pa.py_buffer(data))
    except (pa.ArrowException, OSError, ValueError):
        # The end of the file is lost, and with it where the batches begin: read on from its start.
        for batch in _streamed(data):
            yield start, batch
            start += batch.num_rows
        return
    number = 0
    while number < reader.num_record_batches and (batch := _checked(reader, number)) is not None:
        yield start, batch
        start, number = start + batch.num_rows, number + 1
    end = rows
    for last in range(reader.num_record_batches - 1, number, -1):
        batch = _checked(reader, last)
        if batch is None or end - batch.num_rows < start:
            return
        end -= batch.num_rows
        yield end, batch


def _checked(reader: "pa.ipc.RecordBatchFileReader", number: int) -> "pa.RecordBatch | None":
    import pyarrow as pa

    try:
        return _as_bytes(reader.get_batch(number))
    except (pa.ArrowException, OSError, ValueError):
        return None


def _streamed(data: bytes) -> Iterator["pa.RecordBatch"]:
    import pyarrow as pa

    try:
        for batch in pa.ipc.open_stream(pa.py_buffer(data)[_MAGIC_BYTES:]):
            yield _as_bytes(batch)
    except (pa.ArrowException, OSError, ValueError):
        return


def _as_bytes(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    """Texts as bytes, after the check that all of them lie within the batch; they may be no UTF-8 any more."""
    import pyarrow as pa

    binary = {pa.large_string(): pa.large_binary()}
    arrays = [column.view(binary.get(column.type, column.type)) for column in batch.columns]
    record = pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
    record.validate(full=True)
    return record
