"""The reading half of the embedded store: a state of a folder, searched and listed."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import ConfigError
from brickwork.data.types import Document
from brickwork.index.hybrid import Ranking, run_hybrid, run_words
from brickwork.index.lexical import WordQuery
from brickwork.index.maintenance import measured
from brickwork.index.manifest import NO_WORDS, Manifest, read_manifest
from brickwork.index.misfits import misfits
from brickwork.index.planning import Frontier
from brickwork.index.scan import run_plan
from brickwork.index.snapshot import Snapshot, newest
from brickwork.index.types import Contents, Found, LexicalState, Plan, Statistics

if TYPE_CHECKING:
    from brickwork.index.filters import Filter
    from brickwork.index.fusion import Fusion


class LocalReader:
    """What is read of an index in a folder; its files are mapped, and stay as they are until :meth:`refresh`."""

    keeps_thumbnails: ClassVar[bool] = True

    def __init__(self, folder: Path, snapshot: Snapshot, *, verify: bool = True):
        self.folder = folder
        self.verify = verify
        self._snapshot = snapshot

    @property
    def manifest(self) -> Manifest:
        """That of the state that is read."""
        return self._snapshot.manifest

    def current_manifest(self) -> Manifest:
        """That of the state that is read."""
        return self.manifest

    @property
    def has_shortlists(self) -> bool:
        """Whether the index was given a first stage other than the scan."""
        return bool(self.manifest.shortlists)

    @property
    def lexical(self) -> LexicalState:
        """``missing`` in a folder that was written before words were, or as another version of Brickwork reads them."""
        if self._snapshot.has_words:
            return "there"
        return "none" if self.manifest.analyzer == NO_WORDS else "missing"

    @property
    def contents(self) -> Contents:
        return self._snapshot.manifest.contents

    def __len__(self) -> int:
        return self._snapshot.live

    def refresh(self) -> bool:
        """Goes on to the newest state; returns whether there was a newer one."""
        if read_manifest(self.folder) == self.manifest:
            return False
        self._snapshot = newest(self.folder, self._snapshot, verify=self.verify)
        return True

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Documents by id, in that order.

        Raises:
            DataError: an id that is not there.
        """
        snapshot = self._snapshot
        return snapshot.documents(snapshot.rows_of(ids))

    def known(self, ids: Sequence[str]) -> dict[str, Document]:
        """The documents by id of those ids that are there."""
        snapshot = self._snapshot
        rows = snapshot.find(list(ids))
        return dict(zip(rows, snapshot.documents(np.array(list(rows.values()), dtype=np.int64))))

    def ids(self) -> Iterator[str]:
        """The ids of all documents, in the order in which they were added."""
        snapshot = self._snapshot
        for start, segment in snapshot.parts():
            row = start
            for chunk in segment.documents.table["id"].chunks:
                for name in chunk.to_pylist():
                    if snapshot.removed is None or not snapshot.removed[row]:
                        yield name
                    row += 1

    def documents(self) -> Iterator[Document]:
        """All documents, in the order in which they were added, read a few at a time."""
        snapshot = self._snapshot
        rows = snapshot.live_rows()
        for start in range(0, len(rows), 1024):
            yield from snapshot.documents(rows[start : start + 1024])

    def vectors(self, layers: int) -> Float[np.ndarray, "documents width"]:
        """The vectors of :meth:`documents` after ``layers`` layers, in that order.

        Raises:
            ConfigError: the index does not hold that depth.
        """
        snapshot = self._snapshot
        self.contents.check_depth(layers)
        if len(snapshot.segments) == 1 and snapshot.removed is None:
            return np.asarray(snapshot.segments[0].flat(layers).vectors)
        return snapshot.vectors(snapshot.live_rows(), layers, self.contents.width)

    def search(
        self,
        queries: Float[np.ndarray, "queries width"],
        plan: Plan,
        *,
        layers: int,
        where: "Filter | None" = None,
    ) -> list[list[Found]]:
        """The best documents of each query, best first; all where fewer match than were asked for.

        Raises:
            ConfigError: a depth that is not stored, queries of another width, or a filter on a field that no
                document has.
        """
        snapshot = self._snapshot
        self.contents.check_search(queries, layers)
        allowed = snapshot.allowed(where)
        scores, rows = run_plan(snapshot, queries, plan, layers, allowed)
        documents = snapshot.documents_by_row(rows[rows >= 0])
        return [
            [Found(documents[row], float(score), dense=float(score)) for score, row in zip(*one) if row >= 0]
            for one in zip(scores, rows.tolist())
        ]

    def search_words(
        self, queries: Sequence[WordQuery], top: int, *, where: "Filter | None" = None
    ) -> list[list[Found]]:
        """The best documents of each query by BM25. Raises as :meth:`Backend.search_words`."""
        snapshot = self._with_words()
        return self._found(snapshot, run_words(snapshot, queries, top, snapshot.allowed(where)))

    def search_both(
        self,
        vectors: Float[np.ndarray, "queries width"],
        queries: Sequence[WordQuery],
        plan: Plan,
        fusion: "Fusion",
        *,
        layers: int,
        where: "Filter | None" = None,
    ) -> list[list[Found]]:
        """The best documents of each query by cosine and BM25. Raises as :meth:`Backend.search_both`."""
        snapshot = self._with_words()
        self.contents.check_search(vectors, layers)
        allowed = snapshot.allowed(where)
        return self._found(snapshot, run_hybrid(snapshot, vectors, queries, plan, fusion, layers, allowed))

    def _with_words(self) -> Snapshot:
        if self.lexical != "there":
            raise ConfigError(no_words(self.folder, self.lexical))
        return self._snapshot

    @staticmethod
    def _found(snapshot: Snapshot, rankings: Sequence[Ranking]) -> list[list[Found]]:
        """The documents of rankings."""
        rows = [ranking.rows for ranking in rankings]
        documents = snapshot.documents_by_row(np.concatenate([np.zeros(0, np.int64), *rows]))
        return [
            [Found(documents[row], score, dense, lexical) for row, score, dense, lexical in ranking.hits()]
            for ranking in rankings
        ]

    def filter_notes(self, where: "Filter", found: bool) -> tuple[str, ...]:
        """What does not fit the documents that are there."""
        return misfits(where, self._snapshot, found=found)

    def frontier(self, layers: int) -> Frontier:
        """What searches at this depth find and cost: as measured when the index was built, else measured now.

        Raises:
            ConfigError: the index does not hold that depth, or nothing at all.
        """
        snapshot = self._snapshot
        self.contents.check_depth(layers)
        if not snapshot.segments:
            raise ConfigError(f"{self.folder} is empty: nothing can be measured; add documents first")
        if layers not in snapshot.frontiers:
            stored = snapshot.frontier(layers)
            largest = max(snapshot.segments, key=len)
            snapshot.frontiers[layers] = stored or measured(largest.flat(layers), self.contents)
        return snapshot.frontiers[layers]

    def same_texts(self, documents: Sequence[Document]) -> dict[int, dict[int, Float[np.ndarray, " width"]]]:
        """For each of the documents whose text is here already, by place: the vectors of that text by depth."""
        return self._snapshot.same_texts(documents)

    def statistics(self) -> Statistics:
        """Counts, kinds and bytes; ``duplicates`` are the documents whose text another one before them has."""
        return self._snapshot.statistics()

    def close(self) -> None:
        """Lets go of the files."""
        manifest = Manifest(generation=0, contents=self.contents)
        self._snapshot = Snapshot(self.folder, manifest, verify=False)


def no_words(folder: Path, state: LexicalState) -> str:
    """Why an index has no lexical search, and what to do."""
    if state == "missing":
        return (
            f"{folder} was written without the words of its documents, as Brickwork did before: search it with "
            "mode='dense', or add them: brickwork index MODEL DATA --out INDEX --update"
        )
    return (
        f"{folder} holds no words, as it is one of images or of a formal language, or was made without (lexical=False); "
        "search it with mode='dense'"
    )
