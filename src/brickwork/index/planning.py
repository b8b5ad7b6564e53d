"""Which way to search: measured once on the index itself, then chosen by the recall or the time that is asked for.

A :class:`Frontier` holds what every tried plan found and cost. It is measured when an index is built, with some
of its documents as queries, and kept as JSON, so that ``recall=`` and ``budget_ms=`` need no new measurement.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from brickwork.core.config import from_dict, to_dict
from brickwork.core.errors import ConfigError
from brickwork.index.search import FlatVectors
from brickwork.index.shortlists import Shortlist, run_plan
from brickwork.index.types import Kind, Plan
from brickwork.representation.nearest import top_k

CANDIDATES = (5, 10, 20, 40, 80)  # for each wanted result
_TIMED = 15

# benchmarks/results/search-real.json and search-million.json: an exact scan of one query reads 1 MB of vectors in
# about 0.05 ms (0.052 and 0.041), the lists answer at recall 0.99 in a thirtieth of its time (86,869 vectors) and less
# (a million), and building them takes as long as 1,200 and 220 such scans.
_EXACT_MS_PER_MEGABYTE = 0.05
_FAST_ENOUGH_MS = 2.0
_QUERIES_THAT_PAY = 500


@dataclass(frozen=True, kw_only=True)
class Point:
    """A plan, the share of the exact nearest that it finds, the time of one query alone, and its memory."""

    plan: Plan
    recall: float
    milliseconds: float
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """What was measured: ``points`` for the best ``top`` of ``num_vectors``, over ``num_queries`` queries."""

    points: tuple[Point, ...]
    top: int
    num_vectors: int
    num_queries: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Frontier":
        """What :meth:`to_dict` gave.

        Raises:
            ConfigError: fields that are missing, unknown or of another type.
        """
        return from_dict(cls, values)


def sample_queries(num_vectors: int, count: int = 200, seed: int = 0) -> Int[np.ndarray, " rows"]:
    """Rows of documents that stand in for queries."""
    return np.sort(np.random.default_rng(seed).choice(num_vectors, min(count, num_vectors), replace=False))


def measure_frontier(
    vectors: FlatVectors,
    shortlists: Sequence[Shortlist],
    queries: Float[np.ndarray, "queries width"] | Int[np.ndarray, " rows"],
    *,
    top: int = 10,
) -> Frontier:
    """Recall and time of every plan that the shortlists allow, the exact search with them.

    ``queries`` are vectors, or rows of ``vectors``: then a document that finds itself does not count. Times are
    medians of queries searched one by one, on as many threads as are in use.
    """
    own = queries if queries.ndim == 1 else None
    sample = vectors.vectors[own] if own is not None else queries
    sample = np.ascontiguousarray(sample, dtype=np.float32)
    wanted = top + (own is not None)
    truth = _without(top_k(sample, vectors.vectors, wanted)[1], own, top)
    exact = Plan(stages=((vectors.vectors.shape[1], top),))
    points = [Point(plan=exact, recall=1.0, milliseconds=_time_exact(vectors, sample, wanted), bytes=0)]
    for shortlist in shortlists:
        for plan in _plans(shortlist, vectors, top):
            longer = with_top(plan, top, wanted)
            rows = _without(run_plan(vectors, shortlist, sample, longer)[1], own, top)
            times = []
            for query in sample[:_TIMED]:
                started = time.perf_counter()
                run_plan(vectors, shortlist, query[None], longer)
                times.append(1000 * (time.perf_counter() - started))
            points.append(
                Point(
                    plan=plan,
                    recall=overlap(rows, truth),
                    milliseconds=statistics.median(times),
                    bytes=shortlist.nbytes(),
                )
            )
    return Frontier(points=tuple(points), top=top, num_vectors=len(vectors), num_queries=len(sample))


def _plans(shortlist: Shortlist, vectors: FlatVectors, top: int) -> list[Plan]:
    """Every effort with every number of candidates that the index has."""
    keeps = dict.fromkeys(min(top * each, len(shortlist)) for each in CANDIDATES)
    last = (vectors.vectors.shape[1], top)
    return [
        Plan(stages=((shortlist.dim, keep), last), kind=shortlist.kind, effort=effort)
        for effort in shortlist.efforts()
        for keep in keeps
    ]


def _time_exact(vectors: FlatVectors, queries: Float[np.ndarray, "queries width"], top: int) -> float:
    times = []
    for query in queries[:_TIMED]:
        started = time.perf_counter()
        top_k(query[None], vectors.vectors, top)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def _without(
    rows: Int[np.ndarray, "queries hits"], own: Int[np.ndarray, " queries"] | None, top: int
) -> Int[np.ndarray, "queries top"]:
    """The first ``top`` of each row, the query's own row left out."""
    if own is None:
        return rows[:, :top]
    others = np.argsort(rows == own[:, None], axis=1, kind="stable")  # its own goes to the end
    return np.take_along_axis(rows, others, axis=1)[:, : min(top, rows.shape[1] - 1)]


