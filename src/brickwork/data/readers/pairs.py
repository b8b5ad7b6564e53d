"""Pairs out of plain documents: a heading asks for its section, a passage for the one that follows it, an opening for the
rest of a passage that has neither."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from brickwork.data.readers.outline import SEPARATOR
from brickwork.data.readers.passages import Passage, opening
from brickwork.data.splits import normalised, stable_hash

FEW_DOCUMENTS = 20
BLOCK = 8


@dataclass
class PlainPairs:
    """Columns of pairs made from documents. ``key`` tells what must stay together in a split: the document,
    or, of few documents, a run of :data:`BLOCK` passages. ``task`` is ``heading``, ``neighbour`` or
    ``opening``."""

    anchor: list[str] = field(default_factory=list)
    positive: list[str] = field(default_factory=list)
    group: list[int] = field(default_factory=list)
    task: list[str] = field(default_factory=list)
    key: list[str] = field(default_factory=list)
    title: list[str] = field(default_factory=list)
    duplicates: int = 0

    def add(self, anchor: str, positive: str, group: int, task: str, key: str, title: str) -> None:
        """Appends one pair."""
        self.anchor.append(anchor)
        self.positive.append(positive)
        self.group.append(group)
        self.task.append(task)
        self.key.append(key)
        self.title.append(title)


def plain_pairs(named_passages: Iterable[tuple[str, Passage]]) -> PlainPairs:
    """Pairs from the passages of documents, in order.

    Passages are taken two by two (the first asks for the second), so that no text is in two pairs of the same
    kind; a section's headings ask for its first passage. The pairs of two passages are one group. The opening of a passage
    that is in no pair asks for the rest of it, so that collections of short texts can be learnt from too. A passage or
    heading that was seen before is left out.
    """
    by_document: dict[str, list[Passage]] = {}
    seen: set[int] = set()
    pairs = PlainPairs()
    for name, passage in named_passages:
        if _new(passage.text, seen):
            by_document.setdefault(name, []).append(passage)
        else:
            pairs.duplicates += 1
    in_blocks = len(by_document) < FEW_DOCUMENTS
    group = 0
    headings: set[int] = set()
    for name, all_of_it in by_document.items():
        for start in range(0, len(all_of_it), 2):
            two = all_of_it[start : start + 2]
            key = f"{name}#{start // BLOCK}" if in_blocks else name
            headed = [p for p in two if p.headed and p.first and _new(p.title, headings)]
            for passage in headed:
                pairs.add(_question(passage), passage.text, group, "heading", key, passage.title)
            if len(two) == 2:
                pairs.add(two[0].text, two[1].text, group, "neighbour", key, two[1].title)
            elif not headed and (parts := opening(two[0].text)):
                pairs.add(*parts, group, "opening", key, two[0].title)
            group += 1
    return pairs


def _question(passage: Passage) -> str:
    return passage.title.replace(SEPARATOR, ": ")


def _new(text: str, seen: set[int]) -> bool:
    key = stable_hash(normalised(text))
    known = key in seen
    seen.add(key)
    return not known
