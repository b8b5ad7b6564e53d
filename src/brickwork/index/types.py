"""What every index is made of, wherever its documents and vectors live.

An index is a representation, which turns texts into unit vectors, and a backend (:mod:`brickwork.index.contract`), which
holds documents beside such vectors and compares. A comparison follows a :class:`Plan`.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from brickwork.data.types import Document

Stage = tuple[int, int]
"""(dim, keep): compare on a prefix of ``dim`` dimensions and keep the best ``keep``."""

Kind = Literal["flat", "int8", "binary", "hnsw", "ivf", "rabitq"]
"""How the first stage finds its candidates; every kind is followed by exact stages where more than one is asked for."""

KINDS: tuple[Kind, ...] = get_args(Kind)

Codec = Literal["float32", "bits"]
"""How vectors are kept: as they are, or of each number only on which side of 0 it lies."""

Mode = Literal["add", "update", "upsert"]
"""Which ids a change may write: new ones, ones that are there, or both."""

SearchMode = Literal["hybrid", "dense", "lexical"]
"""What is compared: vectors and words, vectors, or words."""

SEARCH_MODES: tuple[SearchMode, ...] = get_args(SearchMode)

LexicalState = Literal["there", "missing", "none"]
"""Whether words can be compared: they can; not yet, as the index was written before there was such a thing; never."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One way to search: the first stage by ``kind``, each further one reorders the survivors exactly.

    ``effort`` is what the first stage spends on a query: neighbours kept while walking the graph (``hnsw``,
    efSearch) or lists read (``ivf``, ``rabitq``, nprobe); ``None`` where a kind has no such choice, or for its default.
    A backend that does not have ``kind`` searches exactly and says so in its statistics.
    """

    stages: tuple[Stage, ...]
    kind: Kind = "flat"
    effort: int | None = None


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What the vectors of an index are: fixed when it is made.

    ``model`` is the representation's fingerprint, ``dims`` and ``layers`` its trained sizes, of ``dims`` those that are
    kept, ``depths`` the layers after which vectors are stored.
    """

    model: str
    dims: tuple[int, ...]
    layers: tuple[int, ...]
    depths: tuple[int, ...]
    codec: Codec = "float32"

    @property
    def width(self) -> int:
        """Dimensions of a full vector."""
        return self.dims[-1]

    def check_depth(self, layers: int) -> None:
        """Raises ConfigError where no vectors after ``layers`` layers are stored."""
        if layers not in self.depths:
            raise ConfigError(
                f"layers={layers} is not in this index, which holds {list(self.depths)}; search at one of these, or build "
                "the index with that depth too (--layers, layers=[…])"
            )

    def check_search(self, queries: Float[np.ndarray, "queries width"], layers: int) -> None:
        """Raises ConfigError for a depth that is not stored, or queries of another width than the vectors."""
        self.check_depth(layers)
        if queries.shape[1] != self.width:
            raise ConfigError(
                f"queries of {queries.shape[1]} dimensions cannot be compared with vectors of {self.width}: encode them "
                "with the model of the index, at full size"
            )


@dataclass(frozen=True)
class Found:
    """A document and its score: of a search by vectors the cosine on the prefix of the plan's last stage, by words BM25, by
    both the two as one. ``dense`` and ``lexical`` are those that were compared, ``None`` for what was not."""

    document: "Document"
    score: float
    dense: float | None = None
    lexical: float | None = None


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What an index holds: ``bytes`` by part (documents, vectors, kinds), ``fields`` that filters can name.

    ``duplicates``: documents whose title and text an earlier one has too, where the backend counts them.
    ``versions``: documents by the fingerprint of the model that made their vectors, where several did and the backend
    keeps that. ``modes``: what searches can compare.
    """

    documents: int
    removed: int = 0
    duplicates: int = 0
    kinds: tuple[Kind, ...] = ("flat",)
    bytes: dict[str, int] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    versions: dict[str, int] = field(default_factory=dict)
    modes: tuple[SearchMode, ...] = ("dense",)


def check_batch(
    contents: Contents,
    documents: Sequence["Document"],
    vectors: Mapping[int, Float[np.ndarray, "documents width"]],
    mode: Mode,
    known: Container[str] = (),
    earlier: Container[str] = (),
) -> None:
    """Refuses what no backend may store; ``known`` are ids that are there already, ``earlier`` those of the batches before
    this one in the same change.

    Raises:
        ConfigError: depths or width that differ from ``contents``.
        DataError: another number of rows, an id that ``mode`` does not allow or that comes twice, or a vector that
            is not finite.
    """
    if set(vectors) != set(contents.depths):
        raise ConfigError(
            f"vectors came for the depths {sorted(vectors)}; this index stores {list(contents.depths)}"
        )
    for depth, matrix in vectors.items():
        if matrix.ndim != 2 or matrix.shape[1] != contents.width:
            raise ConfigError(
                f"vectors of shape {list(matrix.shape)} do not fit this index, whose vectors have {contents.width} "
                "dimensions: encode with the model of the index, at full size"
            )
        if len(matrix) != len(documents):
            raise DataError(f"{len(matrix)} vectors at depth {depth} for {len(documents)} documents")
        finite = np.isfinite(matrix).all(axis=1)
        if not finite.all():
            bad = documents[int(np.argmin(finite))]
            raise DataError(f"the vector of document '{bad.id}' of {bad.source} is not finite")
    seen: set[str] = set()
    for document in documents:
        if document.id in seen or document.id in earlier:
            raise DataError(
                f"the id '{document.id}' comes twice; give each document an id of its own, or leave the column of "
                "the ids out"
            )
        seen.add(document.id)
    for document in documents:
        if mode == "add" and document.id in known:
            raise DataError(
                f"the id '{document.id}' is there already; upsert replaces documents, add does not"
            )
        if mode == "update" and document.id not in known:
            raise DataError(
                f"the id '{document.id}' is not in the index; upsert adds documents, update does not"
            )
