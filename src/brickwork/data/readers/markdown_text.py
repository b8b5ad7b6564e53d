"""Sections of Markdown by markdown-it-py (CommonMark and tables): its headings, and the text between as it is written."""

import functools
from typing import TYPE_CHECKING

from brickwork.data.readers.html_text import read_html
from brickwork.data.readers.outline import MAX_TITLE, Outline, Section

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_FRONT_MATTER = {"---": ("---", "..."), "+++": ("+++",)}


def markdown_sections(text: str) -> list[Section]:
    """Sections of Markdown: ``#`` and underlined headings, as CommonMark knows them.

    Front matter is left out. Blocks of HTML give their headings and their visible text, so no comments.
    """
    rows = _without_front_matter(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    outline = Outline()
    place = 0
    tokens = _blocks().parse("\n".join(rows))
    for number, token in enumerate(tokens):
        if token.level or token.map is None or token.type not in ("heading_open", "html_block"):
            continue
        start, end = token.map
        outline.add("\n".join(rows[place:start]))
        place = end
        if token.type == "html_block":
            read_html(token.content, outline)
        elif title := _plain(tokens[number + 1].content):
            outline.heading(int(token.tag[1]), title)
    outline.add("\n".join(rows[place:]))
    return outline.close()


def _without_front_matter(rows: list[str]) -> list[str]:
    ends = _FRONT_MATTER.get(rows[0].rstrip(), ())
    end = next((number for number, row in enumerate(rows[1:], start=1) if row.rstrip() in ends), None)
    return rows if end is None else rows[end + 1 :]


def _plain(title: str) -> str:
    """A heading without links, emphasis and code marks, on one line, cut where it is longer than any heading."""
    (inline,) = _inline().parseInline(title[:MAX_TITLE].strip())
    words = []
    for token in inline.children or ():
        if token.type in ("text", "text_special", "code_inline", "image"):
            words.append(token.content)
        elif token.type in ("softbreak", "hardbreak"):
            words.append(" ")
    return " ".join("".join(words).split())


@functools.cache
def _blocks() -> "MarkdownIt":
    """A parser of blocks: what is inside of them is not looked at, which could take long."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table").disable(["reference", "inline", "text_join"])


@functools.cache
def _inline() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark")
