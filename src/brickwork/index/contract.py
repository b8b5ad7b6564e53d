"""What an index needs of the place where its documents live, and what all servers do alike."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import ConfigError
from brickwork.data.types import Document
from brickwork.index.filters import Filter
from brickwork.index.fusion import Fusion, candidate_plan, fuse
from brickwork.index.manifest import Manifest, read_manifest
from brickwork.index.planning import Frontier
from brickwork.index.replacement import keep_weight_beside_store, replace_beside_store
from brickwork.index.types import Contents, Found, Kind, LexicalState, Mode, Plan, Statistics

if TYPE_CHECKING:
    from brickwork.representation.model import Representation

Batch = tuple[Sequence[Document], Mapping[int, np.ndarray]]
"""Documents, and their vectors by depth."""


@runtime_checkable
class Backend(Protocol):
    """Holds documents with their vectors, and compares.

    Vectors are unit vectors of full width, one matrix for each stored depth, rows as the documents. Every method
    that changes something is atomic: afterwards all of it is there, or, if it raised, nothing of it is. Readers
    see the state before or after a change, never one in between. What a backend cannot do it refuses by name, with a
    :class:`ConfigError` that says what to do instead: nobody asks which kind of backend it is.

    ``folder`` is the folder of the index, which holds the manifest and the model wherever the documents are;
    ``keeps_thumbnails``: whether the small images of documents are stored; ``has_shortlists``: whether searches have a
    faster first stage, whose plans were measured.
    """

    folder: Path
    keeps_thumbnails: ClassVar[bool]

    @property
    def has_shortlists(self) -> bool: ...

    @property
    def lexical(self) -> LexicalState:
        """Whether words can be compared."""
        ...

    @property
    def contents(self) -> Contents: ...

    def __len__(self) -> int: ...

    def add(
        self, documents: Sequence[Document], vectors: Mapping[int, Float[np.ndarray, "documents width"]]
    ) -> None:
        """Adds new documents.

        Raises:
            DataError: an id that is there already or comes twice, or a vector that is not finite (names the id).
            ConfigError: another width or other depths than ``contents``.
        """
        ...

    def update(
        self, documents: Sequence[Document], vectors: Mapping[int, Float[np.ndarray, "documents width"]]
    ) -> None:
        """Replaces documents by id. Raises as :meth:`add`, but for an id that is not there (names it)."""
        ...

    def upsert(
        self, documents: Sequence[Document], vectors: Mapping[int, Float[np.ndarray, "documents width"]]
    ) -> None:
        """Adds documents, replacing those that have the same id. Raises as :meth:`add`, known ids excepted."""
        ...

    def remove(self, ids: Sequence[str]) -> None:
        """Removes documents.

        Raises:
            DataError: an id that is not there (names it); then none is removed.
        """
        ...

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Documents by id, in that order. Raises DataError as :meth:`remove`."""
        ...

    def known(self, ids: Sequence[str]) -> dict[str, Document]:
        """The documents by id of those ids that are there."""
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
        where: Filter | None = None,
    ) -> list[list[Found]]:
        """The best documents of each query, best first, equal scores in any order; fewer where fewer match.

        ``queries`` are not cut. ``where`` is applied before anything is left out: each query gets its full number of
        results if that many documents match.

        Raises:
            ConfigError: a depth that is not stored, or a filter on a field that no document has (lists the fields).
        """
        ...

    def search_words(
        self, queries: Sequence[str], top: int, *, where: Filter | None = None
    ) -> list[list[Found]]:
        """The best documents of each query by the words that they share, best first; fewer where fewer share any.

        Raises:
            ConfigError: a backend or an index that does not compare words (says why), or a filter on a field that no
                document has.
        """
        ...

    def search_both(
        self,
        vectors: Float[np.ndarray, "queries width"],
        queries: Sequence[str],
        plan: Plan,
        fusion: Fusion,
        *,
        layers: int,
        where: Filter | None = None,
    ) -> list[list[Found]]:
        """The best documents of each query by vectors and words together. Raises as :meth:`search` and
        :meth:`search_words`."""
        ...

    def add_lexical(self) -> None:
        """Has the words of the documents that are there compared as well, where that is ``missing``.

        Raises:
            ConfigError: a backend that cannot. ResourceError: another process writes there; the disk is full.
        """
        ...

    def filter_notes(self, where: Filter, found: bool) -> tuple[str, ...]:
        """What :func:`~brickwork.index.misfits.misfits` says of a filter that a search was asked with."""
        ...

    def write(self, batches: Iterable[Batch], *, mode: Mode = "add") -> int:
        """Writes batches of documents with their vectors as they come; returns how many documents. A folder takes all of
        them in one step, a server each batch. Raises as :meth:`add`, :meth:`update` or :meth:`upsert`."""
        ...

    def same_texts(self, documents: Sequence[Document]) -> dict[int, dict[int, Float[np.ndarray, " width"]]]:
        """Vectors by depth of those of ``documents``, by their place, whose title and text the index has already; none
        where the backend does not give vectors back."""
        ...

    def vectors(self, layers: int) -> Float[np.ndarray, "documents width"]:
        """The vectors of all documents after ``layers`` layers, in the order in which they were added.

        Raises:
            ConfigError: a depth that is not stored, or a backend that does not give vectors back.
        """
        ...

    def frontier(self, layers: int) -> Frontier:
        """The plans that were measured for this index. Raises ConfigError where a backend measures none."""
        ...

    def build(self, kind: Kind, dim: int, depth: int | None = None) -> None:
        """Makes what searches of a kind need on prefixes of ``dim``, at one depth or all.

        Raises:
            ConfigError: a kind that this backend does not have, or makes by itself.
        """
        ...

    def current_manifest(self) -> Manifest:
        """The manifest of the state that is read."""
        ...

    def replace_model(self, representation: "Representation") -> None:
        """Puts a successor in the place of the model in the folder; the vectors stay.

        Raises:
            ArtifactError: the model was not trained to replace the one that is there.
            ResourceError: another process writes there; no permission; the disk is full.
        """
        ...

    def keep_dense_weight(self, weight: float | None) -> None:
        """Has hybrid searches that do not say a weight take this one; ``None``: vectors and words count alike again.

        Raises:
            ResourceError: another process writes there; no permission; the disk is full.
        """
        ...

    def refresh(self) -> bool:
        """Goes on to the newest state; returns whether there was a newer one. A server always reads its newest."""
        ...

    def statistics(self) -> Statistics: ...

    def close(self) -> None: ...


