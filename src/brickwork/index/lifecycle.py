"""Looking after an index in a folder: is every file as it was written, and if not, what can be rebuilt.

Vectors, shortlists and measurements are made from the documents again. Of damaged documents those rows are kept
whose own hash is right; the others are named. A damaged manifest is taken from its copy.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from brickwork.core.errors import ArtifactError
from brickwork.core.files import FolderLock
from brickwork.data.types import Document
from brickwork.index.encoding import encode_documents, image_shape
from brickwork.index.local import LocalBackend
from brickwork.index.maintenance import remove_unnamed, write_removed
from brickwork.index.manifest import (
    COPY,
    MANIFEST,
    MODEL,
    FileEntry,
    Manifest,
    SegmentEntry,
    check_file,
    file_entries,
    files_below,
    map_file,
    read_manifest,
    segment_files,
    with_files,
    write_manifest,
)
from brickwork.index.reasons import counted_words
from brickwork.index.salvage import readable_rows
from brickwork.index.segments import write_segment
from brickwork.index.snapshot import Snapshot
from brickwork.index.store import DocumentStore, batches, mapped_vectors
from brickwork.index.versions import as_stretches, version_of_rows
from brickwork.representation.signs import Vectors

if TYPE_CHECKING:
    from brickwork.representation.model import Representation


@dataclass(frozen=True)
class Problem:
    """A file that is not as it was written."""

    file: str
    what: str


@dataclass(frozen=True, kw_only=True)
class RepairReport:
    """Files that were rebuilt, in words what could not be saved, and the ``documents`` that are there now.

    Documents in another store are not looked at, and counted as 0.
    """

    documents: int
    repaired: tuple[str, ...]
    lost: tuple[str, ...]


def verify_index(folder: Path | str) -> list[Problem]:
    """Every file of an index that is missing, has another size or hash, or does not fit the others.

    Raises:
        ArtifactError: the folder is not an index, or one of a newer format.
    """
    folder = Path(folder)
    try:
        manifest = read_manifest(folder)
    except ArtifactError as error:
        if not (folder / COPY).is_file():
            raise
        return [Problem(MANIFEST, str(error))]
    problems: list[Problem] = []
    for name in manifest.files:
        try:
            check_file(folder, name, manifest.files[name])
        except ArtifactError as error:
            problems.append(Problem(name, str(error)))
    if not _is_copied(folder, manifest):
        problems.append(
            Problem(COPY, f"{folder / COPY} is not the copy of {MANIFEST} that a repair would need")
        )
    if not problems:
        try:
            Snapshot(folder, manifest, verify=True)
        except ArtifactError as error:
            problems.append(Problem(MANIFEST, str(error)))
    return problems


def repair_index(folder: Path | str, representation: "Representation | None" = None) -> RepairReport:
    """Rebuilds what is damaged from what is not, in one step; harmless where nothing is damaged.

    ``representation``: a good copy of the model, where that in the folder is damaged.

    Raises:
        ArtifactError: not an index; manifest and copy damaged; or the model, and no good copy was given.
        ResourceError: another process writes there; no permission; the disk is full.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).exists() and not (folder / COPY).exists():
        read_manifest(folder)
    with FolderLock(folder, "repairing the index"):
        manifest, repaired = _good_manifest(folder)
        bad = {name for name, entry in manifest.files.items() if not _is_good(folder, name, entry)}
        if not _is_copied(folder, manifest):
            repaired.append(COPY)
        if not bad:
            if repaired:
                write_manifest(folder, manifest)
            return RepairReport(documents=_documents(manifest, folder), repaired=tuple(repaired), lost=())
        whole, lost = _Repair(folder, manifest, bad, representation).run()
        write_manifest(folder, whole)
        remove_unnamed(folder, whole)
        if whole.store:
            return RepairReport(documents=0, repaired=(*repaired, *sorted(bad)), lost=())
        backend = LocalBackend.open(folder)
        backend.maintain()
    return RepairReport(documents=len(backend), repaired=(*repaired, *sorted(bad)), lost=tuple(lost))


def _documents(manifest: Manifest, folder: Path) -> int:
    return 0 if manifest.store else Snapshot(folder, manifest, verify=False).live


