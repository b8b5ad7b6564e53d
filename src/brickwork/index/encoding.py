"""Documents and queries to the vectors that an index stores and compares."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from brickwork.core.console import progress_bar
from brickwork.core.errors import ConfigError, DataError
from brickwork.core.framing import Framing
from brickwork.encoders.prompts import Role
from brickwork.index.store import batches
from brickwork.representation.cuts import counting_cuts
from brickwork.representation.export_parquet import document_text
from brickwork.representation.inputs import items_of
from brickwork.representation.truncate import truncate

if TYPE_CHECKING:
    from brickwork.core.types import HasParts
    from brickwork.data.types import Document
    from brickwork.representation.model import Representation

ROWS_PER_BATCH = 512


@dataclass(frozen=True)
class Query:
    """What to look for: a text, an image (uint8, H × W × C, of the model's shape; pretrained models take any), or both.

    Both are added as unit vectors, the text ``text_weight`` times (negative: away from it), as ALIGN does (Jia et al.
    2021, section 4.3): an image and "at night" find the same thing at night.

    Of a model whose vectors have parts (:class:`brickwork.core.types.HasParts`): ``part`` compares one of them alone,
    ``change`` asks for what the query would be after it (``"angle=30"``, or a mapping).
    """

    text: str = ""
    image: np.ndarray | None = None
    text_weight: float = 1.0
    part: str | None = None
    change: str | Mapping[str, float | int] | None = None


def encoded_batches(
    representation: "Representation",
    documents: Iterable["Document"],
    depths: Sequence[int],
    width: int | None = None,
    *,
    progress: bool = False,
) -> Iterator[tuple[list["Document"], dict[int, np.ndarray]]]:
    """Documents as they come, with their unit vectors by depth, of full width or cut to ``width``.

    Raises:
        DataError: a vector that is not finite (names the document).
    """
    done = 0
    with document_counter(progress) as show, counting_cuts(representation) as count:
        for batch in batches(documents, ROWS_PER_BATCH):
            vectors = encode_documents(representation, batch, depths, width)
            count(len(batch))
            done += len(batch)
            show(done)
            yield batch, vectors


def encode_documents(
    representation: "Representation",
    documents: Sequence["Document"],
    depths: Sequence[int],
    width: int | None = None,
) -> dict[int, np.ndarray]:
    """Unit vectors by depth, of full width or cut to ``width``; several depths come out of one pass. Raises as above.

    Documents that have an image are encoded by it, all the others by title and text.
    """
    vectors = _vectors(representation, documents, depths)
    if width is not None and width < representation.axes.full_dim:
        vectors = {depth: truncate(matrix, width) for depth, matrix in vectors.items()}
    for matrix in vectors.values():
        finite = np.isfinite(matrix).all(axis=1)
        if not finite.all():
            bad = documents[int(np.argmin(finite))]
            raise DataError(f"the model gives no finite vector for document '{bad.id}' of {bad.source}")
    return vectors


def _vectors(
    representation: "Representation", documents: Sequence["Document"], depths: Sequence[int]
) -> dict[int, np.ndarray]:
    from brickwork.representation.encode import encode_exits  # which brings torch

    if documents and documents[0].image is not None:
        images = np.stack([np.asarray(document.image) for document in documents])
        if len(depths) > 1 and representation.encoder.kind == "image":
            exits = encode_exits(representation.encoder, images, layers=depths)
            return {depth: truncate(exits[depth], representation.axes.full_dim) for depth in depths}
        return dict.fromkeys(depths, np.asarray(representation.encode(images), dtype=np.float32))
    texts = [document_text(document) for document in documents]
    if len(depths) == 1:
        made = _encoded(representation, texts, depths[0], "document")
        return {depths[0]: np.asarray(made, dtype=np.float32)}
    if getattr(representation, "prompts", None):
        texts = representation.prompted(texts, "document")
    exits = encode_exits(representation.encoder, texts, layers=depths)
    return {depth: truncate(exits[depth], representation.axes.full_dim) for depth in depths}


def _encoded(
    representation: "Representation", texts: list[str], layers: int, role: Role
) -> Float[np.ndarray, "texts width"]:
    """Vectors of texts; a model that puts prompts before them is told which."""
    if getattr(representation, "prompts", None):
        return representation.encode(texts, layers=layers, role=role)
    return representation.encode(texts, layers=layers)


def checked_queries(queries: str | Query | Sequence[str | Query]) -> list[str | Query]:
    """The queries as a list.

    Raises:
        DataError: something else than texts and :class:`Query`. ConfigError: an empty query.
    """
    wanted = [queries] if isinstance(queries, str | Query) else list(items_of(queries, "queries"))
    for number, query in enumerate(wanted, 1):
        if not isinstance(query, str | Query):
            raise DataError(
                f"query {number} is {query!r:.60} ({type(query).__name__}); give a text or a Query"
            )
        text = query if isinstance(query, str) else query.text
        if not text.strip() and (isinstance(query, str) or query.image is None):
            raise ConfigError(f"query {number} of {len(wanted)} is empty; type what to look for")
    return wanted


def encode_queries(
    representation: "Representation", queries: Sequence[str | Query], layers: int
) -> tuple[Float[np.ndarray, "queries width"], tuple[str, ...]]:
    """Unit vectors of full width, and a note where a query was longer than the model reads.

    Raises:
        ConfigError: an image for a model that encodes none, or a text for one of images only; a weight that is no
            number; a part or a change that the model does not have.
        DataError: an image of another shape than the model's.
    """
    before = getattr(representation.encoder, "truncated", 0)
    texts = [query if isinstance(query, str) else query.text for query in queries]
    images = {row: q.image for row, q in enumerate(queries) if isinstance(q, Query) and q.image is not None}
    vectors = np.zeros((len(queries), representation.axes.full_dim), dtype=np.float32)
    with_text = [row for row, text in enumerate(texts) if text.strip()]
    if with_text:
        if getattr(representation.encoder, "kind", "text") == "image":
            raise ConfigError("this model encodes images only: search with an image (--image FILE)")
        wanted = [texts[row] for row in with_text]
        vectors[with_text] = _encoded(representation, wanted, layers, "query")
    if images:
        form, shape = image_form(representation), image_shape(representation)
        if form is None:
            raise ConfigError("this model encodes texts only: search with a text")
        for image in images.values():
            if image.shape != shape and not isinstance(form, Framing):
                raise DataError(f"the image of a query has the shape {image.shape}; the model takes {shape}")
        weights = {row: query.text_weight for row, query in enumerate(queries) if isinstance(query, Query)}
        if not all(map(math.isfinite, weights.values())):
            raise ConfigError(
                "text_weight must be a finite number; 1 adds the text as it is, −1 takes it away"
            )
        given = list(images.values())
        pixels = form.of_arrays(given) if isinstance(form, Framing) else np.stack(given)
        # Of a model of both, the depth is that of the texts.
        depth = layers if representation.encoder.kind == "image" else None
        image_vectors = representation.encode(pixels, layers=depth)
        for row, vector in zip(images, image_vectors):
            vectors[row] = weights[row] * vectors[row] + vector
        vectors = truncate(vectors, vectors.shape[1])
    for row, query in enumerate(queries):
        if isinstance(query, Query) and (query.part, query.change) != (None, None):
            vectors[row] = _with_parts(representation).asked(vectors[row], query.part, query.change)
    cut = getattr(representation.encoder, "truncated", 0) - before
    if not cut:
        return vectors, ()
    longest = getattr(representation.encoder, "max_tokens", None)
    return vectors, (f"{cut} of {len(texts)} queries had more than {longest} tokens and were cut there",)


def score_scales(representation: "Representation", queries: Sequence[str | Query]) -> list[float]:
    """What the score of each query is multiplied by to be a cosine of what it compares: a part is shorter than the whole."""
    return [
        1 / _with_parts(representation).share(query.part) if isinstance(query, Query) and query.part else 1.0
        for query in queries
    ]


def _with_parts(representation: "Representation") -> "HasParts":
    from brickwork.core.types import HasParts

    if not isinstance(representation, HasParts):
        raise ConfigError(
            "the vectors of this model have no parts, and follow no change: leave part and change out"
        )
    return representation


def image_form(representation: "Representation") -> tuple[int, int, int] | Framing | None:
    """What readers are to make of images for a model: the shape that it takes, or how its own preprocessing scales and
    cuts them; ``None`` for one of texts only."""
    encoder = getattr(representation.encoder, "image", representation.encoder)
    return getattr(encoder, "framing", None) or image_shape(representation)


def image_shape(representation: "Representation") -> tuple[int, int, int] | None:
    """Height, width and channels of the images that a model encodes; ``None`` for one of texts only."""
    encoder = representation.encoder
    return getattr(getattr(encoder, "image", encoder), "image_shape", None)


@contextlib.contextmanager
def document_counter(wanted: bool) -> Iterator[Callable[[int], None]]:
    """What to call with the number of documents done; shown on the error stream where wanted."""
    if not wanted:
        yield lambda count: None
        return
    from rich.progress import TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.completed:,.0f} documents"),
        TaskProgressColumn(show_speed=True),
        TimeElapsedColumn(),
    )
    with progress_bar(*columns, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda count: bar.update(task, completed=count)