class ServerBackend:
    """What documents on a server leave to the folder of the index, and what no server of ours can do."""

    folder: Path = Path()
    keeps_thumbnails: ClassVar[bool] = False
    has_shortlists: ClassVar[bool] = False

    @property
    def lexical(self) -> LexicalState:
        """Words are compared nowhere, unless a store says otherwise."""
        return "none"

    def search_words(
        self, queries: Sequence[str], top: int, *, where: Filter | None = None
    ) -> list[list[Found]]:
        """Refused, where a store compares no words."""
        raise ConfigError(f"the store of {self.folder} compares vectors only; search with mode='dense'")

    def search_both(
        self: Backend,
        vectors: Float[np.ndarray, "queries width"],
        queries: Sequence[str],
        plan: Plan,
        fusion: Fusion,
        *,
        layers: int,
        where: Filter | None = None,
    ) -> list[list[Found]]:
        """The candidates of a search by vectors and of one by words, put together here by the scores that each of them has
        from its own side."""
        wide = candidate_plan(plan)
        by_words = self.search_words(queries, wide.stages[-1][1], where=where)
        by_vectors = self.search(vectors, wide, layers=layers, where=where)
        top = plan.stages[-1][1]
        return [fuse(dense, lexical, fusion)[:top] for dense, lexical in zip(by_vectors, by_words)]

    def add_lexical(self) -> None:
        """Refused, where a store compares no words."""
        raise ConfigError(f"the store of {self.folder} compares vectors only; words cannot be added")

    def write(self: Backend, batches: Iterable[Batch], *, mode: Mode = "add") -> int:
        """Each batch in a change of its own."""
        change = {"add": self.add, "update": self.update, "upsert": self.upsert}[mode]
        count = 0
        for documents, vectors in batches:
            change(documents, vectors)
            count += len(documents)
        return count

    def filter_notes(self, where: Filter, found: bool) -> tuple[str, ...]:
        """Nothing, where a store is not asked what its fields hold."""
        return ()

    def same_texts(self, documents: Sequence[Document]) -> dict[int, dict[int, Float[np.ndarray, " width"]]]:
        """None: vectors are not read back from a server."""
        return {}

    def vectors(self, layers: int) -> Float[np.ndarray, "documents width"]:
        """Refused: the vectors stay on the server."""
        raise ConfigError(f"the vectors of {self.folder} are in its store; search there")

    def frontier(self, layers: int) -> Frontier:
        """Refused: no plans are measured on a server."""
        raise ConfigError(
            "recall and budget_ms need documents that are in the folder of the index; here say shortlist, funnel "
            "or plan"
        )

    def build(self, kind: Kind, dim: int, depth: int | None = None) -> None:
        """Refused, where a server does not have kinds to choose from."""
        raise ConfigError(f"this store searches in its own way and has no kind '{kind}'; leave --kind out")

    def current_manifest(self) -> Manifest:
        """As it is in the folder now."""
        return read_manifest(self.folder)

    def replace_model(self, representation: "Representation") -> None:
        """Only the folder changes."""
        replace_beside_store(self.folder, representation)

    def keep_dense_weight(self, weight: float | None) -> None:
        """Only the folder changes."""
        keep_weight_beside_store(self.folder, weight)

    def refresh(self) -> bool:
        """Nothing to do: each search reads what is there."""
        return False
