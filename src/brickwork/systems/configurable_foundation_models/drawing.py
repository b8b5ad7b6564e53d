"""The pictures of a library of bricks: what each gains, how requests find them, how large they are.

``system``: a :class:`~brickwork.systems.configurable_foundation_models.system.System`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from brickwork.data.types import Examples
from brickwork.inspection.drawings import Drawing
from brickwork.inspection.maps import principal
from brickwork.inspection.plots import both
from brickwork.inspection.svg import Scale, element, figure, label, nice_ticks, short, tip
from brickwork.systems.configurable_foundation_models.pictures import STYLE, dots, hue, legend, matrix
from brickwork.systems.configurable_foundation_models.routing import (
    BASE,
    Embedded,
    embed_texts,
    route,
    similarities,
)


def library_drawings(system: Any, examples: Examples) -> list[Drawing]:
    """All pictures; those of requests only where there are some."""
    if not len(examples):
        return [_sizes(system)]
    texts, domains = list(examples.columns["input"]), [str(name) for name in examples.columns["domain"]]
    requests = embed_texts(system.encoder, texts, system.depth)
    return [
        _gains(system, texts, domains),
        _border(system, requests, domains),
        _map(system, requests, domains),
        _sizes(system),
    ]


def _gains(system: Any, texts: Sequence[str], domains: Sequence[str]) -> Drawing:
    table = system.by_brick(texts)
    rows = sorted(set(domains))
    gains = table[:, :1] - table[:, 1:]
    values = np.stack([np.nanmean(gains[[one == name for one in domains]], axis=0) for name in rows])
    right = sum(system.domains[place] == name for place, name in zip(values.argmax(1), rows))
    ringed = np.array([[brick == name for brick in system.domains] for name in rows])
    lead = (
        "What each brick (column) gains over the base on held-out texts of each domain (row), in nats per token; "
        "orange: it is worse than the base. A ring marks a domain's own brick: in "
        f"{right} of {len(rows)} domains it gains the most."
    )

    def draw(width: int) -> str:
        return matrix(
            values, rows, system.domains, width, ringed=ringed, title="gain over the base by domain and brick",
            text=lambda value: f"{value:.2f}",
            words=lambda row, column, value: f"brick {column} on texts of {row}: {value:+.4f} nats per token",
        )  # fmt: skip

    return Drawing("What each brick gains", lead, both(draw), STYLE)


def _border(system: Any, requests: Embedded, domains: Sequence[str]) -> Drawing:
    bricks = system.own_bricks()
    similar, floors = similarities(requests, bricks)
    chosen, _ = route(requests, bricks)
    # Of a text that finds a brick that brick's margin, of one that is left to the base the one that came nearest.
    over, names = (similar - floors).double().cpu().numpy(), list(bricks)
    margin = np.array([row.max() if one == BASE else row[names.index(one)] for row, one in zip(over, chosen)])
    right = np.mean([one == name for one, name in zip(chosen, domains)])
    left = np.mean([one == BASE for one in chosen])
    lead = (
        "Each dot is a held-out text, in the row of its own domain and the colour of the brick that it finds. To the "
        "right of the line its similarity to a key reaches the bar of that brick; to the left of it no brick is near "
        f"enough, and the base answers (hollow). {100 * right:.0f} % find their own brick, {100 * left:.0f} % are left "
        "to the base."
    )

    def draw(width: int) -> str:
        return _strips(margin, chosen, domains, system.domains, width)

    return Drawing("Requests and the border to the base", lead, both(draw), STYLE)


def _strips(
    margin: Float[np.ndarray, " texts"],
    chosen: Sequence[str],
    domains: Sequence[str],
    bricks: Sequence[str],
    width: int,
) -> str:
    rows = sorted(set(domains))
    left, step, top = min(16.0 + 6.6 * max(map(len, rows)), 120.0), 34.0, 20.0
    ticks = nice_ticks(min(0.0, float(margin.min())), max(0.0, float(margin.max())), 4)
    x = Scale(ticks[0], ticks[-1], left + 8, width - 14)
    bottom = top + step * len(rows)
    parts = []
    for tick in ticks:
        parts.append(element("line", x1=x(tick), x2=x(tick), y1=top - 6, y2=bottom, class_="grid"))
        parts.append(label(x(tick), bottom + 16, short(tick), "tick"))
    parts.append(element("line", x1=x(0), x2=x(0), y1=top - 8, y2=bottom + 2, class_="border"))
    seen = dict.fromkeys(rows, 0)
    for value, one, name in zip(margin, chosen, domains):
        seen[name] += 1
        # Apart from each other, but always in the same place.
        y = top + step * (rows.index(name) + 0.5) + ((7 * seen[name]) % 19 - 9)
        look = "request left hue-7" if one == BASE else f"request {hue(list(bricks).index(one))}"
        words = f"{name}: " + ("left to the base" if one == BASE else f"finds {one}") + f", {value:+.3f}"
        parts.append(element("circle", tip(words), cx=x(float(value)), cy=y, r=3.2, class_=look))
    for place, name in enumerate(rows):
        parts.append(label(left - 6, top + step * (place + 0.5) + 4, name, "tick", "end"))
    parts.append(label((left + width) / 2, bottom + 34, "similarity above the bar", "axis-title"))
    names, end = legend(bricks, width, bottom + 56)
    return figure(width, round(end), "requests and the border to the base", *parts, *names)


def _map(system: Any, requests: Embedded, domains: Sequence[str]) -> Drawing:
    bricks = system.own_bricks()
    first = next(iter(bricks.values())).keys  # the bricks of one run have one centre and one spread
    vectors = (requests.vectors.cpu() - first["centre"]) / first["spread"]
    keys = np.stack([one.keys["key"].double().numpy() for one in bricks.values()])
    points = np.concatenate([vectors.double().numpy(), keys])
    points /= np.linalg.norm(points, axis=1, keepdims=True).clip(1e-12)
    chosen, _ = route(requests, bricks)
    lead = (
        "The same texts by what keys compare, their early hidden states: the two directions in which they differ most. "
        "A diamond is the key of a brick, colour the domain of a text, and hollow texts are left to the base. Two "
        "directions show only a part of the distances; the picture above has the true ones."
    )
    hollow = [one == BASE for one in chosen]
    words = [
        f"{name}: {'left to the base' if one == BASE else f'finds {one}'}"
        for name, one in zip(domains, chosen)
    ]

    def draw(width: int) -> str:
        return dots(
            principal(points, 2),
            domains,
            hollow,
            words,
            system.domains,
            width,
            title="map of requests and keys",
        )

    return Drawing("Map of requests and keys", lead, both(draw), STYLE)


def _sizes(system: Any) -> Drawing:
    sizes = {
        name: sum(part.numel() * part.element_size() for part in one.weights.values())
        for name, one in system.own_bricks().items()
    }
    base = sum(part.numel() * part.element_size() for part in system.encoder.parameters())
    whole = sum(sizes.values())
    lead = (
        f"All {len(sizes)} bricks together take {short(whole)}B, {100 * whole / base:.2g} % of the {short(base)}B of "
        "their base."
    )
    return Drawing("Sizes of bricks", lead, both(lambda width: _bars(sizes, width)), STYLE)


def _bars(sizes: dict[str, int], width: int) -> str:
    left = min(16.0 + 6.6 * max(map(len, sizes)), 140.0)
    x = Scale(0, max(sizes.values()), left, width - 80)
    parts = []
    for place, (name, size) in enumerate(sizes.items()):
        y = 8.0 + 24 * place
        parts.append(label(left - 8, y + 13, name, "tick", "end"))
        words = tip(f"{name}: {size:,} bytes")
        bar = element(
            "rect", words, x=left, y=y, width=x(size) - left, height=16, rx=3, class_=f"key-mark {hue(place)}"
        )
        parts.append(bar)
        parts.append(label(x(size) + 8, y + 13, f"{short(size)}B", "tick", "start"))
    return figure(width, round(16 + 24 * len(sizes)), "sizes of bricks", *parts)
