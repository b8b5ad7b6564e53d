"""Answers to the user's queries side by side: this model, the untouched one, BM25, and both with words."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brickwork.api.judged import Opened

TOP = 5
_SHORT = 160  # characters of a text that is only looked at


def answer_queries(searched: "Opened", queries: Mapping[str, str], top: int = TOP) -> list[dict[str, Any]]:
    """For each query its best documents by each way to search, shortened, as plain JSON values."""
    index = searched.index
    words = index.backend.lexical == "there"
    ways: dict[str, tuple[Any, str]] = {"this model": (index, "dense")}
    if searched.untouched is not None:
        ways["untouched"] = (searched.untouched, "dense")
    if words:
        ways |= {"BM25": (index, "lexical"), "hybrid": (index, "hybrid")}
    texts = list(queries.values())
    found = {name: one.search(texts, top, mode=mode) for name, (one, mode) in ways.items()}
    return [
        {
            "id": name,
            "query": text,
            "sides": {way: [_short(hit) for hit in hits[row]] for way, hits in found.items()},
        }
        for row, (name, text) in enumerate(queries.items())
    ]


def _short(hit: Any) -> dict[str, Any]:
    text = " ".join(hit.text.split())
    return {
        "id": hit.id,
        "score": hit.score,
        "title": hit.title,
        "text": text if len(text) <= _SHORT else text[: _SHORT - 1] + "…",
        "source": hit.source,
    }
