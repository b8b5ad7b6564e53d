"""What is done with the hits of a search before they are given back: reranked, grouped, shown with their neighbours.

All three need nothing but hits and ids, and are therefore the same for every backend. Reranking and grouping look at more
hits than are wanted in the end (:meth:`Refinement.pool`).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from brickwork.core.errors import ConfigError
from brickwork.core.values import whole_number
from brickwork.data.types import Document
from brickwork.index.contract import Backend
from brickwork.index.neighbours import neighbours
from brickwork.index.results import Answer, Hit
from brickwork.index.types import Plan, Stage
from brickwork.representation.export_parquet import document_text

if TYPE_CHECKING:
    from brickwork.index.encoding import Query
    from brickwork.index.reranking import Reranker

RERANK_TOP = 50
"""How many hits of each query a reranker looks at by default."""
_GROUP_POOL, _MOST_POOL = 100, 2000


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """``reranker`` orders the best ``rerank_top`` hits anew; only the best hit of each value of the field ``group_by`` is
    kept, with the others in it; and each hit gets the ``neighbours`` passages before and after it."""

    reranker: "Reranker | None" = None
    rerank_top: int | None = None
    group_by: str | None = None
    neighbours: int = 0

    def __post_init__(self) -> None:
        whole_number("neighbours", self.neighbours, least=0)
        if self.rerank_top is not None:
            whole_number("rerank_top", self.rerank_top, least=1)
            if self.reranker is None:
                raise ConfigError(
                    "rerank_top has an effect only with rerank; say which reranker, or leave it out"
                )
        if self.group_by is not None and not self.group_by.strip():
            raise ConfigError("group_by is empty; name a field, such as source")

    def pool(self, top: int, room: int | None) -> int:
        """How many hits the search has to give for ``top`` in the end; ``room`` is the most that it can.

        Raises:
            ConfigError: a reranker is to look at fewer hits than are wanted, or at more than there can be.
        """
        if self.reranker is None:
            wanted = max(_GROUP_POOL, 5 * top) if self.group_by else top
            return max(top, min(wanted, room or wanted))
        if self.rerank_top is None:
            wanted = max(top, RERANK_TOP)
            return max(top, min(wanted, room or wanted))
        if self.rerank_top < top:
            raise ConfigError(
                f"rerank_top={self.rerank_top} is less than top={top}: look at that many at least"
            )
        if room is not None and self.rerank_top > room:
            raise ConfigError(
                f"rerank_top={self.rerank_top} is more than the {room} documents that the stages of the search keep; keep "
                "more, or rerank fewer"
            )
        return self.rerank_top

    def answer(
        self,
        search: Callable[[int], Answer],
        queries: "Sequence[str | Query]",
        top: int,
        room: int | None,
        backend: Backend,
    ) -> Answer:
        """The answer of ``search``, which takes the number of hits that it shall give, after all that was asked for.

        Raises:
            ConfigError: as :meth:`pool`; a field that no hit has; a reranker and a query of an image.
        """
        pool = self.pool(top, room)
        of_images = any(not isinstance(query, str) and query.image is not None for query in queries)
        if self.reranker is not None and of_images:
            raise ConfigError("a reranker reads texts, and a query has an image; leave rerank out")
        answer = search(pool)
        if self.reranker is not None:
            answer = _reranked(answer, queries, self.reranker)
        if self.group_by is not None:
            while self.reranker is None and _more_may_help(answer, self.group_by, top, pool, room):
                pool *= 2
                answer = search(pool)
            answer = _grouped(answer, self.group_by, top, pool)
        answer = replace(answer, hits=[hits[:top] for hits in answer.hits])
        return _with_neighbours(answer, backend, self.neighbours) if self.neighbours else answer


def room_of(shortlist: int | None, funnel: bool | Sequence[Stage], plan: Plan | None) -> int | None:
    """The most hits that the stages of a search leave; ``None`` where they do not say."""
    keeps = [] if shortlist is None else [shortlist]
    keeps += [keep for _, keep in funnel] if not isinstance(funnel, bool) else []
    keeps += [keep for _, keep in plan.stages[:-1]] if plan is not None else []
    return min(keeps, default=None)


def _reranked(answer: Answer, queries: "Sequence[str | Query]", reranker: "Reranker") -> Answer:
    """The hits of each query in the order of the reranker's scores; equal ones keep their order."""
    started = time.perf_counter()
    texts = [query if isinstance(query, str) else query.text for query in queries]
    pairs = [(text, document_text(_document(hit))) for text, hits in zip(texts, answer.hits) for hit in hits]
    scores = iter(reranker.scores(pairs).tolist())
    ranked = [
        sorted(
            (replace(hit, score=next(scores), first_score=hit.score) for hit in hits),
            key=lambda hit: -hit.score,
        )
        for hits in answer.hits
    ]
    return replace(
        answer,
        hits=ranked,
        reranked=max(map(len, ranked), default=0),
        rerank_milliseconds=1000 * (time.perf_counter() - started),
    )


def _document(hit: Hit) -> Document:
    return Document(id=hit.id, title=hit.title, text=hit.text, source=hit.source)


def _more_may_help(answer: Answer, field: str, top: int, pool: int, room: int | None) -> bool:
    """Whether a query has fewer groups than wanted while there are more hits to be had."""
    if pool * 2 > min(_MOST_POOL, room or _MOST_POOL):
        return False
    return any(len(hits) >= pool and len(set(_groups(hits, field))) < top for hits in answer.hits)


def _groups(hits: Sequence[Hit], field: str) -> list[Any]:
    """What each hit is grouped by; one that does not have the field is a group of its own."""
    values = [getattr(hit, field) if field in ("source", "title") else hit.meta.get(field) for hit in hits]
    return [("id", hit.id) if value in (None, "") else ("is", str(value)) for hit, value in zip(hits, values)]


def _grouped(answer: Answer, field: str, top: int, pool: int) -> Answer:
    """Only the best hit of each group, the others in it."""
    named = [_groups(hits, field) for hits in answer.hits]
    every = [hit for hits in answer.hits for hit in hits]
    if every and all(kind == "id" for names in named for kind, _ in names):
        fields = sorted({"source", "title", *(name for hit in every for name in hit.meta)})
        raise ConfigError(f"group_by '{field}': no hit has this field; there are {', '.join(fields)}")
    results = []
    for hits, names in zip(answer.hits, named):
        members: dict[Any, list[Hit]] = {}
        for hit, name in zip(hits, names):
            members.setdefault(name, []).append(hit)
        results.append([replace(best, others=tuple(others)) for best, *others in members.values()])
    few = [
        (len(groups), len(hits))
        for groups, hits in zip(results, answer.hits)
        if len(groups) < top and len(hits) >= pool
    ]
    note = (
        [
            f"the {hits:,} best passages are of only {groups} groups by {field}; "
            + (
                "a larger rerank_top looks at more"
                if answer.reranked
                else "a filter leaves out what fills them"
            )
            for groups, hits in few[:1]
        ]
        if few
        else []
    )
    return replace(answer, hits=results, notes=(*answer.notes, *note))


def _with_neighbours(answer: Answer, backend: Backend, count: int) -> Answer:
    every = [(hit.id, hit.source) for hits in answer.hits for hit in hits]
    around = iter(neighbours(backend, every, count))
    return replace(
        answer,
        hits=[
            [
                replace(hit, before=before, after=after)
                for hit, (before, after) in zip(hits, (next(around) for _ in hits))
            ]
            for hits in answer.hits
        ],
    )
