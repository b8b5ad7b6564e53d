"""Builds an index from a stream of documents, in memory that does not grow with them."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.core.files import atomic_folder, os_errors
from brickwork.index.contract import Batch
from brickwork.index.encoding import encoded_batches, image_shape
from brickwork.index.index import Index, open_index
from brickwork.index.local import LocalBackend
from brickwork.index.maintenance import check_free, check_kind
from brickwork.index.manifest import (
    MANIFEST,
    MODEL,
    NO_WORDS,
    Manifest,
    file_entries,
    files_below,
    write_manifest,
)
from brickwork.index.planning import stage_dim
from brickwork.index.postings import ANALYZER, MODEL_WORDS
from brickwork.index.reasons import check_word_index, counted_words
from brickwork.index.types import Codec, Contents

if TYPE_CHECKING:
    from brickwork.data.types import Document
    from brickwork.representation.model import Representation


def build_index(
    representation: "Representation",
    documents: Iterable["Document"],
    location: Path | str,
    *,
    layers: Sequence[int] | None = None,
    dim: int | None = None,
    codec: Codec = "float32",
    kind: str = "auto",
    store: str | None = None,
    lexical: bool = True,
    model_words: bool = False,
    progress: bool = False,
) -> Index:
    """Encodes documents after each of ``layers`` (default: the full depth) and leaves a searchable folder.

    ``dim``: the dimensions that are kept of each vector (default: all). ``codec`` ``bits`` keeps of each of them only on
    which side of 0 it lies: ``dim`` / 8 bytes a document.

    The folder appears only when it is complete. An index that is there is replaced in one step: its readers
    see the old one or the new one. ``kind`` is the first stage of searches, ``auto`` chooses by measuring;
    ``store`` is where documents and vectors are kept instead of the folder. ``lexical``: whether words can be compared as
    well; those of images never are. ``model_words``: they are those that the model reads off its vectors, with its weights,
    in place of the documents' own.

    Raises:
        ConfigError: a depth or kind that does not exist, or a folder that holds something else.
        DataError: no documents, an id that comes twice, or a vector that is not finite.
        ResourceError: disk full, no permission, or another process writes there.
    """
    folder = Path(location)
    check_kind(kind)
    if codec == "bits" and kind not in ("auto", "flat"):
        raise ConfigError(
            f"kind={kind!r} is for vectors of numbers: bits are compared as they are, so leave it out"
        )
    if codec == "bits" and store is not None:
        raise ConfigError(
            f"bits are kept in the folder of an index, not in {store}: leave out the one or the other"
        )
    from brickwork.core.types import HasParts  # which brings torch

    if isinstance(representation, HasParts) and (dim is not None or codec == "bits"):
        raise ConfigError(
            f"the vectors of this model have parts ({', '.join(representation.parts)}), which are compared by all of their "
            "numbers: keep them whole (no --dim, no --bits)"
        )
    axes = representation.axes
    axes.resolve(dim, None)
    depths = tuple(sorted(set(layers or (axes.num_layers,))))
    for depth in depths:
        axes.resolve(None, depth)
    contents = Contents(
        model=representation.fingerprint,
        dims=tuple(axes.dims) if dim is None else (*(size for size in axes.dims if size < dim), dim),
        layers=tuple(axes.layers),
        depths=depths,
        codec=codec,
    )
    batches = encoded_batches(representation, documents, depths, contents.width, progress=progress)
    with os_errors(folder):
        if not (folder / MANIFEST).is_file():
            check_free(folder)
    words = lexical and image_shape(representation) is None
    if model_words:
        check_word_index(representation, contents, store, lexical=lexical)
    if store is not None:
        return _in_store(representation, batches, folder, contents, kind, store, words)
    analyzer = MODEL_WORDS if model_words else ANALYZER if words else NO_WORDS
    with _place(folder, contents) as backend:
        if model_words:
            backend.read_words = lambda vectors: counted_words(representation, vectors[depths[-1]])
        backend.rewrite(batches, contents, kind=kind, save_model=representation.save, analyzer=analyzer)
    return open_index(folder, representation, verify=False)


@contextlib.contextmanager
def _place(folder: Path, contents: Contents) -> Iterator[LocalBackend]:
    """The index that is in the folder, to be rewritten; or a new one that becomes the folder when it is done."""
    current = None
    if (folder / MANIFEST).is_file():
        with contextlib.suppress(ArtifactError):
            current = LocalBackend.open(folder, verify=False)
    if current is not None and not current.manifest.store:
        yield current
        return
    # No index, or one that cannot be read.
    with atomic_folder(folder) as temporary:
        yield LocalBackend.create(temporary, contents)


def _in_store(
    representation: "Representation",
    batches: Iterator[Batch],
    folder: Path,
    contents: Contents,
    kind: str,
    store: str,
    words: bool,
) -> Index:
    """An index whose documents and vectors are elsewhere; the folder has the model and where they are.

    The folder is there before the documents: what was broken off goes on with an update.
    """
    from brickwork.index.backends import create_backend

    first = next(batches, None)
    if first is None:
        raise DataError("there are no documents to index; check the path and the columns")
    with atomic_folder(folder) as temporary:
        representation.save(temporary / MODEL)
        files = file_entries(temporary, files_below(temporary, MODEL))
        write_manifest(
            temporary, Manifest(generation=1, contents=contents, kind=kind, store=store, files=files)
        )
        backend = create_backend(
            store, contents, lexical=words
        )  # the model is large: whatever comes after has a folder
    backend.folder = folder
    for documents, vectors in chain([first], batches):
        backend.add(documents, vectors)
    if kind not in ("auto", "flat"):
        chosen: Any = kind  # checked on the way in
        backend.build(chosen, stage_dim(chosen, contents.dims))
    return Index(folder, backend, representation)
