"""The index: documents and their vectors, searched at the size that the question asks for.

    index = brickwork.open_index("runs/docs-index")
    index.search("how do I resume a run?", top=5, dim=96, where={"source": "guide.md"})

The documents live in the folder of the index, or in a store that its manifest names.
"""

import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.values import whole_number
from brickwork.index.contract import Backend
from brickwork.index.encoding import (
    Query,
    checked_queries,
    document_counter,
    encode_documents,
    encode_queries,
    encoded_batches,
    score_scales,
)
from brickwork.index.filters import Filter, parse_filter
from brickwork.index.fusion import Fusion, candidate_plan
from brickwork.index.local import LocalBackend
from brickwork.index.manifest import Manifest, check_file, read_manifest
from brickwork.index.neighbours import neighbours as neighbours_of
from brickwork.index.plans import choose_mode, choose_plan
from brickwork.index.postings import MODEL_WORDS
from brickwork.index.reasons import counted_words, reader_of, with_reasons, word_reader
from brickwork.index.refinement import Refinement, room_of
from brickwork.index.replacement import check_successor
from brickwork.index.results import Answer, Hit, hit_of
from brickwork.index.search import scan_cost
from brickwork.index.segments import WordReader
from brickwork.index.sync import SyncReport, sync
from brickwork.index.types import Contents, Found, Mode, Plan, Stage, Statistics
from brickwork.representation.measured import kept_share
from brickwork.representation.truncate import truncate

if TYPE_CHECKING:
    from brickwork.data.types import Document
    from brickwork.index.reranking import Reranker
    from brickwork.representation.model import Representation


