import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickwork.inspection import plots
from brickwork.inspection.report_data import CostPoint, Curve, Finding, GridCell, QualityPart

sys.path.insert(0, str(Path(__file__).parent))
import sample

SVG = "{http://www.w3.org/2000/svg}"


def circles(node):
    return [(float(c.get("cx")), float(c.get("cy"))) for c in node.iter(f"{SVG}circle")]


@pytest.mark.parametrize("width", [plots.WIDE, plots.NARROW])
def test_quality_lines_put_every_value_at_its_height(width):
    """Heights of the dots must be one straight function of quality, and places one of log2(dims)."""
    part = sample.whole(2).quality[0]
    root = ET.fromstring(plots.quality_lines(part, width))
    seen = []
    for group in root.iter(f"{SVG}g"):
        if "series" in (group.get("class") or ""):
            depth = int(group.get("data-depth"))
            cells = sorted((c for c in part.cells if c.layers == depth), key=lambda c: c.dim)
            seen += [(c.dim, c.after, x, y) for c, (x, y) in zip(cells, circles(group), strict=True)]
    assert len(seen) == len(part.cells)
    dims, quality, xs, ys = map(np.array, zip(*seen))
    slope, offset = np.polyfit(quality, ys, 1)
    assert slope < 0
    assert np.abs(slope * quality + offset - ys).max() < 0.02
    right, start = np.polyfit(np.log2(dims), xs, 1)
    assert right > 0
    assert np.abs(right * np.log2(dims) + start - xs).max() < 0.02
    assert xs.min() > 0
    assert xs.max() < width


def test_quality_lines_show_before_only_where_there_is_one():
    def dashed(before):
        cells = tuple(GridCell(dim=d, layers=2, after=0.5, before=before) for d in (8, 16))
        part = QualityPart(name="x", cells=cells, sample="3 queries, 9 documents.")
        return "line before" in plots.quality_lines(part, 400)

    assert dashed(0.4)
    assert not dashed(None)


@pytest.mark.parametrize(("weak_below", "share"), [(16, 0.5), (99, 1.0), (8, None), (None, None)])
def test_sizes_that_are_not_safe_are_shaded_up_to_the_first_that_is(weak_below, share):
    cells = tuple(GridCell(dim=d, layers=1, after=0.5) for d in (8, 32))
    part = QualityPart(name="x", cells=cells, sample="9 examples.", weak_below=weak_below)
    root = ET.fromstring(plots.quality_lines(part, 400))
    bands = [node for node in root.iter(f"{SVG}rect") if node.get("class") == "unsafe"]
    if share is None:
        assert not bands
        return
    (band,), ((first, _), (last, _)) = bands, circles(root)
    edge = float(band.get("x")) + float(band.get("width"))
    assert edge == pytest.approx(first + share * (last - first), abs=0.1)


def test_one_single_size_can_be_drawn():
    part = QualityPart(
        name="x", cells=(GridCell(dim=8, layers=1, after=0.0),), sample="1 queries, 1 documents."
    )
    ET.fromstring(plots.quality_lines(part, 400))


point = st.builds(
    CostPoint,
    dim=st.integers(1, 999),
    layers=st.integers(1, 12),
    quality=st.sampled_from([0.1, 0.2, 0.3, 0.4]),
    flops_per_query=st.sampled_from([1.0, 2.0, 3.0, 4.0]),
    bytes_per_vector=st.just(4.0),
)


@given(st.lists(point, min_size=1, max_size=12))
def test_pareto_matches_the_definition(points):
    """Brute force over all pairs: a point stays unless another is as good in both and better in one."""

    def beats(a, b):
        as_good = a.flops_per_query <= b.flops_per_query and a.quality >= b.quality
        return as_good and (a.flops_per_query, a.quality) != (b.flops_per_query, b.quality)

    expected = {(p.flops_per_query, p.quality) for p in points if not any(beats(o, p) for o in points)}
    results = plots.pareto(points, lambda p: p.flops_per_query)
    assert {(p.flops_per_query, p.quality) for p in results} == expected
    assert len(results) == len(expected)


def test_frontier_without_measured_times_is_left_out():
    costs = sample.whole(2).costs
    assert ET.fromstring(plots.frontier(costs, lambda p: p.milliseconds, "ms", 300)) is not None
    assert plots.frontier(costs, lambda p: None, "ms", 300) == ""


def test_long_curves_are_thinned_and_keep_their_last_value():
    steps = tuple(range(1, 5001))
    curve = Curve(name="loss", steps=steps, values=tuple(5000.0 - s for s in steps))
    root = ET.fromstring(plots.curves([curve], 400))
    points = root.find(f".//{SVG}polyline").get("points").split()
    assert 300 < len(points) < 900
    (last_x, last_y), *_ = circles(root)
    assert points[-1] == f"{last_x:g},{last_y:g}"


def test_interval_strip_shows_zero_and_the_interval_in_proportion():
    root = ET.fromstring(plots.interval_strip(Finding(sentence="x", effect=0.03, low=0.02, high=0.05)))
    ticks = {t.text: float(t.get("x")) for t in root.iter(f"{SVG}text")}
    rect = root.find(f"{SVG}rect")
    unit = (ticks["+0.04"] - ticks["0"]) / 0.04
    assert float(rect.get("x")) - ticks["0"] == pytest.approx(0.02 * unit, abs=0.05)
    assert float(rect.get("width")) == pytest.approx(0.03 * unit, abs=0.05)
    assert plots.interval_strip(Finding(sentence="x", effect=0.03)) == ""


def test_map_has_a_dot_for_every_document_inside_the_image():
    corpus = sample.whole(2).corpus_map
    root = ET.fromstring(plots.scatter(corpus, 352))
    dots = circles(root)
    assert len(dots) == len(corpus.points)
    assert all(0 <= x <= 352 and 0 <= y <= 352 for x, y in dots)
    assert "array · dtype" in [t.text for t in root.iter(f"{SVG}text")]


def test_depth_colours_run_from_shallow_to_deep():
    colours = plots.depth_colours([1, 3, 6, 3])
    assert list(colours) == [1, 3, 6]
    assert "var(--shallow) 100%" in colours[1]
    assert "var(--middle) 100%" in colours[3]
    assert colours[6].endswith("0%,var(--deep))")
