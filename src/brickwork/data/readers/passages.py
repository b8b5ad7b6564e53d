"""Documents as titled passages: headings of Markdown, reStructuredText and HTML, definitions of Python.

A document becomes sections (path of headings, text); a section becomes passages of whole paragraphs, or of
whole sentences where a paragraph is too long.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser

SEPARATOR = " › "
_WORDS = re.compile(r"\S+")
_BLANK = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])[\"')\]]*\s+")
_ATX = re.compile(r"^ {0,3}(#{1,6})(?=\s)")
_FENCE = re.compile(r"^ {0,3}(```+|~~~+)")
_MAX_TITLE = 300
_UNDERLINE = re.compile(r"^([!-/:-@\[-`{-~])\1+\s*$")


@dataclass(frozen=True)
class Section:
    """A text under its path of headings, outermost first; the path is empty where there are none."""

    path: tuple[str, ...]
    text: str

    @property
    def title(self) -> str:
        """The headings as one line."""
        return SEPARATOR.join(self.path)


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
    if suffix in (".html", ".htm"):
        return html_sections(text)
    if suffix == ".py":
        return python_sections(text, name)
    return [Section((), text)]


class _Outline:
    """Collects lines under headings; a heading closes those of its level and deeper."""

    def __init__(self) -> None:
        self.sections: list[Section] = []
        self._path: list[tuple[int, str]] = []
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        self._lines.append(line)

    def drop_last(self) -> None:
        self._lines.pop()

    def heading(self, level: int, title: str) -> None:
        self.close()
        self._path = [entry for entry in self._path if entry[0] < level] + [(level, title)]

    def close(self) -> list[Section]:
        text = "\n".join(self._lines)
        self._lines = []
        if text.strip():
            self.sections.append(Section(tuple(title for _, title in self._path), text.strip("\n").rstrip()))
        return self.sections


def markdown_sections(text: str) -> list[Section]:
    """Sections of Markdown: ``#`` and underlined headings, code fences respected, front matter left out."""
    rows = text.splitlines()
    if rows and rows[0].strip() == "---":
        end = next((n for n, row in enumerate(rows[1:], start=1) if row.strip() in ("---", "...")), None)
        rows = rows[end + 1 :] if end else rows
    outline = _Outline()
    fence = ""
    before = ""
    for row in rows:
        mark = _FENCE.match(row)
        if fence:
            outline.add(row)
            if mark and mark[1].startswith(fence):
                fence = ""
        elif mark:
            fence = mark[1]
            outline.add(row)
        elif heading := _ATX.match(row):
            outline.heading(len(heading[1]), _plain(row[heading.end() :].strip().rstrip("#").strip()))
        elif before.strip() and re.fullmatch(r" {0,3}(=+|-{2,})\s*", row) and not before.startswith("    "):
            outline.drop_last()
            outline.heading(1 if "=" in row else 2, _plain(before.strip()))
            row = ""
        else:
            outline.add(row)
        before = "" if fence or mark or heading else row
    return outline.close()


def _plain(title: str) -> str:
    """A heading without links, emphasis and code marks, cut where it is longer than any heading."""
    title = title[:_MAX_TITLE]
    title = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title)
    return re.sub(r"[*`]+", "", title).strip()


def rst_sections(text: str) -> list[Section]:
    """Sections of reStructuredText: underlined titles, their depth by the order in which marks appear."""
    rows = text.splitlines()
    outline = _Outline()
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


_HIDDEN = {"script", "style", "nav", "template", "noscript", "svg", "title", "footer"}
_BLOCKS = {
    "p",
    "div",
    "section",
    "article",
    "li",
    "ul",
    "ol",
    "table",
    "tr",
    "pre",
    "blockquote",
    "br",
    "dt",
    "dd",
}


class _HtmlReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.outline = _Outline()
        self._text: list[str] = []
        self._hidden = ""  # the element that hides what is inside
        self._depth = 0
        self._keeps_spaces = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if self._hidden:
            self._depth += tag == self._hidden
        elif tag in _HIDDEN:
            self._hidden, self._depth = tag, 1
        elif re.fullmatch("h[1-6]", tag) or tag in _BLOCKS:
            self._flush()
            self._keeps_spaces = tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            self._depth -= tag == self._hidden
            # A page whose <head> is never closed is still to be read.
            if self._depth == 0:
                self._hidden = ""
        elif re.fullmatch("h[1-6]", tag):
            title = " ".join("".join(self._text).split())
            self._text = []
            if title:
                self.outline.heading(int(tag[1]), title)
        elif tag in _BLOCKS:
            self._flush()
            self._keeps_spaces = False

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        if tag in _BLOCKS:
            self._flush()

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._text.append(data)

    def _flush(self) -> None:
        text = "".join(self._text)
        self._text = []
        text = text.strip("\n") if self._keeps_spaces else " ".join(text.split())
        if text.strip():
            self.outline.add(text + "\n")

    def close(self) -> None:
        super().close()
        self._flush()


def html_sections(text: str) -> list[Section]:
    """Sections of HTML by ``h1`` … ``h6``; scripts, styles, navigation and the head are left out."""
    # <body> ends the head, also where nobody closed it.
    text = re.sub(r"(?is)<head\b[^>]*>.*?(</head>|(?=<body\b))", " ", text, count=1)
    reader = _HtmlReader()
    reader.feed(text)
    reader.close()
    return reader.outline.close()


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
