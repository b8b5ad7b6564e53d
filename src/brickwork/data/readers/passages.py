"""Documents as titled passages: headings of Markdown, reStructuredText and HTML, definitions of Python.

A document becomes sections (path of headings, text); a section becomes passages of whole paragraphs, or of
whole sentences where a paragraph is too long.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from brickwork.data.readers.html_text import html_sections
from brickwork.data.readers.markdown_text import markdown_sections
from brickwork.data.readers.outline import Outline, Section

_WORDS = re.compile(r"\S+")
_BLANK = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])[\"')\]]*\s+")
_UNDERLINE = re.compile(r"^([!-/:-@\[-`{-~])\1+\s*$")


@dataclass(frozen=True)
class Passage:
    """A part of a section that is short enough to be encoded; ``first`` says whether it opens its section."""

    title: str
    text: str
    first: bool
    headed: bool


def passages(sections: Iterable[Section], max_words: int) -> Iterator[Passage]:
    """Passages of at most ``max_words`` words, in order."""
    for section in sections:
        for place, text in enumerate(pack(paragraphs(section.text), max_words)):
            yield Passage(section.title, text, first=place == 0, headed=bool(section.path))


def paragraphs(text: str) -> Iterator[str]:
    """The parts between blank lines."""
    return (part.strip("\n").rstrip() for part in _BLANK.split(text) if part.strip())


def pack(parts: Iterable[str], max_words: int) -> Iterator[str]:
    """Paragraphs joined as long as they fit into ``max_words`` words; too long ones are split."""
    kept: list[str] = []
    words = 0
    for part in parts:
        for piece in _short(part, max_words):
            count = len(piece.split())
            if kept and words + count > max_words:
                yield "\n\n".join(kept)
                kept, words = [], 0
            kept.append(piece)
            words += count
    if kept:
        yield "\n\n".join(kept)


def _short(paragraph: str, max_words: int) -> Iterator[str]:
    """The paragraph, or runs of its sentences of at most ``max_words`` words, or runs of words."""
    if len(paragraph.split()) <= max_words:
        yield paragraph
        return
    kept: list[str] = []
    for sentence in _SENTENCE_END.split(paragraph):
        words = sentence.split()
        while words:
            if kept and len(kept) + len(words) > max_words:
                yield " ".join(kept)
                kept = []
            taken, words = words[:max_words], words[max_words:]
            kept.extend(taken)
    if kept:
        yield " ".join(kept)


def cut_words(text: str, max_words: int) -> str:
    """The first ``max_words`` words, spaces and line ends between them as they were."""
    for place, word in enumerate(_WORDS.finditer(text), start=1):
        if place == max_words:
            return text[: word.end()]
    return text


def sections_of(text: str, suffix: str, name: str) -> list[Section]:
    """The sections of a document by its file ending (``.md .rst .html .htm .py``; others are plain text)."""
    if suffix in (".md", ".markdown"):
        return markdown_sections(text)
    if suffix == ".rst":
        return rst_sections(text)
    if suffix in (".html", ".htm", ".xhtml"):
        return html_sections(text)
    if suffix == ".py":
        return python_sections(text, name)
    return [Section((), text)]


def rst_sections(text: str) -> list[Section]:
    """Sections of reStructuredText: underlined titles, their depth by the order in which marks appear."""
    rows = text.splitlines()
    outline = Outline()
    levels: list[str] = []

    def level(mark: str) -> int:
        if mark not in levels:
            levels.append(mark)
        return levels.index(mark) + 1

    place = 0
    while place < len(rows):
        row = rows[place]
        under = rows[place + 1] if place + 1 < len(rows) else ""
        over = _UNDERLINE.match(row)
        if over and place + 2 < len(rows) and rows[place + 2].strip() == row.strip() and under.strip():
            outline.heading(level(over[1] * 2), under.strip())
            place += 3
        elif row.strip() and not over and _is_underline(under, row):
            outline.heading(level(under[0]), row.strip())
            place += 2
        else:
            outline.add(row)
            place += 1
    return outline.close()


def _is_underline(line: str, title: str) -> bool:
    return bool(_UNDERLINE.match(line)) and len(line.rstrip()) >= len(title.rstrip()) and title[0] != " "


def python_sections(text: str, name: str) -> list[Section]:
    """The module's documentation, then each function and class under its qualified name.

    Methods are part of their class while the class is short; a file that does not parse is plain text.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return [Section((), text)]
    sections = []
    documentation = ast.get_docstring(tree)
    if documentation:
        sections.append(Section((name,), documentation))
    rows = text.splitlines()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            sections.append(Section((name, node.name), "\n".join(rows[first - 1 : node.end_lineno])))
    return sections or [Section((), text)]
