"""Bringing an index up to date with its source: what changed is written, and only new texts are encoded."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from brickwork.core.errors import DataError
from brickwork.core.text import clean_text
from brickwork.data.types import Document
from brickwork.index.contract import Backend
from brickwork.index.store import batches, stored_form

# So many documents are read, compared and, where they changed, written at once.
ROWS_PER_STEP = 8_192


@dataclass(frozen=True, kw_only=True)
class SyncReport:
    """What a sync did; ``encoded`` of the added and updated documents had a text that was new to the index."""

    added: int
    updated: int
    removed: int
    unchanged: int
    encoded: int


def sync(
    backend: Backend,
    documents: Iterable[Document],
    encode: Callable[[Sequence[Document]], Mapping[int, np.ndarray]],
    progress: Callable[[int], None] = lambda count: None,
) -> SyncReport:
    """Makes the index hold exactly ``documents``: adds, replaces and removes by id.

    A document is unchanged if id, title, text, source and metadata are, and an image has its thumbnail. Each step
    of 8,192 documents is written at once, removals come last: after a failure the steps that were done stay, and
    the next call goes on. ``encode`` gives the vectors of documents by depth; ``progress`` is told the
    number of documents that are done.

    Raises:
        DataError: an id that comes twice, or no documents at all (an index is not emptied by a wrong path).
    """
    known = set(backend.ids())
    seen: set[str] = set()
    added = updated = encoded = 0
    with_images = backend.keeps_thumbnails
    for batch in batches(documents, ROWS_PER_STEP):
        for document in batch:
            name = clean_text(document.id)
            if name in seen:
                raise DataError(
                    f"the id '{name}' comes twice; give each document an id of its own, or leave the column of "
                    "the ids out"
                )
            seen.add(name)
        old = {d.id: d for d in backend.get([d.id for d in batch if clean_text(d.id) in known])}
        changed = [d for d in batch if not _is_kept(d, old.get(clean_text(d.id)), with_images=with_images)]
        if changed:
            encoded += _write(backend, changed, encode)
        updated += sum(clean_text(d.id) in known for d in changed)
        added += sum(clean_text(d.id) not in known for d in changed)
        progress(len(seen))
    if not seen:
        raise DataError("there are no documents; an index is not emptied by an update: check the path")
    gone = sorted(known - seen)
    if gone:
        backend.remove(gone)
    return SyncReport(
        added=added,
        updated=updated,
        removed=len(gone),
        unchanged=len(seen) - added - updated,
        encoded=encoded,
    )


def _is_kept(document: Document, old: Document | None, *, with_images: bool) -> bool:
    """Whether the index needs no change for a document; ``with_images``: whether it can hold thumbnails."""
    bare = with_images and old is not None and bool(document.thumbnail) and not old.thumbnail
    return stored_form(document) == old and not bare


def _write(
    backend: Backend,
    documents: Sequence[Document],
    encode: Callable[[Sequence[Document]], Mapping[int, np.ndarray]],
) -> int:
    """Upserts documents, with the vectors of texts that are there already; returns how many were encoded."""
    known = backend.same_texts(documents) if documents[0].image is None else {}
    new = [number for number in range(len(documents)) if number not in known]
    depths = backend.contents.depths
    vectors = {depth: np.empty((len(documents), backend.contents.width), np.float32) for depth in depths}
    for number, by_depth in known.items():
        for depth in depths:
            vectors[depth][number] = by_depth[depth]
    for some in batches(new, 512):
        made = encode([documents[number] for number in some])
        for depth in depths:
            vectors[depth][some] = made[depth]
    backend.upsert(documents, vectors)
    return len(new)
