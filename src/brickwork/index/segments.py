"""Segments: rows that were written together and never change, and a state of the index made of them."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from brickwork.core.errors import ArtifactError
from brickwork.core.files import atomic_folder
from brickwork.data.types import Document
from brickwork.index.columns import Columns
from brickwork.index.manifest import (
    DOCUMENTS,
    REPAIR,
    SEGMENTS,
    Manifest,
    SegmentEntry,
    map_file,
)
from brickwork.index.search import FlatVectors
from brickwork.index.store import HASH_BYTES, DocumentStore, DocumentWriter, VectorWriter, mapped_vectors

if TYPE_CHECKING:
    pass

COPY_ROWS = 4_096


class Segment:
    """The rows of one segment. All files are mapped on opening, so that they stay when a writer removes them."""

    def __init__(self, folder: Path, entry: SegmentEntry, manifest: Manifest, *, verify: bool):
        def mapped(name: str) -> Any:
            return map_file(folder, name, manifest.files[name], verify=verify)

        self.entry = entry
        self.documents = DocumentStore(folder / entry.documents, mapped(entry.documents), check=verify)
        if len(self.documents) != entry.rows:
            raise ArtifactError(
                f"{folder / entry.documents} has {len(self.documents)} documents, the manifest {entry.rows}; "
                f"{REPAIR.format(folder=folder)}"
            )
        self._parts: dict[int, list[np.ndarray]] = {}
        for depth in manifest.contents.depths:
            names = entry.vectors[str(depth)]
            parts = [mapped_vectors(folder / n, mapped(n), manifest.contents.width) for n in names]
            if sum(map(len, parts)) != entry.rows:
                raise ArtifactError(
                    f"{folder / (*names, entry.documents)[0]} has {sum(map(len, parts))} vectors for {entry.rows} "
                    f"documents; {REPAIR.format(folder=folder)}"
                )
            self._parts[depth] = parts
        self._flat: dict[int, FlatVectors] = {}
        self.columns = Columns(self.documents)

    def __len__(self) -> int:
        return self.entry.rows

    @cached_property
    def sorted_hashes(self) -> tuple[np.ndarray, np.ndarray]:
        """The text hashes in their order, and the row of each."""
        hashes = self.documents.text_hashes.view(f"S{HASH_BYTES}")
        order = np.argsort(hashes, kind="stable")
        return hashes[order], order

    def flat(self, depth: int) -> FlatVectors:
        """The vectors of one depth and their prefixes; pages are read when they are first compared."""
        if depth not in self._flat:
            parts = self._parts[depth]
            # Format 1 had several files a depth: those are copied into one matrix.
            self._flat[depth] = FlatVectors(parts[0] if len(parts) == 1 else np.concatenate(parts))
        return self._flat[depth]


class SegmentWriter:
    """Writes a segment batch by batch, in memory that does not grow with it."""

    def __init__(self, folder: Path, depths: Sequence[int], width: int):
        self.documents = DocumentWriter(folder / DOCUMENTS)
        self.vectors = {depth: VectorWriter(folder / vector_file(depth), width) for depth in depths}
        self.rows = 0

    def write(self, documents: Sequence[Document], vectors: Mapping[int, np.ndarray]) -> None:
        """Appends documents and their vectors."""
        self.documents.write(documents)
        self._add(vectors)

    def copy(self, segment: Segment, rows: Int[np.ndarray, " rows"]) -> None:
        """Appends rows of another segment."""
        for start in range(0, len(rows), COPY_ROWS):
            some = rows[start : start + COPY_ROWS]
            self.documents.copy(segment.documents, some)
            self._add({depth: segment.flat(depth).vectors[some] for depth in self.vectors})

    def _add(self, vectors: Mapping[int, np.ndarray]) -> None:
        for depth, writer in self.vectors.items():
            writer.write(vectors[depth])
        self.rows += len(next(iter(vectors.values())))

    def close(self) -> None:
        """Finishes the files."""
        self.documents.close()
        for writer in self.vectors.values():
            writer.close()


def vector_file(depth: int) -> str:
    """The name of the vectors of one depth within a segment."""
    return f"vectors-{depth}.safetensors"


def write_segment(
    folder: Path, name: str, manifest: Manifest, fill: Iterable[Any], *, copy: bool = False
) -> SegmentEntry | None:
    """A new segment from (documents, vectors) batches or, with ``copy``, from (segment, rows); synced to disk.

    ``None``, and nothing written, where there are no rows.
    """
    fill = iter(fill)
    begun = next(fill, None)
    if begun is None:
        return None
    place = f"{SEGMENTS}/{name}"
    depths = manifest.contents.depths
    with atomic_folder(folder / place) as temporary:
        writer = SegmentWriter(temporary, depths, manifest.contents.width)
        try:
            for first, second in chain([begun], fill):
                writer.copy(first, second) if copy else writer.write(first, second)
        finally:
            writer.close()
    vectors: dict[str, tuple[str, ...]] = {str(d): (f"{place}/{vector_file(d)}",) for d in depths}
    return SegmentEntry(rows=writer.rows, documents=f"{place}/{DOCUMENTS}", vectors=vectors)
