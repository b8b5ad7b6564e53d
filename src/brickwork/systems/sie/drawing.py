"""The pictures of a run: a view's neighbours as it is changed more and more, and what each part holds of each change."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from brickwork.data.types import Examples
from brickwork.inspection.drawings import Drawing
from brickwork.inspection.plots import both, plural
from brickwork.inspection.svg import Scale, element, figure, label, nice_ticks, picture, tip
from brickwork.systems.sie import changes as known
from brickwork.systems.sie.data import ObjectViews
from brickwork.systems.sie.predictors import HyperLinear
from brickwork.systems.sie.steering import objects_of, pair_scores, same_object_scores, steering_scores

_SHOWN, _COLUMNS, _NARROW_COLUMNS, _LINES, _LEAST_VIEWS = 3, 6, 3, 2, 3
_PARTS = {
    "whole": "all dimensions",
    "invariant": "invariant part",
    "equivariant": "equivariant part",
    "solved": "by the predictor",
}
_STYLE = """\
.view-own { fill: none; stroke: var(--deep); stroke-width: 3; }
.view-other { fill: none; stroke: var(--line); stroke-width: 1; }
.read-bar { fill: var(--deep); }
.read-floor { stroke: var(--loss); stroke-width: 2; stroke-dasharray: 4 3; }"""


@dataclass(frozen=True)
class _Turned:
    """A view, and for each of several changes of it, smallest first: the true view, the one found, whether that is it."""

    start: np.ndarray
    names: list[list[str]]
    true: list[np.ndarray]
    found: list[np.ndarray]
    right: list[bool]


def drawings(system: Any, examples: Examples) -> list[Drawing]:
    """Both pictures, of held-out views; without a predictor that follows changes, the second alone; of no views, none."""
    if not len(examples):
        return []
    objects = objects_of(examples)
    pictures = []
    if isinstance(system.predictor, HyperLinear) and (shown := _turned(system, objects)):
        pictures.append(_neighbours(shown, steering_scores(system, examples), len(objects)))
    found = same_object_scores(system, examples)
    return [*pictures, _shares(system, pair_scores(system, examples), found)]


# ---- neighbours ------------------------------------------------------------------------------------------------------


def _turned(system: Any, objects: Sequence[ObjectViews]) -> list[_Turned]:
    """The first objects with enough views. Searched are the whole vectors of all views of all objects but the start."""
    chosen = [place for place, one in enumerate(objects) if len(one) >= _LEAST_VIEWS][:_SHOWN]
    if not chosen:
        return []
    representation = system.representation()
    images = np.concatenate([one.images for one in objects])
    vectors = torch.from_numpy(representation.encode(images))
    part = representation.encoder.parts["equivariant"]
    starts = np.cumsum([0, *(len(one) for one in objects)])
    shown = []
    for place in chosen:
        one, first = objects[place], int(starts[place])
        g = system.g(np.repeat(one.values[:1], len(one), 0), one.values)
        # Views by how far they are from the first: evenly many of them.
        far = (g - g[:1]).norm(dim=1).cpu().numpy()
        others = np.argsort(far, kind="stable")[1:]
        others = others[np.linspace(0, len(others) - 1, min(_COLUMNS, len(others))).round().astype(int)]
        query = vectors[first].expand(len(others), -1).clone()
        with torch.no_grad():
            moved = system.predictor(query[:, part].to(g), g[others])
        query[:, part] = (F.normalize(moved, dim=1) * query[:, part].norm(dim=1, keepdim=True).to(g)).cpu()
        scores = query @ vectors.T
        scores[:, first] = -np.inf
        best = scores.argmax(1).tolist()
        shown.append(
            _Turned(
                one.images[0],
                [_in_words(system, one, int(other)) for other in others],
                [one.images[other] for other in others],
                [images[row] for row in best],
                [row == first + int(other) for row, other in zip(best, others)],
            )
        )
    return shown


def _in_words(system: Any, one: ObjectViews, other: int) -> list[str]:
    """What changed from the first view, in the columns' units, a change each."""
    g = system.g(one.values[:1], one.values[other][None]).double().cpu().numpy()
    read = known.readable(system.changes, g)
    words = []
    for change in system.changes:
        if change.kind == "rotation":
            w = abs(float(g[0, known.places(system.changes)[change.name]][3]))
            words.append(f"{np.rad2deg(2 * np.arccos(min(w, 1.0))):.0f}° about an axis")
        else:
            value = float(read[change.name][0])
            words.append(f"{change.name} {value:+.0f}" if abs(value) >= 10 else f"{change.name} {value:+.2g}")
    return words


def _neighbours(shown: Sequence[_Turned], scores: dict[str, float], objects: int) -> Drawing:
    lead = (
        "Left: a held-out view. Above each column: how much it is changed, more to the right; upper row: the object's own "
        "view with that change; lower row: what a search finds for the vector that the predictor has moved, among all "
        f"views of {plural(objects, 'object')}, framed where it is that very view."
    )
    if "steering_mrr" in scores:
        lead += (
            f" Among the object's own views the right one has a mean reciprocal rank of {scores['steering_mrr']:.2f}; "
            f"unmoved vectors have {scores['unmoved_mrr']:.2f}, chance {scores['chance_mrr']:.2f}."
        )
    return Drawing("Steered by a change", lead, both(lambda width: _grid(shown, width)), _STYLE)


