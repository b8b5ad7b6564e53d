"""The pictures of a run: the same noise drawn again and again, and distance from images against operations."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from brickwork.inspection.drawings import Drawing
from brickwork.inspection.plots import both
from brickwork.inspection.svg import Frame, element, figure, label, nice_ticks, picture, polyline, short, tip
from brickwork.systems.erw.progress import PICTURES, Album, Spent

_ROWS = 9  # the last ones; before, it is all noise
_CELL = 64
_LEFT = 96
_STYLE = """\
.album image { image-rendering: pixelated; }
.cost-line { stroke: var(--deep); stroke-width: 2.2; fill: none; }
.cost-dot { fill: var(--deep); }
.cost-before { fill: url(#hatched); }
.cost-hatch { stroke: var(--ink); stroke-width: 1; opacity: .35; }"""


def album_drawing(album: Album, classes: Sequence[str], last: UInt8[np.ndarray, "images h w c"]) -> Drawing:
    """A row of images for each of the last marks, and for the end of the training; a column for each noise."""
    count = int(album.updates)
    rows = [(2**mark, album.images[mark].cpu().numpy()) for mark in range(album.filled)]
    rows = [*rows, *([(count, last)] if count > rows[-1][0] else [])][-_ROWS:]
    lead = (
        "Each column is the same noise and the same class, each row the average of the weights after so many updates of "
        "the whole network. Ten steps of Heun's method, no guidance."
    )
    return Drawing("What it draws, while it learns", lead, _album(rows, classes), _STYLE)


def _album(rows: Sequence[tuple[int, UInt8[np.ndarray, "images h w c"]]], classes: Sequence[str]) -> str:
    width, height = _LEFT + PICTURES * (_CELL + 4), 28 + len(rows) * (_CELL + 4)
    parts = [label(_LEFT - 8, 18, "updates", "tick", "end")]
    names = [classes[column % len(classes)] for column in range(PICTURES)]
    for column, name in enumerate(names):
        x = _LEFT + column * (_CELL + 4) + _CELL / 2
        parts.append(label(x, 18, name if len(name) <= 9 else name[:8] + "…", "tick", "middle"))
    for row, (updates, images) in enumerate(rows):
        y = 28 + row * (_CELL + 4)
        parts.append(label(_LEFT - 8, y + _CELL / 2 + 4, f"{updates:,}", "tick", "end"))
        for column, name in enumerate(names):
            x = _LEFT + column * (_CELL + 4)
            parts.append(picture(x, y, _CELL, images[column], tip(f"{name} after {updates:,} updates")))
    return figure(
        width, height, "samples of the same noise after more and more updates", *parts, class_="album"
    )


def cost_drawing(album: Album, spent: Spent, judge: float | None) -> Drawing | None:
    """Fréchet distance against all operations so far; nothing where no distance was measured. ``judge``: the share of
    held-out images that the judge is right about, where there are any."""
    points = [
        (float(album.cost[row]), float(album.distance[row]), 2**row)
        for row in range(album.filled)
        if math.isfinite(float(album.distance[row]))
    ]
    if len(points) < 2:
        return None
    before = sum(spent.before)
    lead = (
        f"Fréchet distance of 200 samples from images of the training, in the eyes of a judge that was trained "
        f"apart, against "
        f"all floating-point operations. Hatched: what the encoder ({_flops(spent.before[0])}) and the warm-up "
        f"({_flops(spent.before[1])}) took before the first of them. Lower is better; so few samples are biased "
        f"upwards, all "
        "alike."
    )
    if judge is not None:
        lead += (
            f" The judge is right about {100 * judge:.0f} % of held-out images; the less that is, the less a small "
            "distance means: look at the images."
        )
    return Drawing(
        "Distance from images against computation",
        lead,
        both(lambda width: _cost(points, before, width)),
        _STYLE,
    )


def _flops(count: float) -> str:
    return f"{short(count / 1e12)} TFLOP"


def _cost(points: Sequence[tuple[float, float, int]], before: float, width: int) -> str:
    height = 300
    x_ticks = nice_ticks(0, points[-1][0] / 1e12, 5)
    y_ticks = nice_ticks(0, max(distance for _, distance, _ in points), 5)
    frame = Frame.fit((0, max(x_ticks[-1], points[-1][0] / 1e12)), (0, y_ticks[-1]), (width, height), 24)
    left, right, top, bottom = frame.x(0), frame.x(before / 1e12), frame.y(y_ticks[-1]), frame.y(0)
    hatch = element(
        "pattern",
        element("line", x1=0, y1=0, x2=0, y2=6, class_="cost-hatch"),
        id="hatched",
        width=6,
        height=6,
        patternUnits="userSpaceOnUse",
        patternTransform="rotate(45)",
    )
    places = [(frame.x(cost / 1e12), frame.y(distance)) for cost, distance, _ in points]
    parts = [
        element("defs", hatch),
        element(
            "rect", x=left, y=top, width=max(0.0, right - left), height=bottom - top, class_="cost-before"
        ),
        frame.axes(
            [(tick, short(tick)) for tick in x_ticks],
            [(tick, short(tick)) for tick in y_ticks],
            "operations so far, TFLOP",
            "Fréchet distance",
        ),
        polyline(places, class_="cost-line"),
    ]
    for (_, distance, updates), (x, y) in zip(points, places):
        words = tip(f"after {updates:,} updates: {distance:.3g}")
        parts.append(element("circle", words, cx=x, cy=y, r=4, class_="cost-dot"))
    return figure(width, height, "Fréchet distance against operations", *parts)
