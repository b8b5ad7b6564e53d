"""The two kinds of files of a segment: documents read by row without loading them, and vectors that are mapped."""

import hashlib
import json
import mmap
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from brickwork.core.errors import ArtifactError, DataError
from brickwork.core.files import check_tensor_file, os_errors
from brickwork.core.text import clean_text
from brickwork.core.values import json_value
from brickwork.data.types import Document
from brickwork.index.types import Codec
from brickwork.representation.export_parquet import document_text
from brickwork.representation.signs import SignRows, Vectors, pack_signs

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("id", "title", "text", "source", "meta")
TEXT_HASH = "text_hash"
ROW_HASH = "row_hash"
THUMBNAIL = "thumbnail"  # of images; empty for texts
HASH_BYTES = 16
# Room for the header of a vector file, which is written when the number of rows is known; the rows begin at a
# multiple of 64 bytes.
_HEADER_BYTES = 120


def text_hash(document: Document) -> bytes:
    """Sixteen bytes that are equal where the texts that are encoded are."""
    return _hash(clean_text(document_text(document)).encode())


def row_hash(values: Iterable[str], thumbnail: bytes = b"") -> bytes:
    """Sixteen bytes over id, title, text, source, meta and thumbnail as stored: a damaged file still tells its good rows."""
    return _hash("\0".join(values).encode() + thumbnail)


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=HASH_BYTES).digest()


def stored_form(document: Document) -> Document:
    """The document as it will be read again: texts in valid Unicode, metadata as JSON keeps it."""
    texts: dict[str, Any] = {name: clean_text(getattr(document, name)) for name in COLUMNS[:-1]}
    return Document(**texts, meta=json.loads(meta_text(document)))


def meta_text(document: Document, *, finite: bool = False) -> str:
    """A document's metadata as JSON, in valid Unicode: what every backend stores.

    Raises:
        DataError: metadata that has no end, or with ``finite``, for stores whose JSON has no infinity, one of these.
    """
    try:
        values = json_value(document.meta)
        return clean_text(json.dumps(values, ensure_ascii=False, allow_nan=not finite))
    except (ValueError, OverflowError, RecursionError) as error:
        raise DataError(
            f"the metadata of document '{document.id}' of {document.source} cannot be stored ({error}); leave such "
            "values out"
        ) from error


def batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of ``size`` items, the last one shorter."""
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _schema() -> "pa.Schema":
    """The columns of a file of documents."""
    import pyarrow as pa

    texts = [(name, pa.large_string()) for name in COLUMNS]
    hashes = [(name, pa.binary(HASH_BYTES)) for name in (TEXT_HASH, ROW_HASH)]
    return pa.schema([*texts, *hashes, (THUMBNAIL, pa.large_binary())])


class DocumentWriter:
    """Writes documents to an Arrow file as they come."""

    def __init__(self, path: Path):
        import pyarrow as pa

        self.path = path
        self._schema = _schema()
        with os_errors(path):
            self._file = pa.OSFile(str(path), "wb")
            self._writer = pa.ipc.new_file(self._file, self._schema)

    def write(self, documents: Sequence[Document]) -> list[str]:
        """Appends documents, what has no UTF-8 form in them replaced by U+FFFD; returns their metadata as stored."""
        import pyarrow as pa

        columns: dict[str, list[Any]] = {
            name: [clean_text(getattr(document, name)) for document in documents] for name in COLUMNS[:-1]
        }
        columns["meta"] = [meta_text(document) for document in documents]
        columns[TEXT_HASH] = [text_hash(document) for document in documents]
        columns[THUMBNAIL] = [document.thumbnail for document in documents]
        texts = zip(*(columns[name] for name in COLUMNS))
        columns[ROW_HASH] = [row_hash(row, small) for row, small in zip(texts, columns[THUMBNAIL])]
        batch = pa.RecordBatch.from_pydict(columns, schema=self._schema)
        with os_errors(self.path):
            self._writer.write_batch(batch)
        return columns["meta"]

    def copy(self, documents: "DocumentStore", rows: Int[np.ndarray, " rows"]) -> list[str]:
        """Appends rows of another file; returns their metadata as stored."""
        table = documents.take(rows)
        with os_errors(self.path):
            self._writer.write_table(table)
        return list(table["meta"].to_pylist())

    def close(self) -> None:
        """Finishes the file; harmless when called again."""
        with os_errors(self.path):
            self._writer.close()
            self._file.close()


class VectorWriter:
    """Writes rows to a safetensors file as they come, as 32-bit floats or their signs: the header, of fixed length, last."""

    def __init__(self, path: Path, width: int, codec: Codec = "float32"):
        self.path = path
        self.width = width
        self.codec = codec
        self.rows = 0
        with os_errors(path):
            self._file = open(path, "wb")  # noqa: SIM115
            self._file.write(bytes(8 + _HEADER_BYTES))

    def write(self, vectors: Float[np.ndarray, "rows width"]) -> None:
        rows = pack_signs(vectors) if self.codec == "bits" else np.ascontiguousarray(vectors, dtype="<f4")
        with os_errors(self.path):
            self._file.write(rows.data)
        self.rows += len(vectors)

    def close(self) -> None:
        """Finishes the file; harmless when called again."""
        if self._file.closed:
            return
        dtype, columns, size = (
            ("U8", -(-self.width // 8), 1) if self.codec == "bits" else ("F32", self.width, 4)
        )
        end = self.rows * columns * size
        entry = {"dtype": dtype, "shape": [self.rows, columns], "data_offsets": [0, end]}
        header = json.dumps({"vectors": entry}, separators=(",", ":")).encode()
        with os_errors(self.path), self._file as file:
            file.seek(0)
            file.write(_HEADER_BYTES.to_bytes(8, "little") + header.ljust(_HEADER_BYTES))


def mapped_vectors(path: Path, data: mmap.mmap, width: int, codec: Codec = "float32") -> Vectors:
    """The vectors in a safetensors file whose bytes are mapped, without reading them.

    Raises:
        ArtifactError: its header does not fit the file, or it does not hold vectors of this width and form.
    """
    header = check_tensor_file(path)
    entry = header.get("vectors", {"shape": ()})
    dtype, columns = ("U8", -(-width // 8)) if codec == "bits" else ("F32", width)
    if (
        len(header) != 1
        or len(entry["shape"]) != 2
        or entry["shape"][1] != columns
        or entry["dtype"] != dtype
    ):
        raise ArtifactError(
            f"{path} does not hold vectors of width {width} as {codec}; build the index again"
        )
    start = 8 + int.from_bytes(data[:8], "little")  # a single tensor begins where the header ends
    rows = entry["shape"][0]
    stored = np.frombuffer(data, "u1" if codec == "bits" else "<f4", rows * columns, start).reshape(
        rows, columns
    )
    return SignRows(stored, width) if codec == "bits" else stored


class DocumentStore:
    """The documents of a segment by row. The file is mapped: only the rows that are asked for are read.

    ``check`` looks at every string of the file once, so that a file that lies about its lengths is refused.

    Raises:
        ArtifactError: the file is not what :class:`DocumentWriter` writes.
    """

    def __init__(self, path: Path, data: Any = None, *, check: bool = False):
        import pyarrow as pa

        try:
            source = pa.memory_map(str(path)) if data is None else pa.BufferReader(pa.py_buffer(data))
            reader = pa.ipc.open_file(source)
            parts = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            for batch in parts:
                batch.validate(full=check)
            self.table = pa.Table.from_batches(parts, schema=reader.schema)
            self._batches = parts
            self._starts = np.cumsum([0, *(batch.num_rows for batch in parts)])
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ArtifactError(f"{path} cannot be read ({error}); build the index again") from error
        self.path = path
        if self.table.schema != _schema() or any(c.null_count for c in self.table.columns):
            names = self.table.schema.names
            raise ArtifactError(f"{path} has columns {names}, not {_schema().names}; build the index again")

    def __len__(self) -> int:
        return self.table.num_rows

    def rows(self, rows: Sequence[int] | Int[np.ndarray, " rows"]) -> list[Document]:
        """The documents of the given rows, in that order."""
        return [
            Document(**{**values, "meta": read_meta(values["meta"], self.path)})
            for values in self.take(rows, (*COLUMNS, THUMBNAIL)).to_pylist()
        ]

    def take(self, rows: Sequence[int] | Int[np.ndarray, " rows"], names: Sequence[str] = ()) -> "pa.Table":
        """The given rows as a table of one piece, in that order; ``names`` chooses columns.

        Taken batch by batch: Arrow's own ``Table.take`` first joins all batches, which copies the whole file.
        """
        import pyarrow as pa

        wanted = np.asarray(rows, dtype=np.int64)
        of_batch = np.searchsorted(self._starts, wanted, side="right") - 1
        order = np.argsort(of_batch, kind="stable")
        numbers, firsts = np.unique(of_batch[order], return_index=True)
        chosen = self.table.schema.names if not names else list(names)
        taken = [
            self._batches[number].select(chosen).take(pa.array(wanted[some] - self._starts[number]))
            for number, some in zip(numbers.tolist(), np.split(order, firsts[1:]))
        ]
        if not taken:
            return self.table.select(chosen).slice(0, 0)
        table = pa.Table.from_batches(taken).combine_chunks()
        if (np.diff(order) > 0).all():
            return table
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return table.take(pa.array(back))

    def find(self, ids: "pa.Array") -> Int[np.ndarray, " rows"]:
        """For each row the place of its id in ``ids``, -1 where it is not among them."""
        import pyarrow.compute as pc

        places = pc.index_in(self.table["id"], value_set=ids)
        return np.asarray(pc.fill_null(places, -1))

    @cached_property
    def text_hashes(self) -> np.ndarray:
        """:func:`text_hash` of each row, as an array of 16-byte items."""
        return np.frombuffer(b"".join(self.table[TEXT_HASH].to_pylist()), dtype=f"V{HASH_BYTES}")


def read_meta(text: str, path: Path) -> dict[str, Any]:
    """The metadata of a document from its JSON.

    Raises:
        ArtifactError: it is not a JSON object.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise ArtifactError(f"{path} holds metadata that is not a JSON object; build the index again")
    return values
