"""The pictures of a run: quality against FLOPs, which domain uses which groups, and differences between arms."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from brickwork.evaluation.significance import wilson
from brickwork.evaluation.usage import information_test
from brickwork.inspection.drawings import Drawing
from brickwork.inspection.plots import both, plural
from brickwork.inspection.svg import Frame, element, figure, label, nice_ticks, polyline, short, tip
from brickwork.systems.emoe.serving import ServingPoint

_PERMUTATIONS = 499
_LONGEST = 24
_SERVING_STYLE = """\
.serving-line { stroke: var(--deep); stroke-width: 2.2; }
.serving-dot { fill: var(--deep); }
.serving-trained { fill: none; stroke: var(--ink); stroke-width: 2; }
.serving-range { stroke: var(--deep); stroke-width: 1.4; opacity: .6; }"""


# ---- quality against FLOPs ---------------------------------------------------------------------------------------


def serving_drawing(points: Sequence[ServingPoint], served: int) -> Drawing:
    """Accuracy against the FLOPs of the whole model, a point for each number of groups."""
    whole = points[-1]
    smallest = next(p for p in points if p.accuracy >= whole.accuracy - 0.01)
    lead = (
        f"Each point is a number of groups that a token uses, of {whole.groups}; bars: 95 % intervals over "
        f"{whole.examples:,} held-out examples; the ring is how the model is served where nothing else is asked for. "
        f"{_share(smallest)} is within a point of the whole model ({100 * whole.accuracy:.1f} %). FLOPs are those of the "
        "encoder, the gate's own included."
    )
    return Drawing(
        "Quality against computation",
        lead,
        both(lambda width: _serving(points, served, width)),
        _SERVING_STYLE,
    )


def _share(point: ServingPoint) -> str:
    return (
        f"With {plural(point.groups, 'group')} ({100 * point.flops:.0f} % of the FLOPs) it answers "
        f"{100 * point.accuracy:.1f} % rightly, which"
    )


def _serving(points: Sequence[ServingPoint], served: int, width: int) -> str:
    ranges = [wilson(round(p.accuracy * p.examples), p.examples) for p in points]
    ticks = nice_ticks(100 * min(low for low, _ in ranges), 100 * max(high for _, high in ranges), 5)
    x_ticks = nice_ticks(100 * min(p.flops for p in points), 100, 5)
    height = 300
    frame = Frame.fit((x_ticks[0], max(100, x_ticks[-1])), (ticks[0], ticks[-1]), (width, height), 24)
    parts = [
        frame.axes(
            [(tick, short(tick)) for tick in x_ticks],
            [(tick, short(tick)) for tick in ticks],
            "FLOPs, % of the whole model",
            "right answers, %",
        )
    ]
    places = [(frame.x(100 * p.flops), frame.y(100 * p.accuracy)) for p in points]
    parts.append(polyline(places, class_="serving-line"))
    for point, (x, y), (low, high) in zip(points, places, ranges):
        words = tip(
            f"{plural(point.groups, 'group')}: {100 * point.accuracy:.1f} % right, {100 * point.flops:.1f} % of the FLOPs"
        )
        parts.append(
            element("line", x1=x, x2=x, y1=frame.y(100 * low), y2=frame.y(100 * high), class_="serving-range")
        )
        parts.append(element("circle", words, cx=x, cy=y, r=5, class_="serving-dot"))
        if point.groups == served:
            parts.append(element("circle", cx=x, cy=y, r=9, class_="serving-trained"))
        parts.append(label(x + 8, y + 18, str(point.groups), "tick", "start"))
    return figure(width, height, "right answers against FLOPs", *parts)


# ---- groups by domains -------------------------------------------------------------------------------------------


def use_drawing(
    layer: str, shares: Float[np.ndarray, "rows groups"], domains: Sequence[str], *, seed: int = 0
) -> Drawing:
    """A map of one layer: how much more or less a domain uses a group than all inputs do."""
    names = sorted(set(domains))
    kinds = np.asarray(domains)
    use = np.stack([shares[kinds == name].mean(0) for name in names])
    mean = shares.mean(0)
    lead = (
        f"{layer} on {len(shares):,} held-out inputs. Colour: how much more (blue) or less (orange) of its tokens a domain "
        "sends to a group than all inputs do; bars above: how much each group is used, the line is an even share. "
    )
    if len(names) > 1:
        test = information_test(shares, list(domains), permutations=_PERMUTATIONS, seed=seed)
        lead += (
            f"Groups and domains share {test.information:.3f} of their information, and {test.by_chance:.3f} with domains "
            f"shuffled (p = {test.p_value:.3g})."
        )
    return Drawing(f"Groups by domain: {layer}", lead, both(lambda width: _use(use, mean, names, width)))


def _use(
    use: Float[np.ndarray, "domains groups"],
    mean: Float[np.ndarray, " groups"],
    names: Sequence[str],
    width: int,
) -> str:
    groups = len(mean)
    left = 14.0 + 7.2 * min(_LONGEST, max(map(len, names)))
    left = min(left, width * 0.34)
    side = (width - left - 8) / groups
    row = min(26.0, max(14.0, side))
    bars, top = 44.0, 62.0
    ratio = np.log2(np.maximum(use, 1e-9) / np.maximum(mean, 1e-9))
    largest = max(float(np.abs(ratio).clip(max=2).max()), 0.25)
    even = bars * (1 / groups) / max(float(mean.max()), 1e-12)
    parts = [
        element(
            "line", x1=left, x2=left + groups * side, y1=8 + bars - even, y2=8 + bars - even, class_="grid"
        )
    ]
    for group in range(groups):
        high = bars * float(mean[group]) / max(float(mean.max()), 1e-12)
        x = left + group * side
        words = tip(
            f"group {group}: {100 * mean[group]:.2f} % of all use, even would be {100 / groups:.2f} %"
        )
        parts.append(
            element(
                "rect",
                words,
                x=x + 0.5,
                y=8 + bars - high,
                width=max(side - 1, 0.5),
                height=high,
                fill="var(--muted)",
            )
        )
    for number, name in enumerate(names):
        y = top + number * row
        short_name = name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
        parts.append(label(left - 6, y + row / 2 + 4, short_name, "tick", "end"))
        for group in range(groups):
            value = float(ratio[number, group])
            colour = "var(--deep)" if value >= 0 else "var(--loss)"
            share = 100 * min(1.0, abs(value) / largest)
            words = tip(
                f"{name}, group {group}: {100 * use[number, group]:.2f} % of its use, all inputs {100 * mean[group]:.2f} %"
            )
            fill = f"fill:color-mix(in oklab,{colour} {share:.0f}%,var(--sunken))"
            x = left + group * side
            parts.append(
                element(
                    "rect", words, x=x + 0.5, y=y + 0.5, width=max(side - 1, 0.5), height=row - 1, style=fill
                )
            )
    bottom = top + len(names) * row
    step = max(1, round(40 / side))
    for group in range(0, groups, step):
        parts.append(label(left + (group + 0.5) * side, bottom + 16, str(group), "tick"))
    parts.append(label(left + groups * side / 2, bottom + 34, "group", "axis-title"))
    return figure(width, round(bottom + 44), "use of groups by domain", *parts)
