"""Documents and queries to the vectors that an index stores and compares."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import DataError
from brickwork.index.store import batches
from brickwork.representation.cuts import counting_cuts
from brickwork.representation.export_parquet import document_text
from brickwork.representation.truncate import truncate

if TYPE_CHECKING:
    from brickwork.data.types import Document
    from brickwork.representation.model import Representation

ROWS_PER_BATCH = 512


def encoded_batches(
    representation: "Representation",
    documents: Iterable["Document"],
    depths: Sequence[int],
    *,
    progress: bool = False,
) -> Iterator[tuple[list["Document"], dict[int, np.ndarray]]]:
    """Documents as they come, with their unit vectors of full width by depth.

    Raises:
        DataError: a vector that is not finite (names the document).
    """
    done = 0
    with _counter(progress) as show, counting_cuts(representation) as count:
        for batch in batches(documents, ROWS_PER_BATCH):
            vectors = encode_documents(representation, batch, depths)
            count(len(batch))
            done += len(batch)
            show(done)
            yield batch, vectors


def encode_documents(
    representation: "Representation", documents: Sequence["Document"], depths: Sequence[int]
) -> dict[int, np.ndarray]:
    """Unit vectors of full width by depth; several depths come out of one pass. Raises as above."""
    texts = [document_text(document) for document in documents]
    if len(depths) == 1:
        vectors = {depths[0]: np.asarray(representation.encode(texts, layers=depths[0]), dtype=np.float32)}
    else:
        from brickwork.representation.encode import encode_exits

        exits = encode_exits(representation.encoder, texts, layers=depths)
        vectors = {depth: truncate(exits[depth], representation.axes.full_dim) for depth in depths}
    for found in vectors.values():
        finite = np.isfinite(found).all(axis=1)
        if not finite.all():
            bad = documents[int(np.argmin(finite))]
            raise DataError(f"the model gives no finite vector for document '{bad.id}' of {bad.source}")
    return vectors


def encode_queries(
    representation: "Representation", texts: Sequence[str], layers: int
) -> tuple[Float[np.ndarray, "queries width"], tuple[str, ...]]:
    """Unit vectors of full width, and a note where a query was longer than the model reads."""
    before = getattr(representation.encoder, "truncated", 0)
    vectors = np.asarray(representation.encode(list(texts), layers=layers), dtype=np.float32)
    cut = getattr(representation.encoder, "truncated", 0) - before
    if not cut:
        return vectors, ()
    longest = getattr(representation.encoder, "max_tokens", None)
    return vectors, (f"{cut} of {len(texts)} queries had more than {longest} tokens and were cut there",)


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
