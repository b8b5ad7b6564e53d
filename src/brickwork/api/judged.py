"""A search measured by the user's own judgement: an index as it stands, or a model on documents, beside what the user has
without it (BM25, and the pretrained model as it was published).
"""

import contextlib
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brickwork.api.untouched import untouched, untouched_by_card
from brickwork.core.elastic import bytes_per_vector
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.folders import known_folder
from brickwork.evaluation.against import METRIC, UNTOUCHED, Against, compared
from brickwork.evaluation.retrieval import parse_metric, score
from brickwork.evaluation.significance import paired_bootstrap_columns
from brickwork.index.fusion import Fusion
from brickwork.representation.measured import measured_tasks

if TYPE_CHECKING:
    from brickwork.core.elastic import ElasticAxes
    from brickwork.data.config import ColumnNames
    from brickwork.data.readers.judgements import Judged
    from brickwork.index.index import Index
    from brickwork.representation.model import Representation

METRICS = (METRIC, "recall@100", "mrr@10")
DEPTH = max(parse_metric(metric)[1] for metric in METRICS)
OURS, THEIRS, WORDS = "this model", "untouched", "BM25"


@dataclass(frozen=True, kw_only=True)
class Searched:
    """One way to search, and how good it was: metric → score of every query.

    ``who`` is this model, the untouched one, or BM25; ``dim`` and ``layers`` are 0 where no vectors were compared.
    """

    who: str
    mode: str
    dim: int
    layers: int
    scores: dict[str, tuple[float, ...]]

    @property
    def label(self) -> str:
        """``BM25``, or ``untouched at 384 dims, 6 layers``."""
        return f"{self.who} at {self.dim} dims, {self.layers} layers" if self.dim else self.who

    def mean(self, metric: str = METRIC) -> float:
        """The mean of a metric over the queries."""
        return statistics.fmean(self.scores[metric])


@dataclass(frozen=True, kw_only=True)
class JudgedSearches:
    """All ways to search, measured on the same queries. ``name`` says what was searched."""

    name: str
    judged: "Judged"
    documents: int
    searches: tuple[Searched, ...]
    notes: tuple[str, ...] = ()

    def find(self, who: str, mode: str) -> Searched | None:
        """A way to search at full size."""
        fitting = [one for one in self.searches if (one.who, one.mode) == (who, mode)]
        return max(fitting, key=lambda one: (one.layers, one.dim), default=None)

    @property
    def reference(self) -> Searched | None:
        """What the intervals compare with: the untouched model by vectors at full size, else BM25."""
        return self.find(THEIRS, "dense") or self.find(WORDS, "lexical")

    def against(self) -> tuple[Against, ...]:
        """This model at full size against what there is without it: by vectors alone, and with words beside them."""
        pairs = [
            (mode, ours, other, theirs)
            for mode in ("dense", "hybrid")
            if (ours := self.find(OURS, mode))
            for other, theirs in ((UNTOUCHED, self.find(THEIRS, mode)), (WORDS, self.find(WORDS, "lexical")))
            if theirs
        ]
        return tuple(
            compared(mode, other, np.array(ours.scores[METRIC]), np.array(theirs.scores[METRIC]))
            for mode, ours, other, theirs in pairs
        )

    def verdict(self) -> str:
        """Whether the training helped, in one sentence; empty where nothing untouched was measured."""
        rows = [one for one in self.against() if one.other == UNTOUCHED]
        worse = [one for one in rows if one.outcome == "worse"]
        if worse:
            return f"this training made your search worse: {'; '.join(one.sentence for one in worse)}"
        return "; ".join(one.sentence for one in rows)

    def summary(self) -> dict[str, Any]:
        """Means and intervals as plain JSON values."""
        reference = self.reference
        rows = [
            {
                "search": one.who,
                "mode": one.mode,
                "dim": one.dim,
                "layers": one.layers,
                "vector_bytes": bytes_per_vector(one.dim) if one.dim else 0,
                **{metric: one.mean(metric) for metric in METRICS},
                **beside,
            }
            for one, beside in zip(self.searches, self._beside())
        ]
        return {
            "name": self.name,
            "queries": len(self.judged.queries),
            "queries_left_out": self.judged.unjudged,
            "documents": self.documents,
            "judged_on": "files" if self.judged.on_files else "documents",
            "compared_with": None if reference is None else reference.label,
            "rows": rows,
            "against": [asdict(one) | {"outcome": one.outcome} for one in self.against()],
            "verdict": self.verdict(),
            "notes": list(self.notes),
        }

    def _beside(self) -> list[dict[str, float]]:
        """For each way the difference of its nDCG@10 from the reference, with its 95 % interval; none of the reference."""
        reference = self.reference
        if reference is None:
            return [{} for _ in self.searches]
        scores = np.array([one.scores[METRIC] for one in self.searches]).T
        base = np.array(reference.scores[METRIC])[:, None]
        differences = paired_bootstrap_columns(scores - base)
        return [
            {} if one is reference else {"difference": d.mean, "low": d.low, "high": d.high}
            for one, d in zip(self.searches, differences)
        ]


