"""Everything that can be measured of a representation on held-out data of any kind, at every size."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from brickwork.core.files import plain
from brickwork.evaluation.against import Against, against, against_cut
from brickwork.evaluation.baselines import rank_bm25, rank_tfidf
from brickwork.evaluation.cross_modal import cross_modal_recall
from brickwork.evaluation.grid import Cell, GridResult, Words, evaluate_grid
from brickwork.evaluation.probes import knn_probe, leave_one_out
from brickwork.evaluation.retrieval import DEFAULT_METRICS, score
from brickwork.evaluation.similarity import similarity_grid
from brickwork.representation.cuts import counting_cuts
from brickwork.representation.truncate import truncate

if TYPE_CHECKING:
    from brickwork.data.types import RetrievalSet, TaskData
    from brickwork.representation.model import Representation

_PROBE_ROWS = 5_000


@dataclass(frozen=True, kw_only=True)
class SizeScore:
    """One number at one size."""

    dim: int
    layers: int
    value: float


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was measured: retrieval grids by set; for scored or labelled data one number per size.

    ``scores``: metric name → sizes; ``spearman`` for scored pairs, ``knn_accuracy`` (k=1) for labels. By set, if they
    were asked for: ``untouched``, the grid of the pretrained model as it was published; ``simple``, the name and grid of
    the simple model that a training has to beat at every size; and ``baselines``, name → metric → score of every query.
    """

    fingerprint: str
    grids: dict[str, GridResult] = field(default_factory=dict)
    scores: dict[str, tuple[SizeScore, ...]] = field(default_factory=dict)
    untouched: dict[str, GridResult] = field(default_factory=dict)
    simple: dict[str, tuple[str, GridResult]] = field(default_factory=dict)
    baselines: dict[str, Mapping[str, Mapping[str, Sequence[float]]]] = field(default_factory=dict)

    @cached_property
    def against(self) -> tuple[Against, ...]:
        """The full size against what the user has without it, set by set."""
        return tuple(
            one
            for name, grid in self.grids.items()
            for one in against(grid, self.untouched.get(name), self.baselines.get(name, {}))
        )

    @cached_property
    def against_cut(self) -> tuple[Against, ...]:
        """A small size against the untouched model cut to the same size, set by set, where both were measured."""
        rows = (
            against_cut(grid, self.untouched[name])
            for name, grid in self.grids.items()
            if name in self.untouched
        )
        return tuple(row for row in rows if row is not None)

    def summary(self) -> dict[str, Any]:
        """Means and costs as plain JSON values, without the score of every query."""
        return {
            "fingerprint": self.fingerprint,
            "retrieval": [
                {
                    "name": grid.name,
                    "queries": grid.num_queries,
                    "documents": grid.num_documents,
                    "cells": [_cell_summary(cell, grid.metrics) for cell in grid.cells],
                    **self._beside(grid.name),
                }
                for grid in self.grids.values()
            ],
            "scores": {
                name: [{"dim": s.dim, "layers": s.layers, "value": s.value} for s in sizes]
                for name, sizes in self.scores.items()
            },
        }

    def scores_of_queries(self) -> dict[str, Any]:
        """The score of every query as plain JSON values: what intervals are made of."""
        return {
            "fingerprint": self.fingerprint,
            "grids": {name: grid.to_dict() for name, grid in self.grids.items()},
            "baselines": plain(self.baselines),
        }

    def _beside(self, name: str) -> dict[str, Any]:
        """What a set was compared with, where it was."""
        beside: dict[str, Any] = {}
        if grid := self.untouched.get(name):
            beside["untouched"] = _means(grid)
        if named := self.simple.get(name):
            beside["simple"] = {"name": named[0], "cells": _means(named[1])}
        if baselines := self.baselines.get(name):
            beside["baselines"] = {
                label: {metric: statistics.fmean(values) for metric, values in scores.items()}
                for label, scores in baselines.items()
            }
        if rows := [one for one in self.against if one.task == name]:
            beside["against"] = [asdict(one) | {"outcome": one.outcome} for one in rows]
        return beside


def _means(grid: GridResult) -> list[dict[str, Any]]:
    return [{"dim": c.dim, "layers": c.layers} | {m: c.mean(m) for m in grid.metrics} for c in grid.cells]


def _cell_summary(cell: Cell, metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "dim": cell.dim,
        "layers": cell.layers,
        **{metric: cell.mean(metric) for metric in metrics},
        **({"hybrid": {m: statistics.fmean(cell.hybrid[m]) for m in metrics}} if cell.hybrid else {}),
        "encode_flops": cell.cost.encode_flops,
        "vector_bytes": cell.cost.vector_bytes,
        "encode_milliseconds": cell.cost.encode_milliseconds,
        "scan_milliseconds": cell.cost.scan_milliseconds,
    }


