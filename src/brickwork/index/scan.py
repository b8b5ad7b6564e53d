"""A plan carried out on a snapshot: first stage over all rows or a shortlist, then exact stages over the survivors."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from brickwork.index.segments import Segment
from brickwork.index.shortlists.run import more_candidates
from brickwork.index.shortlists.run import rerank as rerank_rows
from brickwork.index.snapshot import Snapshot
from brickwork.index.types import Plan, Stage
from brickwork.representation.nearest import best_first, top_k
from brickwork.representation.truncate import truncate


def run_plan(
    snapshot: Snapshot,
    queries: Float[np.ndarray, "queries width"],
    plan: Plan,
    layers: int,
    allowed: Bool[np.ndarray, " rows"] | None,
) -> tuple[Float[np.ndarray, "queries keep"], Int[np.ndarray, "queries keep"]]:
    """Cosines of the last stage and rows, best first; row -1 where a query has fewer."""
    (dim, keep), *later = plan.stages
    shortlist = snapshot.shortlist(plan.kind, dim, layers)
    if shortlist is None:
        scores, rows = scan(snapshot, queries, dim, keep, layers, allowed)
    else:
        covered = len(shortlist)
        inside = None if allowed is None else allowed[:covered]
        wanted = more_candidates(keep, inside)
        rows = shortlist.search(queries, wanted, effort=plan.effort, allowed=inside)
        _, tail = scan(snapshot, queries, dim, keep, layers, allowed, first=covered)
        rows = np.concatenate([rows, tail], axis=1)
        # A shortlist gives rows and no cosines: without a later stage its own size makes the order.
        later = later or [(dim, keep)]
    return rerank(snapshot, queries, rows, later, layers) if later else (scores, rows)


def scan(
    snapshot: Snapshot,
    queries: Float[np.ndarray, "queries width"],
    dim: int,
    keep: int,
    layers: int,
    allowed: Bool[np.ndarray, " rows"] | None,
    *,
    first: int = 0,
) -> tuple[Float[np.ndarray, "queries keep"], Int[np.ndarray, "queries keep"]]:
    """The best ``keep`` rows by exact cosine on a prefix, among the segments that begin at ``first`` or later."""
    best_parts = [(np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64))]
    prefixes = truncate(queries, dim)
    for start, segment in snapshot.parts():
        if start >= first:
            inside = None if allowed is None else allowed[start : start + len(segment)]
            for width, some in _by_width(snapshot, start, segment, dim, inside):
                cut = prefixes if width == dim else truncate(queries, width)  # the dimensions that these have
                scores, rows = _best(segment, cut, keep, layers, some)
                scores = scores if width == dim else snapshot.scale(layers, width, dim).of(scores)
                best_parts.append((scores, rows + start))
    if len(best_parts) == 2:
        return best_parts[1]
    scores, rows = best_first(*(np.concatenate(parts, axis=1) for parts in zip(*best_parts)))
    return scores[:, :keep], rows[:, :keep]


def _by_width(
    snapshot: Snapshot, start: int, segment: Segment, dim: int, allowed: Bool[np.ndarray, " rows"] | None
) -> list[tuple[int, Bool[np.ndarray, " rows"] | None]]:
    """The allowed rows of a segment by the dimensions that their vectors have, at most ``dim``."""
    if snapshot.widths is None:
        return [(dim, allowed)]
    widths = np.minimum(snapshot.widths[start : start + len(segment)], dim)
    found = np.unique(widths).tolist()
    if len(found) == 1:
        return [(found[0], allowed)]
    return [(width, (widths == width) & (True if allowed is None else allowed)) for width in found]


def _best(
    segment: Segment,
    prefixes: Float[np.ndarray, "queries dim"],
    keep: int,
    layers: int,
    allowed: Bool[np.ndarray, " rows"] | None,
) -> tuple[Float[np.ndarray, "queries keep"], Int[np.ndarray, "queries keep"]]:
    """The best allowed rows of a segment, exactly.

    Few allowed rows are copied out and compared alone. Else all are compared, and more than ``keep`` are kept,
    until enough of them are allowed.
    """
    vectors = segment.flat(layers).prefix(prefixes.shape[1])
    if allowed is None or allowed.all():
        return top_k(prefixes, vectors, keep)
    count = int(allowed.sum())
    keep = min(keep, count)
    if 2 * count <= len(vectors) or not keep:
        rows = np.flatnonzero(allowed)
        scores, places = top_k(prefixes, vectors[rows], keep)
        return scores, rows[places]
    num_wanted = 2 * keep
    while True:
        scores, rows = top_k(prefixes, vectors, num_wanted)
        good = allowed[rows]
        if num_wanted >= len(vectors) or (good.sum(axis=1) >= keep).all():
            return _first(scores, rows, good, keep)
        num_wanted *= 4


def _first(
    scores: Float[np.ndarray, "queries asked"],
    rows: Int[np.ndarray, "queries asked"],
    good: Bool[np.ndarray, "queries asked"],
    keep: int,
) -> tuple[Float[np.ndarray, "queries keep"], Int[np.ndarray, "queries keep"]]:
    """The first ``keep`` good ones of each row, in their order."""
    order = np.argsort(~good, axis=1, kind="stable")[:, :keep]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def rerank(
    snapshot: Snapshot,
    queries: Float[np.ndarray, "queries width"],
    rows: Int[np.ndarray, "queries candidates"],
    stages: Sequence[Stage],
    layers: int,
) -> tuple[Float[np.ndarray, "queries keep"], Int[np.ndarray, "queries keep"]]:
    """Each query's candidates (-1: none) through the exact stages."""
    scores = np.zeros(rows.shape, dtype=np.float32)
    for dim, keep in stages:
        if len(snapshot.segments) == 1 and snapshot.widths is None:
            scores, rows = rerank_rows(snapshot.segments[0].flat(layers), queries, rows, dim, keep)
            continue
        prefixes = truncate(queries, dim)
        scores = np.full(rows.shape, -np.inf, dtype=np.float32)
        for number, candidates in enumerate(rows):
            there = candidates >= 0
            scores[number, there] = snapshot.cosines(candidates[there], layers, prefixes[number])
        scores, rows = best_first(scores, rows)
        scores, rows = scores[:, :keep], rows[:, :keep]
    return scores, rows
