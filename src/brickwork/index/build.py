"""Builds an index from a stream of documents, in memory that does not grow with them."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brickwork.core.errors import ConfigError, DataError
from brickwork.core.files import atomic_folder
from brickwork.index.index import Index
from brickwork.index.store import (
    DOCUMENTS,
    FORMAT,
    MANIFEST,
    MODEL,
    Manifest,
    hashes,
    write_documents,
    write_manifest,
    write_vectors,
)
from brickwork.representation.export_parquet import document_text
from brickwork.representation.truncate import truncate

if TYPE_CHECKING:
    from brickwork.data.types import Document
    from brickwork.representation.model import Representation

SHARD_ROWS = 16_384


def build_index(
    representation: "Representation",
    documents: Iterable["Document"],
    folder: Path | str,
    *,
    layers: Sequence[int] | None = None,
    progress: bool = False,
    shard_rows: int = SHARD_ROWS,
) -> Index:
    """Encodes documents after each of ``layers`` (default: the full depth) and leaves a searchable folder.

    The folder appears only when it is complete; an index that was there is replaced.

    Raises:
        ConfigError: a depth that the model does not have, or a folder that holds something else.
        DataError: no documents, or one whose vector is not finite.
    """
    folder = Path(folder)
    axes = representation.axes
    stored = sorted(set(layers or (axes.num_layers,)))
    for depth in stored:
        axes.resolve(None, depth)
    if (
        folder.exists()
        and not (folder / MANIFEST).is_file()
        and (not folder.is_dir() or any(folder.iterdir()))
    ):
        raise ConfigError(f"{folder} exists and is not an index; choose another folder")
    with atomic_folder(folder) as temporary, _counter(progress) as show:
        shards = _ShardWriter(temporary, stored, shard_rows)
        for batch in write_documents(temporary / DOCUMENTS, documents):
            vectors = _encode(representation, [document_text(d) for d in batch], stored)
            for found in vectors.values():
                finite = np.isfinite(found).all(axis=1)
                if not finite.all():
                    bad = batch[int(np.argmin(finite))]
                    raise DataError(
                        f"the model gives no finite vector for document '{bad.id}' of {bad.source}"
                    )
            shards.add(vectors)
            show(shards.count)
        if not shards.count:
            raise DataError("there are no documents to index; check the path and the columns")
        shards.flush()
        representation.save(temporary / MODEL)
        manifest = Manifest(
            format=FORMAT,
            model=representation.fingerprint,
            count=shards.count,
            dims=tuple(axes.dims),
            layers=tuple(axes.layers),
            depths=tuple(stored),
            shards=shards.number,
            files=hashes(temporary),
        )
        write_manifest(temporary, manifest)
    return Index(folder, manifest, representation)


@contextlib.contextmanager
def _counter(wanted: bool) -> Iterator[Callable[[int], None]]:
    """What to call with the number of documents done; shown on the error stream where wanted."""
    if not wanted:
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.completed:,.0f} documents"),
        TaskProgressColumn(show_speed=True),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda count: bar.update(task, completed=count)


def _encode(
    representation: "Representation", texts: list[str], depths: Sequence[int]
) -> dict[int, np.ndarray]:
    """Unit vectors of full width by depth; several depths come out of one pass."""
    if len(depths) == 1:
        return {depths[0]: np.asarray(representation.encode(texts, layers=depths[0]), dtype=np.float32)}
    from brickwork.representation.encode import encode_exits

    exits = encode_exits(representation.encoder, texts, layers=depths)
    return {depth: truncate(exits[depth], representation.axes.full_dim) for depth in depths}


class _ShardWriter:
    """Collects vectors and writes them, ``shard_rows`` or a batch more at a time, as one file a depth."""

    def __init__(self, folder: Path, depths: Sequence[int], shard_rows: int):
        self.folder = folder
        self.shard_rows = shard_rows
        self.count = 0
        self.number = 0
        self._waiting: dict[int, list[np.ndarray]] = {depth: [] for depth in depths}
        self._rows = 0

    def add(self, vectors: dict[int, np.ndarray]) -> None:
        rows = {len(found) for found in vectors.values()}
        for depth, found in vectors.items():
            self._waiting[depth].append(found)
        self._rows += max(rows)
        self.count += max(rows)
        if self._rows >= self.shard_rows:
            self.flush()

    def flush(self) -> None:
        """Writes what is waiting."""
        if not self._rows:
            return
        for depth, parts in self._waiting.items():
            write_vectors(self.folder, depth, self.number, np.concatenate(parts))
            parts.clear()
        self.number += 1
        self._rows = 0
