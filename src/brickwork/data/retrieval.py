"""Held-out pairs as a search task."""

from brickwork.data.types import Examples, RetrievalSet


def retrieval_from_pairs(name: str, examples: Examples, titles: list[str] | None = None) -> RetrievalSet:
    """The distinct anchors as queries, the distinct positives (then negatives) as documents.

    A query's relevant documents are all positives of its group, with gain 1. ``titles`` belong to the rows of
    ``examples``; a document gets the title of the first row that holds it.
    """
    columns = examples.columns
    anchors, positives, groups = columns["anchor"], columns["positive"], columns["group"]
    place: dict[str, int] = {}
    document_titles: list[str] = []
    for row, text in enumerate(positives):
        if place.setdefault(text, len(place)) == len(document_titles):
            document_titles.append(titles[row] if titles else "")
    for text in columns.get("negative", ()):
        if place.setdefault(text, len(place)) == len(document_titles):
            document_titles.append("")
    answers: dict[int, dict[int, int]] = {}
    for text, group in zip(positives, groups):
        answers.setdefault(int(group), {})[place[text]] = 1
    asked = {text: int(group) for text, group in zip(reversed(anchors), reversed(groups))}
    queries = list(dict.fromkeys(anchors))
    return RetrievalSet(
        name=name,
        queries=queries,
        documents=list(place),
        relevant=[answers[asked[query]] for query in queries],
        titles=document_titles if titles else None,
    )
