"""What vectors hold, drawn: a bar for each layer, stacked by property, and the table with all numbers."""

import html
from collections.abc import Mapping, Sequence

import numpy as np

from brickwork.core.errors import naming_extras
from brickwork.core.shares import Decoding, LayerShares, Property, Share
from brickwork.inspection.drawings import Drawing
from brickwork.inspection.plots import both, plural
from brickwork.inspection.svg import Frame, element, figure, label, nice_ticks, tip

_LAST_HUE = 7  # properties from the eighth on share a colour: more are too many to tell apart
_STYLE = """\
.share { fill: var(--c); }
.share-joint { fill: color-mix(in oklab, var(--ink) 42%, var(--surface)); }
.share-rest { fill: color-mix(in oklab, var(--muted) 18%, var(--surface)); }
.share-none { stroke: var(--c); stroke-width: 1; }
.hatch { stroke: var(--c, var(--muted)); stroke-width: 1.6; }
.share-null { fill: var(--c); opacity: .75; }
.shares td, .shares th { padding: 4px 12px 4px 0; text-align: right; white-space: nowrap; vertical-align: top; }
.shares td:first-child, .shares th:first-child, .shares td:nth-child(2), .shares th:nth-child(2) { text-align: left; }
.shares td:nth-child(2) { white-space: normal; min-width: 190px; }
.shares thead th { color: var(--muted); font-weight: 500; border-bottom: 1px solid var(--line); }
.shares tbody tr.first td { border-top: 1px solid var(--line); padding-top: 8px; }
.shares i { display: inline-block; width: 10px; height: 10px; border-radius: 3px; background: var(--c); margin-right: 7px; }
.shares .no { color: var(--muted); }
.shares small { color: var(--muted); font-size: 12px; }"""


@naming_extras("a page of what vectors hold")
def explained_drawings(layers: Sequence[LayerShares], properties: Sequence[Property]) -> list[Drawing]:
    """The bars and the table."""
    return [_bars(layers, properties), _table(layers, properties)]


def _bars(layers: Sequence[LayerShares], properties: Sequence[Property]) -> Drawing:
    order = _order(layers, properties)
    lead = (
        "Each bar is all of the variance of a layer's vectors. Colours: what a property explains that no other property "
        "explains as well; dark grey: what several of them explain together; light grey: what none explains. Hatched: not "
        "computed there, since a linear probe cannot tell it from these vectors. The thin bar "
        "beside each: the same properties with their rows shuffled, which is what chance explains. A small share does not "
        f"mean that a property is of little use. {finding(layers, properties)}"
    )
    if (top := _top(layers)) < 1:
        lead += f" The axis ends at {100 * top:.0f} %; the number in light grey is all that none explains."
    names = order[: _LAST_HUE + 1]
    if len(order) > len(names):
        names[-1] = f"{len(order) - _LAST_HUE} others"
    legend = "".join(
        f'<span class="chip hue-{hue}"><i></i>{html.escape(name)}</span>' for hue, name in enumerate(names)
    )
    svg = f'<div class="legend">{legend}</div>' + both(lambda width: _draw(layers, order, width))
    return Drawing("Variance explained, by layer", lead, svg, _STYLE)


def _order(layers: Sequence[LayerShares], properties: Sequence[Property]) -> list[str]:
    """Names of properties, that with the largest share at the last layer first."""
    last = layers[-1].shares.alone
    return sorted((p.name for p in properties), key=lambda name: -np.nan_to_num(last[name].value, nan=-1.0))


def finding(layers: Sequence[LayerShares], properties: Sequence[Property]) -> str:
    """The main result of the last layer, in a sentence."""
    last = layers[-1]
    if np.isnan(last.shares.together.value):
        return f"At the end ({last.layer}) all vectors are equal."
    order = _order(layers, properties)
    told = [name for name in order if last.decoded[name].above_chance]
    if not told:
        return f"At the end ({last.layer}) no property can be told from the vectors."
    most = last.shares.alone[told[0]]
    text = f"At the end ({last.layer}), '{told[0]}' explains most: {_percent(most)} alone"
    if len(told) > 1:
        least = last.shares.alone[told[-1]]
        clear = least.low is not None and least.low > 0
        times = f", {most.value / least.value:.3g} times less" if clear else ""
        text += f"; of those that a probe can tell, '{told[-1]}' least: {_percent(least)}{times}"
    return f"{text}. Together the properties explain {_percent(last.shares.together)}."


