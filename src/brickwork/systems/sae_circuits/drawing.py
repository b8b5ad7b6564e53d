"""The pictures of a run: heads as a map, and how much of the behaviour the best of them keep."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from brickwork.inspection.drawings import Drawing
from brickwork.inspection.plots import both
from brickwork.inspection.svg import Frame, element, figure, label, nice_ticks, polyline, short, tip

_NAMES = {
    "effect": "effect of ablation",
    "published": "code score",
    "mean_difference": "mean difference",
    "random": "random order",
}
_SIGNIFICANT = 0.01
_HEADS_STYLE = """\
.head-ring { fill: none; stroke: var(--ink); stroke-width: 2; }
.head-dot { fill: var(--ink); }"""
_CURVES_STYLE = """\
.kept { stroke-width: 2.2; }
.kept-0 { --k: var(--deep); } .kept-1 { --k: var(--loss); } .kept-2 { --k: var(--middle); } .kept-3 { --k: var(--muted); }
.kept.kept-0, .kept.kept-1, .kept.kept-2, .kept.kept-3 { stroke: var(--k); }
.kept-3.kept { stroke-dasharray: 5 4; }
.kept-dot, .kept-key { fill: var(--k); }"""


def head_map(scores: Mapping[str, Float[np.ndarray, "layers heads"]], *, unit: str) -> Drawing:
    """Colour: effect of ablation; ring: p < .01; dot: code score."""
    effect, p = scores["effect"], scores["p"]
    ringed = int((p < _SIGNIFICANT).sum())
    layer, head = np.unravel_index(int(effect.argmax()), effect.shape)
    lead = (
        f"Each square is a head. Colour: how much the model loses without it ({unit}, mean over the prompts with the "
        f"behaviour; orange: it gains). Ring: it matters more with the behaviour than without, p < .01 ({ringed} of "
        f"{p.size} heads, where {p.size * _SIGNIFICANT:.1f} would be so by chance). Dot: the published code score. "
        f"The largest effect is that of layer {layer}, head {head}: {effect[layer, head]:.3g}."
    )
    return Drawing("Heads", lead, both(lambda width: _map(scores, width)), _HEADS_STYLE)


def _map(scores: Mapping[str, Float[np.ndarray, "layers heads"]], width: int) -> str:
    effect, p, code = scores["effect"], scores["p"], scores["published"]
    layers, heads = effect.shape
    side = min(34.0, (width - 60) / heads, 900 / layers)
    top, left = 40.0, 52.0
    largest, most = float(np.abs(effect).max()) or 1.0, float(code.max()) or 1.0
    parts = [label(left + heads * side / 2, 12, "head", "axis-title")]
    step = max(1, round(16 / side))
    for head in range(0, heads, step):
        parts.append(label(left + (head + 0.5) * side, top - 3, str(head), "tick"))
    for layer in range(layers):
        y = top + layer * side
        if layer % step == 0:
            parts.append(
                label(left - 6, y + side / 2 + 4, f"{'layer ' if layer == 0 else ''}{layer}", "tick", "end")
            )
        for head in range(heads):
            x, value = left + head * side, float(effect[layer, head])
            share = min(1.0, abs(value) / largest) ** 0.5  # so that small effects are seen
            colour = "var(--heat)" if value >= 0 else "var(--loss)"
            fill = f"fill:color-mix(in oklab,{colour} {100 * share:.0f}%,var(--sunken))"
            words = (
                f"layer {layer}, head {head}: effect {value:.4g}, p {p[layer, head]:.3g}, q {scores['q'][layer, head]:.3g}, "
                f"code score {code[layer, head]:.0f}, mean difference {scores['mean_difference'][layer, head]:.3g}"
            )
            inside = [
                element("rect", x=x + 1, y=y + 1, width=side - 2, height=side - 2, rx=3, style=fill),
            ]
            if p[layer, head] < _SIGNIFICANT:
                inside.append(
                    element("circle", cx=x + side / 2, cy=y + side / 2, r=side * 0.4, class_="head-ring")
                )
            if code[layer, head] > 0:
                radius = side * 0.22 * float(code[layer, head] / most) ** 0.5
                inside.append(
                    element("circle", cx=x + side / 2, cy=y + side / 2, r=radius, class_="head-dot")
                )
            parts.append(element("g", tip(words), *inside))
    return figure(width, round(top + layers * side + 8), "layers by heads: effect of ablation", *parts)


def curve_drawing(
    curves: Mapping[str, Mapping[int, float]], total: int, prompts: int, right: float
) -> Drawing:
    """Faithfulness against heads kept, a line for each ranking."""
    enough = next((k for k, value in curves["effect"].items() if value >= 0.9), total)
    lead = (
        "How much of the behaviour is left when only the best heads stay and all others are ablated: 1 is the whole "
        f"model, 0 the model without any head; on {prompts} held-out prompts. "
        f"By effect, {enough} of {total} heads keep nine tenths."
    )
    if np.isfinite(right):
        lead += f" The whole model is right in {100 * right:.0f} % of these prompts"
        lead += "." if right >= 0.5 else ": it hardly shows the behaviour, so there is little to find."
    return Drawing("Faithfulness", lead, both(lambda width: _curves(curves, total, width)), _CURVES_STYLE)


def _curves(curves: Mapping[str, Mapping[int, float]], total: int, width: int) -> str:
    values = [value for curve in curves.values() for value in curve.values() if np.isfinite(value)]
    low, high = min([0.0, *values]), max([1.0, *values])
    ticks = nice_ticks(max(low, -1.0), min(high, 2.0), 5)
    height = 320
    frame = Frame.fit((0, total), (ticks[0], ticks[-1]), (width, height), 130 if width > 500 else 8)
    counts = sorted({count for curve in curves.values() for count in curve} | {0, total})
    x_ticks = [(count, str(count)) for count in counts if count in (0, total) or count >= total * 0.09]
    parts = [
        frame.axes(x_ticks, [(tick, short(tick)) for tick in ticks], "heads kept", "share of the behaviour")
    ]
    ends = []
    for number, (name, curve) in enumerate(curves.items()):
        points = [(0, 0.0), *sorted(curve.items()), (total, 1.0)]
        shown = [(x, min(max(y, ticks[0]), ticks[-1])) for x, y in points if np.isfinite(y)]
        where = [(frame.x(x), frame.y(y)) for x, y in shown]
        parts.append(polyline(where, class_=f"kept kept-{number}"))
        for (x, y), (count, value) in zip(where, shown):
            words = tip(f"{_NAMES[name]}: {count} heads keep {value:.2f}")
            parts.append(element("circle", words, cx=x, cy=y, r=3, class_=f"kept-dot kept-{number}"))
        ends.append(_NAMES[name])
    for number, name in enumerate(ends):
        x, y = (frame.right + 10, 40 + 20 * number) if width > 500 else (frame.left + 20, 44 + 18 * number)
        parts.append(
            element("rect", x=x, y=y - 8, width=10, height=10, rx=2, class_=f"kept-key kept-{number}")
        )
        parts.append(label(x + 16, y + 1, name, "tick", "start"))
    return figure(width, height, "faithfulness against heads kept", *parts)
