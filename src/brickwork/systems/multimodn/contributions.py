"""A drawing of how far each modality moved an answer, as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from brickwork.core.files import write_text
from brickwork.inspection.report_data import Number
from brickwork.inspection.svg import Frame, Scale, element, figure, label, nice_ticks, spread

_MAX_DOTS = 2000
_WIDTH, _ROW_HEIGHT, _TOP, _BOTTOM = 760, 44, 44, 48
_STYLE = """
svg { background: #fff; font: 13px system-ui, sans-serif; fill: #22262b; }
.title { font-size: 16px; font-weight: 600; }
.tick, .note, .axis-title { fill: #6b7280; }
.grid { stroke: #e5e7eb; }
.axis, .answer { stroke: #6b7280; }
.start { stroke: #6b7280; stroke-dasharray: 2 3; }
.up { fill: #1b7f79; }
.down { fill: #c2543d; }
.dot { fill-opacity: .45; }
.mean { stroke: #22262b; stroke-width: 2.5; }
"""


@dataclass(frozen=True)
class ContributionPlot:
    """A finished drawing. A notebook shows it; ``save("contributions.svg")`` keeps it."""

    svg: str

    def save(self, path: str | Path) -> Path:
        """Writes the SVG and returns its path."""
        write_text(Path(path), self.svg)
        return Path(path)

    def _repr_svg_(self) -> str:
        return self.svg


def contribution_plot(
    contributions: Float[np.ndarray, "rows modalities"],
    modalities: Sequence[str],
    *,
    title: str,
    unit: str,
    start: float = 0.0,
) -> ContributionPlot:
    """For one row the steps from ``start`` to the answer; for several a dot for each row, and the mean as a line.

    Modalities stand in reading order from top to bottom.
    """
    rows, count = contributions.shape
    single = rows == 1
    drawn = np.append(start + np.cumsum(contributions[0]), start) if single else np.append(contributions, 0.0)
    ticks = nice_ticks(float(drawn.min()), float(drawn.max()))
    height = _TOP + _ROW_HEIGHT * count + _BOTTOM
    left = 20.0 + 7.5 * max(map(len, modalities))
    frame = Frame(
        left,
        _WIDTH - 16.0,
        Scale(ticks[0], ticks[-1], left + 12, _WIDTH - 64.0),
        Scale(0.5 - count, 0.5, height - _BOTTOM, _TOP),  # the first modality, at 0, stands at the top
    )
    axis_title = unit.removeprefix("change of ") if single else unit
    parts = [
        element("style", _STYLE),
        label(16, 24, f"{title}: {'one row' if single else f'{rows:,} rows'}", "title", "start"),
        frame.axes(
            [(t, f"{t:g}") for t in ticks], [(-i, name) for i, name in enumerate(modalities)], axis_title
        ),
        *(_steps(frame, contributions[0], start) if single else _dots(frame, contributions)),
    ]
    return ContributionPlot(figure(_WIDTH, height, f"How far each modality moved {title}", *parts))


def _steps(frame: Frame, moved: Float[np.ndarray, " modalities"], start: float) -> list[str]:
    """A bar for each modality from the answer before it to the answer after it; lines at the start and at the answer."""
    ends = [start, *(start + np.cumsum(moved)).tolist()]
    places = spread([frame.x(start), frame.x(ends[-1])], 100, frame.left, frame.right)
    parts = []
    for name, value, x in zip(("start", "answer"), (start, ends[-1]), places):
        parts.append(_vertical(frame, value, frame.y.stop, frame.y.start, name))
        parts.append(label(x, frame.y.stop - 6, f"{name} {value:.3g}", "note"))
    for place, step in enumerate(moved):
        low, high = sorted((frame.x(ends[place]), frame.x(ends[place + 1])))
        y = frame.y(-place)
        bar = {"x": low, "y": y - 11, "width": high - low, "height": 22}
        parts.append(element("rect", **bar, class_="up" if step >= 0 else "down"))
        parts.append(label(high + 5, y + 4, f"{step:+.3g}", "note", "start"))
    return parts


def _dots(frame: Frame, moved: Float[np.ndarray, "rows modalities"]) -> list[str]:
    """A dot for each of at most 2000 rows, spread over the height of its modality; a line at the mean of all rows."""
    rng = np.random.default_rng(0)
    drawn = moved[rng.permutation(len(moved))[:_MAX_DOTS]]
    parts = [_vertical(frame, 0.0, frame.y.stop, frame.y.start, "axis")]
    for place, column in enumerate(drawn.T):
        heights = -place + rng.uniform(-0.22, 0.22, len(column))
        parts += [
            element("circle", cx=frame.x(x), cy=frame.y(y), r=2.5, class_=f"dot {'up' if x >= 0 else 'down'}")
            for x, y in zip(column.tolist(), heights.tolist())
        ]
        middle, mean = frame.y(-place), float(moved[:, place].mean())
        parts.append(_vertical(frame, mean, middle - 15, middle + 15, "mean"))
    return parts


def _vertical(frame: Frame, value: Number, top: Number, bottom: Number, class_: str) -> str:
    x = frame.x(value)
    return element("line", x1=x, x2=x, y1=top, y2=bottom, class_=class_)
