"""Writes ``report.html``: one page without any outside file, that shows what a training did and costs."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brickwork.core.errors import naming_extras
from brickwork.core.files import write_text
from brickwork.inspection import plots
from brickwork.inspection.page import fill
from brickwork.inspection.report_data import (
    CorpusMap,
    Curve,
    ExampleSearch,
    Finding,
    GridCell,
    Hit,
    Number,
    QualityPart,
    ReportData,
    SearchSide,
)

_TABLE_ROWS = 24


def write_report(folder: Path | str, data: ReportData) -> Path:
    """Writes the page to ``folder/report.html`` (atomically) and returns that path."""
    path = Path(folder) / "report.html"
    write_text(path, render(data))
    return path


@naming_extras("the report")
def render(data: ReportData) -> str:
    """The page as HTML. Sections whose data is missing are left out; every text is escaped."""
    from markupsafe import Markup

    def quality_plot(part: QualityPart) -> Markup:
        return Markup(plots.both(lambda width: plots.quality_lines(part, width)))

    def curve_plot(panel: list[Curve]) -> Markup:
        return Markup(plots.both(lambda width: plots.curves(panel, width), wide=480))

    def map_plot(corpus: CorpusMap) -> Markup:
        return Markup(plots.both(lambda width: plots.scatter(corpus, width)))

    finding = data.finding or default_finding(data.quality)
    return fill(
        "report.html.j2",
        data=data,
        finding=finding,
        strip=Markup(plots.interval_strip(finding)) if finding else "",
        panels=curve_panels(data.curves),
        own_style=Markup("\n".join(one.style for one in data.drawings if one.style)),
        drawings=[(one.title, one.lead, Markup(one.svg)) for one in data.drawings],
        frontiers=[Markup(drawing) for drawing in _frontiers(data)],
        quality_plot=quality_plot,
        curve_plot=curve_plot,
        map_plot=map_plot,
        grids=grids,
        depths=lambda part: plots.depth_colours(cell.layers for cell in part.cells),
        cost_depths=lambda costs: plots.depth_colours(point.layers for point in costs.points),
        sampled=lambda curve: _sampled(list(zip(curve.steps, curve.values))),
        cluster_titles=cluster_titles,
        shared=shared_hits,
        breakable=breakable,
        flat=flat,
        plural=plots.plural,
    )


def default_finding(quality: tuple[QualityPart, ...]) -> Finding | None:
    """What training changed at full size by the first measure; ``None`` without a before."""
    for part in quality:
        full = max(part.cells, key=lambda cell: (cell.layers, cell.dim))
        if full.before is not None:
            return Finding(
                sentence=_sentence(part, full),
                metric=part.metric,
                effect=full.difference,
                low=full.low,
                high=full.high,
            )
    return None


def _sentence(part: QualityPart, full: GridCell) -> str:
    """What changed at full size; no change is claimed where the interval holds zero."""
    assert full.before is not None
    if full.after == full.before and full.low == full.high:
        return f"At full size {part.metric} on {part.name} is what it was: {full.after:.3f}."
    if full.low is not None and full.high is not None and full.low <= 0 <= full.high:
        verb = "did not clearly change"
    else:
        verb = "raised" if full.after > full.before else "lowered"
    return f"Training {verb} {part.metric} on {part.name}: {full.before:.3f} before, {full.after:.3f} after."


def curve_panels(curves: tuple[Curve, ...]) -> dict[str, list[Curve]]:
    """The curves by panel, in order of first appearance."""
    panels: dict[str, list[Curve]] = {}
    for curve in curves:
        if curve.steps:
            panels.setdefault(curve.panel, []).append(curve)
    return panels


def grids(part: QualityPart) -> list[dict[str, Any]]:
    """The heat tables of one measure: before, after and difference, deepest layers on top.

    A cell is ``None`` (not measured) or {text, tip, fill (0 … 100, how strong the colour), side, strong}.
    """
    cells = {(cell.layers, cell.dim): cell for cell in part.cells}
    layers = sorted({layer for layer, _ in cells}, reverse=True)
    dims = sorted({dim for _, dim in cells})
    known = [v for c in part.cells for v in (c.before, c.after) if v is not None]
    low, high = min(known), max(known)
    largest = max((abs(c.difference) for c in part.cells if c.difference is not None), default=0.0)

    def level(value: Number) -> int:
        return round(100 * (value - low) / (high - low)) if high > low else 50

    def show(cell: GridCell, kind: str) -> dict[str, Any] | None:
        size = f"{cell.dim} dims, {plots.plural(cell.layers, 'layer')}"
        value = {"before": cell.before, "after": cell.after, "difference": cell.difference}[kind]
        if value is None:
            return None
        if kind != "difference":
            return {
                "text": f"{value:.3f}",
                "tip": f"{size}: {value:.4f}",
                "fill": level(value),
                "side": "",
                "strong": 1,
            }
        interval = (
            "" if cell.low is None or cell.high is None else f", 95% [{cell.low:+.3f}, {cell.high:+.3f}]"
        )
        return {
            "text": f"{value:+.3f}",
            "tip": f"{size}: {value:+.4f}{interval}",
            "fill": round(100 * abs(value) / largest) if largest else 0,
            "side": "gain" if value > 0 else "loss",
            "strong": int(cell.significant or cell.low is None),
        }

    tables = []
    kinds = ["before", "after", "difference"] if any(c.before is not None for c in part.cells) else ["after"]
    for kind in kinds:
        rows = [
            (layer, [show(cells[layer, dim], kind) if (layer, dim) in cells else None for dim in dims])
            for layer in layers
        ]
        tables.append({"kind": kind, "dims": dims, "rows": rows})
    return tables


def _frontiers(data: ReportData) -> list[str]:
    if data.costs is None:
        return []
    axes: list[tuple[str, Any]] = [
        ("FLOPs per query", lambda point: point.flops_per_query),
        ("bytes per vector", lambda point: point.bytes_per_vector),
        ("ms per query", lambda point: point.milliseconds),
    ]
    drawn = (plots.frontier(data.costs, cost, title, 318) for title, cost in axes)
    return [drawing for drawing in drawn if drawing]


def _sampled(rows: list[Any]) -> list[Any]:
    """At most about two dozen of the rows, evenly, with the last."""
    thin = rows[:: max(1, -(-len(rows) // _TABLE_ROWS))]
    return thin if not rows or thin[-1] == rows[-1] else [*thin, rows[-1]]


def cluster_titles(corpus: CorpusMap, cluster: int, count: int = 4) -> list[str]:
    """A few titles of a cluster's documents, those nearest to its label."""
    place = corpus.clusters[cluster]
    members = [p for p in corpus.points if p.cluster == cluster]
    members.sort(key=lambda p: (p.x - place.x) ** 2 + (p.y - place.y) ** 2)
    return [p.title for p in members[:count]]


def shared_hits(search: ExampleSearch, side: SearchSide) -> set[tuple[str, str]]:
    """The hits, as (title, source), that a side has in common with the first side."""

    def names(hits: tuple[Hit, ...]) -> set[tuple[str, str]]:
        return {(hit.title, hit.source) for hit in hits}

    return names(search.sides[0].hits) & names(side.hits)


@naming_extras("the report")
def breakable(title: str) -> str:
    """A title whose long names may break after dots and underscores, not in the middle of a word."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"(?<=[._/])(?=\w)", "<wbr>", str(escape(title))))


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested values as (``a.b``, text) pairs."""
    pairs = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            pairs.extend(flat(value, f"{prefix}{key}."))
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            pairs.append((prefix + str(key), text))
    return pairs
