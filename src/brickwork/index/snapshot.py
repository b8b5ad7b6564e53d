"""A state of an index: its segments, which rows of them are removed, and its shortlists."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.core.files import read_json
from brickwork.core.text import clean_text
from brickwork.data.types import Document
from brickwork.index.columns import check_fields
from brickwork.index.conditions import Kind as FieldKind
from brickwork.index.filters import OWN_FIELDS, Filter, resolve
from brickwork.index.grown_rows import Scale, scale_of
from brickwork.index.lexical import Lexical
from brickwork.index.manifest import (
    DOCUMENTS,
    FIELDS,
    REPAIR,
    SHORTLISTS,
    WORDS,
    Manifest,
    SegmentEntry,
    ShortlistEntry,
    check_file,
    check_size,
    map_file,
    read_manifest,
    segment_files,
)
from brickwork.index.planning import Frontier
from brickwork.index.postings import WITH_WORDS
from brickwork.index.segments import Segment
from brickwork.index.store import text_hash
from brickwork.index.types import SEARCH_MODES, Statistics
from brickwork.index.versions import version_of_rows
from brickwork.representation.truncate import truncate

if TYPE_CHECKING:
    from brickwork.index.shortlists import Shortlist


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
        self._lexical: Lexical | None = None
        self._fields: set[str] | None = None
        self._kinds: dict[str, set[FieldKind]] = {}
        self._shortlists: dict[tuple[str, int, int], Any] = {} if old is None else old.shortlists_of(self)
        self.widths = self._widths()
        self._scales: dict[tuple[int, int, int], Scale] = {}

    def _widths(self) -> Int[np.ndarray, " rows"] | None:
        """How many dimensions the vector of each row has; ``None`` where all have all."""
        if not self.manifest.widths or not self.segments:
            return None
        by_version = np.array(self.manifest.widths, dtype=np.int64)
        made_by = [version_of_rows(segment.entry.versions, len(segment)) for segment in self.segments]
        widths = by_version[np.concatenate(made_by)]
        return widths if (widths < self.manifest.contents.width).any() else None

    def cosines(
        self, rows: Int[np.ndarray, " rows"], depth: int, prefix: Float[np.ndarray, " dim"]
    ) -> Float[np.ndarray, " rows"]:
        """Of a query's prefix of unit length with the vectors of rows, on one scale (index/grown_rows.py)."""
        scores: Float[np.ndarray, " rows"] = self.vectors(rows, depth, len(prefix)) @ prefix
        if self.widths is None:
            return scores
        widths = self.widths[rows]
        for width in np.unique(widths[widths < len(prefix)]).tolist():
            length = max(float(np.linalg.norm(prefix[:width])), float(np.finfo(np.float32).tiny))
            short = widths == width
            scores[short] = self.scale(depth, width, len(prefix)).of(scores[short] / length)
        return scores

    def scale(self, depth: int, few: int, dim: int) -> Scale:
        """What cosines of rows with ``few`` dimensions are on the scale of ``dim``, measured when first needed."""
        if (depth, few, dim) not in self._scales:
            assert self.widths is not None, "rows of several widths"
            whole = self.live_rows()
            whole = whole[self.widths[whole] >= dim]
            some = whole[np.linspace(0, len(whole) - 1, min(len(whole), 1024)).astype(np.int64)]
            self._scales[depth, few, dim] = scale_of(self.vectors(some, depth, dim), few, dim)
        return self._scales[depth, few, dim]

    def key(self, entry: SegmentEntry) -> tuple[Any, ...]:
        """What tells segments apart, those of an index built again in the same place included."""
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
        rows: dict[str, int] = {}
        for start, segment in self.parts():
            places = segment.documents.find(wanted)
            for row in np.flatnonzero(places >= 0):
                if self.removed is None or not self.removed[start + row]:
                    rows[ids[places[row]]] = int(start + row)
        return rows

    def rows_of(self, ids: Sequence[str]) -> Int[np.ndarray, " rows"]:
        """The rows of ids.

        Raises:
            DataError: an id that is not there.
        """
        rows = self.find(list(ids))
        for name in ids:
            if name not in rows:
                raise DataError(
                    f"the id '{name}' is not in the index; its ids are those of the documents' id field"
                )
        return np.array([rows[name] for name in ids], dtype=np.int64)

    def documents(self, rows: Int[np.ndarray, " rows"]) -> list[Document]:
        """The documents of the given rows, in that order."""
        documents: list[Document | None] = [None] * len(rows)
        for start, segment in self.parts():
            inside = np.flatnonzero((rows >= start) & (rows < start + len(segment)))
            for place, document in zip(inside, segment.documents.rows(rows[inside] - start)):
                documents[place] = document
        return [document for document in documents if document is not None]

    def documents_by_row(self, rows: Int[np.ndarray, " rows"]) -> dict[int, Document]:
        """Each row's document, however often it is named."""
        unique = np.unique(rows)
        return dict(zip(unique.tolist(), self.documents(unique)))

    def vectors(self, rows: Int[np.ndarray, " rows"], depth: int, dim: int) -> Float[np.ndarray, "rows dim"]:
        """The vectors of the given rows, cut to ``dim`` and at unit length."""
        matrix = np.empty((len(rows), dim), dtype=np.float32)
        for start, segment in self.parts():
            inside = (rows >= start) & (rows < start + len(segment))
            matrix[inside] = segment.flat(depth).vectors[:, :dim][rows[inside] - start]
        return truncate(matrix, dim)

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
        concrete = resolve(where, self)
        masks = [segment.columns.mask(concrete) for segment in self.segments]
        mask = np.concatenate(masks) if masks else np.zeros(0, dtype=bool)
        return mask if live is None else mask & live

    @property
    def has_words(self) -> bool:
        """Whether the words of the documents can be compared."""
        return self.manifest.analyzer in WITH_WORDS

    def lexical(self) -> Lexical:
        """The words of all segments; counted once. For a state that ``has_words``."""
        if self._lexical is None:
            parts = [(start, segment.postings) for start, segment in self.parts() if segment.postings]
            self._lexical = Lexical(parts, None if self.removed is None else ~self.removed)
        return self._lexical

    def _live(self, start: int, segment: Segment) -> Bool[np.ndarray, " rows"] | None:
        """The rows of a segment that are not removed; ``None`` for all."""
        return None if self.removed is None else ~self.removed[start : start + len(segment)]

    def fields(self) -> set[str]:
        """The names that filters may use."""
        if self._fields is None:
            names = set(OWN_FIELDS)
            for start, segment in self.parts():
                live = self._live(start, segment)
                for name, column in segment.columns.meta.items():
                    if (
                        name not in names
                        and (column.there() if live is None else column.there() & live).any()
                    ):
                        names.add(name)
            self._fields = names
        return self._fields

    def has(self, field: str, kind: FieldKind) -> bool:
        """Whether any document has a value of this kind in a field."""
        if field not in self._kinds:
            self._kinds[field] = {
                kind
                for start, segment in self.parts()
                for kind in segment.columns[field].kinds(self._live(start, segment))
            }
        return kind in self._kinds[field]

    def texts(self, field: str) -> Iterator[str]:
        """The distinct texts of a field."""
        parts = (s.columns[field].texts(self._live(start, s)) for start, s in self.parts())
        return iter(dict.fromkeys(text for texts in parts for text in texts))

    def some(self, field: str, kind: FieldKind, count: int) -> list[Any]:
        """Up to ``count`` values of this kind in a field."""
        values: list[Any] = []
        for start, segment in self.parts():
            values += segment.columns[field].some(kind, self._live(start, segment), count - len(values))
        return values

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

    def same_texts(self, documents: Sequence[Document]) -> dict[int, dict[int, Float[np.ndarray, " width"]]]:
        """For each of the documents whose text is here already, by place: the vectors of that text by depth.

        Only vectors by the model of now, where an index has several.
        """
        hashes = np.array([text_hash(document) for document in documents], dtype="V16")
        vectors: dict[int, dict[int, np.ndarray]] = {}
        for _, segment in self.parts():
            known, order = segment.sorted_hashes
            places = np.minimum(np.searchsorted(known, hashes.view("S16")), len(known) - 1)
            made_by = version_of_rows(segment.entry.versions, len(segment))
            for number in np.flatnonzero(known[places] == hashes.view("S16")).tolist():
                row = order[places[number]]
                if made_by[row] < len(self.manifest.versions):
                    continue  # what is rewritten is encoded by the model of now
                vectors[number] = {
                    depth: segment.flat(depth).vectors[row] for depth in self.manifest.contents.depths
                }
        return vectors

    def statistics(self) -> Statistics:
        """Counts, kinds and bytes; ``duplicates`` are the documents whose text another one before them has."""
        manifest = self.manifest
        parts = {SHORTLISTS: "shortlists", manifest.model: "model"}
        sizes = {"documents": 0, "vectors": 0}
        for name, entry in manifest.files.items():
            of_segment = {WORDS: "words", DOCUMENTS: "documents", FIELDS: "documents"}
            part = parts.get(name.split("/")[0], of_segment.get(name.split("/")[-1], "vectors"))
            if name != manifest.removed:
                sizes[part] = sizes.get(part, 0) + entry.bytes
        hashes = [segment.documents.text_hashes for segment in self.segments]
        texts = np.concatenate(hashes)[self.live_rows()] if hashes else np.zeros(0)
        kinds = dict.fromkeys(["flat", *(entry.kind for entry in manifest.shortlists)])
        return Statistics(
            documents=self.live,
            removed=manifest.rows - self.live,
            duplicates=len(texts) - len(np.unique(texts)),
            kinds=tuple(kinds),
            bytes=sizes,
            fields=tuple(sorted(self.fields())),
            versions=self._versions(),
            modes=SEARCH_MODES if self.has_words else ("dense",),
        )

    def _versions(self) -> dict[str, int]:
        """Documents by the model that made their vectors; nothing where all are by one that was never replaced."""
        names = (self.manifest.contents.model, *self.manifest.versions)
        if len(names) == 1:
            return {}
        made_by = [version_of_rows(segment.entry.versions, len(segment)) for segment in self.segments]
        counts = np.bincount(
            np.concatenate([np.zeros(0, np.int64), *made_by])[self.live_rows()], minlength=len(names)
        )
        return dict(zip(names, counts.tolist()))


def newest(folder: Path, old: Snapshot | None, *, verify: bool) -> Snapshot:
    """The newest state of a folder. A file that vanished while it was opened means that there is a newer one."""
    manifest = read_manifest(folder)
    while True:
        try:
            names = {name for name in manifest.files if old is None or name not in old.manifest.files}
            for name in sorted(names):
                check_size(folder, name, manifest.files[name])
            snapshot = Snapshot(folder, manifest, old, verify=verify)
            if verify:
                opened = {name for entry in manifest.segments for name in segment_files(entry)}
                for name in sorted(names - opened - {manifest.removed}):
                    check_file(folder, name, manifest.files[name])
            return snapshot
        except (ArtifactError, FileNotFoundError):
            newer = read_manifest(folder)
            if newer == manifest:
                raise
            manifest = newer