def _draw(layers: Sequence[LayerShares], order: Sequence[str], width: int) -> str:
    height = 360
    top = _top(layers)
    frame = Frame.fit((0, len(layers)), (0, top), (width, height))
    slot = (frame.right - frame.left) / len(layers)
    wide, thin = min(slot * 0.56, 110.0), min(slot * 0.12, 16.0)
    parts = [
        element(
            "defs",
            element(
                "pattern",
                element("path", d="M-1,1 l2,-2 M0,6 l6,-6 M5,7 l2,-2", class_="hatch"),
                id=f"not-computed-{width}",  # of each drawing its own: the other may not be shown
                width=6,
                height=6,
                patternUnits="userSpaceOnUse",
            ),
        ),
        frame.axes(
            [], [(t, f"{100 * t:.3g} %") for t in nice_ticks(0, top, 5) if t <= top], "", "share of variance"
        ),
    ]
    every = max(1, round(len(layers) * 34 / (frame.right - frame.left)))
    for number, layer in enumerate(layers):
        middle = frame.left + (number + 0.5) * slot
        left = middle - (wide + thin + 3) / 2
        if number % every == 0 or number == len(layers) - 1:
            short_name = layer.layer.removeprefix("layer ") if len(layers) > 4 else layer.layer
            parts.append(label(middle, frame.y.start + 19, short_name, "tick"))
        if np.isnan(layer.shares.together.value):
            parts.append(label(middle, frame.y(top / 2), "constant", "tick"))
            continue
        parts += _bar(layer, order, frame, left, wide, f"url(#not-computed-{width})")
        parts += _null_bar(layer, order, frame, left + wide + 3, thin)
    if len(layers) > 4:
        parts.append(label((frame.left + frame.right) / 2, frame.y.start + 38, "layer", "axis-title"))
    return figure(width, height, "share of variance by layer and property", *parts)


def _top(layers: Sequence[LayerShares]) -> float:
    """Where the axis ends: at 1, unless little of it is explained anywhere."""
    most = max((one.shares.together.value for one in layers), default=0.0)
    if np.isnan(most) or most > 0.4:
        return 1.0
    return next(top for top in (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0) if top >= 1.15 * most)


def _bar(
    layer: LayerShares, order: Sequence[str], frame: Frame, left: float, wide: float, hatch: str
) -> list[str]:
    """The stacked bar of a layer: what each property adds, what they hold jointly, the rest."""
    parts: list[str] = []
    hatched: list[tuple[float, str, str]] = []
    base = 0.0

    def block(share: float, class_: str, words: str, fill: str | None = None) -> None:
        nonlocal base
        top = min(base + max(share, 0.0), frame.y.high)
        y = frame.y(top)
        parts.append(
            element(
                "rect",
                tip(words),
                x=left,
                y=y,
                width=wide,
                height=max(frame.y(base) - y, 0.0),
                class_=class_,
                fill=fill,
            )
        )
        base = top

    for number, name in enumerate(order):
        decoded, added = layer.decoded[name], layer.shares.added[name]
        hue = f"hue-{min(number, _LAST_HUE)}"
        if decoded.above_chance:
            words = (
                f"{layer.layer}, {name}: adds {_percent(added)}, alone {_percent(layer.shares.alone[name])}"
            )
            block(added.value, f"share {hue}", words)
        else:
            words = (
                f"{layer.layer}, {name}: not computed (a probe is right in {100 * decoded.accuracy:.0f} %)"
            )
            hatched.append((added.value, f"share-none {hue}", words))
    joint = layer.shares.joint
    block(joint, "share-joint", f"{layer.layer}, explained by several properties: {100 * joint:.1f} %")
    for share, class_, words in hatched:  # at least as high as an eye can see
        block(max(share, 0.015 * frame.y.high), class_, words, hatch)
    block(1.0 - base, "share-rest", f"{layer.layer}, explained by none: {100 * layer.shares.rest:.1f} %")
    if wide >= 24:
        rest = f"{100 * layer.shares.rest:.0f} %"
        parts.append(label(left + wide / 2, frame.y(frame.y.high) + 16, rest, "tick"))
    return parts


def _null_bar(layer: LayerShares, order: Sequence[str], frame: Frame, left: float, thin: float) -> list[str]:
    parts, base = [], 0.0
    for number, name in enumerate(order):
        null = layer.shares.shuffled[name]
        top = base + max(null, 0.0)
        y = frame.y(top)
        words = tip(f"{layer.layer}, {name} shuffled: {100 * null:.2f} %")
        height = max(frame.y(base) - y, 1.2)
        parts.append(
            element(
                "rect",
                words,
                x=left,
                y=frame.y(base) - height,
                width=thin,
                height=height,
                class_=f"share-null hue-{min(number, _LAST_HUE)}",
            )
        )
        base = max(top, base)
    return parts


