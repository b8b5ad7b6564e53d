"""The pictures of a run: the senses of a word on a map of its contexts, and which words are the most ambiguous.

Shape legend: N places of a word.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from brickwork.data.vocabulary import Vocabulary
from brickwork.inspection.drawings import Drawing
from brickwork.inspection.maps import principal
from brickwork.inspection.plots import both, plural
from brickwork.inspection.svg import Scale, element, figure, label, tip
from brickwork.systems.disambiguated_skipgram.senses import By, Senses, find

_STYLE = """\
.sense-dot { fill: var(--c); fill-opacity: .75; }
.sense-bar { fill: var(--c); }
.sense-frame { fill: var(--sunken); }
.sense-name { fill: var(--ink); font-weight: 600; font-size: 14px; }
.sense-words { fill: var(--ink); font-size: 13px; }
.sense-note { fill: var(--muted); font-size: 12px; }"""
_RANK_STYLE = """\
.rank-bar { fill: var(--middle); }
.rank-word { fill: var(--ink); font-size: 13px; }
.rank-note { fill: var(--muted); font-size: 12px; }"""
_PLACES = 400  # of a word on its map
_FEW = 3  # places that make no map
_AROUND = 6  # words to each side in the words of a dot
_RANKED = 24


@dataclass(frozen=True)
class Sense:
    """A row of the picture. ``number``: as in ``word#1``; ``share``: of the places of the word in what was learnt from."""

    number: int
    share: float
    neighbours: tuple[str, ...]


@dataclass(frozen=True)
class WordMap:
    """A word's senses, and its places with a point, a sense (number from 1) and the words around it each."""

    word: str
    senses: tuple[Sense, ...]
    points: Float[np.ndarray, "places 2"]
    chosen: Int[np.ndarray, " places"]
    around: tuple[str, ...]


def drawings(
    senses: Senses, words: Sequence[str], texts: Sequence[str], ranked: Sequence[int], by: By
) -> list[Drawing]:
    """A map for each word, and the ranking."""
    maps = [word_map(senses, word, texts, by) for word in words]
    return [*map(map_drawing, maps), ranking_drawing(senses, ranked)]


def word_map(senses: Senses, word: str, texts: Sequence[str], by: By) -> WordMap:
    """Where a word stands in ``texts`` (its first place in each, at most 400 texts), on the plane in which these contexts
    differ most."""
    vocabulary, number = senses.vocabulary, senses.vocabulary.ids[word]
    there = [text for text in texts if word in vocabulary.tokenize(text)][:_PLACES]
    of = find(vocabulary, [word] * len(there), there)
    vectors = (
        torch.nn.functional.normalize(senses.context_vectors(of, senses.means), dim=-1).detach().cpu().numpy()
    )
    points = np.zeros((len(there), 2))
    if len(there) >= _FEW:
        flat = principal(vectors.astype(np.float64), 2)
        points[:, : flat.shape[1]] = flat
    listed = [
        Sense(
            k + 1, float(senses.usage[number, k]), tuple(name for name, _ in senses.neighbours(word, k + 1))
        )
        for k in senses.kept[number].nonzero().flatten().tolist()
    ]
    chosen = senses.probabilities(of, by).argmax(1).cpu().numpy() + 1
    return WordMap(
        word, tuple(listed), points, chosen, tuple(_around(vocabulary, word, text) for text in there)
    )


def _around(vocabulary: Vocabulary, word: str, text: str) -> str:
    tokens = vocabulary.tokenize(text)
    place = tokens.index(word)
    first, last = max(0, place - _AROUND), place + _AROUND + 1
    words = [*tokens[first:place], f"[{word}]", *tokens[place + 1 : last]]
    return f"{'… ' if first else ''}{' '.join(words)}{' …' if last < len(tokens) else ''}"


def map_drawing(one: WordMap) -> Drawing:
    """The map beside a bar and the neighbours of each sense."""
    count = len(one.chosen)
    main = one.senses[0]
    lead = f"{plural(len(one.senses), 'sense')}, the first in {100 * main.share:.0f} % of the places that were learnt from. "
    if count >= _FEW:
        lead += (
            f"Each dot is one of {count} texts with the word, where the words around it put it (the plane in which these "
            "differ most); colour: the sense that it got. Rest on a dot to read it. Bars: how often each sense was met in "
            "training; below them the words nearest to it."
        )
    else:
        lead += f"The word stands in {count} of the texts that were looked at: too few for a map."
    style = _STYLE
    return Drawing(f"The senses of “{one.word}”", lead, both(lambda width: _map(one, width)), style)


