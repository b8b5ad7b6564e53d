"""A strip of paired differences: what several ways to train do better or worse than one of them, seed by seed."""

from collections.abc import Sequence
from dataclasses import dataclass

from brickwork.inspection.drawings import Drawing
from brickwork.inspection.plots import both
from brickwork.inspection.svg import Scale, element, figure, label, nice_ticks, tip

_STYLE = """\
.strip-zero { stroke: var(--ink); stroke-dasharray: 4 4; }
.strip-range { fill: var(--deep); opacity: .3; }
.strip-mean { fill: var(--deep); }
.strip-seed { fill: none; stroke: var(--ink); opacity: .55; }"""


@dataclass(frozen=True, kw_only=True)
class StripRow:
    """One way to train: its differences by seed, their mean, and its 95 % interval (none with one seed)."""

    name: str
    values: tuple[float, ...]
    mean: float
    interval: tuple[float, float] | None = None


def strip_drawing(title: str, lead: str, rows: Sequence[StripRow], *, unit: str) -> Drawing:
    """Circles: seeds; dot and bar: mean and interval; the dashed line is no difference."""
    return Drawing(title, lead, both(lambda width: _strip(rows, unit, width)), _STYLE)


def _strip(rows: Sequence[StripRow], unit: str, width: int) -> str:
    values = [value for row in rows for value in (*row.values, *(row.interval or ()))]
    wide = width > 500
    ticks = nice_ticks(min(0.0, *values), max(0.0, *values), 6 if wide else 4)
    left, height, top = (20.0 + 7.4 * max(len(row.name) for row in rows), 34.0, 14.0)
    x = Scale(ticks[0], ticks[-1], left + 10, width - 20)
    bottom = top + height * len(rows)
    parts = []
    for tick in ticks:
        parts.append(element("line", x1=x(tick), x2=x(tick), y1=top, y2=bottom, class_="grid"))
        parts.append(label(x(tick), bottom + 18, f"{tick:+g}" if tick else "0", "tick"))
    parts.append(element("line", x1=x(0), x2=x(0), y1=top - 4, y2=bottom, class_="strip-zero"))
    for number, row in enumerate(rows):
        y = top + height * (number + 0.5)
        parts.append(label(left - 4, y + 4, row.name, "tick", "end"))
        if row.interval is not None:
            low, high = row.interval
            words = tip(f"{row.name}: {row.mean:+.3g} [{low:+.3g}, {high:+.3g}]")
            size = max(x(high) - x(low), 2.0)
            parts.append(
                element("rect", words, x=x(low), y=y - 6, width=size, height=12, rx=6, class_="strip-range")
            )
        for value in row.values:
            parts.append(element("circle", tip(f"{value:+.3g}"), cx=x(value), cy=y, r=4, class_="strip-seed"))
        parts.append(element("circle", cx=x(row.mean), cy=y, r=5.5, class_="strip-mean"))
    parts.append(label((left + width) / 2, bottom + 38, unit, "axis-title"))
    return figure(width, round(bottom + 46), "differences between ways to train", *parts)
