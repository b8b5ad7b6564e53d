"""The pictures of a run: shares by layer beside those of two equal features, and how they came about."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from brickwork.inspection.drawings import Drawing
from brickwork.inspection.plots import both
from brickwork.inspection.report_data import Number
from brickwork.inspection.svg import Frame, element, figure, label, nice_ticks, polyline, short, tip

_STYLE = """\
.bias-bar { fill: var(--c); opacity: .8; }
.bias-dot { fill: var(--surface); stroke: var(--ink); stroke-width: 1.2; }
.bias-null { fill: color-mix(in oklab, var(--muted) 45%, var(--surface)); }"""


def layer_shares(
    layers: Sequence[str],
    names: Sequence[str],
    table: Float[np.ndarray, "layers replicas features"],
    control: Float[np.ndarray, "layers replicas two"] | None,
    accuracy: Float[np.ndarray, " features"],
) -> Drawing:
    """A group of bars for each layer: the mean of each feature, a dot a network; in grey two features that are equal."""
    right = ", ".join(f"{name} {100 * value:.1f} %" for name, value in zip(names, accuracy))
    lead = (
        "How much of the variance of a layer each feature explains, alone; bars are means over networks, dots the networks. "
        f"All features are needed equally, and right in: {right} of held-out inputs."
    )
    if min(accuracy) < 0.99:
        lead += (
            " A feature that is right in less than 99 % has not been learnt, so that its share says little."
        )
    if control is not None:
        lead += " Grey: networks whose two features are equal; what these differ by is chance."
    return Drawing(
        "Shares by layer",
        lead,
        _legend([*names, *(["two equal features"] if control is not None else [])])
        + both(lambda width: _groups(layers, names, table, control, width)),
        _STYLE,
    )


def _legend(names: Sequence[str]) -> str:
    chips = (
        f'<span class="chip hue-{7 if name.startswith("two equal") else number % 7}"><i></i>{name}</span>'
        for number, name in enumerate(names)
    )
    return f'<div class="legend">{"".join(chips)}</div>'


def _groups(
    layers: Sequence[str], names: Sequence[str], table: np.ndarray, control: np.ndarray | None, width: int
) -> str:
    values = table if control is None else np.concatenate([table.ravel(), control.ravel()])
    ticks = nice_ticks(0.0, float(max(0.05, np.nanmax(values))), 5)
    frame = Frame.fit((0, len(layers)), (0.0, ticks[-1]), (width, 330))
    slot = (frame.right - frame.left) / len(layers)
    bars = [(f"hue-{place % 7} bias-bar", name, table[:, :, place]) for place, name in enumerate(names)]
    if control is not None:
        bars += [("bias-null", f"equal feature {n + 1}", control[:, :, n]) for n in (0, 1)]
    wide = 0.8 * slot / len(bars)
    parts = [frame.axes([], [(t, f"{100 * t:.3g} %") for t in ticks], "", "share of variance")]
    for number, layer in enumerate(layers):
        parts.append(label(frame.left + (number + 0.5) * slot, frame.y.start + 19, layer, "tick"))
        for place, (class_, name, shares) in enumerate(bars):
            x = frame.left + (number + 0.1) * slot + place * wide
            mean = max(float(shares[number].mean()), 0.0)
            words = f"{layer}, {name}: {100 * mean:.1f} % (networks: {', '.join(f'{100 * v:.1f}' for v in shares[number])})"
            top = frame.y(mean)
            parts.append(
                element(
                    "rect",
                    tip(words),
                    x=x,
                    y=top,
                    width=wide * 0.9,
                    height=frame.y.start - top,
                    class_=class_,
                )
            )
            parts += [
                element(
                    "circle", cx=x + wide * 0.45, cy=frame.y(max(float(v), 0.0)), r=2.4, class_="bias-dot"
                )
                for v in shares[number]
            ]
    return figure(width, 330, "share of variance by layer and feature", *parts)


def curves(watched: Mapping[str, Sequence[Any]], layers: Sequence[str], names: Sequence[str]) -> Drawing:
    """Variance that features explain at the last layer while training, unnormalised, and accuracy below."""
    lead = (
        f"At {layers[-1]}, mean over networks. Above: the variance that each feature explains, not divided by the total, so "
        "that one can grow while the other does. Below: how often each feature is right."
    )
    last = [row for row, layer in enumerate(watched["layer"]) if layer == layers[-1]]

    def series(name: str, column: str) -> list[tuple[Number, Number]]:
        rows = [row for row in last if watched["feature"][row] == name]
        return [(watched["step"][row], watched[column][row]) for row in rows]

    def draw(width: int) -> str:
        plots = [
            _lines({name: series(name, column) for name in names}, width, title, low)
            for column, title, low in (("variance", "variance explained", 0.0), ("accuracy", "accuracy", 0.4))
        ]
        return "".join(plots)

    return Drawing("While they learn", lead, _legend(names) + both(draw))


def _lines(series: Mapping[str, list[tuple[Number, Number]]], width: int, title: str, low: float) -> str:
    every = [point for points in series.values() for point in points]
    top = max(value for _, value in every)
    ticks = nice_ticks(low, top if top > low else low + 1, 4)
    steps = sorted({step for step, _ in every})
    frame = Frame.fit((0, steps[-1]), (ticks[0], ticks[-1]), (width, 240))
    x_ticks = [(t, short(t)) for t in nice_ticks(0, steps[-1], 6) if t <= steps[-1]]
    parts = [frame.axes(x_ticks, [(t, short(t)) for t in ticks], "steps", title)]
    for place, points in enumerate(series.values()):
        where = [(frame.x(x), frame.y(max(y, ticks[0]))) for x, y in points]
        parts.append(polyline(where, class_=f"line hue-{place % 7}"))
    return figure(width, 240, title, *parts)
