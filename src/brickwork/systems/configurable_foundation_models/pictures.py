"""Figures that the pages of this system share: a matrix with its numbers, lines, dots by domain."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from brickwork.inspection.svg import Frame, Scale, element, figure, label, nice_ticks, polyline, short, tip

STYLE = """\
.cell-number { font-family: var(--sans); font-size: 11.5px; fill: var(--ink); }
.cell-number.strong { fill: light-dark(#fff, #0d0f12); }
.cell-ring { fill: none; stroke: var(--ink); stroke-width: 1.8; }
.curve { stroke: var(--c, var(--muted)); stroke-width: 2; fill: none; }
.curve.by-chance { stroke: var(--muted); stroke-dasharray: 5 4; }
.key-mark { fill: var(--c, var(--muted)); }
.by-chance.key-mark { fill: var(--muted); }
.request { fill: var(--c, var(--muted)); opacity: .75; }
.request.left { fill: none; stroke: var(--c, var(--muted)); stroke-width: 1.4; opacity: 1; }
.brick-key { fill: var(--c); stroke: var(--ink); stroke-width: 1.6; }
.border { stroke: var(--ink); stroke-width: 1.6; }"""


def hue(number: int) -> str:
    """The class of the colour of domain ``number``."""
    return f"hue-{number % 8}"


def matrix(
    values: Float[np.ndarray, "rows columns"],
    rows: Sequence[str],
    columns: Sequence[str],
    width: int,
    *,
    words: Callable[[str, str, float], str],
    text: Callable[[float], str] = short,
    ringed: Bool[np.ndarray, "rows columns"] | None = None,
    headings: Mapping[int, str] | None = None,
    title: str,
) -> str:
    """Cells with their numbers, blue above zero and orange below; ``ringed``: those to look at; ``headings``: words
    above some rows."""
    narrow = width < 500
    left = min(20.0 + 6.8 * max(map(len, rows)), 110.0 if narrow else 190.0)
    side = min((width - left - 4) / len(columns), 84.0)
    height, top, size = 26.0, 44.0 if narrow else 26.0, float(np.nanmax(np.abs(values))) or 1.0
    parts = []
    for number, name in enumerate(columns):
        x = left + (number + 0.5) * side
        # On a narrow screen names take turns on two lines, and the last one ends with its column.
        last = narrow and number == len(columns) - 1
        where = (x + side / 2, "end") if last else (x, "middle")
        room = 2 * side if narrow else side
        parts.append(
            label(where[0], top - (24 if narrow and number % 2 else 8), _cut(name, room), "tick", where[1])
        )
    y = top
    for row, name in enumerate(rows):
        if headings and row in headings:
            parts.append(label(left + 2, y + 17, headings[row], "axis-title", "start"))
            y += 24.0
        parts.append(label(left - 8, y + height / 2 + 4, _cut(name, left - 8), "tick", "end"))
        for column, other in enumerate(columns):
            value = float(values[row, column])
            x = left + column * side
            share = (
                0.0 if np.isnan(value) else min(1.0, abs(value) / size) ** 0.5
            )  # so that small ones are seen
            colour = "var(--heat)" if value >= 0 else "var(--loss)"
            fill = f"fill:color-mix(in oklab,{colour} {100 * share:.0f}%,var(--sunken))"
            inside = [element("rect", x=x + 1, y=y + 1, width=side - 2, height=height - 2, rx=3, style=fill)]
            if ringed is not None and ringed[row, column]:
                inside.append(
                    element(
                        "rect", x=x + 2, y=y + 2, width=side - 4, height=height - 4, rx=3, class_="cell-ring"
                    )
                )
            inside.append(
                label(
                    x + side / 2,
                    y + height / 2 + 4,
                    text(value),
                    f"cell-number{' strong' if share > 0.75 else ''}",
                )
            )
            parts.append(element("g", tip(words(name, other, value)), *inside))
        y += height
    return figure(width, round(y + 6), title, *parts)


def lines(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    width: int,
    *,
    x_title: str,
    y_title: str,
    title: str,
    by_chance: Sequence[str] = (),
    limits: tuple[float, float] | None = None,
) -> str:
    """A line for each name, with dots that say their numbers; those of ``by_chance`` are dashed and grey."""
    narrow = width < 500
    points = [point for curve in curves.values() for point in curve]
    low, high = limits or (min(0.0, *(y for _, y in points)), max(y for _, y in points))
    ticks = nice_ticks(low, high, 5)
    room = 24 + 17 * ((len(curves) + 1) // 2) if narrow else 0
    height = 300 + room
    xs = sorted({x for x, _ in points})
    frame = Frame.fit((xs[0], xs[-1]), (ticks[0], ticks[-1]), (width, 300), 8 if narrow else 150)
    step = max(1, len(xs) // 8)
    parts = [
        frame.axes([(x, short(x)) for x in xs[::step]], [(t, short(t)) for t in ticks], x_title, y_title)
    ]
    for number, (name, curve) in enumerate(curves.items()):
        look = "by-chance" if name in by_chance else hue(number)
        shown = [(frame.x(x), frame.y(min(max(y, ticks[0]), ticks[-1]))) for x, y in curve]
        parts.append(polyline(shown, class_=f"curve {look}"))
        for (x, y), (place, value) in zip(shown, curve):
            words = f"{name}, {short(place)}: {value:.3g}"
            parts.append(element("circle", tip(words), cx=x, cy=y, r=2.8, class_=f"key-mark {look}"))
        x, y = (
            (frame.left + (number % 2) * width / 2, 318 + 17 * (number // 2))
            if narrow
            else (frame.right + 12, 40 + 19 * number)
        )
        parts.append(element("rect", x=x, y=y - 9, width=10, height=10, rx=2, class_=f"key-mark {look}"))
        parts.append(label(x + 16, y, name, "tick", "start"))
    return figure(width, height, title, *parts)


def dots(
    places: Float[np.ndarray, "points 2"],
    domains: Sequence[str],
    hollow: Sequence[bool],
    words: Sequence[str],
    bricks: Sequence[str],
    width: int,
    *,
    title: str,
) -> str:
    """A map: a dot for each text in the colour of its domain; where there are more places, a diamond for each brick."""
    height = round(width * (0.45 if width > 480 else 0.9))
    x = Scale(float(places[:, 0].min()), float(places[:, 0].max()), 20, width - 20)
    y = Scale(float(places[:, 1].min()), float(places[:, 1].max()), height - 20, 20)
    names = [*bricks, *sorted(set(domains) - set(bricks))]
    parts = []
    for (across, up), name, empty, told in zip(places, domains, hollow, words):
        look = f"request{' left' if empty else ''} {hue(names.index(name))}"
        parts.append(element("circle", tip(told), cx=x(float(across)), cy=y(float(up)), r=3.8, class_=look))
    for number, (across, up) in enumerate(places[len(domains) :]):
        a, b, r = x(float(across)), y(float(up)), 8.0
        points = f"{a:.1f},{b - r:.1f} {a + r:.1f},{b:.1f} {a:.1f},{b + r:.1f} {a - r:.1f},{b:.1f}"
        key = tip(f"key of {bricks[number]}")
        parts.append(element("polygon", key, points=points, class_=f"brick-key {hue(number)}"))
    rows, end = legend(names, width, height + 14.0)
    return figure(width, round(end), title, *parts, *rows)


def legend(names: Sequence[str], width: int, top: float) -> tuple[list[str], float]:
    """Names with their colours in a row that breaks, from ``top`` on; and where it ends."""
    parts, x, y = [], 8.0, top
    for number, name in enumerate(names):
        room = 30 + 6.8 * len(name)
        if x + room > width and x > 8:
            x, y = 8.0, y + 18
        parts.append(
            element("rect", x=x, y=y - 9, width=10, height=10, rx=2, class_=f"key-mark {hue(number)}")
        )
        parts.append(label(x + 15, y, name, "tick", "start"))
        x += room
    return parts, y + 8


def _cut(name: str, room: float) -> str:
    most = max(4, int(room / 6.4))
    return name if len(name) <= most else f"{name[: most - 1]}…"
