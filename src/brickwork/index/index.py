"""The index: documents and their vectors in one folder, searched at the size that the question asks for."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.index.search import FlatVectors, Stage, default_funnel, scan_cost, shortlist_dim
from brickwork.index.store import DOCUMENTS, MODEL, DocumentStore, Manifest, read_manifest, read_vectors

if TYPE_CHECKING:
    from brickwork.representation.model import Representation


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A document found: ``score`` is the cosine at the size of the search."""

    id: str
    score: float
    title: str
    text: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The hits of each query, what they cost, and what the user should know.

    ``flops`` and ``bytes_scanned`` are for the comparisons of one query, reranking included; the milliseconds
    are for the whole call.
    """

    hits: list[list[Hit]]
    dim: int
    layers: int
    stages: tuple[Stage, ...]
    flops: int
    bytes_scanned: int
    encode_milliseconds: float
    scan_milliseconds: float
    notes: tuple[str, ...] = ()


class Index:
    """An opened index. Vectors are read when their depth is first searched, the model at the first query."""

    def __init__(self, folder: Path, manifest: Manifest, representation: "Representation | None" = None):
        self.folder = folder
        self.manifest = manifest
        self.axes = ElasticAxes(dims=manifest.dims, layers=manifest.layers)
        self.documents = DocumentStore(folder / DOCUMENTS)
        if len(self.documents) != manifest.count:
            raise ArtifactError(
                f"{folder} has {len(self.documents)} documents, its manifest {manifest.count}; build it anew"
            )
        self._given = representation
        self._vectors: dict[int, FlatVectors] = {}

    def __len__(self) -> int:
        return self.manifest.count

    @cached_property
    def representation(self) -> "Representation":
        """The model that encodes queries: the one given on opening, else the copy in the index."""
        if self._given is not None:
            return self._given
        from brickwork.representation.model import load

        return load(self.folder / MODEL)

    def vectors(self, layers: int) -> FlatVectors:
        """The documents' vectors after ``layers`` layers.

        Raises:
            ConfigError: the index does not hold that depth.
        """
        if layers not in self.manifest.depths:
            raise ConfigError(
                f"layers={layers} is not in this index, which holds {list(self.manifest.depths)}; "
                f"search at one of these, or build the index with --layers {layers}"
            )
        if layers not in self._vectors:
            self._vectors[layers] = FlatVectors(read_vectors(self.folder, self.manifest, layers))
        return self._vectors[layers]

    def search(
        self,
        queries: str | Sequence[str],
        top: int = 10,
        *,
        dim: int | None = None,
        layers: int | None = None,
        shortlist: int | None = None,
        funnel: bool | Sequence[Stage] = False,
    ) -> list[list[Hit]]:
        """The hits of :meth:`answer`."""
        return self.answer(queries, top, dim=dim, layers=layers, shortlist=shortlist, funnel=funnel).hits

    def answer(
        self,
        queries: str | Sequence[str],
        top: int = 10,
        *,
        dim: int | None = None,
        layers: int | None = None,
        shortlist: int | None = None,
        funnel: bool | Sequence[Stage] = False,
    ) -> Answer:
        """The best ``top`` documents of each query (all where there are fewer), with cost and notes.

        ``dim`` and ``layers`` choose the size (default: full). ``shortlist=K`` finds K candidates on a short
        prefix and orders them at ``dim``. ``funnel`` does so in several stages: ``True`` for the trained
        prefixes, or a list of (dim, keep).

        Raises:
            ConfigError: an empty query, or a size, depth or stage that the index does not have.
        """
        texts = [queries] if isinstance(queries, str) else list(queries)
        for number, text in enumerate(texts, 1):
            if not text.strip():
                raise ConfigError(f"query {number} of {len(texts)} is empty; type what to look for")
        dim, layers, notes = self.axes.resolve(dim, layers)
        vectors = self.vectors(layers)
        stages = self._stages(top, dim, shortlist, funnel)
        started = time.perf_counter()
        asked = np.asarray(self.representation.encode(texts, layers=layers), dtype=np.float32)
        encoded = time.perf_counter()
        scores, rows = vectors.search(asked, stages)
        scanned = time.perf_counter()
        cost = scan_cost(len(self), stages)
        return Answer(
            hits=[self._hits(s, r) for s, r in zip(scores, rows)],
            dim=dim,
            layers=layers,
            stages=tuple(stages),
            flops=cost.flops,
            bytes_scanned=cost.bytes_scanned,
            encode_milliseconds=1000 * (encoded - started),
            scan_milliseconds=1000 * (scanned - encoded),
            notes=tuple(notes),
        )

    def _stages(
        self, top: int, dim: int, shortlist: int | None, funnel: bool | Sequence[Stage]
    ) -> list[Stage]:
        if top < 1:
            raise ConfigError(f"top={top}: ask for at least 1 result")
        if shortlist is not None and funnel:
            raise ConfigError(
                "shortlist and funnel exclude each other: a shortlist is a funnel of two stages"
            )
        if shortlist is not None:
            if shortlist < top:
                raise ConfigError(f"shortlist={shortlist} is less than top={top}: keep at least that many")
            short = shortlist_dim(self.axes)
            return [(short, shortlist), (dim, top)] if short < dim else [(dim, top)]
        if funnel is True:
            return default_funnel(self.axes, dim, top)
        if not funnel:
            return [(dim, top)]
        stages = [(int(size), int(keep)) for size, keep in funnel]
        for size, keep in stages:
            self.axes.resolve(size, None)
            if keep < top:
                raise ConfigError(
                    f"funnel stage ({size}, {keep}) keeps less than top={top}: keep at least that many"
                )
        return [*stages, (dim, top)]

    def _hits(self, scores: Float[np.ndarray, " keep"], rows: np.ndarray) -> list[Hit]:
        found = self.documents.rows([int(row) for row in rows])
        return [
            Hit(id=d["id"], score=float(s), title=d["title"], text=d["text"], source=d["source"])
            for s, d in zip(scores, found)
        ]


def open_index(folder: Path | str, representation: "Representation | None" = None) -> Index:
    """Opens an index after checking the hash of every file in it.

    ``representation`` saves loading the copy of the model in the folder; it must be the same model.

    Raises:
        ArtifactError: not an index, a damaged or missing file, or another model than the one that built it.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if representation is not None and representation.fingerprint != manifest.model:
        raise ArtifactError(
            f"{folder} was built with model {manifest.model}, not {representation.fingerprint}: "
            "vectors of two models cannot be compared; build an index with this model"
        )
    return Index(folder, manifest, representation)
