"""Sections of HTML, read as browsers do (by Lexbor, through selectolax), in time that grows with the length of the page.

A tree of elements can take quadratic time and memory: each start of a block looks through all elements that are open, and
formatting elements that were not closed are repeated in every block that follows. So formatting elements are given a name
without that rule, and a page of very many tags is parsed in pieces, each inside the elements that were open at its start.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from brickwork.data.readers.outline import MAX_TITLE, Outline, Section

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_HIDDEN_NAMES = """head title script style template noscript svg nav footer iframe noframes noembed canvas audio video
object datalist textarea"""
_BLOCK_NAMES = """address article aside blockquote br caption center dd details dialog dir div dl dt fieldset
figcaption figure form header hgroup hr legend li listing main menu ol optgroup option p plaintext pre search section
select summary table tbody tfoot thead tr ul xmp"""
_HIDDEN, _BLOCKS = frozenset(_HIDDEN_NAMES.split()), frozenset(_BLOCK_NAMES.split())
_CELLS = frozenset(("td", "th"))
_KEEP_SPACES = frozenset(("pre", "listing", "xmp", "plaintext"))
_RAW = frozenset(
    ["script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes", "plaintext", "template"]
)
# Those that a browser opens again in the next block, with the letters of their names that stay.
_FORMATTING = re.compile(
    r"<(/?)(?:a|b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?=[\s/>])", re.IGNORECASE
)
_UNSEEN = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_MAX_TAGS = 5_000  # of one piece
_MAX_OPEN = 40  # elements around a piece
_CUT = "cut here"


def html_sections(text: str) -> list[Section]:
    """Sections of HTML by ``h1`` … ``h6``. Cells of a row are kept apart by a space, blocks by a line.

    Scripts, styles, comments, navigation, footers, the head and what is hidden by ``hidden``, ``aria-hidden`` or its style
    are left out.
    """
    reader = _Reader(Outline())
    reader.read(text)
    return reader.outline.close()


def read_html(text: str, outline: Outline) -> None:
    """Adds the headings and texts of a piece of HTML to an outline."""
    _Reader(outline).read(text)


class _Reader:
    """Follows the tree of a page and hands its lines and headings to an outline."""

    def __init__(self, outline: Outline) -> None:
        self.outline = outline
        self._text: list[str] = []
        self._heading = 0  # the level of the heading that is open
        self._keeps_spaces = 0  # open elements that do

    def read(self, text: str) -> None:
        from selectolax.lexbor import LexborHTMLParser

        around = ""
        for piece, last in _pieces(_FORMATTING.sub(r"<\1x-f", text)):
            tree = LexborHTMLParser(f"{around}{piece}" if last else f"{around}{piece}<!--{_CUT}-->")
            if tree.root is not None:
                self._follow(tree.root)
                around = "" if last else _open_at_the_end(tree.root)
        self._flush()

    def _follow(self, root: Any) -> None:
        """Meets every element that is seen, at its start and at its end, and every text."""
        waiting = [(root, False)]
        while waiting:
            node, ends = waiting.pop()
            if ends:
                self._end(node.tag)
                continue
            if node is not root and node.next is not None:
                waiting.append((node.next, False))
            if node.is_text_node:
                self._text.append(node.text_content.removesuffix(f"<!--{_CUT}-->"))
            elif node.is_element_node and not _is_hidden(node):
                self._start(node.tag)
                waiting.append((node, True))
                if node.child is not None:
                    waiting.append((node.child, False))

    def _start(self, tag: str) -> None:
        if tag in _HEADINGS:
            self._flush()
            self._heading = _HEADINGS[tag]
        elif tag in _BLOCKS:
            self._flush()
        elif tag in _CELLS:
            self._text.append(" ")
        self._keeps_spaces += tag in _KEEP_SPACES

    def _end(self, tag: str) -> None:
        if tag in _HEADINGS and self._heading:
            title = " ".join("".join(self._text).split())
            self._text, self._heading = [], 0
            if title:
                self.outline.heading(_HEADINGS[tag], title[:MAX_TITLE])
            if len(title) > MAX_TITLE:  # one that was never closed has the page in it
                self.outline.add(title + "\n")
        elif tag in _BLOCKS:
            self._flush()
        elif tag in _CELLS:
            self._text.append(" ")
        self._keeps_spaces -= tag in _KEEP_SPACES

    def _flush(self) -> None:
        if self._heading:  # blocks within a heading are words of it
            self._text.append(" ")
            return
        text = "".join(self._text)
        self._text = []
        text = text.strip("\n") if self._keeps_spaces else " ".join(text.split())
        if text.strip():
            self.outline.add(text + "\n")


def _is_hidden(node: Any) -> bool:
    if node.tag in _HIDDEN:
        return True
    attributes = node.attributes
    if not attributes:
        return False
    return (
        "hidden" in attributes
        or attributes.get("aria-hidden") == "true"
        or bool(_UNSEEN.search(attributes.get("style") or ""))
    )


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Parts of at most :data:`_MAX_TAGS` tags, cut before one, and whether a part is the last."""
    start = 0
    for match in islice(re.finditer("<", text), _MAX_TAGS, None, _MAX_TAGS):
        yield text[start : match.start()], False
        start = match.start()
    yield text[start:], True


def _open_at_the_end(root: Any) -> str:
    """The starts of the elements, and of the comment, that are still open where a piece ended."""
    tags: list[str] = []
    comment = ""
    node = root
    while (inner := node.last_child) is not None and inner.is_element_node:
        node = inner
        hidden = " hidden" if node.tag not in _HIDDEN and _is_hidden(node) else ""
        tags.append(f"<{node.tag}{hidden}>")
    if inner is not None and inner.is_comment_node and inner.comment_content.endswith(_CUT):
        comment = "" if inner.comment_content == _CUT else "<!--"
    elif node.tag not in _RAW:  # the piece ended within a tag
        return "<body>"
    opened = [tag for tag in tags if tag not in ("<head>", "<body>")]
    return "".join(["<body>", *opened[:_MAX_OPEN], *opened[_MAX_OPEN:][-1:]]) + comment
