"""What a search gives back: hits, what they cost, and what the user should know."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickwork.data.types import Document
from brickwork.index.fusion import Fusion
from brickwork.index.types import Found, Plan, SearchMode, Stage

if TYPE_CHECKING:
    from brickwork.core.types import WordShare


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A document that matches: ``score`` is what hits are ordered by: the cosine at the size of the search, BM25, of a
    hybrid search the sum of both in standard units, or that of a reranker; then ``first_score`` is the one of the search
    before it. ``dense`` and ``lexical`` are cosine and BM25, ``None`` where these were not compared; ``thumbnail`` is a
    small JPEG where it is an image (else empty).

    ``others`` are the hits of the same group below this one, best first, where hits were grouped; ``before`` and ``after``
    the passages around it in reading order, where these were asked for (``None``: they were not), and ``words`` those that
    connect the query with it."""

    id: str
    score: float
    title: str
    text: str
    source: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    dense: float | None = None
    lexical: float | None = None
    thumbnail: bytes = field(default=b"", repr=False)
    first_score: float | None = None
    others: "tuple[Hit, ...] | None" = None
    before: "tuple[Document, ...] | None" = None
    after: "tuple[Document, ...] | None" = None
    words: "tuple[WordShare, ...] | None" = None

    def values(self) -> dict[str, Any]:
        """All but the thumbnail, as JSON has it; without what was not asked for (a reranker, groups, neighbours)."""
        names = ("id", "score", "dense", "lexical", "title", "text", "source", "meta")
        values = {name: getattr(self, name) for name in names}
        if self.first_score is not None:
            values["first_score"] = self.first_score
        if self.others is not None:
            values["others"] = [other.values() for other in self.others]
        for name, passages in (("before", self.before), ("after", self.after)):
            if passages is not None:
                values[name] = [passage_values(passage) for passage in passages]
        if self.words is not None:
            values["words"] = [vars(one) for one in self.words]
        return values


def passage_values(document: Document) -> dict[str, str]:
    """A passage around a hit, as JSON has it."""
    return {"id": document.id, "title": document.title, "text": document.text}


def hit_of(result: Found, scale: float = 1.0) -> Hit:
    """What a search gives back of a document; cosines are multiplied by ``scale``."""
    document = result.document
    return Hit(
        id=document.id,
        score=result.score * scale,
        title=document.title,
        text=document.text,
        source=document.source,
        meta=document.meta,
        dense=None if result.dense is None else result.dense * scale,
        lexical=result.lexical,
        thumbnail=document.thumbnail,
    )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The hits of each query, what they cost, and what the user should know.

    ``mode`` says what was compared: vectors, words or both, these put together by ``fusion``; ``words_by`` who scored the
    words: ``BM25``, or the ``model``. ``flops`` and
    ``bytes_scanned`` are for the comparisons of vectors of one query, later stages of the plan included; the milliseconds
    are for the whole call. ``reranked`` is how many hits of each query, at most, a reranker looked at, and
    ``rerank_milliseconds`` what that took. ``plan`` is how the vectors were searched, ``None`` where only words were;
    ``stages`` are the plan's.
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
    plan: Plan | None = None
    mode: SearchMode = "dense"
    fusion: Fusion | None = None
    reranked: int = 0
    rerank_milliseconds: float = 0.0
    words_by: str = "BM25"

    @property
    def milliseconds(self) -> float:
        """What the whole call took: encoding, comparing, reranking."""
        return self.encode_milliseconds + self.scan_milliseconds + self.rerank_milliseconds