def _map(one: WordMap, width: int) -> str:
    wide = width > 500
    side = 0 if len(one.chosen) < _FEW else (360 if wide else width - 16)
    left = side + 40 if wide and side else 8
    top = 8 if wide or not side else side + 24
    parts = []
    if side:
        margin = 14
        (x_low, y_low), (x_high, y_high) = one.points.min(0), one.points.max(0)
        x = Scale(float(x_low), float(max(x_high, x_low + 1e-9)), 8 + margin, 8 + side - margin)
        y = Scale(float(y_low), float(max(y_high, y_low + 1e-9)), 8 + side - margin, 8 + margin)
        parts.append(element("rect", x=8, y=8, width=side, height=side, rx=6, class_="sense-frame"))
        parts += [
            element(
                "circle", tip(f"{one.word}#{k}: {words}"), cx=x(float(a)), cy=y(float(b)), r=4.2,
                class_=f"sense-dot hue-{(k - 1) % 8}",
            )
            for (a, b), k, words in zip(one.points, one.chosen.tolist(), one.around, strict=True)
        ]  # fmt: skip
    room = width - left - 8
    row = 74
    for place, sense in enumerate(one.senses):
        y_row = top + place * row
        hue = f"hue-{(sense.number - 1) % 8}"
        parts.append(label(left, y_row + 14, f"{one.word}#{sense.number}", "sense-name", "start"))
        bar = max(2.0, (room - 60) * sense.share)
        parts.append(
            element("rect", x=left, y=y_row + 22, width=bar, height=14, rx=3, class_=f"sense-bar {hue}")
        )
        parts.append(label(left + bar + 8, y_row + 34, f"{100 * sense.share:.0f} %", "sense-note", "start"))
        words = _cut(", ".join(sense.neighbours), round(room / 7.2))
        parts.append(label(left, y_row + 54, words, "sense-words", "start"))
    height = max(side + 16 if wide else 0, top + len(one.senses) * row)
    return figure(width, round(height), f"the senses of {one.word}", *parts)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(length - 1, 1)] + "…"


def ranking_drawing(senses: Senses, ranked: Sequence[int]) -> Drawing:
    """Words by ambiguity."""
    ambiguity = senses.ambiguity()
    rows = [
        (
            senses.vocabulary.entries[n],
            float(ambiguity[n]),
            int(senses.kept[n].sum()),
            int(senses.vocabulary.counts[n]),
        )
        for n in ranked[:_RANKED]
    ]
    lead = (
        "How far apart two places of a word are in what it means, on average: 0 where all are of one sense, or its senses "
        "mean the same. Words that are met often enough, the most ambiguous ones first; with their number of senses and how "
        "often they are met."
    )
    return Drawing("The most ambiguous words", lead, both(lambda width: _ranking(rows, width)), _RANK_STYLE)


def _ranking(rows: Sequence[tuple[str, float, int, int]], width: int) -> str:
    left, right, row = 150 if width > 500 else 110, 190 if width > 500 else 96, 22
    most = max((value for _, value, _, _ in rows), default=0.0) or 1.0
    parts = []
    for place, (word, value, count, times) in enumerate(rows):
        y = place * row + 6
        bar = max(1.0, (width - left - right) * value / most)
        parts.append(label(left - 10, y + 13, _cut(word, 20 if width > 500 else 13), "rank-word", "end"))
        parts.append(element("rect", x=left, y=y + 2, width=bar, height=14, rx=3, class_="rank-bar"))
        note = (
            f"{value:.2f}, {plural(count, 'sense')}, {times:,} times"
            if width > 500
            else f"{value:.2f} · {count}"
        )
        parts.append(label(left + bar + 8, y + 13, note, "rank-note", "start"))
    return figure(width, len(rows) * row + 12, "words by ambiguity", *parts)