def _grid(shown: Sequence[_Turned], width: int) -> str:
    count = _COLUMNS if width > 480 else _NARROW_COLUMNS
    gap, names = 6.0, 58.0 if width > 480 else 0.0
    lines = min(_LINES, max(len(words) for one in shown for words in one.names))
    side = (width - names - (count + 1) * gap - 14) / (count + 1)
    parts, y = [], 0.0
    for one in shown:
        picked = np.linspace(0, len(one.names) - 1, min(count, len(one.names))).round().astype(int).tolist()
        top = y + 8 + 14 * lines
        parts.append(picture(0, top + side / 2, side, one.start, tip("the view that is asked with")))
        for column, place in enumerate(picked):
            x = side + 14 + names + column * (side + gap)
            for number, words in enumerate(one.names[place][:lines]):
                parts.append(label(x + side / 2, y + 13 + 14 * number, words[: int(side / 6.2)], "tick"))
            said = ", ".join(one.names[place])
            parts.append(picture(x, top, side, one.true[place], tip(f"true view: {said}")))
            what = "the right view" if one.right[place] else "another view"
            below = top + side + gap
            parts.append(picture(x, below, side, one.found[place], tip(f"{said}: found {what}")))
            frame = "view-own" if one.right[place] else "view-other"
            parts.append(element("rect", x=x, y=below, width=side, height=side, class_=frame))
        if names:
            x = side + 8 + names
            parts.append(label(x, top + 4 + side / 2, "true", "tick", "end"))
            parts.append(label(x, top + 4 + 1.5 * side + gap, "found", "tick", "end"))
        y = top + 2 * side + gap + 24
    return figure(width, round(y), "true and found views as the change grows", *parts)


# ---- what each part holds --------------------------------------------------------------------------------------------


def _shares(system: Any, scores: dict[str, float], found: dict[str, float]) -> Drawing:
    read = [name for name in _PARTS if f"r2_paper_{name}" in scores]
    rows = [
        (f"{c.name}: {_PARTS[name]}", scores[f"r2_{c.name}_{name}"], 0.0)
        for c in system.changes
        for name in read
    ]
    floor = scores["r2_paper_floor"]
    rows += [
        (f"as the authors compute it: {_PARTS[name]}", scores[f"r2_paper_{name}"], floor) for name in read
    ]
    lead = (
        "R² of the change between two held-out views of an object, read off the encoder's output by a small MLP, and "
        "as the change that the predictor needs to come from one to the other (this is what predict says). Dashed: what "
        "guesses have that know no image. With one mean for all numbers, as the authors compute R², that is more "
        f"than 0 ({floor:.2f} here). The search's equivariant part is the embedding that is made of this one."
    )
    if found:
        by = ", ".join(
            f"by the {name.removeprefix('same_object_')} part {100 * value:.0f} %"
            for name, value in found.items()
            if name != "same_object_chance"
        )
        lead += (
            f" A search among held-out views finds another view of the same object first: {by}, chance "
            f"{100 * found['same_object_chance']:.0f} %."
        )
    return Drawing(
        "What each part holds of each change", lead, both(lambda width: _bars(rows, width)), _STYLE
    )


def _bars(rows: Sequence[tuple[str, float, float]], width: int) -> str:
    narrow = width < 480
    left = 12.0 if narrow else 20.0 + 7.0 * max(len(name) for name, _, _ in rows)
    height, top = (44.0, 6.0) if narrow else (30.0, 6.0)
    ticks = nice_ticks(min(0.0, *(value for _, value, _ in rows)), 1.0, 5)
    x = Scale(ticks[0], max(1.0, ticks[-1]), left, width - 44)
    bottom = top + height * len(rows)
    parts = [element("line", x1=x(tick), x2=x(tick), y1=top, y2=bottom, class_="grid") for tick in ticks]
    parts += [label(x(tick), bottom + 18, f"{tick:g}", "tick") for tick in ticks]
    for number, (name, value, floor) in enumerate(rows):
        y = top + height * number + (20 if narrow else 6)
        parts.append(
            label(left, y - 6, name, "tick", "start")
            if narrow
            else label(left - 8, y + 13, name, "tick", "end")
        )
        start, stop = sorted((x(0), x(value)))
        bar = {"x": start, "y": y, "width": max(stop - start, 1.0), "height": 18}
        parts.append(
            element("rect", tip(f"{name}: R² {value:.3f}, floor {floor:.3f}"), **bar, rx=2, class_="read-bar")
        )
        parts.append(label(stop + 6, y + 13, f"{value:.2f}", "tick", "start"))
        parts.append(element("line", x1=x(floor), x2=x(floor), y1=y - 4, y2=y + 22, class_="read-floor"))
    parts.append(label((left + width) / 2, bottom + 38, "R²", "axis-title"))
    return figure(width, round(bottom + 46), "R² of each change in each part", *parts)