def measure(
    representation: "Representation",
    data: "TaskData",
    dims: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
    *,
    time_queries: bool = True,
    untouched: "Representation | None" = None,
    simple: "tuple[str, Representation] | None" = None,
    baselines: bool = False,
    words: "Callable[[Sequence[str], Sequence[str]], Words] | None" = None,
    progress: bool = False,
) -> Measurement:
    """Measures on the held-out part of ``data``: its retrieval sets, else its scored pairs or its labels.

    ``time_queries`` also times single queries at each size. Retrieval sets are searched by the ``untouched`` model as well,
    at the sizes that it has, by the ``simple`` model, which comes with its name, and with ``baselines`` by BM25 and TF-IDF.
    ``words`` makes of the queries and documents of a set what ranks them by vectors and words together; then hybrid
    searches are measured at every size as well.

    Raises:
        ConfigError: a size outside the model's.
    """
    _tell_cuts(representation, data)
    grids = {
        name: evaluate_grid(
            representation,
            retrieval,
            dims,
            layers,
            measure=time_queries,
            progress=progress,
            words=words(retrieval.queries, retrieval.documents)
            if words is not None and data.modality == "text"
            else None,
        )
        for name, retrieval in data.retrieval.items()
    }
    scores: dict[str, tuple[SizeScore, ...]] = {}
    if data.modality == "image-text":
        scores = _cross_modal(representation, data, dims)
    elif data.kind == "scored":
        results = similarity_grid(representation, data.test, dims, layers)
        scores["spearman"] = tuple(SizeScore(dim=d, layers=n, value=v) for (d, n), v in results.items())
    elif data.kind == "labelled":
        scores["knn_accuracy"] = _knn_sizes(representation, data, dims, layers)
    return Measurement(
        fingerprint=representation.fingerprint,
        grids=grids,
        scores=scores,
        untouched={}
        if untouched is None
        else {
            name: evaluate_grid(
                untouched, retrieval, *_also_full(untouched, dims, layers), measure=False, progress=progress
            )
            for name, retrieval in data.retrieval.items()
        },
        simple={}
        if simple is None
        else {
            name: (
                simple[0],
                evaluate_grid(simple[1], retrieval, dims, layers, measure=False, progress=progress),
            )
            for name, retrieval in data.retrieval.items()
        },
        baselines={name: baseline_scores(retrieval) for name, retrieval in data.retrieval.items()}
        if baselines
        else {},
    )


def _also_full(
    untouched: "Representation", dims: Sequence[int] | None, layers: Sequence[int] | None
) -> tuple[list[int] | None, list[int] | None]:
    """The sizes that were asked for, of those that it has, and its full size, which a training has to beat."""
    full, depth, least = untouched.axes.full_dim, untouched.axes.num_layers, min(untouched.axes.layers)
    return (
        None if dims is None else sorted({full, *(dim for dim in dims if dim < full)}),
        None if layers is None else sorted({depth, *(n for n in layers if least <= n < depth)}),
    )


def _cross_modal(
    representation: "Representation", data: "TaskData", dims: Sequence[int] | None
) -> dict[str, tuple[SizeScore, ...]]:
    """Recall from texts to images and back among the held-out pairs."""
    columns: dict[str, Any] = data.test.columns
    number = {group: place for place, group in enumerate(dict.fromkeys(columns["image_group"]))}
    first = [columns["image_group"].index(group) for group in number]
    if not first:
        return {}
    images, texts = representation.encode(columns["image"][first]), representation.encode(columns["text"])
    of = [number[group] for group in columns["image_group"]]
    depth = representation.axes.num_layers
    scores: dict[str, list[SizeScore]] = {}
    for dim in dims or representation.axes.dims:
        for name, value in cross_modal_recall(truncate(images, dim), truncate(texts, dim), of).items():
            scores.setdefault(name, []).append(SizeScore(dim=dim, layers=depth, value=value))
    return {name: tuple(sizes) for name, sizes in scores.items()}


def _tell_cuts(representation: "Representation", data: "TaskData") -> None:
    """Warns how many of the queries and documents the model reads the beginning only of."""
    if not hasattr(representation.encoder, "tokenize"):
        return
    with counting_cuts(representation) as count:
        for retrieval in data.retrieval.values():
            for texts in (retrieval.queries, retrieval.documents):
                representation.encoder.tokenize(texts)  # counts what it cuts
                count(len(texts))


def _knn_sizes(
    representation: "Representation",
    data: "TaskData",
    dims: Sequence[int] | None,
    layers: Sequence[int] | None,
) -> tuple[SizeScore, ...]:
    """1-NN accuracy on the test part, neighbours from (at most 5,000 rows of) the training part; without one, from the
    other rows of the test part."""
    train = data.train.take(range(min(_PROBE_ROWS, len(data.train))))
    test = data.test.take(range(min(_PROBE_ROWS, len(data.test))))
    scores = []
    for depth in layers or representation.axes.layers:
        left = (
            representation.encode(train["input"], layers=depth, normalize=False) if len(data.train) else None
        )
        right = representation.encode(test["input"], layers=depth, normalize=False)
        for dim in dims or representation.axes.dims:
            labels = np.asarray(test["label"])
            if left is None:
                probe = leave_one_out(right[:, :dim], labels)
            else:
                probe = knn_probe(left[:, :dim], np.asarray(train["label"]), right[:, :dim], labels, k=1)
            scores.append(SizeScore(dim=dim, layers=depth, value=probe.accuracy))
    return tuple(scores)


def baseline_scores(retrieval: "RetrievalSet") -> dict[str, dict[str, tuple[float, ...]]]:
    """``BM25`` and ``TF-IDF`` → metric → score of every query."""
    scores = {}
    for name, rank in (("BM25", rank_bm25), ("TF-IDF", rank_tfidf)):
        ranked = rank(retrieval.queries, retrieval.documents, 10)
        values = score(ranked, retrieval.relevant, DEFAULT_METRICS)
        scores[name] = {metric: tuple(map(float, per_query)) for metric, per_query in values.items()}
    return scores
