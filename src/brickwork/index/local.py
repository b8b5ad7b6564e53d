"""The embedded store: one folder, one writer at a time, any number of readers.

Readers work on a :class:`Snapshot` whose files are mapped; a change writes new files, then the manifest, then
removes what the new manifest does not name. The writer holds the folder's lock and starts from the newest
state, so that several processes may write in turn.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from brickwork.core.errors import ArtifactError, ConfigError, DataError, ResourceError, warn
from brickwork.core.files import FolderLock
from brickwork.core.text import clean_text
from brickwork.data.types import Document
from brickwork.index.contract import Batch
from brickwork.index.local_reader import LocalReader
from brickwork.index.maintenance import (
    check_free,
    emptied,
    first_to_merge,
    merged,
    remove_unnamed,
    shortlists_are_old,
    with_shortlists,
    write_removed,
)
from brickwork.index.manifest import (
    MODEL,
    NO_WORDS,
    FileEntry,
    Manifest,
    SegmentEntry,
    file_entries,
    files_below,
    read_manifest,
    segment_files,
    with_files,
    write_manifest,
)
from brickwork.index.postings import ANALYZER
from brickwork.index.replacement import extended_by, grown, made_now, succeeded
from brickwork.index.segments import WordReader, write_segment
from brickwork.index.snapshot import Snapshot, newest
from brickwork.index.types import Contents, Kind, Mode, check_batch

if TYPE_CHECKING:
    from brickwork.representation.model import Representation


class LocalBackend(LocalReader):
    """Documents and vectors in a folder: a :class:`~brickwork.index.contract.Backend`, and what only a folder can do.

    ``read_words``: reads the words of an index that keeps those of its model; whoever has the model sets it.
    """

    read_words: WordReader | None = None

    @classmethod
    def create(
        cls, folder: Path | str, contents: Contents, *, kind: str = "flat", words: bool = True
    ) -> "LocalBackend":
        """An empty index in a folder that does not exist or is empty; ``words``: whether it will compare them.

        Raises:
            ConfigError: the folder holds something.
            ResourceError: no permission, disk full.
        """
        folder = Path(folder)
        check_free(folder)
        analyzer = ANALYZER if words else NO_WORDS
        write_manifest(folder, Manifest(generation=1, contents=contents, kind=kind, analyzer=analyzer))
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path | str, *, verify: bool = True) -> "LocalBackend":
        """The index in a folder, its newest state.

        Sizes are compared before anything is read; ``verify`` also compares the hash of every file.

        Raises:
            ArtifactError: not an index, a newer format, or a file that is missing or damaged (by name).
        """
        folder = Path(folder)
        return cls(folder, newest(folder, None, verify=verify), verify=verify)

    def add(
        self, documents: Sequence[Document], vectors: Mapping[int, Float[np.ndarray, "documents width"]]
    ) -> None:
        """Adds new documents. Raises as :meth:`Backend.add`; ResourceError: another writer, disk full."""
        self.write([(documents, vectors)])

    def update(
        self, documents: Sequence[Document], vectors: Mapping[int, Float[np.ndarray, "documents width"]]
    ) -> None:
        """Replaces documents by id. Raises as :meth:`Backend.update`; ResourceError as :meth:`add`."""
        self.write([(documents, vectors)], mode="update")

    def upsert(
        self, documents: Sequence[Document], vectors: Mapping[int, Float[np.ndarray, "documents width"]]
    ) -> None:
        """Adds documents, replacing those that have the same id. Raises as :meth:`add`."""
        self.write([(documents, vectors)], mode="upsert")

    def write(self, batches: Iterable[Batch], *, mode: Mode = "add") -> int:
        """Adds or replaces a stream of batches in one step, in memory that does not grow with it; returns their number.

        Raises:
            DataError, ConfigError: as :meth:`Backend.add`; then nothing is changed.
        """
        with self.writing("adding documents"):
            replaced: list[int] = []
            entry = self._segment(batches, self.manifest, mode, replaced)
            if entry is None:
                return 0
            files = file_entries(self.folder, segment_files(entry))
            removed, more = self._removed(replaced, self.manifest.rows + entry.rows)
            segments = (*self.manifest.segments, entry)
            self.commit(with_files(self.manifest, files | more, segments=segments, removed=removed))
            self.maintain()
        return entry.rows

    def rewrite(
        self,
        batches: Iterable[Batch],
        contents: Contents,
        *,
        kind: str,
        save_model: Callable[[Path], object],
        analyzer: str = ANALYZER,
    ) -> int:
        """Replaces all that is here, the model included, in one step; returns the number of documents.

        ``analyzer``: how texts become words that are compared; ``NO_WORDS``: none are.

        Raises:
            DataError: no documents, an id that comes twice, or a vector that is not finite.
        """
        with self.writing("building the index"):
            fresh = emptied(self.manifest, contents, kind, analyzer=analyzer)
            entry = self._segment(batches, fresh, None, [])
            if entry is None:
                raise DataError("there are no documents to index; check the path and the columns")
            model = MODEL if not (self.folder / MODEL).exists() else f"{MODEL}-{fresh.generation + 1}"
            save_model(self.folder / model)
            files = file_entries(self.folder, [*segment_files(entry), *files_below(self.folder, model)])
            self.commit(with_files(fresh, files, segments=(entry,), model=model))
            self._shortlists()
        return entry.rows

    def replace_model(self, representation: "Representation") -> None:
        """Has queries and new documents encoded by a compatible successor from now on; no vector changes, but that those
        that are there get zeros behind them where the model grew.

        Raises:
            ArtifactError: the model cannot replace the one that is here.
        """
        with self.writing("replacing the model"):
            if self.manifest.model_now == representation.fingerprint:
                return
            if self.manifest.model_now in extended_by(representation):
                self.commit(grown(self.folder, self._snapshot, representation))
                self._shortlists()
            else:
                self.commit(succeeded(self.folder, self.manifest, representation))

    def build(self, kind: Kind, dim: int, depth: int | None = None) -> None:
        """Refused: the kind of an index in a folder is chosen when it is made."""
        raise ConfigError(f"an index in a folder gets its kind when it is made: build it with kind='{kind}'")

    def remove(self, ids: Sequence[str]) -> None:
        """Removes documents.

        Raises:
            DataError: an id that is not there; then none is removed.
        """
        with self.writing("removing documents"):
            rows = self._snapshot.rows_of(ids)
            if len(rows):
                removed, files = self._removed(rows, self.manifest.rows)
                self.commit(with_files(self.manifest, files, removed=removed))
                self.maintain()

    def compact(self) -> None:
        """Writes all documents into one segment without the removed ones, and rebuilds the shortlists."""
        with self.writing("compacting"):
            self._merge(0)
            self._shortlists()

    def add_lexical(self) -> None:
        """Writes the words of the documents that are here, where they are missing: all into one segment, in one step."""
        with self.writing("reading the words of the documents"):
            if self.lexical == "missing" and (manifest := merged(self.folder, self._snapshot, 0, words=True)):
                self.commit(manifest)
                self._shortlists()

    def keep_dense_weight(self, weight: float | None) -> None:
        """Writes a new manifest, and nothing else."""
        with self.writing("keeping a weight"):
            self.commit(with_files(self.manifest, {}, dense_weight=weight))

    @contextlib.contextmanager
    def writing(self, purpose: str) -> Iterator[None]:
        """Holds the folder for one writer, at the newest state; afterwards removes what is no longer named."""
        with FolderLock(self.folder, purpose):
            self.refresh()
            remove_unnamed(self.folder, self.manifest)
            try:
                yield
            finally:
                # What may be deleted is read and not guessed: an error can come before or after a commit.
                with contextlib.suppress(ArtifactError, OSError):
                    self.refresh()
                    remove_unnamed(self.folder, self.manifest)

    def commit(self, manifest: Manifest) -> None:
        """The one moment of a change; the snapshot follows.

        An error after that moment, when the disk is asked to confirm, is only told: the change stands.
        """
        try:
            write_manifest(self.folder, manifest)
        except (OSError, ResourceError) as error:
            if read_manifest(self.folder) != manifest:
                raise
            message = f"the change of {self.folder} is made, but the disk did not confirm that it will last: {error}"
            warn(message)
        self._snapshot = Snapshot(self.folder, manifest, self._snapshot, verify=False)

    def _segment(
        self, batches: Iterable[Batch], manifest: Manifest, mode: Mode | None, replaced: list[int]
    ) -> SegmentEntry | None:
        """Writes a new segment of checked batches; rows that they replace are added to ``replaced``.

        ``mode`` ``None``: what is there now does not count, all of it is replaced.
        """

        def checked() -> Iterator[Batch]:
            seen: set[str] = set()
            for documents, vectors in batches:
                ids = [clean_text(document.id) for document in documents]
                there = self._snapshot.find(ids) if mode else {}
                cleaned = [d if d.id == name else replace(d, id=name) for d, name in zip(documents, ids)]
                check_batch(manifest.contents, cleaned, vectors, mode or "add", there, earlier=seen)
                replaced.extend(there.values())
                seen.update(ids)
                if documents:
                    yield documents, vectors

        entry = write_segment(
            self.folder,
            f"{manifest.generation + 1:08d}",
            manifest,
            checked(),
            read_words=self.read_words,
        )
        return None if entry is None else made_now(entry, manifest)

    def _removed(
        self, rows: Sequence[int] | Int[np.ndarray, " rows"], total: int
    ) -> tuple[str, dict[str, FileEntry]]:
        """The name of the file that marks removed rows, these included, and its entry."""
        if not len(rows):
            return self.manifest.removed, {}
        marks = np.zeros(total, dtype=bool)
        if self._snapshot.removed is not None:
            marks[: len(self._snapshot.removed)] = self._snapshot.removed
        marks[rows] = True
        return write_removed(self.folder, self.manifest.generation + 1, marks)

    def maintain(self) -> None:
        """Keeps the index in shape after a change, which stands already: a failure here is only told.

        For whoever holds the folder.
        """
        try:
            first = first_to_merge(self._snapshot)
            if first is not None:
                self._merge(first)
            if shortlists_are_old(self._snapshot):
                self._shortlists()
        except ResourceError as error:
            warn(f"the change is stored, but {self.folder} could not be compacted afterwards: {error}")

    def _merge(self, first: int) -> None:
        manifest = merged(self.folder, self._snapshot, first)
        if manifest is not None:
            self.commit(manifest)

    def _shortlists(self) -> None:
        """Builds the shortlists that the kind of this index asks for, over all rows in one segment."""
        self._merge(0)
        if self._snapshot.segments:
            manifest = with_shortlists(self.folder, self._snapshot)
            if manifest.files != self.manifest.files or manifest.reason != self.manifest.reason:
                self.commit(manifest)
