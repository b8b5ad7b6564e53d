"""How much vectors and words should count in a hybrid search, learnt from judged queries.

import brickwork
choice = brickwork.learn_dense_weight(index, queries, relevant)
index.search("how do I resume a run?", dense_weight=choice.weight)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brickwork.api.judged import search_scores
from brickwork.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from brickwork.data.readers.judgements import Judged
    from brickwork.index.index import Index

WEIGHTS = tuple(number / 10 for number in range(11))
EQUAL = 0.5
FEWEST = 20
"""Judged queries that a weight is learnt from and measured on, at least."""


@dataclass(frozen=True, kw_only=True)
class WeightChoice:
    """The weight to use, and what was measured: the mean ``metric`` of ``num_queries`` queries at each weight.

    ``gain`` is what ``best``, the weight with the highest mean, has over equal weights, ``standard_error`` how sure that
    is.
    """

    weight: float
    best: float
    gain: float
    standard_error: float
    metric: str
    scores: dict[float, float]
    num_queries: int


def learn_dense_weight(
    index: "Index",
    queries: Sequence[str],
    relevant: Sequence[Mapping[str, int]],
    *,
    metric: str = "ndcg@10",
    dim: int | None = None,
    layers: int | None = None,
    weights: Sequence[float] = WEIGHTS,
    unit: Callable[[str], str] = str,
) -> WeightChoice:
    """The weight of the vectors in hybrid searches of ``index`` at one size, from validation queries.

    ``relevant`` has for each query the gain of its relevant documents by id. Equal weights stay unless another weight is
    better by more than the standard error of the paired difference, so that a few queries do not decide by chance.
    ``unit`` says what a document counts as, where ``relevant`` names something else: the file of a passage.

    Raises:
        ConfigError: an unknown metric, no weights, or an index without words.
        DataError: no queries, or not as many judgements as queries.
    """
    from brickwork.evaluation.retrieval import parse_metric, score

    top = parse_metric(metric)[1]
    if not queries or len(queries) != len(relevant):
        raise DataError(
            f"{len(queries)} queries have {len(relevant)} judgements; give for each query the gains of its documents by id"
        )
    if not weights:
        raise ConfigError("weights is empty; leave it out, or give some weights between 0 and 1")
    place: dict[str, int] = {}
    for gains in relevant:
        for name in gains:
            place.setdefault(name, len(place))
    judged = [{place[name]: gain for name, gain in gains.items()} for gains in relevant]
    per_query: dict[float, np.ndarray] = {}
    for weight in sorted({*weights, EQUAL}):
        found = index.search(list(queries), top, mode="hybrid", dense_weight=weight, dim=dim, layers=layers)
        ranked = np.full((len(queries), top), -1, dtype=np.int64)
        for row, hits in enumerate(found):
            # Documents that are relevant to no query get places of their own: they count as not relevant.
            units = dict.fromkeys(unit(hit.id) for hit in hits)
            ranked[row, : len(units)] = [place.get(name, len(place)) for name in units]
        per_query[weight] = score(ranked, judged, [metric])[metric]
    scores = {weight: float(values.mean()) for weight, values in per_query.items()}
    best = max(scores, key=lambda weight: (scores[weight], -abs(weight - EQUAL)))
    difference = per_query[best] - per_query[EQUAL]
    gain = float(difference.mean())
    error = float(difference.std(ddof=1) / np.sqrt(len(queries))) if len(queries) > 1 else float("inf")
    return WeightChoice(
        weight=best if gain > error else EQUAL,
        best=best,
        gain=gain,
        standard_error=error,
        metric=metric,
        scores=scores,
        num_queries=len(queries),
    )


def learn_and_keep(index: "Index", judged: "Judged", *, seed: int = 0) -> "tuple[dict[str, Any], Judged]":
    """Learns the weight of hybrid searches at full size on a half of the judged queries, drawn by ``seed``, measures it on
    the other half, and keeps it in the index where it is no worse there than equal weights; else the index keeps none.

    Returns what was found, as plain JSON values, and the half that nothing was chosen by.

    Raises:
        ConfigError: an index without words.
        DataError: fewer than :data:`FEWEST` judged queries.
        ResourceError: another process writes to the index.
    """
    from brickwork.evaluation.significance import paired_bootstrap

    names = list(judged.queries)
    if len(names) < FEWEST:
        raise DataError(
            f"{len(names)} judged queries are too few to learn a weight from; give {FEWEST} or more, or choose one: "
            "brickwork index INDEX --dense-weight 0.7"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    half = len(names) // 2
    learning, rest = (
        judged.select([names[place] for place in sorted(part)]) for part in (order[:half], order[half:])
    )
    choice = learn_dense_weight(
        index, list(learning.queries.values()), list(learning.grades.values()), unit=judged.unit
    )
    equal, chosen = (
        np.array(search_scores(index, rest, mode="hybrid", dense_weight=weight)[choice.metric])
        for weight in (EQUAL, choice.weight)
    )
    difference = paired_bootstrap(equal, chosen)
    kept = choice.weight != EQUAL and difference.mean >= 0
    index.keep_dense_weight(choice.weight if kept else None)
    found = {
        "weight": choice.weight if kept else EQUAL,
        "kept": kept,
        "learnt": asdict(choice),
        "measured_on": len(rest.queries),
        "with_equal": float(equal.mean()),
        "with_learnt": float(chosen.mean()),
        "difference": difference.mean,
        "low": difference.low,
        "high": difference.high,
    }
    return found, rest
