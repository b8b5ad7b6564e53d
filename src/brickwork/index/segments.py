"""Segments: rows that were written together and never change, and a state of the index made of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import atomic_folder
from brickwork.core.text import clean_text
from brickwork.data.types import Document
from brickwork.index.columns import Columns, FieldsBuilder
from brickwork.index.manifest import (
    DOCUMENTS,
    FIELDS,
    REPAIR,
    SEGMENTS,
    WORDS,
    Manifest,
    SegmentEntry,
    map_file,
)
from brickwork.index.postings import MODEL_WORDS, WITH_WORDS, Postings, PostingsWriter
from brickwork.index.search import FlatVectors
from brickwork.index.store import (
    HASH_BYTES,
    DocumentStore,
    DocumentWriter,
    VectorWriter,
    mapped_vectors,
    read_meta,
)
from brickwork.index.types import Contents
from brickwork.representation.export_parquet import document_text
from brickwork.representation.signs import Vectors

COPY_ROWS = 4_096
WordReader = Callable[[Mapping[int, np.ndarray]], Sequence[Mapping[str, int]]]
"""From the vectors of documents by depth to the words that a model reads off them, counted in weight units."""


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
        self._vectors: dict[int, Vectors] = {}
        for depth in manifest.contents.depths:
            name = entry.vectors[str(depth)]
            vectors = mapped_vectors(
                folder / name, mapped(name), manifest.contents.width, manifest.contents.codec
            )
            if len(vectors) != entry.rows:
                raise ArtifactError(
                    f"{folder / name} has {len(vectors)} vectors for {entry.rows} documents; "
                    f"{REPAIR.format(folder=folder)}"
                )
            self._vectors[depth] = vectors
        self._flat: dict[int, FlatVectors] = {}
        self.columns = Columns(self.documents, folder / entry.fields, mapped(entry.fields))
        self._words = (folder / entry.words, mapped(entry.words)) if entry.words else None
        if verify and self._words:
            self.postings  # noqa: B018 - looks at all of the file

    @cached_property
    def postings(self) -> Postings | None:
        """The words of the rows; ``None`` where they were not written."""
        return None if self._words is None else Postings(*self._words, self.entry.rows)

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
            self._flat[depth] = FlatVectors(self._vectors[depth])
        return self._flat[depth]


class SegmentWriter:
    """Writes a segment batch by batch, in memory that does not grow with it.

    ``words``: whether the words of the documents are written too.
    """

    def __init__(self, folder: Path, contents: Contents, *, words: bool):
        self.documents, self.width = DocumentWriter(folder / DOCUMENTS), contents.width
        self.vectors = {
            depth: VectorWriter(folder / vector_file(depth), contents.width, contents.codec)
            for depth in contents.depths
        }
        self.fields, self._fields_path = FieldsBuilder(), folder / FIELDS
        self.words = PostingsWriter(folder / WORDS) if words else None
        self.rows = 0

    def write(
        self,
        documents: Sequence[Document],
        vectors: Mapping[int, np.ndarray],
        counts: Sequence[Mapping[str, int]] | None = None,
    ) -> None:
        """Appends documents and their vectors; ``counts``: of the words that a model reads off these, in place of the
        documents' own."""
        self._add(self.documents.write(documents), vectors)
        if self.words and counts is not None:
            self.words.add_counts(counts)
        elif self.words:
            self.words.add(clean_text(document_text(document)) for document in documents)

    def copy(self, segment: Segment, rows: Int[np.ndarray, " rows"]) -> None:
        """Appends rows of another segment."""
        for start in range(0, len(rows), COPY_ROWS):
            some = rows[start : start + COPY_ROWS]
            metas = self.documents.copy(segment.documents, some)
            self._add(metas, {depth: segment.flat(depth).vectors[some] for depth in self.vectors})
            if self.words and segment.postings is None:
                self.words.add(map(document_text, segment.documents.rows(some)))
        if self.words and segment.postings is not None:
            self.words.copy(segment.postings, rows)

    def _add(self, metas: Sequence[str], vectors: Mapping[int, np.ndarray]) -> None:
        self.fields.add(read_meta(text, self.documents.path) for text in metas)
        for depth, writer in self.vectors.items():
            rows = vectors[depth]
            if rows.shape[1] < self.width:  # of before the model grew
                rows = np.pad(rows, ((0, 0), (0, self.width - rows.shape[1])))
            writer.write(rows)
        self.rows += len(next(iter(vectors.values())))

    def close(self) -> None:
        """Finishes the files."""
        self.documents.close()
        for writer in self.vectors.values():
            writer.close()
        self.fields.write(self._fields_path)
        if self.words:
            self.words.close()


def vector_file(depth: int) -> str:
    """The name of the vectors of one depth within a segment."""
    return f"vectors-{depth}.safetensors"


def write_segment(
    folder: Path,
    name: str,
    manifest: Manifest,
    fill: Iterable[Any],
    *,
    copy: bool = False,
    read_words: WordReader | None = None,
) -> SegmentEntry | None:
    """A new segment from (documents, vectors) batches or, with ``copy``, from (segment, rows); synced to disk.

    ``read_words``: of an index of a model's words, what reads them. ``None``, and nothing written, where there are no rows.

    Raises:
        ConfigError: an index of a model's words, and nothing reads them.
    """
    fill = iter(fill)
    begun = next(fill, None)
    if begun is None:
        return None
    place = f"{SEGMENTS}/{name}"
    depths = manifest.contents.depths
    with_words = manifest.analyzer in WITH_WORDS
    of_model = manifest.analyzer == MODEL_WORDS and not copy
    if of_model and read_words is None:
        raise ConfigError(
            f"{folder} keeps words that its model reads off the vectors: write to it through brickwork.open_index"
        )
    with atomic_folder(folder / place) as temporary:
        writer = SegmentWriter(temporary, manifest.contents, words=with_words)
        try:
            for first, second in chain([begun], fill):
                if copy:
                    writer.copy(first, second)
                else:
                    writer.write(first, second, read_words(second) if of_model and read_words else None)
        finally:
            writer.close()
    vectors = {str(depth): f"{place}/{vector_file(depth)}" for depth in depths}
    return SegmentEntry(
        rows=writer.rows,
        documents=f"{place}/{DOCUMENTS}",
        vectors=vectors,
        fields=f"{place}/{FIELDS}",
        words=f"{place}/{WORDS}" if with_words else "",
    )
