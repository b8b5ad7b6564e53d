"""What every index is made of, wherever its documents and vectors live.

An index is a representation, which turns texts into unit vectors, and a :class:`Backend`, which holds documents
beside such vectors and compares. A comparison follows a :class:`Plan`.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from brickwork.data.types import Document
    from brickwork.index.filters import Filter

Stage = tuple[int, int]
"""(dim, keep): compare on a prefix of ``dim`` numbers and keep the best ``keep``."""

Kind = Literal["flat", "int8", "binary", "hnsw", "ivf"]
"""How the first stage finds its candidates; every kind is followed by exact stages where more than one is asked for."""

KINDS: tuple[Kind, ...] = get_args(Kind)

Mode = Literal["add", "update", "upsert"]
"""Which ids a change may write: new ones, ones that are there, or both."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One way to search: the first stage by ``kind``, each further one reorders the survivors exactly.

    ``effort`` is what the first stage spends on a query: neighbours kept while walking the graph (``hnsw``,
    efSearch) or lists read (``ivf``, nprobe); ``None`` where a kind has no such choice, or for its default.
    A backend that does not have ``kind`` searches exactly and says so in its statistics.
    """

    stages: tuple[Stage, ...]
    kind: Kind = "flat"
    effort: int | None = None


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What the vectors of an index are: fixed when it is made.

    ``model`` is the representation's fingerprint, ``dims`` and ``layers`` its trained sizes, ``depths`` the
    layers after which vectors are stored.
    """

    model: str
    dims: tuple[int, ...]
    layers: tuple[int, ...]
    depths: tuple[int, ...]

    @property
    def width(self) -> int:
        """Numbers in a full vector."""
        return self.dims[-1]


@dataclass(frozen=True)
class Found:
    """A document and its cosine on the prefix of the plan's last stage."""

    document: "Document"
    score: float


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What an index holds: ``bytes`` by part (documents, vectors, kinds), ``fields`` that filters can name.

    ``duplicates``: documents whose title and text an earlier one has too, where the backend counts them.
    ``versions``: documents by the fingerprint of the model that made their vectors, where several did and the backend
    keeps that.
    """

    documents: int
    removed: int = 0
    duplicates: int = 0
    kinds: tuple[Kind, ...] = ("flat",)
    bytes: dict[str, int] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    versions: dict[str, int] = field(default_factory=dict)


@runtime_checkable
class Backend(Protocol):
    """Holds documents with their vectors, and compares.

    Vectors are unit vectors of full width, one matrix for each stored depth, rows as the documents. Every method
    that changes something is atomic: afterwards all of it is there, or, if it raised, nothing of it is. Readers
    see the state before or after a change, never one in between.
    """

    @property
    def contents(self) -> Contents: ...

    def __len__(self) -> int: ...

    def add(
        self, documents: Sequence["Document"], vectors: Mapping[int, Float[np.ndarray, "documents width"]]
    ) -> None:
        """Adds new documents.

        Raises:
            DataError: an id that is there already or comes twice, or a vector that is not finite (names the id).
            ConfigError: another width or other depths than ``contents``.
        """
        ...

    def update(
        self, documents: Sequence["Document"], vectors: Mapping[int, Float[np.ndarray, "documents width"]]
    ) -> None:
        """Replaces documents by id. Raises as :meth:`add`, but for an id that is not there (names it)."""
        ...

    def upsert(
        self, documents: Sequence["Document"], vectors: Mapping[int, Float[np.ndarray, "documents width"]]
    ) -> None:
        """Adds documents, replacing those that have the same id. Raises as :meth:`add`, known ids excepted."""
        ...

    def remove(self, ids: Sequence[str]) -> None:
        """Removes documents.

        Raises:
            DataError: an id that is not there (names it); then none is removed.
        """
        ...

    def get(self, ids: Sequence[str]) -> list["Document"]:
        """Documents by id, in that order. Raises DataError as :meth:`remove`."""
        ...

    def ids(self) -> Iterator[str]:
        """The ids of all documents, in no promised order."""
        ...

    def search(
        self,
        queries: Float[np.ndarray, "queries width"],
        plan: Plan,
        *,
        layers: int,
        where: "Filter | None" = None,
    ) -> list[list[Found]]:
        """The best documents of each query, best first, equal scores in any order; fewer where fewer match.

        ``queries`` are not cut. ``where`` is applied before anything is left out: each query gets its full number of
        results if that many documents match.

        Raises:
            ConfigError: a depth that is not stored, or a filter on a field that no document has (lists the fields).
        """
        ...

    def statistics(self) -> Statistics: ...

    def close(self) -> None: ...


def check_batch(
    contents: Contents,
    documents: Sequence["Document"],
    vectors: Mapping[int, Float[np.ndarray, "documents width"]],
    mode: Mode,
    known: Container[str] = (),
) -> None:
    """Refuses what no backend may store; ``known`` tells which ids are there already.

    Raises:
        ConfigError: depths or width that differ from ``contents``.
        DataError: another number of rows, an id that ``mode`` does not allow or that comes twice, or a vector that
            is not finite.
    """
    from brickwork.core.errors import ConfigError, DataError

    if set(vectors) != set(contents.depths):
        raise ConfigError(
            f"vectors came for the depths {sorted(vectors)}; this index stores {list(contents.depths)}"
        )
    for depth, matrix in vectors.items():
        if matrix.ndim != 2 or matrix.shape[1] != contents.width:
            raise ConfigError(
                f"vectors of shape {list(matrix.shape)} do not fit this index, whose vectors have {contents.width} "
                "numbers: encode with the model of the index, at full size"
            )
        if len(matrix) != len(documents):
            raise DataError(f"{len(matrix)} vectors at depth {depth} for {len(documents)} documents")
        finite = np.isfinite(matrix).all(axis=1)
        if not finite.all():
            bad = documents[int(np.argmin(finite))]
            raise DataError(f"the vector of document '{bad.id}' of {bad.source} is not finite")
    seen: set[str] = set()
    for name in (document.id for document in documents):
        if name in seen:
            raise DataError(
                f"the id '{name}' comes twice; give each document an id of its own, or leave the column of the ids out"
            )
        if mode == "add" and name in known:
            raise DataError(f"the id '{name}' is there already; upsert replaces documents, add does not")
        if mode == "update" and name not in known:
            raise DataError(f"the id '{name}' is not in the index; upsert adds documents, update does not")
        seen.add(name)