class Index:
    """An opened index. Vectors are read when their depth is first searched, the model at the first query."""

    def __init__(
        self,
        folder: Path,
        backend: Backend,
        representation: "Representation | None" = None,
        *,
        successor: bool = False,
    ):
        self.folder = folder
        self.backend = backend
        self._representation = representation
        self._rerankers: dict[str, Reranker] = {}  # those that were named by a folder or hub id
        self._successor = successor  # whether the model in use is a later one than that of the contents

    def __len__(self) -> int:
        return len(self.backend)

    @property
    def contents(self) -> Contents:
        """What the vectors are: the model that the index was made with, sizes, depths."""
        return self.backend.contents

    @property
    def model(self) -> str:
        """The fingerprint of the model in the folder: that of the contents, or the last that took over from it."""
        return self._manifest().model_now

    @property
    def engine(self) -> str:
        """What computed the vectors: ``torch``, or ``int8`` and which network, of which the folder has a copy."""
        from brickwork.representation.engines import engine_saved  # which brings torch

        return engine_saved(self.folder / self._manifest().model)

    @property
    def axes(self) -> ElasticAxes:
        """The sizes that the model was trained for."""
        return ElasticAxes(dims=self.contents.dims, layers=self.contents.layers)

    @property
    def representation(self) -> "Representation":
        """The model that encodes queries: the one given on opening, else the copy in the index."""
        if self._representation is None:
            from brickwork.representation.load import load_representation

            self._representation = load_representation(self.folder / self._manifest().model)
        return self._representation

    @property
    def reason(self) -> str:
        """How searches begin, and why: what ``kind="auto"`` chose."""
        return self._manifest().reason

    def _manifest(self) -> Manifest:
        return self.backend.current_manifest()

    # --- searching -----------------------------------------------------------------------------------------

    def search(
        self, queries: str | Query | Sequence[str | Query], top: int = 10, **options: Any
    ) -> list[list[Hit]]:
        """The hits of :meth:`answer`, with the same options."""
        return self.answer(queries, top, **options).hits

    def answer(
        self,
        queries: str | Query | Sequence[str | Query],
        top: int = 10,
        *,
        dim: int | None = None,
        layers: int | None = None,
        shortlist: int | None = None,
        funnel: bool | Sequence[Stage] = False,
        where: str | Mapping[str, Any] | Filter | None = None,
        plan: Plan | None = None,
        recall: float | None = None,
        budget_ms: float | None = None,
        mode: str | None = None,
        dense_weight: float | None = None,
        fusion: str | None = None,
        rerank: "Reranker | Path | str | None" = None,
        rerank_top: int | None = None,
        group_by: str | None = None,
        neighbours: int = 0,
        explain: int = 0,
    ) -> Answer:
        """The best ``top`` documents of each query (all where there are fewer), with cost and notes. A query is a
        text, or a :class:`Query` of an image, or of both, where the model encodes images.

        ``mode`` is what is compared: vectors (``dense``), words by BM25 (``lexical``), or both (``hybrid``, the default
        where the index has words). A hybrid search adds the standardised scores of both sides, the vectors'
        ``dense_weight`` times (default: what the index keeps, else 0.5, both alike; at a smaller size as much less as it
        keeps of full size's quality, where the model's training measured that); ``fusion="ranks"`` adds reciprocal ranks
        instead.

        For the vectors, ``dim`` and ``layers`` choose the size (default: full). ``shortlist=K`` finds K candidates on a
        short prefix and orders them at ``dim``. ``funnel`` does so in several stages: ``True`` for the trained prefixes, or
        a list of (dim, keep). ``plan`` says all of it. ``recall`` or ``budget_ms`` take the cheapest, or the best, plan
        that was measured to reach or to keep it. ``where`` leaves only documents that it matches: ``"source=guide.md,
        year>=2020"`` or a mapping.

        ``rerank`` has the best ``rerank_top`` hits (default: 50) read again, together with the query, by a cross-encoder: a
        :class:`~brickwork.index.reranking.Reranker`, a folder or a hub id, which is loaded once. ``group_by``
        (``"source"``, ``"title"`` or a field of the metadata) keeps the best hit of each file, with the others in it.
        ``neighbours`` gives each hit so many passages before and after it. ``explain`` gives each hit so many ``words`` that
        connect the query with it, of a model whose vectors can be read as words, whatever the size of the search.

        Raises:
            ConfigError: an empty query; a size, depth or stage that the index does not have; a filter on a field
                that no document has; a mode that it does not have, or an option that has no effect in the mode.
            ArtifactError: a reranker that cannot be loaded.
        """
        wanted = checked_queries(queries)
        whole_number("top", top, least=1)
        whole_number("explain", explain, least=0)
        reader = word_reader(self.representation, wanted) if explain else None
        refinement = Refinement(
            reranker=None if rerank is None else self._reranker(rerank),
            rerank_top=rerank_top,
            group_by=group_by,
            neighbours=neighbours,
        )
        of_vectors: dict[str, Any] = {
            "dim": dim, "layers": layers, "shortlist": shortlist, "funnel": funnel, "plan": plan, "recall": recall,
            "budget_ms": budget_ms,
        }  # fmt: skip
        condition = parse_filter(where)
        answer = refinement.answer(
            lambda count: self._first(wanted, count, condition, of_vectors, mode, dense_weight, fusion),
            wanted,
            top,
            room_of(shortlist, funnel, plan),
            self.backend,
        )
        return answer if reader is None else with_reasons(answer, wanted, reader, explain)

    @property
    def of_model_words(self) -> bool:
        """Whether the words that are compared are read off vectors by the model."""
        return isinstance(self.backend, LocalBackend) and self.backend.manifest.analyzer == MODEL_WORDS

    def read_words(self, vectors: Mapping[int, np.ndarray]) -> list[dict[str, int]]:
        """What an index of the model's words keeps of documents, from their vectors by depth."""
        return counted_words(self.representation, vectors[self.contents.depths[-1]])

    def _words_asked(self, texts: Sequence[str]) -> Any:
        """What the words of documents are compared with: texts, or weights where only a folder can have such words."""
        if not self.of_model_words:
            return texts
        return reader_of(self.representation).words_asked(texts)

    def _reranker(self, wanted: "Reranker | Path | str") -> "Reranker":
        """The reranker itself; one that is named by its folder or hub id is loaded once."""
        from brickwork.index.reranking import as_reranker  # which brings torch

        if not isinstance(wanted, str | Path):
            return as_reranker(wanted)
        name = str(wanted)
        if name not in self._rerankers:
            self._rerankers[name] = as_reranker(wanted)
        return self._rerankers[name]

    def _first(
        self,
        wanted: list[str | Query],
        top: int,
        condition: Filter | None,
        of_vectors: dict[str, Any],
        mode: str | None,
        dense_weight: float | None,
        fusion: str | None,
    ) -> Answer:
        """The answer by vectors, words or both, before anything is done with the hits."""
        chosen_mode, combine, notes = choose_mode(self.backend, mode, dense_weight, fusion, of_vectors)
        if chosen_mode == "lexical":
            return self._by_words(wanted, top, condition)
        chosen, layers, more = choose_plan(self.backend, self.axes, top, **of_vectors)
        model = self.representation  # the first call loads it, which is no part of encoding
        if combine is not None and dense_weight is None:
            combine = combine.at(kept_share(model.card, chosen.stages[-1][0], layers))
        started = time.perf_counter()
        query_vectors, cut = encode_queries(
            model, wanted, model.axes.num_layers if self._successor else layers
        )
        if (
            query_vectors.shape[1] > self.contents.width
        ):  # until it takes over, a model that grew asks as it was before
            query_vectors = truncate(query_vectors, self.contents.width)
        encoded = time.perf_counter()
        if combine is None:
            results = self.backend.search(query_vectors, chosen, layers=layers, where=condition)
        else:
            texts = [query if isinstance(query, str) else query.text for query in wanted]
            results = self.backend.search_both(
                query_vectors, self._words_asked(texts), chosen, combine, layers=layers, where=condition
            )
            chosen = candidate_plan(chosen)
        scanned = time.perf_counter()
        cost, scales = scan_cost(len(self), chosen.stages, self.contents.codec), score_scales(model, wanted)
        return Answer(
            hits=[[hit_of(one, scale) for one in hits] for scale, hits in zip(scales, results)],
            dim=chosen.stages[-1][0],
            layers=layers,
            stages=chosen.stages,
            flops=cost.flops,
            bytes_scanned=cost.bytes_scanned,
            encode_milliseconds=1000 * (encoded - started),
            scan_milliseconds=1000 * (scanned - encoded),
            notes=(*notes, *more, *self._filter_notes(condition, results), *cut, *_unknown(query_vectors)),
            plan=chosen,
            mode=chosen_mode,
            fusion=combine,
            words_by=self._words_by,
        )

    def _by_words(self, queries: Sequence[str | Query], top: int, condition: Filter | None) -> Answer:
        """The answer of a search that encodes nothing."""
        whole_number("top", top, least=1)
        if any(isinstance(query, Query) and query.image is not None for query in queries):
            raise ConfigError("mode='lexical' compares words, and a query has an image; use mode='dense'")
        started = time.perf_counter()
        texts = [query if isinstance(query, str) else query.text for query in queries]
        results = self.backend.search_words(self._words_asked(texts), top, where=condition)
        return Answer(
            hits=[[hit_of(one) for one in hits] for hits in results],
            dim=0,
            layers=0,
            stages=(),
            flops=0,
            bytes_scanned=0,
            encode_milliseconds=0.0,
            scan_milliseconds=1000 * (time.perf_counter() - started),
            notes=self._filter_notes(condition, results),
            mode="lexical",
            words_by=self._words_by,
        )

    @property
    def _words_by(self) -> str:
        return "model" if self.of_model_words else "BM25"

    def _filter_notes(self, condition: Filter | None, results: Sequence[Sequence[Found]]) -> tuple[str, ...]:
        return () if condition is None else self.backend.filter_notes(condition, any(results))

    # --- changing ------------------------------------------------------------------------------------------

    def add(self, documents: Iterable["Document"], *, progress: bool = False) -> int:
        """Encodes and adds new documents; returns how many.

        In a folder this is one step: all are there afterwards, or none. Elsewhere each batch is.

        Raises:
            DataError: an id that is there already or comes twice, or a vector that is not finite.
            ResourceError: another process writes there; no permission; the disk is full.
        """
        return self._write(documents, "add", progress)

    def update(self, documents: Iterable["Document"], *, progress: bool = False) -> int:
        """As :meth:`add`; the documents take the place of those with their ids, all of which must be there.

        Raises:
            DataError: an id that is not there. Otherwise as :meth:`add`.
        """
        return self._write(documents, "update", progress)

    def upsert(self, documents: Iterable["Document"], *, progress: bool = False) -> int:
        """As :meth:`add`; documents whose id is there take the place of the old ones."""
        return self._write(documents, "upsert", progress)

    def replace_model(self) -> bool:
        """Puts the model that the index was opened with in the place of the one that is in its folder.

        The vectors that are there stay; queries, also those of other processes, and new documents are encoded by it.
        Returns whether there was anything to do. Changes of the documents do this first.

        Raises:
            ArtifactError: the model was not trained to replace the one that is there.
            ResourceError: another process writes there; no permission; the disk is full.
        """
        given = self._representation
        if given is None or not self._successor or given.fingerprint == self.model:
            self.refresh()  # another process may have put a model in its place
            return False
        self.backend.replace_model(given)
        return True

    def encode(self, documents: Sequence["Document"]) -> dict[int, np.ndarray]:
        """Unit vectors of documents by stored depth, as :meth:`add` would store them."""
        return self._stored(
            encode_documents(self.representation, documents, self._layers, self.contents.width)
        )

    @property
    def _layers(self) -> Sequence[int]:
        """The layers of the model in use whose vectors are stored, in the order of the depths that they are stored as."""
        return (self.representation.axes.num_layers,) if self._successor else self.contents.depths

    def _stored(self, vectors: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        return {depth: vectors[layer] for depth, layer in zip(self.contents.depths, self._layers)}

    def _write(self, documents: Iterable["Document"], mode: Mode, progress: bool) -> int:
        self.replace_model()
        width = self.contents.width
        encoded = encoded_batches(self.representation, documents, self._layers, width, progress=progress)
        batches = ((batch, self._stored(vectors)) for batch, vectors in encoded)
        return self.backend.write(batches, mode=mode)

    @property
    def dense_weight(self) -> float | None:
        """How much the vectors count in hybrid searches that do not say it; ``None``: as much as the words, 0.5."""
        return self._manifest().dense_weight

    def keep_dense_weight(self, weight: float | None) -> None:
        """Keeps such a weight in the index, in one step; ``None`` removes it. A build of the index forgets it.

        Raises:
            ConfigError: a weight outside of 0 … 1, or an index that compares no words.
            ResourceError: another process writes there; no permission; the disk is full.
        """
        if weight is not None:
            Fusion(dense_weight=weight)
            if self.backend.lexical == "none":
                raise ConfigError(f"{self.folder} compares vectors only: a weight would have no effect")
        self.backend.keep_dense_weight(weight)

    def remove(self, ids: str | Sequence[str]) -> None:
        """Removes documents by id. Raises DataError for an id that is not there; then none is removed."""
        self.backend.remove([ids] if isinstance(ids, str) else list(ids))

    def neighbours(self, name: str, count: int = 1) -> tuple[tuple["Document", ...], tuple["Document", ...]]:
        """Up to ``count`` passages before and after the one with the id ``name``, each in reading order.

        Raises DataError for an id that is not there, ConfigError for a count below 1.
        """
        (document,) = self.get(name)
        return neighbours_of(self.backend, [(document.id, document.source)], count)[0]

    def get(self, ids: str | Sequence[str]) -> list["Document"]:
        """Documents by id, in that order. Raises DataError for an id that is not there."""
        return self.backend.get([ids] if isinstance(ids, str) else list(ids))

    def sync(self, documents: Iterable["Document"], *, progress: bool = False) -> SyncReport:
        """Makes the index hold exactly these documents; only texts that are new to it are encoded.

        One that was written before words were compared has them afterwards.
        """
        self.replace_model()
        if self.backend.lexical == "missing":
            self.backend.add_lexical()
        with document_counter(progress) as show:
            return sync(self.backend, documents, self.encode, show)

    # --- the rest ------------------------------------------------------------------------------------------

    def vectors(self, layers: int) -> Float[np.ndarray, "documents width"]:
        """The vectors of all documents after ``layers`` layers, in the order in which they were added.

        Raises:
            ConfigError: a depth that is not stored, or documents that are not in the folder.
        """
        return self.backend.vectors(layers)

    def refresh(self) -> bool:
        """Sees what other processes changed since; returns whether there was anything."""
        before = self._manifest()
        changed = self.backend.refresh()
        now = self._manifest()
        if (now.model, now.model_now) != (before.model, before.model_now):
            self._representation = None
            self._successor = bool(now.versions)
        return changed

    def statistics(self) -> Statistics:
        """Documents, bytes, kinds, and the fields that filters can name."""
        return self.backend.statistics()

    def close(self) -> None:
        """Lets go of files and connections."""
        self.backend.close()

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _unknown(vectors: Float[np.ndarray, "queries width"]) -> tuple[str, ...]:
    """A note where queries say nothing to the model: every document is as far from them."""
    count = int((~vectors.any(1)).sum())
    which = "the query" if len(vectors) == 1 else f"{count} of {len(vectors)} queries"
    return (f"the model knows no word of {which}: by vectors no hit is better than another",) if count else ()


def _reader(index: Index) -> WordReader:
    """What reads the words of an index of its model's. It does not hold the index, whose files would stay open with it."""
    held = weakref.ref(index)

    def read(vectors: Mapping[int, np.ndarray]) -> list[dict[str, int]]:
        owner = held()
        assert owner is not None, "documents are added through their index"
        return owner.read_words(vectors)

    return read


def open_index(
    folder: Path | str, representation: "Representation | None" = None, *, verify: bool = True
) -> Index:
    """Opens an index; ``verify`` compares the hash of every file in it with the recorded one.

    ``representation`` saves loading the copy of the model in the folder; it must be the same model, or one that was
    trained to replace it: then it encodes the queries, and with :meth:`Index.replace_model` takes over.

    Raises:
        ArtifactError: not an index, a newer format, a damaged or missing file, or another model than the one
            that built it that cannot replace it (also: vectors of another length).
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    successor = bool(manifest.versions)
    if representation is not None and representation.fingerprint != manifest.model_now:
        check_successor(folder, manifest, representation)
        successor = True
    if not manifest.store:
        local = LocalBackend.open(folder, verify=verify)
        index = Index(folder, local, representation, successor=successor)
        local.read_words = _reader(index)
        return index
    from brickwork.index.backends import open_backend

    for name, entry in manifest.files.items():
        check_file(folder, name, entry)
    backend = open_backend(manifest.store)
    backend.folder = folder
    if backend.contents != manifest.contents:
        raise ArtifactError(
            f"{manifest.store} holds vectors of model {backend.contents.model}, {folder} is of "
            f"{manifest.contents.model}: they do not belong together; build the index again"
        )
    return Index(folder, backend, representation, successor=successor)
