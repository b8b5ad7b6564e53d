"""What an index keeps on disk: documents read by row without loading them, vectors in shards, one manifest.

manifest.json            format, model, counts, sizes, and the sha256 of every other file
documents.arrow          id, title, text, source, meta by row (Arrow IPC, mapped into memory)
vectors-<layers>-*.safetensors   unit vectors of full width, one set for each stored depth
model/                   the representation that encodes the queries
"""

import bisect
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from brickwork.core.config import from_dict, to_dict
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import load_tensors, os_errors, read_json, save_tensors, sha256_file, write_json

if TYPE_CHECKING:
    import pyarrow as pa

    from brickwork.data.types import Document

FORMAT = 1
MANIFEST = "manifest.json"
DOCUMENTS = "documents.arrow"
MODEL = "model"
ROWS_PER_BATCH = 512
_COLUMNS = ("id", "title", "text", "source", "meta")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an index holds: ``dims`` and ``layers`` as the model was trained, ``depths`` as stored."""

    format: int
    model: str
    count: int
    dims: tuple[int, ...]
    layers: tuple[int, ...]
    depths: tuple[int, ...]
    shards: int
    files: dict[str, str]

    @property
    def width(self) -> int:
        """Numbers in a full vector."""
        return self.dims[-1]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest: last, because it vouches for the other files."""
    write_json(folder / MANIFEST, to_dict(manifest))


def hashes(folder: Path) -> dict[str, str]:
    """Relative path → sha256 of every file below ``folder`` except the manifest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an index whose files are all there and unchanged.

    Raises:
        ArtifactError: not an index, another format, or a file that is missing or damaged (by name).
    """
    if not (folder / MANIFEST).is_file():
        raise ArtifactError(
            f"{folder} is not an index: it has no {MANIFEST}. Make one with `brickwork index`"
        )
    values = read_json(folder / MANIFEST)
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise ArtifactError(f"{folder} has index format {found}; this version reads {FORMAT}: build it anew")
    try:
        manifest = from_dict(Manifest, values)
    except ConfigError as error:
        raise ArtifactError(f"{folder / MANIFEST} is damaged ({error}); build the index anew") from error
    for name, wanted in manifest.files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ArtifactError(
                f"{folder / MANIFEST} names a file outside the index ({name}); it was refused"
            )
        if not path.is_file():
            raise ArtifactError(f"{path} is missing from the index; build the index anew")
        if sha256_file(path) != wanted:
            raise ArtifactError(
                f"{path} is damaged: its sha256 is not the recorded one; build the index anew"
            )
    return manifest


def _vector_file(depth: int, shard: int) -> str:
    return f"vectors-{depth}-{shard:05d}.safetensors"


def write_vectors(folder: Path, depth: int, shard: int, vectors: Float[np.ndarray, "rows width"]) -> None:
    """One shard of the vectors of one depth."""
    import torch

    save_tensors(folder / _vector_file(depth, shard), {"vectors": torch.from_numpy(vectors)})


def read_vectors(folder: Path, manifest: Manifest, depth: int) -> Float[np.ndarray, "documents width"]:
    """All vectors of one depth, in the order of the documents.

    Raises:
        ArtifactError: shards whose shapes do not fit the manifest.
    """
    matrix = np.empty((manifest.count, manifest.width), dtype=np.float32)
    start = 0
    for shard in range(manifest.shards):
        path = folder / _vector_file(depth, shard)
        vectors = load_tensors(path).get("vectors")
        rows = 0 if vectors is None else len(vectors)
        if vectors is None or vectors.shape[1:] != matrix.shape[1:] or start + rows > len(matrix):
            raise ArtifactError(
                f"{path} does not hold vectors of width {manifest.width}; build the index anew"
            )
        matrix[start : start + rows] = vectors.numpy()
        start += rows
    if start != manifest.count:
        raise ArtifactError(
            f"{folder} has {start} vectors for {manifest.count} documents; build the index anew"
        )
    return matrix


def _schema() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema([(name, pa.large_string()) for name in _COLUMNS])


def write_documents(path: Path, documents: Iterable["Document"]) -> Iterator[list["Document"]]:
    """Writes documents as they come and yields each written batch, so that memory stays flat."""
    import pyarrow as pa

    with os_errors(path), pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, _schema()) as writer:
        for batch in batches(documents, ROWS_PER_BATCH):
            rows = [
                {
                    **{name: getattr(document, name) for name in _COLUMNS},
                    "meta": json.dumps(dict(document.meta), default=str),
                }
                for document in batch
            ]
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=_schema()))
            yield batch


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


class DocumentStore:
    """The documents of an index by row. The file is mapped: only the rows that are asked for are read."""

    def __init__(self, path: Path):
        import pyarrow as pa

        try:
            self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
            self._batches = [self._reader.get_batch(i) for i in range(self._reader.num_record_batches)]
            names = tuple(self._reader.schema.names)
        except (pa.ArrowInvalid, OSError) as error:
            raise ArtifactError(f"{path} cannot be read ({error}); build the index anew") from error
        if names != _COLUMNS:
            raise ArtifactError(
                f"{path} has columns {list(names)}, not {list(_COLUMNS)}; build the index anew"
            )
        self._ends = list(accumulate(batch.num_rows for batch in self._batches))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def rows(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """id, title, text, source and meta of the given rows."""
        found = []
        for row in rows:
            number = bisect.bisect_right(self._ends, row)
            batch = self._batches[number]
            place = row - (self._ends[number] - batch.num_rows)
            values = {name: batch.column(i)[place].as_py() for i, name in enumerate(_COLUMNS)}
            found.append({**values, "meta": json.loads(values["meta"])})
        return found
