import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from brickwork.inspection import svg

numbers = st.floats(-1e4, 1e4, allow_nan=False)


def test_element_is_xml_and_escapes():
    text = svg.element("g", svg.label(1.0, 2.5, "a < b & c", "tick"), class_='x"y', data_depth=3, style=None)
    node = ET.fromstring(text)
    assert node.attrib == {"class": 'x"y', "data-depth": "3"}
    assert node[0].text == "a < b & c"
    assert node[0].attrib["y"] == "2.5"


@given(numbers, numbers, st.floats(0, 1))
def test_scale_is_linear_interpolation(low, width, share):
    high = low + abs(width) + 1.0
    value = low + share * (high - low)
    expected = np.interp(value, [low, high], [10.0, 510.0])
    assert svg.Scale(low, high, 10.0, 510.0)(value) == pytest.approx(expected, abs=1e-6)


def test_log_scale_spaces_equal_ratios_equally():
    scale = svg.Scale(24, 384, 0, 400, log=True)
    assert [scale(d) for d in (24, 48, 96, 192, 384)] == pytest.approx([0, 100, 200, 300, 400])


@given(numbers, st.floats(1e-3, 1e4), st.integers(2, 8))
def test_nice_ticks_are_round_even_and_cover(low, width, count):
    high = low + width
    ticks = svg.nice_ticks(low, high, count)
    steps = np.diff(ticks)
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert np.allclose(steps, steps[0])
    mantissa = steps[0] / 10 ** np.floor(np.log10(steps[0]) + 1e-9)
    assert min(abs(mantissa - m) for m in (1, 2, 5, 10)) < 1e-3
    assert len(ticks) <= count + 2


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1e6, 1e9, [1e6, 1e7, 1e8, 1e9]),
        (2.0, 7.0, [2.0, 5.0]),
        (1.0, 30.0, [1.0, 3.0, 10.0, 30.0]),
        (3.1, 7.2, [4.0, 5.0, 6.0, 7.0]),
    ],
)
def test_log_ticks(low, high, expected):
    assert svg.log_ticks(low, high) == pytest.approx(expected)


@given(st.lists(st.floats(0, 300), min_size=1, max_size=9), st.floats(1, 30))
def test_spread_is_the_least_squares_placement(wishes, gap):
    """Least movement at a distance is isotonic regression of the wishes less their ranks (scikit-learn)."""
    order = np.argsort(wishes, kind="stable")
    ranks = np.arange(len(wishes))
    shifted = np.array(wishes)[order] - gap * ranks
    fitted = IsotonicRegression().fit_transform(ranks, shifted) + gap * ranks
    placed = np.array(svg.spread(wishes, gap, -1e6, 1e6))
    assert placed[order] == pytest.approx(fitted, abs=1e-6)


def test_spread_keeps_to_its_bounds():
    placed = svg.spread([98.0, 99.0, 2.0], 10.0, 0.0, 100.0)
    assert placed == pytest.approx([90.0, 100.0, 2.0])


@given(st.lists(st.tuples(st.floats(0, 300), st.floats(0, 200)), min_size=1, max_size=6))
def test_placed_labels_do_not_overlap(wanted):
    sizes = [(80.0, 16.0)] * len(wanted)
    heights = svg.place_labels(wanted, sizes, 0.0, 400.0)
    assert heights[0] == wanted[0][1]
    for i, (x, _) in enumerate(wanted):
        for j in range(i):
            apart_x, apart_y = abs(x - wanted[j][0]) >= 80, abs(heights[i] - heights[j]) >= 16
            assert apart_x or apart_y


@pytest.mark.parametrize(
    ("value", "text"), [(1_500_000, "1.5M"), (0.25, "0.25"), (1536, "1.54k"), (2.5e9, "2.5G")]
)
def test_short(value, text):
    assert svg.short(value) == text
