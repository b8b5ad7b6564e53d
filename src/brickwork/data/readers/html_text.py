"""Sections of HTML, read as browsers do (by Lexbor, through selectolax), in time that grows with the length of the page.

A tree of elements can take quadratic time and memory: each start of a block looks through all elements that are open, and
formatting elements that were not closed are repeated in every block that follows. So formatting elements are given a name
without that rule, and a page of very many tags is parsed in pieces, each inside the elements that were open at its start.
Each attribute of an element is compared with those before it: elements of very many attributes lose them.
"""

import re
from collections.abc import Iterator
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
_MAX_LENGTH = 64_000  # of one piece, in characters, unless there is no tag in more of them
_MAX_ATTRIBUTES = 1_000  # of one element
# An attribute as browsers read it, without a way back: each character is looked at once.
_ATTRIBUTE = (
    r"""[ \t\n\f\r/]*+[^ \t\n\f\r/>][^ \t\n\f\r/>=]*+"""
    r"""(?:[ \t\n\f\r]*+=[ \t\n\f\r]*+(?:"[^"]*+"|'[^']*+'|[^ \t\n\f\r>"'][^ \t\n\f\r>]*+)?+)?+"""
)
_LONG = re.compile(r"</?[a-zA-Z][^<]{10000,}+")
_TAG = re.compile(rf"(</?[a-zA-Z][^ \t\n\f\r/>]*+)((?:{_ATTRIBUTE})*+)")
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
        for piece, last in _pieces(_LONG.sub(_few_attributes, _FORMATTING.sub(r"<\1x-f", text))):
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


def _few_attributes(found: re.Match[str]) -> str:
    """A long tag, and the text behind it, without its attributes where they are very many."""
    tag = _TAG.match(found[0])
    assert tag is not None
    if sum(1 for _ in re.finditer(_ATTRIBUTE, tag[2])) <= _MAX_ATTRIBUTES:
        return found[0]
    end = "--" if tag[2].endswith("--") else ""  # of a comment that it may stand in
    return tag[1] + end + found[0][tag.end() :]


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Parts of at most :data:`_MAX_TAGS` tags and :data:`_MAX_LENGTH`, cut before a tag, and whether a part is the last."""
    start = tags = 0
    places = [match.start() for match in re.finditer("<", text)]
    for place, following in zip(places, [*places[1:], len(text)]):
        if place > start and (tags == _MAX_TAGS or following - start > _MAX_LENGTH):
            yield text[start:place], False
            start, tags = place, 0
        tags += 1
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