def measure_searches(
    index: "Index",
    judged: "Judged",
    *,
    who: str = OURS,
    dims: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
) -> list[Searched]:
    """An index searched as it stands, by vectors at every size that it holds, by words, and by both.

    Raises:
        ConfigError: a size that the index does not have.
    """
    axes = index.axes
    hybrid = index.backend.lexical == "there"
    found = []
    for depth in sorted(set(layers or index.contents.depths), reverse=True):
        for mode in ("hybrid", "dense") if hybrid else ("dense",):
            for dim in sorted(set(dims or axes.dims), reverse=True):
                # At full size a search takes the plan that it takes without a wish, the first stage of the index with it.
                size = {} if dim == axes.full_dim else {"dim": dim}
                scores = search_scores(index, judged, mode=mode, layers=depth, **size)
                found.append(Searched(who=who, mode=mode, dim=dim, layers=depth, scores=scores))
    found.sort(key=lambda one: (one.mode != "hybrid", -one.layers, -one.dim))
    if hybrid and who == OURS:
        scores = search_scores(index, judged, mode="lexical")
        found.append(Searched(who=WORDS, mode="lexical", dim=0, layers=0, scores=scores))
    return found


def search_scores(index: "Index", judged: "Judged", **options: Any) -> dict[str, tuple[float, ...]]:
    """Metric → score of each judged query, of one way to search. Only the first hit of a file counts, where files are
    judged."""
    place: dict[str, int] = {}
    relevant = [
        {place.setdefault(unit, len(place)): grade for unit, grade in grades.items()}
        for grades in judged.grades.values()
    ]
    ranked = np.full((len(relevant), DEPTH), -1, dtype=np.int64)
    for row, hits in enumerate(index.search(list(judged.queries.values()), DEPTH, **options)):
        units = dict.fromkeys(judged.unit(hit.id) for hit in hits)
        # Documents that nobody has judged get one place, which is relevant to no query.
        ranked[row, : len(units)] = [place.get(unit, len(place)) for unit in units]
    return {metric: tuple(values.tolist()) for metric, values in score(ranked, relevant, METRICS).items()}