def overlap(rows: Int[np.ndarray, "queries hits"], truth: Int[np.ndarray, "queries top"]) -> float:
    """The share of ``truth`` that is in ``rows``, a mean over queries: recall@top. 1 where nothing can be found."""
    if not truth.size:
        return 1.0
    return float((truth[:, :, None] == rows[:, None, :]).any(axis=2).mean())


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in both recall and time, from the fastest to the best."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.milliseconds, -p.recall)):
        if not best or point.recall > best[-1].recall:
            best.append(point)
    return best


def pick(
    frontier: Frontier, *, recall: float | None = None, budget_ms: float | None = None, top: int | None = None
) -> Point:
    """The fastest plan that reaches ``recall``, or the best one within ``budget_ms`` a query; with both, the
    fastest that reaches the recall if it is within the budget.

    The plan is for the best ``top``: for more than were measured, each stage keeps more in proportion.

    Raises:
        ConfigError: neither or an impossible value is given, or nothing fits; says what comes nearest.
    """
    if recall is None and budget_ms is None:
        raise ConfigError("say recall= or budget_ms=: one of them chooses the plan")
    if recall is not None and not 0 < recall <= 1:
        raise ConfigError(f"recall={recall} is outside 0 … 1; 0.99 finds 99 of 100")
    if budget_ms is not None and not budget_ms > 0:
        raise ConfigError(f"budget_ms={budget_ms} must be more than 0")
    line = pareto(frontier.points)
    if recall is not None:
        good = [point for point in line if point.recall >= recall]
        if not good:
            raise ConfigError(
                f"no plan of this index reaches recall {recall:g}; the best is {_say(line[-1])}"
            )
        chosen = good[0]
        if budget_ms is not None and chosen.milliseconds > budget_ms:
            within = [point for point in line if point.milliseconds <= budget_ms]
            nearest = f"; within {budget_ms:g} ms the best is {_say(within[-1])}" if within else ""
            raise ConfigError(
                f"recall {recall:g} takes {_say(chosen)}, more than budget_ms={budget_ms:g}{nearest}"
            )
    else:
        within = [point for point in line if point.milliseconds <= (budget_ms or 0)]
        if not within:
            raise ConfigError(f"no plan of this index takes {budget_ms:g} ms; the fastest is {_say(line[0])}")
        chosen = within[-1]
    return replace(chosen, plan=with_top(chosen.plan, frontier.top, top or frontier.top))


def _say(point: Point) -> str:
    return f"{point.plan.kind} with {point.milliseconds:.2f} ms at recall {point.recall:.3f}"


def with_top(plan: Plan, measured: int, top: int) -> Plan:
    """The plan for another number of results: more of them want more candidates in proportion, fewer no less."""
    *before, (dim, _) = plan.stages
    stages = tuple((size, -(-keep * max(top, measured) // measured)) for size, keep in before)
    return replace(plan, stages=(*stages, (dim, top)))


def stage_dim(kind: Kind, dims: Sequence[int]) -> int:
    """The prefix that a kind searches by default: the smallest trained one that holds enough for its accuracy.

    Kinds that read whole numbers gain from short prefixes and take a quarter of the width. Lists and signs keep few
    bits of each number and take all: lists of codes of 48 bytes found more when those described 384 dimensions than 192.
    """
    share = {"flat": 4, "int8": 4, "hnsw": 4, "ivf": 1, "rabitq": 1, "binary": 1}[kind]
    return min(dim for dim in dims if dim * share >= dims[-1])


def _about(milliseconds: float) -> str:
    return "less than 0.1 ms" if milliseconds < 0.1 else f"about {milliseconds:.1f} ms"


def choose_kind(
    num_vectors: int, width: int, dims: Sequence[int], expected_queries: int | None = None
) -> tuple[Kind, str]:
    """The kind for ``auto``, and why, in one sentence.

    ``expected_queries``: how many will be asked before the index is built again, if that is known.
    """
    exact_ms = num_vectors * width * 4 / 1e6 * _EXACT_MS_PER_MEGABYTE
    size = f"{num_vectors:,} vectors of {width} dimensions"
    if exact_ms <= _FAST_ENOUGH_MS:
        return (
            "flat",
            f"flat: an exact scan of {size} takes {_about(exact_ms)}, nothing needs to be built",
        )
    if expected_queries is not None and expected_queries < _QUERIES_THAT_PAY:
        return "flat", (
            f"flat: {expected_queries:,} queries are fewer than the {_QUERIES_THAT_PAY} that pay for building lists, "
            "and an exact scan finds everything"
        )
    return "ivf", (
        f"ivf: an exact scan of {size} takes about {exact_ms:.0f} ms a query; lists over the first "
        f"{stage_dim('ivf', dims)} dimensions with exact reranking were the fastest kind at recall 0.99 where this was "
        "measured"
    )
