"""The plots of the report as inline SVG, each drawn for a given width so that a phone gets its own."""

import math
from collections.abc import Callable, Iterable, Sequence

from brickwork.inspection.report_data import (
    CorpusMap,
    CostPoint,
    Costs,
    Curve,
    Finding,
    Number,
    QualityPart,
)
from brickwork.inspection.svg import (
    Frame,
    Scale,
    element,
    figure,
    label,
    log_ticks,
    nice_ticks,
    place_labels,
    polyline,
    short,
    spread,
    tip,
)

WIDE, NARROW = 1000, 352


def depth_colours(layers: Iterable[int]) -> dict[int, str]:
    """A colour a depth as a style, evenly from shallow over middle to deep (named in the style sheet)."""
    depths = sorted(set(layers))
    styles = {}
    for i, depth in enumerate(depths):
        share = i / (len(depths) - 1) if len(depths) > 1 else 1.0
        first, second, part = (
            ("shallow", "middle", 2 * share) if share < 0.5 else ("middle", "deep", 2 * share - 1)
        )
        styles[depth] = f"--c:color-mix(in oklab,var(--{first}) {100 - round(100 * part)}%,var(--{second}))"
    return styles


def both(draw: Callable[[int], str], wide: int = WIDE) -> str:
    """The same plot for wide and for narrow screens; the style sheet shows one of them."""
    return f'<div class="wide">{draw(wide)}</div><div class="narrow">{draw(NARROW)}</div>'