def measure_judged(
    opened: "Opened",
    judged: "Judged",
    dims: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
) -> JudgedSearches:
    """Everything that is measured: this model at every size, the untouched one, BM25, and both with words."""
    index = opened.index
    searches = measure_searches(index, judged, dims=dims, layers=layers)
    if opened.untouched is not None:
        full = opened.untouched.axes.full_dim
        fewer = None if dims is None else [*{full, *(dim for dim in dims if dim < full)}]
        searches += measure_searches(opened.untouched, judged, who=THEIRS, dims=fewer)
    notes = list(opened.notes)
    kept = index.dense_weight
    if kept is not None:
        beside = (
            "" if opened.untouched is None else f"; those of the untouched model {Fusion().dense_weight:g}"
        )
        notes.append(f"hybrid searches of this index count vectors {kept:g}, as it keeps{beside}")
    if opened.untouched is not None and measured_tasks(index.representation.card):
        notes.append(
            "in hybrid searches vectors of a smaller size count as much less as the training measured that they keep; of "
            "the untouched model nothing was measured, so they count alike at every size"
        )
    if judged.unjudged:
        left = "query has no relevant document and is" if judged.unjudged == 1 else None
        notes.append(f"{judged.unjudged:,} {left or 'queries have no relevant document and are'} left out")
    if judged.on_files:
        notes.append("judgements name files: each file stands at the place of its best passage")
    return JudgedSearches(
        name=opened.name,
        judged=judged,
        documents=len(index),
        searches=tuple(searches),
        notes=tuple(notes),
    )


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What is searched: the index, and the one that the untouched model makes of the same documents, where there is one."""

    name: str
    index: "Index"
    untouched: "Index | None"
    notes: tuple[str, ...] = ()


def is_index(model: Any) -> bool:
    """Whether it is an index, or the folder of one."""
    if isinstance(model, str | Path):
        return known_folder(model).kind == "index"
    return hasattr(model, "backend")


@contextlib.contextmanager
def opened(
    model: "Path | str | Representation | Index",
    data: Path | str | None,
    *,
    dims: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
    columns: "ColumnNames | None" = None,
    limit: int | None = None,
    allow_outside: bool = False,
    baselines: bool = True,
    progress: bool = False,
) -> Iterator[Opened]:
    """The index that ``model`` is, or one that it makes of ``data`` in a folder that is removed afterwards; beside it that
    of the untouched model, with ``baselines``.

    Raises:
        ConfigError: an index and documents, a model without documents, or a size that is not there.
    """
    from brickwork.api.index import build_index
    from brickwork.index.index import open_index
    from brickwork.representation.load import as_representation

    if is_index(model) and any(option is not None for option in (data, columns, limit)):
        raise ConfigError(
            f"{model} is an index and is searched as it stands; leave DATA, columns and limit out"
        )
    if not is_index(model) and data is None:
        raise ConfigError(
            f"{model} is no index, and DATA is missing: give the documents that are to be searched by it"
        )
    with tempfile.TemporaryDirectory(prefix="brickwork-judged-") as place, contextlib.ExitStack() as stack:
        index: Index
        if is_index(model):
            given: Any = model
            index = stack.enter_context(open_index(given)) if isinstance(given, str | Path) else given
            name = str(index.folder)
            _check_sizes(index.axes, dims)
            if strange := sorted({*(layers or ())} - {*index.contents.depths}):
                held = " and ".join(map(str, index.contents.depths))
                raise ConfigError(f"{name} holds vectors after {held} layers, not after {strange[0]}")
        else:
            representation: Representation = as_representation(model)
            _check_sizes(representation.axes, dims)
            depths = tuple(layers or representation.axes.layers)
            index = build_index(
                representation,
                str(data),
                Path(place) / "index",
                layers=depths,
                kind="flat",
                columns=columns,
                limit=limit,
                allow_outside=allow_outside,
                progress=progress,
            )
            stack.enter_context(index)
            name = str(data)
        beside: Index | None = None
        notes: tuple[str, ...] = ()
        if baselines:
            beside, notes = _untouched_index(model, index, Path(place) / "untouched", progress)
            if beside is not None:
                stack.enter_context(beside)
        yield Opened(name=name, index=index, untouched=beside, notes=notes)


def _check_sizes(axes: "ElasticAxes", dims: Sequence[int] | None) -> None:
    for dim in dims or ():
        axes.resolve(dim, None)


def _untouched_index(
    model: Any, index: "Index", folder: Path, progress: bool
) -> "tuple[Index | None, tuple[str, ...]]":
    """An index of the same documents by the model that ``model`` was trained from; else a note why there is none."""
    from brickwork.api.train import read_run
    from brickwork.index.build import build_index

    ours = index.representation
    if ours.encoder.kind != "text":
        return None, ("the untouched model is compared on texts only",)
    try:
        run = isinstance(model, str | Path) and known_folder(model).kind == "run"
        start = untouched(read_run(model), ours.axes) if run else untouched_by_card(ours)
    except ArtifactError as error:
        return None, (f"the model that this one was trained from is not compared: {error}",)
    if start is None:
        trained = bool(ours.lineage.get("system"))
        why = "its model does not say which model it was trained from, so only BM25 is compared"
        return None, ((why,) if trained else ())
    documents = index.get(sorted(index.backend.ids()))
    lexical = index.backend.lexical == "there"
    return build_index(start, documents, folder, kind="flat", lexical=lexical, progress=progress), ()
