"""The strip of differences: places that follow from its numbers, and names that are escaped."""

import re

from brickwork.inspection.strip import StripRow, strip_drawing

ROWS = (
    StripRow(name="ours", values=(0.5, 1.5), mean=1.0, interval=(-1.0, 3.0)),
    StripRow(name="<b>", values=(-2.0,), mean=-2.0),
)


def test_places_follow_from_numbers():
    drawing = strip_drawing("Does it help?", "A lead.", ROWS, unit="points")
    assert drawing.title == "Does it help?"
    assert "<b>" not in drawing.svg
    assert "&lt;b&gt;" in drawing.svg
    wide = drawing.svg.split('class="narrow"')[0]
    zero = float(re.search(r'<line x1="([\d.]+)"[^>]*strip-zero', wide)[1])
    seeds = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"[^>]*strip-seed', wide)]
    means = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"[^>]*strip-mean', wide)]
    low, width = map(float, re.search(r'<rect x="([\d.]+)"[^>]*? width="([\d.]+)"', wide).groups())
    point = (means[0] - zero) / 1.0
    assert abs(means[1] - zero + 2 * point) < 0.02
    assert abs(seeds[0] - (zero + 0.5 * point)) < 0.02
    assert abs(low - (zero - point)) < 0.02
    assert abs(width - 4 * point) < 0.02
    assert wide.count("strip-range") == 1  # one seed has no interval
