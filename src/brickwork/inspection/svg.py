"""Small drawing tools: elements, scales, ticks and axes as SVG. The page's style sheet has the colours."""

import base64
import html
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from brickwork.inspection.report_data import Number


def element(name: str, *children: str, **attributes: str | Number | None) -> str:
    """One SVG element. ``children`` are finished markup; attribute values are escaped, ``None`` is left out.

    A trailing underscore of a name is dropped (``class_``), inner ones become hyphens (``text_anchor``).
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None:
            continue
        text = number(value) if isinstance(value, int | float) else html.escape(value)
        parts.append(f'{key.rstrip("_").replace("_", "-")}="{text}"')
    opening = " ".join(parts)
    return f"<{opening}>{''.join(children)}</{name}>" if children else f"<{opening}/>"


def number(value: Number) -> str:
    """A coordinate, as short as two decimals allow."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def label(
    x: Number, y: Number, text: str, class_: str, anchor: str = "middle", **more: str | Number | None
) -> str:
    """A line of text; ``anchor`` is the side that stands at ``x`` (start, middle, end)."""
    return element("text", html.escape(text), x=x, y=y, class_=class_, text_anchor=anchor, **more)


def tip(text: str) -> str:
    """The words shown when the pointer rests on the element that this is put into."""
    return element("title", html.escape(text))


def polyline(points: Iterable[tuple[Number, Number]], **attributes: str | Number | None) -> str:
    """A line through the points."""
    place = " ".join(f"{number(float(x))},{number(float(y))}" for x, y in points)
    return element("polyline", points=place, fill="none", **attributes)


def picture(
    x: Number, y: Number, side: Number, pixels: UInt8[np.ndarray, "height width channels"], *children: str
) -> str:
    """An image (grey or RGB) in a square, as large as it fits; its bytes are in the markup."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    href = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return element("image", *children, href=href, x=x, y=y, width=side, height=side)


def figure(width: int, height: int, title: str, *children: str, class_: str = "") -> str:
    """The whole drawing; ``title`` is what a screen reader says."""
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {width} {height}",
        class_=class_ or None,
        role="img",
        aria_label=title,
        xmlns="http://www.w3.org/2000/svg",
    )


@dataclass(frozen=True)
class Scale:
    """Maps values from ``low`` … ``high`` to pixels ``start`` … ``stop``, evenly or by logarithm."""

    low: Number
    high: Number
    start: Number
    stop: Number
    log: bool = False

    def __call__(self, value: Number) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.stop - self.start)


def nice_ticks(low: Number, high: Number, count: int = 5) -> list[Number]:
    """Round numbers (steps of 1, 2 or 5 times a power of ten) that cover ``low`` … ``high``."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: Number, high: Number) -> list[Number]:
    """Round numbers inside ``low`` … ``high`` for a logarithmic axis: powers of ten, times 3, or 2 and 5; evenly
    spaced ones where less than two of these lie inside.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5)):
        ticks = [d * 10.0**p for p in powers for d in digits if low <= d * 10.0**p <= high]
        if len(ticks) >= 3:
            return ticks
    return ticks if len(ticks) > 1 else [t for t in nice_ticks(low, high, 5) if low <= t <= high]


def short(value: Number) -> str:
    """A number in few characters: 1500000 -> 1.5M, 0.25 -> 0.25."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def spread(positions: Sequence[Number], gap: Number, low: Number, high: Number) -> list[Number]:
    """Positions moved as little as needed to lie ``gap`` apart, in the same order, where possible within
    ``low`` … ``high``.

    Neighbours that are too near form a group around the mean of their wishes; groups that touch join.
    """
    groups: list[list[int]] = []

    def start(group: list[int]) -> Number:
        first = sum(positions[i] - k * gap for k, i in enumerate(group)) / len(group)
        return max(min(first, high - (len(group) - 1) * gap), low)

    for i in sorted(range(len(positions)), key=lambda i: positions[i]):
        groups.append([i])
        while len(groups) > 1 and start(groups[-2]) + len(groups[-2]) * gap > start(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    placed = {i: start(group) + k * gap for group in groups for k, i in enumerate(group)}
    return [placed[i] for i in range(len(positions))]


def place_labels(
    wanted: Sequence[tuple[Number, Number]], sizes: Sequence[tuple[Number, Number]], low: Number, high: Number
) -> list[Number]:
    """For labels centred at ``wanted`` (x, y) with ``sizes`` (width, height): y values at which none overlap.

    The first labels get their wish; later ones move up or down in steps within ``low`` … ``high``.
    """
    placed: list[tuple[Number, Number, Number, Number]] = []
    for (x, y), (width, height) in zip(wanted, sizes):
        steps = sorted(range(-40, 41), key=lambda k: (abs(k), k))
        tries = [min(max(y + k * height / 2, low), high) for k in steps]
        free = (
            t
            for t in tries
            if all(abs(x - a) * 2 >= width + w or abs(t - b) * 2 >= height + h for a, b, w, h in placed)
        )
        placed.append((x, next(free, tries[0]), width, height))
    return [y for _, y, _, _ in placed]


@dataclass(frozen=True)
class Frame:
    """The rectangle that a plot fills (``left`` to ``right``, top to bottom as its y scale)."""

    left: Number
    right: Number
    x: Scale
    y: Scale

    @classmethod
    def fit(
        cls,
        x_span: tuple[Number, Number],
        y_span: tuple[Number, Number],
        size: tuple[int, int],
        right_margin: int = 8,
        log: bool = False,
    ) -> "Frame":
        """A frame in an image of ``size`` (width, height), with room for ticks and titles."""
        left, right = 46.0, float(size[0] - right_margin)
        x = Scale(x_span[0], x_span[1], left + 12, right - 12, log)
        return cls(left, right, x, Scale(y_span[0], y_span[1], size[1] - 48.0, 30.0))

    def axes(
        self,
        x_ticks: Iterable[tuple[Number, str]],
        y_ticks: Iterable[tuple[Number, str]],
        x_title: str = "",
        y_title: str = "",
    ) -> str:
        """Grid lines, tick labels and titles. Ticks are (value, text)."""
        bottom, top = self.y.start, self.y.stop
        parts = []
        for value, text in y_ticks:
            y = self.y(value)
            parts.append(element("line", x1=self.left, x2=self.right, y1=y, y2=y, class_="grid"))
            parts.append(label(self.left - 8, y + 4, text, "tick", "end"))
        for value, text in x_ticks:
            x = self.x(value)
            parts.append(element("line", x1=x, x2=x, y1=bottom, y2=bottom + 5, class_="axis"))
            parts.append(label(x, bottom + 19, text, "tick"))
        parts.append(element("line", x1=self.left, x2=self.right, y1=bottom, y2=bottom, class_="axis"))
        if x_title:
            parts.append(label((self.left + self.right) / 2, bottom + 38, x_title, "axis-title"))
        if y_title:
            parts.append(label(4, top - 14, y_title, "axis-title", "start"))
        return element("g", *parts)
