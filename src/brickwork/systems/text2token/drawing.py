"""The pictures of a run: texts with the words of their vectors, and the words that connect a text with its nearest other."""

import html
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from brickwork.core.types import WordShare
from brickwork.inspection.drawings import Drawing
from brickwork.inspection.plots import both
from brickwork.inspection.svg import element, figure, label, tip
from brickwork.systems.text2token.reading import IN_BOTH, IN_TEXT

_TEXTS, _WORDS, _LINKS = 6, 10, 8
_SEARCHED = 1000  # texts among which the nearest is looked for
_LONGEST = 420  # letters of a text that are shown
_STYLE = """\
.t2t { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 6px 32px; padding: 14px 0;
  border-top: 1px solid var(--line); }
.t2t p { margin: 0; color: var(--muted); font-size: 15px; }
.t2t b { color: var(--ink); font-weight: 650; }
.t2t ol { list-style: none; margin: 0; padding: 0; font-size: 14px; }
.t2t li { display: grid; grid-template-columns: 9em 1fr 4em; gap: 8px; align-items: center; line-height: 1.5; }
.t2t li span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.t2t li i { height: 9px; border-radius: 2px; background: var(--deep); }
.t2t li.beyond { color: var(--muted); }
.t2t li.beyond i { opacity: .38; }
.t2t li em { font-style: normal; text-align: right; white-space: nowrap; }
@media (max-width: 640px) { .t2t { grid-template-columns: 1fr; } }"""
_BRIDGE_STYLE = """\
.t2t-link { stroke: var(--deep); fill: none; }
.t2t-link.meant { opacity: .38; }
.t2t-word { fill: var(--ink); font-size: 15px; font-weight: 650; }
.t2t-word.meant { fill: var(--muted); font-weight: 400; }
.t2t-side { fill: var(--muted); font-size: 14px; }"""


def drawings(system: Any, examples: Any) -> list[Drawing]:
    """Texts with their words and bridges between texts; nothing for a model that learnt no words, or without texts."""
    texts = texts_in(examples.columns)
    if system.head is None or len(texts) < 2:
        return []
    representation = system.representation()
    shown = texts[:: max(1, len(texts) // _TEXTS)][:_TEXTS]
    words = representation.read(shown, _WORDS)
    some = texts[:_SEARCHED]
    vectors = representation.encode(some)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    first = [some.index(text) for text in shown if text in some][:3] or [0]
    hits = [int(cosines[row].argmax()) for row in first]
    links = [representation.connections(some[row], [some[hit]], _LINKS)[0] for row, hit in zip(first, hits)]
    return [
        words_drawing(shown, words),
        bridges_drawing([(some[row], some[hit]) for row, hit in zip(first, hits)], links),
    ]


def texts_in(columns: Any) -> list[str]:
    """The different texts of examples: of pairs those that answer, else all."""
    name = next((n for n in ("positive", "input", "text") if n in columns), None)
    return [] if name is None else list(dict.fromkeys(columns[name]))


# ---- texts with their words ----------------------------------------------------------------------------------------


def words_drawing(texts: Sequence[str], words: Sequence[Sequence[WordShare]]) -> Drawing:
    """Each text, its key words dark, beside the likeliest words of its vector."""
    lead = (
        "Held-out texts, and the likeliest words of their vectors: dark those that stand in the text, light those beyond "
        "it. Bars: the share of the distribution that the vector gives."
    )
    return Drawing("What the vectors say", lead, "".join(map(_text_and_words, texts, words)), _STYLE)


def _text_and_words(text: str, words: Sequence[WordShare]) -> str:
    most = max((one.share for one in words), default=1.0)
    rows = "".join(
        f'<li class="{"in" if one.where == IN_TEXT else "beyond"}"><span>{html.escape(one.word)}</span>'
        f'<i style="width:{100 * one.share / most:.1f}%"></i><em>{100 * one.share:.1f} %</em></li>'
        for one in words
    )
    inside = {one.word for one in words if one.where == IN_TEXT}
    return f'<div class="t2t"><p>{_marked(_cut(text), inside)}</p><ol>{rows}</ol></div>'


def _marked(text: str, words: set[str]) -> str:
    """The text as HTML with some words in bold."""
    parts = re.split(r"(\w+)", text)
    return "".join(f"<b>{html.escape(p)}</b>" if p.lower() in words else html.escape(p) for p in parts)


def _cut(text: str, most: int = _LONGEST) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1].rsplit(" ", 1)[0] + " …"


# ---- what connects two texts ---------------------------------------------------------------------------------------


def bridges_drawing(pairs: Sequence[tuple[str, str]], links: Sequence[Sequence[WordShare]]) -> Drawing:
    """Each pair of texts, left and right, and between them the words that connect their vectors."""
    lead = (
        "A held-out text (left), the one with the nearest vector (right), and the words that connect both: the products of "
        "both probabilities, as shares of all. Dark: both texts have the word; light: it is only meant."
    )
    drawn = [both(partial(_bridge, pair, words)) for pair, words in zip(pairs, links)]
    return Drawing("What connects a text with its nearest", lead, "".join(drawn), _BRIDGE_STYLE)


def _bridge(pair: tuple[str, str], words: Sequence[WordShare], width: int) -> str:
    row = 26
    height = row * len(words) + 30
    side = width * 0.3
    middle, centre = width / 2, height / 2
    letters = max(12, int(side / 8.4))
    parts = []
    most = max((one.share for one in words), default=1.0)
    for number, one in enumerate(words):
        y = 28 + row * number
        kind = "" if one.where == IN_BOTH else " meant"
        room = min(70.0, 4.6 * len(one.word) + 6) if width > 480 else 4.6 * len(one.word) + 4
        for start, end in ((side, middle - room), (width - side, middle + room)):
            bend = (start + end) / 2
            path = f"M{start:.1f},{centre:.1f} C{bend:.1f},{centre:.1f} {bend:.1f},{y - 5:.1f} {end:.1f},{y - 5:.1f}"
            parts.append(
                element(
                    "path",
                    tip(f"{one.word}: {100 * one.share:.1f} % of what connects both"),
                    d=path,
                    class_=f"t2t-link{kind}",
                    stroke_width=max(1.0, 9 * one.share / most),
                )
            )
        parts.append(label(middle, y, one.word, f"t2t-word{kind}"))
    for text, x, anchor in ((pair[0], 0, "start"), (pair[1], width, "end")):
        lines = _lines(text, letters, max(2, height // 19 - 1))
        top = centre - 9.5 * (len(lines) - 1) + 4
        parts += [label(x, top + 19 * n, line, "t2t-side", anchor) for n, line in enumerate(lines)]
    names = ", ".join(one.word for one in words)
    return figure(width, height, f"words that connect two texts: {names}", *parts)


def _lines(text: str, letters: int, most: int) -> list[str]:
    """A text in lines of at most so many letters, the last with dots where it is cut."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > letters:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
        if len(lines) == most:
            return [*lines[:-1], lines[-1][: letters - 2] + " …"]
    return [one[:letters] for one in [*lines, line]]
