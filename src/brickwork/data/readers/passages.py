"""Documents as titled passages: headings of Markdown, reStructuredText and HTML, definitions of Python.

A document becomes sections (path of headings, text); a section becomes passages of whole paragraphs, or of
whole sentences where a paragraph is too long.
"""

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from brickwork.data.readers.html_text import html_sections
from brickwork.data.readers.markdown_text import markdown_sections
from brickwork.data.readers.outline import Outline, Section

_WORDS = re.compile(r"\S+")
_PIECES = re.compile(r"[a-zA-Z]+|[^\W\d_a-zA-Z]|\d+|[^\w\s]|_")
_MARGIN, _MARKS, _FEWEST_TOKENS = 0.92, 2, 8
_FEWEST_OPENING, _USUAL_OPENING, _MOST_OPENING, _FEWEST_REST = 3, 12, 24, 8  # words
_BLANK = re.compile(r"\n[^\S\n]*\n\s*")
_ENDS, _CLOSES = "[.!?…。！？]", "[\"')\\]]"
# White space after the end of a sentence and up to three quotes and brackets that close it, which stay.
_SENTENCE_END = re.compile("(?:" + "|".join(f"(?<={_ENDS}{_CLOSES * count})" for count in range(4)) + r")\s+")
_UNDERLINE = re.compile(r"^([!-/:-@\[-`{-~])\1+\s*$")


@dataclass(frozen=True)
class Passage:
    """A part of a section that is short enough to be encoded; ``first`` says whether it opens its section."""

    title: str
    text: str
    first: bool
    headed: bool


def passages(sections: Iterable[Section], max_words: int, max_tokens: int | None = None) -> Iterator[Passage]:
    """Passages of at most ``max_words`` words, in order; with their titles, of about ``max_tokens`` tokens at most."""
    for section in sections:
        fitting = None if max_tokens is None else room_for(section.title, max_tokens)
        for place, text in enumerate(pack(paragraphs(section.text), max_words, fitting)):
            yield Passage(section.title, text, first=place == 0, headed=bool(section.path))


def room_for(title: str, max_tokens: int) -> int:
    """The tokens that are left for a text under a title, with a margin for what :func:`count_tokens` is wrong by."""
    return max(_FEWEST_TOKENS, int(_MARGIN * max_tokens) - _MARKS - count_tokens(title))


def count_tokens(text: str) -> int:
    """About how many tokens a tokenizer of words and their parts makes of a text, without asking any.

    Of MiniLM's tokenizer on prose in Markdown it differs by 8 % on average, on Python by 4 %; 95 of 100 passages have at
    most 8 % more. So readers and models of all kinds can agree on a length.
    """
    return sum(map(_word_tokens, text.split()))


@functools.lru_cache(maxsize=100_000)
def _word_tokens(word: str) -> int:
    count = 0
    for piece in _PIECES.findall(word):
        letters = (
            5 if piece.isalpha() and piece.isascii() else 2
        )  # of a part; other alphabets have a piece a letter
        count += 1 + (len(piece) - 1) // letters
    return count


def paragraphs(text: str) -> Iterator[str]:
    """The parts between blank lines."""
    return (part.strip("\n").rstrip() for part in _BLANK.split(text) if part.strip())


def pack(parts: Iterable[str], max_words: int, max_tokens: int | None = None) -> Iterator[str]:
    """Paragraphs joined as long as they fit into ``max_words`` words and about ``max_tokens`` tokens; too long ones are
    split."""
    limit = _Limit(max_words, max_tokens)
    kept: list[str] = []
    words = tokens = 0
    for part in parts:
        for piece in _short(part, limit):
            more, more_tokens = len(piece.split()), limit.tokens_of(piece)
            if kept and not limit.fits(words + more, tokens + more_tokens):
                yield "\n\n".join(kept)
                kept, words, tokens = [], 0, 0
            kept.append(piece)
            words, tokens = words + more, tokens + more_tokens
    if kept:
        yield "\n\n".join(kept)


@dataclass(frozen=True)
class _Limit:
    words: int
    tokens: int | None

    def tokens_of(self, text: str) -> int:
        """Where tokens do not matter, none."""
        return 0 if self.tokens is None else count_tokens(text)

    def fits(self, words: int, tokens: int) -> bool:
        return words <= self.words and (self.tokens is None or tokens <= self.tokens)


def _short(paragraph: str, limit: _Limit) -> Iterator[str]:
    """The paragraph, or runs of its sentences that fit, or runs of words, or of letters where there are no spaces."""
    if limit.fits(len(paragraph.split()), limit.tokens_of(paragraph)):
        yield paragraph
        return
    kept: list[str] = []
    size = 0
    for sentence in _SENTENCE_END.split(paragraph):
        words = [(word, limit.tokens_of(word)) for part in sentence.split() for word in _parts(part, limit)]
        if kept and not limit.fits(len(kept) + len(words), size + sum(tokens for _, tokens in words)):
            yield " ".join(kept)
            kept, size = [], 0
        for word, tokens in words:
            if kept and not limit.fits(len(kept) + 1, size + tokens):
                yield " ".join(kept)
                kept, size = [], 0
            kept.append(word)
            size += tokens
    if kept:
        yield " ".join(kept)


def _parts(word: str, limit: _Limit) -> Iterator[str]:
    """The word, in parts where it is longer than a whole passage, as a text of Chinese is, or a long number."""
    tokens = limit.tokens_of(word)
    if limit.tokens is None or tokens <= limit.tokens:
        yield word
        return
    letters = max(1, len(word) * limit.tokens // tokens)
    yield from (word[start : start + letters] for start in range(0, len(word), letters))


def opening(text: str) -> tuple[str, str] | None:
    """The first sentence and the rest; of a text without sentences its first words, at most a quarter of them.

    ``None`` where either would say little: fewer than 3 words, or 8 for the rest.
    """
    first, *rest = _SENTENCE_END.split(text, maxsplit=1)
    if (
        rest
        and _FEWEST_OPENING <= len(first.split()) <= _MOST_OPENING
        and len(rest[0].split()) >= _FEWEST_REST
    ):
        return first, rest[0]
    words = text.split()
    count = min(_USUAL_OPENING, len(words) // 4)
    if count < _FEWEST_OPENING or len(words) - count < _FEWEST_REST:
        return None
    return " ".join(words[:count]), " ".join(words[count:])


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
