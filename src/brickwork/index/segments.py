"""Segments: rows that were written together and never change, and a state of the index made of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import atomic_folder, read_json
from brickwork.data.types import Document
from brickwork.encoders.tokenization import clean_text
from brickwork.index.columns import Columns, check_fields
from brickwork.index.filters import OWN_FIELDS, Filter
from brickwork.index.manifest import (
    DOCUMENTS,
    REPAIR,
    SEGMENTS,
    Manifest,
    SegmentEntry,
    ShortlistEntry,
    check_file,
    map_file,
    segment_files,
)
from brickwork.index.planning import Frontier
from brickwork.index.search import FlatVectors
from brickwork.index.store import HASH_BYTES, DocumentStore, DocumentWriter, VectorWriter, mapped_vectors
from brickwork.representation.truncate import truncate

if TYPE_CHECKING:
    from brickwork.index.shortlists import Shortlist

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
                    f"{folder / names[0]} has {sum(map(len, parts))} vectors for {entry.rows} documents; "
                    f"{REPAIR.format(folder=folder)}"
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


class Snapshot:
    """One generation of an index, complete and unchanging: what every reader works on.

    Rows are counted through all segments; ``removed`` marks those that are gone, ``None`` if none is.
    """

    def __init__(self, folder: Path, manifest: Manifest, old: "Snapshot | None" = None, *, verify: bool):
        self.folder = folder
        self.manifest = manifest
        known = {} if old is None else {old.key(s.entry): s for s in old.segments}
        self.segments: list[Segment] = [
            known.get(self.key(entry)) or Segment(folder, entry, manifest, verify=verify)
            for entry in manifest.segments
        ]
        self.starts = np.cumsum([0, *map(len, self.segments)])
        self.removed = self._read_removed(verify)
        self.live = int(self.starts[-1] if self.removed is None else np.sum(~self.removed))
        self.frontiers: dict[int, Frontier] = {}
        self._shortlists: dict[tuple[str, int, int], Any] = {} if old is None else old.shortlists_of(self)

    def key(self, entry: SegmentEntry) -> tuple[Any, ...]:
        """What tells segments apart, those of an index built anew in the same place included."""
        return (entry.rows, *((name, self.manifest.files[name].sha256) for name in segment_files(entry)))

    def _read_removed(self, verify: bool) -> Bool[np.ndarray, " rows"] | None:
        name, rows = self.manifest.removed, int(self.starts[-1])
        if not name:
            return None
        data = map_file(self.folder, name, self.manifest.files[name], verify=verify)
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        if len(bits) > rows + 7:
            raise ArtifactError(
                f"{self.folder / name} is longer than the index; {REPAIR.format(folder=self.folder)}"
            )
        removed = np.zeros(rows, dtype=bool)
        removed[: len(bits)] = bits[:rows]
        return removed

    def parts(self) -> Iterator[tuple[int, Segment]]:
        """Each segment with the number of its first row."""
        return zip(self.starts.tolist(), self.segments)

    def find(self, ids: Sequence[str]) -> dict[str, int]:
        """The row of each of the ids that is there."""
        import pyarrow as pa

        wanted = pa.array([clean_text(name) for name in ids], pa.large_string())
        found: dict[str, int] = {}
        for start, segment in self.parts():
            places = segment.documents.find(wanted)
            for row in np.flatnonzero(places >= 0):
                if self.removed is None or not self.removed[start + row]:
                    found[ids[places[row]]] = int(start + row)
        return found

    def documents(self, rows: Int[np.ndarray, " rows"]) -> list[Document]:
        """The documents of the given rows, in that order."""
        found: list[Document | None] = [None] * len(rows)
        for start, segment in self.parts():
            inside = np.flatnonzero((rows >= start) & (rows < start + len(segment)))
            for place, document in zip(inside, segment.documents.rows(rows[inside] - start)):
                found[place] = document
        return [document for document in found if document is not None]

    def vectors(self, rows: Int[np.ndarray, " rows"], depth: int, dim: int) -> Float[np.ndarray, "rows dim"]:
        """The vectors of the given rows, cut to ``dim`` and at unit length."""
        found = np.empty((len(rows), dim), dtype=np.float32)
        for start, segment in self.parts():
            inside = (rows >= start) & (rows < start + len(segment))
            found[inside] = segment.flat(depth).vectors[:, :dim][rows[inside] - start]
        return truncate(found, dim)

    def live_rows(self) -> Int[np.ndarray, " rows"]:
        """The rows that are not removed."""
        return np.arange(self.starts[-1]) if self.removed is None else np.flatnonzero(~self.removed)

    def allowed(self, where: Filter | None) -> Bool[np.ndarray, " rows"] | None:
        """The rows that a search may find; ``None`` for all.

        Raises:
            ConfigError: a filter on a field that no document has; lists those that exist.
        """
        live = None if self.removed is None else ~self.removed
        if where is None:
            return live
        if any(name not in OWN_FIELDS for name in where.fields):
            check_fields(where, self.fields())
        masks = [segment.columns.mask(where) for segment in self.segments]
        mask = np.concatenate(masks) if masks else np.zeros(0, dtype=bool)
        return mask if live is None else mask & live

    def fields(self) -> set[str]:
        """The names that filters may use."""
        names = set(OWN_FIELDS)
        for start, segment in self.parts():
            for name, column in segment.columns.meta.items():
                there = column.codes >= 0
                if self.removed is not None:
                    there &= ~self.removed[start : start + len(segment)]
                if there.any():
                    names.add(name)
        return names

    def shortlist(self, kind: str, dim: int, depth: int) -> "Shortlist | None":
        """The first stage of this kind, if there is one; its file is hashed before it is read."""
        for entry in self.manifest.shortlists:
            if (entry.kind, entry.dim, entry.depth) == (kind, dim, depth):
                return self._load(entry)
        return None

    def _load(self, entry: ShortlistEntry) -> "Shortlist":
        from brickwork.index.shortlists import load_shortlist

        key = (entry.kind, entry.dim, entry.depth)
        if key not in self._shortlists:
            check_file(self.folder, entry.file, self.manifest.files[entry.file])
            vectors = self.segments[0].flat(entry.depth).vectors if self.segments else None
            if vectors is None or len(vectors) != entry.rows:
                raise ArtifactError(
                    f"{self.folder / entry.file} covers {entry.rows} rows, not those of the first segment; "
                    f"{REPAIR.format(folder=self.folder)}"
                )
            self._shortlists[key] = load_shortlist(self.folder / entry.file, vectors)
        return self._shortlists[key]

    def frontier(self, depth: int) -> Frontier | None:
        """What searches at this depth were measured to find and to cost, where that was measured."""
        name = self.manifest.frontiers.get(str(depth))
        if name is None:
            return None
        check_file(self.folder, name, self.manifest.files[name])
        try:
            return Frontier.from_dict(read_json(self.folder / name))
        except (ConfigError, TypeError) as error:
            raise ArtifactError(
                f"{self.folder / name} is damaged ({error}); {REPAIR.format(folder=self.folder)}"
            ) from error

    def shortlists_of(self, new: "Snapshot") -> dict[tuple[str, int, int], Any]:
        """The shortlists that were loaded already and are the same in a newer state."""
        same = {
            (entry.kind, entry.dim, entry.depth)
            for entry in self.manifest.shortlists
            if entry in new.manifest.shortlists
            and self.manifest.files[entry.file] == new.manifest.files[entry.file]
        }
        return {key: value for key, value in self._shortlists.items() if key in same}

    def check_depth(self, layers: int) -> None:
        """Raises ConfigError where the index does not hold vectors after ``layers`` layers."""
        depths = self.manifest.contents.depths
        if layers not in depths:
            raise ConfigError(
                f"layers={layers} is not in this index, which holds {list(depths)}; "
                f"search at one of these, or build the index with --layers {layers}"
            )
