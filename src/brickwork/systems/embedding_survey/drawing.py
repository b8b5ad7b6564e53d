"""The pictures of a run: methods by measures, quality against bytes, nearest words; bias before and after.

Every interval is of 95 %, over held-out rows drawn with replacement.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from brickwork.inspection.drawings import Drawing
from brickwork.inspection.plots import both
from brickwork.inspection.strip import StripRow, strip_drawing
from brickwork.inspection.svg import Frame, element, figure, label, log_ticks, nice_ticks, short, tip
from brickwork.systems.embedding_survey.audit import BEFORE, Audit
from brickwork.systems.embedding_survey.found_topics import Topic
from brickwork.systems.embedding_survey.measuring import Measured

_LEVEL = [0.025, 0.975]
_MOST_TOPICS = 20
_MAP_STYLE = """\
.cell-value { font-weight: 600; fill: var(--ink); }
.cell-range { fill: var(--ink); opacity: .75; font-size: 11px; }
.used { font-weight: 700; }"""
_BYTES_STYLE = """\
.byte-range { stroke: var(--deep); stroke-width: 2; opacity: .5; }
.byte-dot { fill: var(--deep); }"""


def heat_map(found: Mapping[str, Mapping[str, Measured]], chosen: str) -> Drawing:
    """Methods by measures: value, interval, and whether it differs from the first row."""
    measures = list(dict.fromkeys(name for row in found.values() for name in row))
    first = next(iter(found))
    rows = len(next(one for row in found.values() for one in row.values()).values)
    lead = f"Darker is better within a column; below each value its 95 % interval, on {rows:,} held-out rows."
    if len(found) > 1:
        lead += (
            f" ▲ better, ▼ worse than {first}, where the interval of the paired difference leaves out 0. In bold the method "
            "that does best in the training part (labels: cross-validated), and that this run encodes with."
        )
    return Drawing(
        "Methods and measures", lead, both(lambda width: _cells(found, measures, chosen, width)), _MAP_STYLE
    )


def gain(one: Measured, other: Measured) -> tuple[float, float, float]:
    """one − other on the same rows, with its interval: equal rows are drawn for both."""
    low, high = np.quantile(one.resampled() - other.resampled(), _LEVEL)
    return one.estimate - other.estimate, float(low), float(high)


def _cells(
    found: Mapping[str, Mapping[str, Measured]], measures: Sequence[str], chosen: str, width: int
) -> str:
    left, top, height = 100.0, 34.0, 40.0
    wide = min(190.0, (width - left - 8) / len(measures))
    first = next(iter(found))
    parts = []
    for column, name in enumerate(measures):
        lines = [name] if 7.5 * len(name) < wide else name.split(" ", 1)
        for number, line in enumerate(lines):
            rise = 14 * (len(lines) - 1 - number)
            parts.append(label(left + (column + 0.5) * wide, 24 - rise, line, "axis-title"))
    spans = {name: [row[name].estimate for row in found.values() if name in row] for name in measures}
    for place, (method, row) in enumerate(found.items()):
        y = top + place * height
        parts.append(label(left - 8, y + 24, method, "tick used" if method == chosen else "tick", "end"))
        for column, name in enumerate(measures):
            if name not in row:
                continue
            x, one = left + column * wide, row[name]
            low, high = np.quantile(one.resampled(), _LEVEL)
            mark, words = "", ""
            if method != first and name in found[first]:
                mean, below, above = gain(one, found[first][name])
                mark = " ▲" if below > 0 else " ▼" if above < 0 else ""
                words = f", {mean:+.3f} [{below:+.3f}, {above:+.3f}] against {first}"
            lowest, most = min(spans[name]), max(spans[name])
            share = (one.estimate - lowest) / (most - lowest) if most > lowest else 0.5
            fill = f"fill:color-mix(in oklab,var(--heat) {8 + 62 * share:.0f}%,var(--sunken))"
            about = tip(f"{method}, {name}: {one.estimate:.3f} [{low:.3f}, {high:.3f}]{words}")
            middle = x + wide / 2
            between = f"{low:.3f} … {high:.3f}" if wide > 110 else f"{low:.2f}…{high:.2f}"
            parts.append(
                element(
                    "g",
                    about,
                    element("rect", x=x + 1, y=y + 1, width=wide - 2, height=height - 2, rx=4, style=fill),
                    label(middle, y + 17, f"{one.estimate:.3f}{mark}", "cell-value"),
                    label(middle, y + 32, between, "cell-range"),
                )
            )
    return figure(width, round(top + len(found) * height + 8), "methods by measures", *parts)


def quality_by_bytes(ways: Mapping[str, tuple[float, str, Measured]], method: str) -> Drawing:
    """A dot for each way to keep the table, with its interval; bytes on a logarithmic axis."""
    measure = next(iter(ways.values()))[1]
    rows = len(next(iter(ways.values()))[2].values)
    texts = measure != "nearest words kept"
    what = (
        f"{measure}, on {rows:,} held-out rows" if texts else f"of {rows:,} frequent words, {measure} of ten"
    )
    lead = (
        f"What is left when the table of {method} is kept in fewer bytes a word ({what}, with 95 % intervals). Texts are "
        "read with the smaller table; centroids and axes, which do not grow with the words, are not counted."
    )
    return Drawing(
        "Quality against bytes", lead, both(lambda width: _bytes(ways, measure, width)), _BYTES_STYLE
    )


def _bytes(ways: Mapping[str, tuple[float, str, Measured]], measure: str, width: int) -> str:
    points = []
    for name, (size, _, one) in ways.items():
        low, high = np.quantile(one.resampled(), _LEVEL)
        points.append((name, size, one.estimate, float(low), float(high)))
    sizes = [size for _, size, *_ in points]
    ticks = nice_ticks(min(p[3] for p in points), max(p[4] for p in points), 5)
    spread = (0.7 * min(sizes), 1.4 * max(sizes))
    height = 330
    frame = Frame.fit(spread, (ticks[0], ticks[-1]), (width, height), 12, log=True)
    marks = log_ticks(*spread)
    axes = frame.axes([(m, short(m)) for m in marks], [(t, short(t)) for t in ticks], "bytes a word", measure)
    parts = [axes]
    for number, (name, size, value, low, high) in enumerate(sorted(points, key=lambda p: p[1])):
        x = frame.x(size)
        words = tip(f"{name}: {size:g} bytes, {value:.3f} [{low:.3f}, {high:.3f}]")
        parts.append(element("line", x1=x, x2=x, y1=frame.y(low), y2=frame.y(high), class_="byte-range"))
        parts.append(element("circle", words, cx=x, cy=frame.y(value), r=5.5, class_="byte-dot"))
        above = number % 2 == 0
        y = frame.y(high) - 8 if above else frame.y(low) + 16
        side = "end" if x > width - 150 else "start" if x < 150 else "middle"
        parts.append(label(x, y, name if width > 500 else _short(name), "tick", side))
    return figure(width, height, f"{measure} against bytes a word", *parts)


def _short(name: str) -> str:
    return {"half of the principal components": "PCA", "product quantiser, D/2 parts": "PQ D/2"}.get(
        name, "PQ D/4" if name.startswith("product") else name
    )


def topics_drawing(topics: Sequence[Topic], learnt: bool) -> Drawing:
    """A bar for the share of each topic, its words, and how coherent they are."""
    rows = topics[:_MOST_TOPICS]
    what = "topics that were learnt" if learnt else "clusters of the vectors of these texts (k-means)"
    lead = (
        f"The {len(rows)} largest of {len(topics)} {what}: its share of the held-out texts, its words, and their coherence "
        "(NPMI: 1 always together, 0 by chance, −1 never)."
    )
    most = max(topic.share for topic in rows)

    def draw(width: int) -> str:
        left, height = 150.0, 26.0
        parts = []
        for row, topic in enumerate(rows):
            y = 6 + row * height
            size = 90 * topic.share / most if most else 0.0
            words = tip(
                f"{100 * topic.share:.1f} % of the texts, coherence {topic.coherence:+.3f}: {', '.join(topic.words)}"
            )
            parts.append(
                element(
                    "rect",
                    words,
                    x=left - 12 - size,
                    y=y + 4,
                    width=size,
                    height=14,
                    rx=3,
                    class_="topic-bar",
                )
            )
            parts.append(label(4, y + 15, f"{100 * topic.share:.0f} %", "tick", "start"))
            count = max(2, round((width - left - 60) / 62))
            parts.append(label(left, y + 15, ", ".join(topic.words[:count]), "tick", "start"))
            parts.append(label(width - 6, y + 15, f"{topic.coherence:+.2f}", "tick", "end"))
        return figure(width, round(14 + len(rows) * height), "topics", *parts)

    return Drawing("Topics", lead, both(draw), ".topic-bar { fill: var(--deep); opacity: .75; }")


def nearest_words(words: Sequence[str], nearest: Sequence[str]) -> Drawing:
    """Typical words of the texts, and the five nearest of each."""
    lead = (
        "The words that make most of these texts (by TF-IDF), and the five whose vectors are nearest to each."
    )

    def draw(width: int) -> str:
        left, height = 130.0, 22.0
        parts = []
        for row, (word, others) in enumerate(zip(words, nearest)):
            y = 18 + row * height
            most = round((width - left) / 7.2)
            shown = others if len(others) <= most else others[: most - 1].rpartition(",")[0] + " …"
            parts.append(label(left - 12, y, word[:17], "axis-title", "end"))
            parts.append(label(left, y, shown, "tick", "start"))
        return figure(width, round(24 + len(words) * height), "nearest words", *parts)

    return Drawing("Nearest words", lead, both(draw))


def bias_drawings(found: Audit) -> list[Drawing]:
    """A strip of effects, a row for each test and state of the vectors."""
    rows, sentences = [], []
    for test, effects in found.effects.items():
        for name, one in effects.items():
            rows.append(
                StripRow(name=f"{test}, {name}", values=(), mean=one.effect, interval=(one.low, one.high))
            )
        told = ", ".join(
            f"{name} {one.difference:+.3f} (p {'=' if one.exact else '≈'} {one.p:.2g})"
            for name, one in effects.items()
        )
        lost = found.missing[test]
        without = f"; without a vector: {', '.join(lost)}" if lost else ""
        sentences.append(f"{test}: {told}{without}.")
    lead = (
        "How much nearer the first targets are to the first attributes than the second are, in standard deviations (WEAT); "
        "bar: 95 % interval over the words; p: the share of partitions of the targets that are as far apart. The "
        "effect is scaled by what differences are left, so it can grow when all of them shrink; the same in cosines: "
    ) + " ".join(sentences)
    if found.recovered:
        told = ", ".join(f"{name} {100 * share:.0f} %" for name, share in found.recovered.items())
        lead += (
            f" Taken out is not gone: of the {found.leaning} words that leaned most, two clusters of their vectors still "
            f"tell the side of {told} (50 % is chance)."
        )
    if found.left_out:
        lead += f" Left out: {'; '.join(found.left_out)}."
    drawing = strip_drawing(
        f"Bias before and after: {len(found.effects)} test{'s' if len(found.effects) > 1 else ''}",
        lead,
        rows,
        unit=f"effect, standard deviations; rows: {BEFORE}, and debiased",
    )
    return [drawing]
