"""Held-out pairs as a search task."""

from brickwork.data.types import Examples, RetrievalSet


def retrieval_from_pairs(name: str, examples: Examples, titles: list[str] | None = None) -> RetrievalSet:
    """The distinct anchors as queries, the distinct positives (then negatives) as documents.

    A query's relevant documents are the positives of all rows with its anchor, with gain 1. ``titles`` belong
    to the rows of ``examples``; a document gets the title of the first row that holds it.
    """
    columns = examples.columns
    anchors, positives = columns["anchor"], columns["positive"]
    place: dict[str, int] = {}
    document_titles: list[str] = []
    for row, text in enumerate(positives):
        if place.setdefault(text, len(place)) == len(document_titles):
            document_titles.append(titles[row] if titles else "")
    for text in columns.get("negative", ()):
        if place.setdefault(text, len(place)) == len(document_titles):
            document_titles.append("")
    answers: dict[str, dict[int, int]] = {}
    for anchor, text in zip(anchors, positives):
        answers.setdefault(anchor, {})[place[text]] = 1
    return RetrievalSet(
        name=name,
        queries=list(answers),
        documents=list(place),
        relevant=list(answers.values()),
        titles=document_titles if titles else None,
    )