def plural(count: int, word: str) -> str:
    """``1 layer``, ``3 layers``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _y_axis(values: Sequence[Number]) -> tuple[Number, Number, list[Number]]:
    """Lower and upper end and ticks; zero is shown unless all values lie far above it."""
    low, high = min(values), max(values)
    ticks = nice_ticks(0.0 if 0 <= low < 0.4 * high else low, high, 5)
    return ticks[0], ticks[-1], ticks


def quality_lines(part: QualityPart, width: int) -> str:
    """Quality against dims, a line a depth: dashed before training, solid after; baselines are horizontal."""
    narrow = width < 480
    height, right = (320, 58) if narrow else (440, 84)
    dims = sorted({cell.dim for cell in part.cells})
    colours = depth_colours(cell.layers for cell in part.cells)
    known = [v for c in part.cells for v in (c.before, c.after) if v is not None]
    low, high, ticks = _y_axis([*known, *part.baselines.values()])
    frame = Frame.fit((dims[0], max(dims[-1], dims[0] + 1)), (low, high), (width, height), right, log=True)
    parts = [frame.axes([(d, str(d)) for d in dims], [(t, f"{t:g}") for t in ticks], "dims", part.metric)]
    if part.weak_below is not None and part.weak_below > dims[0]:
        edge = min(frame.x(min(part.weak_below, dims[-1])), frame.right)
        box = {
            "x": frame.left,
            "y": frame.y(high),
            "width": edge - frame.left,
            "height": frame.y(low) - frame.y(high),
        }
        parts.insert(
            0, element("rect", tip(f"fewer than {part.weak_below} dims: not safe"), **box, class_="unsafe")
        )
    notes: list[tuple[Number, str, str | None]] = []
    for name, value in part.baselines.items():
        y = frame.y(value)
        line = element("line", x1=frame.left, x2=frame.right, y1=y, y2=y, class_="baseline")
        parts.append(element("g", line, tip(f"{name}: {value:.3f}")))
        notes.append((y, name, None))
    for depth, colour in colours.items():
        cells = sorted((c for c in part.cells if c.layers == depth), key=lambda c: c.dim)
        drawn = []
        before = [(frame.x(c.dim), frame.y(c.before)) for c in cells if c.before is not None]
        if before:
            drawn.append(polyline(before, class_="line before"))
        after = [(frame.x(c.dim), frame.y(c.after)) for c in cells]
        drawn.append(polyline(after, class_="line after"))
        for cell, (x, y) in zip(cells, after):
            was = "" if cell.before is None else f" (before {cell.before:.3f})"
            words = f"{cell.dim} dims, {plural(depth, 'layer')}: {cell.after:.3f}{was}"
            drawn.append(element("circle", tip(words), cx=x, cy=y, r=3.6, class_="dot"))
        parts.append(element("g", *drawn, class_="series", style=colour, data_depth=depth))
        notes.append((after[-1][1], str(depth) if narrow else plural(depth, "layer"), colour))
    places = spread([note[0] for note in notes], 14.0, 24.0, float(height - 48))
    for (_, words, style), y in zip(notes, places):
        class_ = "note" if style else "note baseline-note"
        parts.append(label(width - right + 6, y + 4, words, class_, "start", style=style))
    compared = ", before and after training" if any(c.before is not None for c in part.cells) else ""
    what = f"{part.name}: {part.metric} against dims, one line per depth{compared}"
    return figure(width, height, what, *parts)


def pareto(points: Sequence[CostPoint], cost: Callable[[CostPoint], Number]) -> list[CostPoint]:
    """The points that no other beats in both cost and quality, by rising cost."""
    best, frontier = -math.inf, []
    for point in sorted(points, key=lambda p: (cost(p), -p.quality)):
        if point.quality > best:
            best = point.quality
            frontier.append(point)
    return frontier


def frontier(costs: Costs, cost: Callable[[CostPoint], Number | None], title: str, width: int) -> str:
    """Quality against one cost (logarithmic) for every size; the line joins those that no other beats."""
    known = [(p, c) for p in costs.points if (c := cost(p)) is not None and c > 0]
    if not known:
        return ""
    value = {(p.dim, p.layers): c for p, c in known}

    def price(point: CostPoint) -> Number:
        return value[point.dim, point.layers]

    points = [p for p, _ in known]
    height = 270
    colours = depth_colours(p.layers for p in points)
    span = (min(value.values()), max(value.values()))
    wide = (span[0] / 1.15, span[1] * 1.15)
    low, high, ticks = _y_axis([p.quality for p in points])
    frame = Frame.fit(wide, (low, high), (width, height), log=True)
    exact = sorted(set(value.values()))
    marks = exact if len(exact) <= 6 else log_ticks(*wide)
    parts = [frame.axes([(t, short(t)) for t in marks], [(t, f"{t:g}") for t in ticks], title, costs.metric)]
    best = pareto(points, price)
    parts.append(polyline([(frame.x(price(p)), frame.y(p.quality)) for p in best], class_="pareto"))
    for point in sorted(points, key=lambda p: p in best):
        words = (
            f"{point.dim} dims, {plural(point.layers, 'layer')}: {costs.metric} {point.quality:.3f}, "
            f"{short(price(point))} {title}"
        )
        on = "" if point in best else " off"
        spot = element(
            "circle",
            tip(words),
            cx=frame.x(price(point)),
            cy=frame.y(point.quality),
            r=5.0 if point in best else 3.6,
            class_="dot" + on,
        )
        parts.append(
            element("g", spot, class_="series", style=colours[point.layers], data_depth=point.layers)
        )
    return figure(width, height, f"{costs.name}: {costs.metric} against {title}", *parts)


def curves(panel: Sequence[Curve], width: int) -> str:
    """Training curves of one panel over steps; many points are thinned to what the width can show."""
    height = 240
    steps = [s for c in panel for s in c.steps]
    low, high, ticks = _y_axis([v for c in panel for v in c.values])
    x_ticks = [t for t in nice_ticks(min(steps), max(steps), 5) if min(steps) <= t <= max(steps)]
    frame = Frame.fit((min(steps), max(max(steps), min(steps) + 1)), (low, high), (width, height))
    parts = [frame.axes([(t, short(t)) for t in x_ticks], [(t, f"{t:g}") for t in ticks], "step", "")]
    for i, curve in enumerate(panel):
        pairs = list(zip(curve.steps, curve.values))
        thin = pairs[:: max(1, len(pairs) // width)]
        if thin[-1] != pairs[-1]:
            thin.append(pairs[-1])
        drawn = [polyline([(frame.x(s), frame.y(v)) for s, v in thin], class_="line after")]
        marked = thin if len(thin) <= 40 else thin[-1:]
        for step, value in marked:
            words = f"{curve.name}, step {step}: {value:.4g}"
            drawn.append(
                element("circle", tip(words), cx=frame.x(step), cy=frame.y(value), r=3.0, class_="dot")
            )
        parts.append(element("g", *drawn, class_=f"series hue-{i % 8}"))
    return figure(width, height, f"{', '.join(c.name for c in panel)} over training steps", *parts)


def scatter(corpus: CorpusMap, width: int) -> str:
    """The map: a dot a document, coloured by cluster, the clusters' words over them."""
    height = round(width * (0.6 if width > 480 else 1.0))
    margin = 18.0
    xs, ys = [p.x for p in corpus.points], [p.y for p in corpus.points]
    x = Scale(min(xs), max(xs), margin, width - margin)
    y = Scale(min(ys), max(ys), height - margin, margin)
    radius = 3.6 if len(corpus.points) < 900 else 2.8
    dots = [
        element("circle", tip(p.title), cx=x(p.x), cy=y(p.y), r=radius, class_=f"spot hue-{p.cluster % 8}")
        for p in corpus.points
    ]
    words = [" · ".join(c.words[: 3 if width > 480 else 2]) for c in corpus.clusters]
    sizes = [(7.2 * len(text) + 8, 17.0) for text in words]
    wanted = []
    for cluster, (room, _) in zip(corpus.clusters, sizes):
        middle = min(max(x(cluster.x), room / 2), width - room / 2)
        wanted.append((middle, y(cluster.y)))
    heights = place_labels(wanted, sizes, margin, height - margin)
    names = [
        label(middle, place + 4, text, f"cluster hue-{i % 8}")
        for i, (text, (middle, _), place) in enumerate(zip(words, wanted, heights))
    ]
    title = f"Map of {len(corpus.points)} documents in {len(corpus.clusters)} groups ({corpus.method})"
    return figure(width, height, title, element("g", *dots), element("g", *names, class_="names"))


def interval_strip(finding: Finding) -> str:
    """The effect and its 95 % interval on a line that shows where zero is; empty without an interval."""
    if finding.effect is None or finding.low is None or finding.high is None:
        return ""
    width, height = 340, 46
    ends = nice_ticks(min(0.0, finding.low), max(0.0, finding.high), 4)
    x = Scale(ends[0], ends[-1], 26, width - 26)
    parts = [element("line", x1=26, x2=width - 26, y1=16, y2=16, class_="axis")]
    for tick in ends:
        parts.append(element("line", x1=x(tick), x2=x(tick), y1=12, y2=20, class_="axis"))
        parts.append(label(x(tick), 38, f"{tick:+g}" if tick else "0", "tick"))
    wide = max(x(finding.high) - x(finding.low), 2.0)
    parts.append(element("rect", x=x(finding.low), y=10, width=wide, height=12, rx=6, class_="interval"))
    parts.append(element("circle", cx=x(finding.effect), cy=16, r=6, class_="effect"))
    words = f"{finding.metric} {finding.effect:+.3f}, 95% interval {finding.low:+.3f} to {finding.high:+.3f}"
    return figure(width, height, words, *parts)
