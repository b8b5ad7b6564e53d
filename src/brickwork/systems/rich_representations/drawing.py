"""The pictures of a run: new labels against members, how alike the members are, what each adds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from brickwork.data.types import Examples
from brickwork.evaluation.significance import Difference, wilson
from brickwork.inspection.drawings import Drawing
from brickwork.inspection.plots import both, plural
from brickwork.inspection.svg import Frame, element, figure, label, nice_ticks, polyline, spread, tip
from brickwork.systems.rich_representations.transfer import Transfer, transfer

_ROOM = 72  # right of the lines, for their names
_STYLE = """\
.rich-joint { stroke: var(--deep); stroke-width: 2.4; }
.rich-joint-dot { fill: var(--deep); }
.rich-control { stroke: var(--loss); stroke-width: 2; stroke-dasharray: 5 4; }
.rich-control-dot { fill: var(--loss); }
.rich-alone { fill: none; stroke: var(--muted); stroke-width: 1.6; }
.rich-range { stroke: var(--deep); stroke-width: 1.4; opacity: .6; }
.rich-cell-name { fill: var(--ink); font-size: 13px; }"""


def drawings(
    encoder: Any, examples: Examples, *, are_new: bool, seed: int, published: Any = None
) -> list[Drawing]:
    """What there is to see on labelled examples: of one network how well it does, and nothing where there are too few.
    ``published``: the pretrained encoder that the members began as."""
    result = transfer(encoder, examples, seed, published)
    if result is None:
        return []
    first = accuracy_drawing(result, are_new)
    return [first, likeness_drawing(result), rank_drawing(result)] if len(result.joint) > 1 else [first]


def accuracy_drawing(result: Transfer, are_new: bool) -> Drawing:
    """Accuracy of a classifier on the first k members, and on the first member beside untrained ones."""
    what = (
        "labels that were not trained on"
        if are_new
        else "labels that were trained on (there are no new ones here)"
    )
    gain, over = _points(result.gain), _points(result.over)
    lead = (
        f"A classifier learnt from {result.learnt:,} examples of {result.labels} {what}, tested on {result.tested:,} "
        "others; bars: 95 % intervals over these. "
    )
    lead += (
        f"All {len(result.joint)} members against the first alone: {gain}; against the control of the same width, the "
        f"first beside untrained networks (dashed): {over}. Rings: each member alone."
        if len(result.joint) > 1
        else f"One network, {100 * result.joint[0]:.1f} % right; against one that was never trained: {over}."
    )
    if result.untouched is not None and result.beyond is not None:
        lead += (
            f" The pretrained model as it was published: {100 * result.untouched:.1f} % right; what was trained here "
            f"against it: {_points(result.beyond)}."
        )
    title = "New labels against members" if are_new else "Labels against members"
    return Drawing(title, lead, both(lambda width: _accuracy(result, width)), _STYLE)


def _points(difference: Difference) -> str:
    """``+4.2 points [+1.0, +7.5]``, and whether that is a difference."""
    mean, low, high = (100 * value for value in (difference.mean, difference.low, difference.high))
    shown = "" if low > 0 or high < 0 else ", no clear difference"
    return f"{mean:+.1f} points [{low:+.1f}, {high:+.1f}]{shown}"


def _accuracy(result: Transfer, width: int) -> str:
    counts = range(1, len(result.joint) + 1)
    ranges = [wilson(round(a * result.tested), result.tested) for a in result.joint]
    low = min([*(low for low, _ in ranges), *result.control, *result.alone])
    high = max([*(high for _, high in ranges), *result.control, *result.alone])
    height, ticks = 320, nice_ticks(100 * low, 100 * high, 5)
    frame = Frame.fit((1, len(counts)), (ticks[0], ticks[-1]), (width, height), _ROOM)
    parts = [
        frame.axes(
            [(k, str(k)) for k in counts], [(t, f"{t:g}") for t in ticks], "members", "right answers, %"
        )
    ]
    for k, (bottom, top) in zip(counts, ranges):
        x = frame.x(k)
        parts.append(
            element("line", x1=x, x2=x, y1=frame.y(100 * bottom), y2=frame.y(100 * top), class_="rich-range")
        )
    parts += _line(frame, result.control, "rich-control", "the first member beside untrained networks")
    parts += _line(frame, result.joint, "rich-joint", "the first members together")
    parts += _names(frame, 100 * result.joint[-1], 100 * result.control[-1])
    for k, alone in zip(counts, result.alone):
        words = tip(f"member {k} alone: {100 * alone:.1f} %")
        parts.append(
            element("circle", words, cx=frame.x(k), cy=frame.y(100 * alone), r=6, class_="rich-alone")
        )
    return figure(width, height, "right answers on labels against the number of members", *parts)


def _line(
    frame: Frame, values: Sequence[float], name: str, words: str, scale: float = 100.0, unit: str = " %"
) -> list[str]:
    places = [(frame.x(k), frame.y(scale * v)) for k, v in enumerate(values, 1)]
    dots = [
        element(
            "circle",
            tip(f"{words}, {k} wide: {scale * v:.1f}{unit}"),
            cx=x,
            cy=y,
            r=4.5,
            class_=f"{name}-dot",
        )
        for k, (v, (x, y)) in enumerate(zip(values, places), 1)
    ]
    return [polyline(places, class_=name), *dots]


def _names(frame: Frame, joint: float, control: float) -> list[str]:
    """What the lines are, behind their ends."""
    places = spread([frame.y(joint), frame.y(control)], 15.0, 30.0, float(frame.y.start))
    return [
        label(frame.right - 4, y + 4, words, "tick", "start")
        for y, words in zip(places, ("members", "control"))
    ]


def likeness_drawing(result: Transfer) -> Drawing:
    """Debiased CKA between members."""
    others = result.alike[~np.eye(len(result.alike), dtype=bool)]
    lead = (
        "Debiased CKA between the vectors of two members on the same inputs: 1 is the same up to rotation and scale, 0 "
        f"unrelated. Between different members {others.min():.2f} to {others.max():.2f}, on average {others.mean():.2f}. "
        "Members that are all alike have little to add to each other."
    )
    return Drawing("How alike the members are", lead, both(lambda width: _likeness(result, width)), _STYLE)


def _likeness(result: Transfer, width: int) -> str:
    count = len(result.alike)
    side = min(64.0, (width - 90) / count)
    left, top = 78.0, 26.0
    parts = []
    for row in range(count):
        y = top + row * side
        parts.append(label(left - 8, y + side / 2 + 4, f"member {row + 1}", "tick", "end"))
        parts.append(label(left + (row + 0.5) * side, top - 8, str(row + 1), "tick"))
        for column in range(count):
            value = float(result.alike[row, column])
            x = left + column * side
            share = 100 * min(1.0, max(0.0, value))
            words = tip(f"members {row + 1} and {column + 1}: {value:.3f}")
            fill = f"fill:color-mix(in oklab,var(--deep) {0.45 * share:.0f}%,var(--sunken))"
            parts.append(
                element("rect", words, x=x + 1, y=y + 1, width=side - 2, height=side - 2, rx=3, style=fill)
            )
            if side >= 36:
                parts.append(label(x + side / 2, y + side / 2 + 4, f"{value:.2f}", "rich-cell-name"))
    return figure(width, round(top + count * side + 10), "debiased CKA between members", *parts)


def rank_drawing(result: Transfer) -> Drawing:
    """Directions in use of the joint vectors."""
    first, last = result.joint_rank[0], result.joint_rank[-1]
    lead = (
        "How many directions the joint vectors use (exp of the entropy of their singular values, each member at one "
        f"scale), on {plural(result.learnt + result.tested, 'input')}: {first:.1f} with one member, {last:.1f} with all "
        f"{len(result.joint)}. The dashed line is the control, {result.control_rank[-1]:.1f} at the same width: untrained "
        "networks use directions too, so a rank by itself says nothing about use."
    )
    return Drawing("Directions in use", lead, both(lambda width: _ranks(result, width)), _STYLE)


def _ranks(result: Transfer, width: int) -> str:
    values = [*result.joint_rank, *result.control_rank]
    ticks, height = nice_ticks(0.0, max(values), 5), 280
    counts = range(1, len(result.joint) + 1)
    frame = Frame.fit((1, len(counts)), (ticks[0], ticks[-1]), (width, height), _ROOM)
    parts = [
        frame.axes([(k, str(k)) for k in counts], [(t, f"{t:g}") for t in ticks], "members", "directions")
    ]
    parts += _line(
        frame, result.control_rank, "rich-control", "the first member beside untrained networks", 1.0, ""
    )
    parts += _line(frame, result.joint_rank, "rich-joint", "the first members together", 1.0, "")
    parts += _names(frame, result.joint_rank[-1], result.control_rank[-1])
    return figure(width, height, "effective rank against the number of members", *parts)