def _good_manifest(folder: Path) -> tuple[Manifest, list[str]]:
    """The manifest, or its copy where it is damaged."""
    try:
        return read_manifest(folder), []
    except ArtifactError as error:
        try:
            copy = read_manifest(folder, COPY)
        except ArtifactError:
            raise error from None
        return copy, [MANIFEST]


def _is_copied(folder: Path, manifest: Manifest) -> bool:
    try:
        return read_manifest(folder, COPY) == manifest
    except ArtifactError:
        return False


def _is_good(folder: Path, name: str, entry: FileEntry) -> bool:
    try:
        check_file(folder, name, entry)
    except (ArtifactError, OSError):
        return False
    return True


class _Repair:
    """One repair: the damaged files of a manifest, and what is made of the others."""

    def __init__(
        self, folder: Path, manifest: Manifest, bad: set[str], representation: "Representation | None"
    ):
        self.folder = folder
        self.manifest = manifest
        self.bad = bad
        self.given = representation
        self.files: dict[str, FileEntry] = {}
        self.lost: list[str] = []
        self.segments: list[SegmentEntry] = []
        self.removed: list[Bool[np.ndarray, " rows"]] = []

    def run(self) -> tuple[Manifest, list[str]]:
        """The repaired manifest, and what was lost."""
        model = self._model()
        marks = self._marks()
        start = 0
        for number, entry in enumerate(self.manifest.segments):
            self._segment(number, entry, marks[start : start + entry.rows])
            start += entry.rows
        removed = np.concatenate([np.zeros(0, dtype=bool), *self.removed])
        if self.manifest.removed in self.bad:
            removed |= self._replaced(len(removed))
        changes: dict[str, Any] = {"segments": tuple(self.segments), "removed": "", "model": model}
        touched = tuple(self.segments) != self.manifest.segments
        if touched or any(entry.file in self.bad for entry in self.manifest.shortlists):
            changes |= {"shortlists": (), "frontiers": {}}
        elif any(name in self.bad for name in self.manifest.frontiers.values()):
            changes |= {"frontiers": {}}
        if removed.any():
            changes["removed"], more = write_removed(self.folder, self.manifest.generation + 1, removed)
            self.files |= more
        return with_files(self.manifest, self.files, **changes), self.lost

    def _model(self) -> str:
        """The folder of the model: written again from the good copy where it is damaged."""
        old = self.manifest.model
        if not any(name.startswith(f"{old}/") for name in self.bad):
            return old
        wanted = self.manifest.model_now
        if self.given is None or self.given.fingerprint != wanted:
            raise ArtifactError(
                f"the model in {self.folder / old} is damaged and cannot be rebuilt; give a good copy of it, "
                f"fingerprint {wanted}: brickwork index {self.folder} --repair --model MODEL"
            )
        new = f"{MODEL}-{self.manifest.generation + 1}"
        self.given.save(self.folder / new)
        self.files |= file_entries(self.folder, files_below(self.folder, new))
        return new

    def _representation(self) -> "Representation":
        if self.given is None:
            from brickwork.representation.load import load_representation

            self.given = load_representation(self.folder / self.manifest.model)
        if self.given.fingerprint != self.manifest.model_now:
            raise ArtifactError(
                f"{self.folder} was built with model {self.manifest.model_now}, not {self.given.fingerprint}; "
                "give that one, or leave --model out"
            )
        return self.given

    def _marks(self) -> Bool[np.ndarray, " rows"]:
        """Which rows were removed, as far as that is known."""
        marks = np.zeros(self.manifest.rows, dtype=bool)
        name = self.manifest.removed
        if name and name in self.bad:
            self.lost.append(
                "which documents were removed or replaced since the index was last compacted: removed ones are "
                "back; bring the index up to date with --update, or remove them again"
            )
        elif name:
            bits = np.unpackbits(np.fromfile(self.folder / name, np.uint8), bitorder="little")[: len(marks)]
            marks[: len(bits)] = bits
        return marks

    def _segment(self, number: int, entry: SegmentEntry, marks: Bool[np.ndarray, " rows"]) -> None:
        """Keeps a good segment; rewrites a damaged one."""
        if not any(name in self.bad for name in segment_files(entry)):
            self.segments.append(entry)
            self.removed.append(marks)
            return
        rows, documents = self._rows(entry)
        if any(name in self.bad for name in entry.vectors.values()):
            rows, documents = self._without_images(rows, documents)
        name = f"{self.manifest.generation + 1:08d}-{number:04d}"
        made = write_segment(
            self.folder,
            name,
            self.manifest,
            self._batches(entry, rows, documents),
            read_words=lambda vectors: counted_words(
                self._representation(), vectors[self.manifest.contents.depths[-1]]
            ),
        )
        if made is not None:
            made = replace(made, versions=self._versions(entry, rows))
            self.segments.append(made)
            self.removed.append(marks[rows])
            self.files |= file_entries(self.folder, segment_files(made))

    def _versions(self, entry: SegmentEntry, rows: np.ndarray) -> tuple[tuple[int, ...], ...]:
        """The stretches of a segment that is rewritten: vectors that were lost are made by the model of now."""
        made_by = version_of_rows(entry.versions, entry.rows)[rows]
        if any(name in self.bad for name in entry.vectors.values()):
            made_by = np.full(len(rows), len(self.manifest.versions), dtype=np.int64)
        return as_stretches(made_by)

    def _rows(self, entry: SegmentEntry) -> tuple[np.ndarray, list[Document]]:
        """The rows of a segment whose documents are good, and these."""
        if entry.documents not in self.bad:
            store = DocumentStore(self.folder / entry.documents)
            return np.arange(len(store)), store.rows(range(len(store)))
        readable, lost = readable_rows(self.folder / entry.documents, entry.rows)
        self.lost += lost
        return np.array(sorted(readable), dtype=np.int64), [readable[row] for row in sorted(readable)]

    def _without_images(
        self, rows: np.ndarray, documents: list[Document]
    ) -> tuple[np.ndarray, list[Document]]:
        """Of documents whose vectors are lost, those that can be encoded again: the images of others are not here."""
        if image_shape(self._representation()) is None:
            return rows, documents
        kept = np.array(["picture" not in document.meta for document in documents], dtype=bool)
        if not kept.all():
            self.lost.append(
                f"{np.sum(~kept):,} images, of which an index keeps no more than a thumbnail: bring it up to date with "
                "--update"
            )
        return rows[kept], [documents[place] for place in np.flatnonzero(kept)]

    def _batches(
        self, entry: SegmentEntry, rows: np.ndarray, documents: Sequence[Document]
    ) -> Iterator[tuple[list[Document], dict[int, np.ndarray]]]:
        good: dict[int, Vectors] = {}
        for depth in self.manifest.contents.depths:
            name = entry.vectors[str(depth)]
            if name not in self.bad:
                good[depth] = self._mapped(name)
        missing = [depth for depth in self.manifest.contents.depths if depth not in good]
        for places in batches(range(len(documents)), 512):
            some = [documents[place] for place in places]
            vectors = {depth: matrix[rows[places]] for depth, matrix in good.items()}
            if missing:
                model = self._representation()
                # A model that took over an index gives the vectors of its one depth at its own full depth.
                layers = [model.axes.num_layers] if self.manifest.versions else missing
                made = encode_documents(model, some, layers, self.manifest.contents.width)
                vectors |= dict(zip(missing, made.values()))
            yield some, vectors

    def _mapped(self, name: str) -> Vectors:
        data, contents = (
            map_file(self.folder, name, self.manifest.files[name], verify=False),
            self.manifest.contents,
        )
        return mapped_vectors(self.folder / name, data, contents.width, contents.codec)

    def _replaced(self, rows: int) -> Bool[np.ndarray, " rows"]:
        """The rows whose id comes again later: that they were replaced is known without the lost marks."""
        stores = [DocumentStore(self.folder / entry.documents) for entry in self.segments]
        ids = [name for store in stores for name in store.table["id"].to_pylist()]
        last = {name: row for row, name in enumerate(ids)}
        return np.array([last[name] != row for row, name in enumerate(ids)], dtype=bool).reshape(rows)