def _table(layers: Sequence[LayerShares], properties: Sequence[Property]) -> Drawing:
    order = _order(layers, properties)
    by_name = {known.name: known for known in properties}
    head = ("layer", "property", "alone", "added to the others", "shuffled", "probe", "guessing")
    rows = []
    for layer in reversed(layers):
        for number, name in enumerate(order):
            cells = _row(layer, by_name[name], number)
            shown = html.escape(f"{layer.layer} ({plural(layer.dim, 'dimension')})") if number == 0 else ""
            first = ' class="first"' if number == 0 else ""
            rows.append(f"<tr{first}><td>{shown}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
        together = _interval(layer.shares.together)
        rows.append(
            f'<tr><td></td><td class="no">all together</td><td>{together}</td><td class="no">shared by several: '
            f"{_points(layer.shares.joint)}</td><td></td><td></td><td></td></tr>"
        )
    header = "".join(f"<th>{name}</th>" for name in head)
    body = f"<thead><tr>{header}</tr></thead><tbody>{''.join(rows)}</tbody>"
    table = f'<div class="scroll"><table class="shares">{body}</table></div>'
    lead = (
        "Percent of the variance, fitted on nine tenths of the rows and scored on the others, ten times; with bootstrap "
        "intervals (95 %, over rows). Alone: by the property and nothing else. Added: what it explains beyond all others; "
        "where the two differ, properties are correlated. Shuffled: the largest of five random orders. Probe: accuracy of a "
        "linear classifier on rows that it did not learn from, as the mean over values (a number: above its middle or not). "
        "Not computed: the probe is not above guessing (one-sided, 0.1 %)."
    )
    return Drawing("The numbers", lead, table)


def _row(layer: LayerShares, known: Property, number: int) -> list[str]:
    name, decoded = known.name, layer.decoded[known.name]
    about = f"{known.kind}, {known.note}" if known.note else known.kind
    named = (
        f'<i class="hue-{min(number, _LAST_HUE)}"></i>{html.escape(name)} <small>{html.escape(about)}</small>'
    )
    probe = [_accuracy(decoded), f"{100 * decoded.chance:.0f} %"]
    if not decoded.above_chance:
        return [
            named,
            '<span class="no">not computed</span>',
            "",
            _points(layer.shares.shuffled[name]),
            *probe,
        ]
    alone, added = layer.shares.alone[name], layer.shares.added[name]
    return [named, _interval(alone), _interval(added), _points(layer.shares.shuffled[name]), *probe]


def _accuracy(decoded: Decoding) -> str:
    return "–" if np.isnan(decoded.accuracy) else f"{100 * decoded.accuracy:.0f} %"


def _interval(estimate: Share) -> str:
    if estimate.low is None or estimate.high is None:
        return "–"
    return f"{_points(estimate.value)} <small>{100 * estimate.low:.1f} … {100 * estimate.high:.1f}</small>".replace(
        "-", "−"
    )


def _points(share: float) -> str:
    return "–" if np.isnan(share) else f"{_bare(share)} %"


def _bare(share: float) -> str:
    """Percent without its sign; a minus as it is printed, and none before zero."""
    shown = f"{100 * share:.1f}"
    return "0.0" if shown == "-0.0" else shown.replace("-", "−")


def _percent(estimate: Share) -> str:
    if estimate.low is None or estimate.high is None:
        return "–"
    return f"{_points(estimate.value)} ({100 * estimate.low:.1f} … {100 * estimate.high:.1f})".replace(
        "-", "−"
    )


def share_rows(layers: Sequence[LayerShares]) -> Mapping[str, list[object]]:
    """All numbers as named columns, a row for each layer and property."""
    rows = [
        {
            "layer": layer.layer,
            "property": name,
            "computed": layer.decoded[name].above_chance,
            "alone": alone.value,
            "alone_low": alone.low,
            "alone_high": alone.high,
            "added": layer.shares.added[name].value,
            "added_low": layer.shares.added[name].low,
            "added_high": layer.shares.added[name].high,
            "shuffled": layer.shares.shuffled[name],
            "probe_accuracy": layer.decoded[name].accuracy,
            "probe_chance": layer.decoded[name].chance,
            "all_together": layer.shares.together.value,
            "rest": layer.shares.rest,
            "variance": layer.shares.variance,
        }
        for layer in layers
        for name, alone in layer.shares.alone.items()
    ]
    return {name: [row[name] for row in rows] for name in rows[0]}
