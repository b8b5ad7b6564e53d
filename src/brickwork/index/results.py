"""What a search gives back: hits, what they cost, and what the user should know."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from brickwork.index.types import Plan, Stage


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A document that matches: ``score`` is the cosine at the size of the search, ``thumbnail`` a small JPEG where it is an
    image (else empty)."""

    id: str
    score: float
    title: str
    text: str
    source: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    thumbnail: bytes = field(default=b"", repr=False)

    def values(self) -> dict[str, Any]:
        """All but the thumbnail, as JSON has it."""
        names = ("id", "score", "title", "text", "source", "meta")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The hits of each query, what they cost, and what the user should know.

    ``flops`` and ``bytes_scanned`` are for the comparisons of one query, reranking included; the milliseconds
    are for the whole call. ``plan`` is how it was searched; ``stages`` are the plan's.
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
