"""What a search gives back: hits, what they cost, and what the user should know."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from brickwork.index.fusion import Fusion
from brickwork.index.types import Plan, SearchMode, Stage


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A document that matches: ``score`` is what hits are ordered by: the cosine at the size of the search, BM25, or, of a
    hybrid search, the sum of both in standard units. ``dense`` and ``lexical`` are cosine and BM25, ``None`` where these
    were not compared; ``thumbnail`` is a small JPEG where it is an image (else empty)."""

    id: str
    score: float
    title: str
    text: str
    source: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    dense: float | None = None
    lexical: float | None = None
    thumbnail: bytes = field(default=b"", repr=False)

    def values(self) -> dict[str, Any]:
        """All but the thumbnail, as JSON has it."""
        names = ("id", "score", "dense", "lexical", "title", "text", "source", "meta")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The hits of each query, what they cost, and what the user should know.

    ``mode`` says what was compared: vectors, words or both, these put together by ``fusion``. ``flops`` and
    ``bytes_scanned`` are for the comparisons of vectors of one query, reranking included; the milliseconds are for the
    whole call. ``plan`` is how the vectors were searched, ``None`` where only words were; ``stages`` are the plan's.
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
