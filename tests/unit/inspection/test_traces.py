"""The page of modules at work: its numbers follow from the trace, and names cannot break out of it."""

import numpy as np
import pytest

from brickwork.core.errors import ArtifactError
from brickwork.core.types import Trace
from brickwork.inspection.traces import MAX_STEPS, render_traces, trace_part, write_traces

USAGE = np.array([[0.9, 0.1, 0.0], [0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.4, 0.6, 0.0]])


def trace(**changes):
    given = {"name": "layer 1", "modules": ("a", "b", "c"), "usage": USAGE, "domain": ("x", "x", "y", "y")}
    return Trace(**{**given, **changes})


def test_load_and_use_by_domain_are_means():
    part = trace_part(trace())
    assert [name for name, _, _ in part.load] == ["a", "b", "c"]
    np.testing.assert_allclose([mean for _, mean, _ in part.load], [0.5, 0.5, 0.0])
    (by_domain,) = part.maps
    assert by_domain.rows == ("x", "y")
    np.testing.assert_allclose(by_domain.values, [[0.8, 0.2, 0.0], [0.2, 0.8, 0.0]])
    np.testing.assert_allclose(by_domain.strength.max(), 1)


def test_the_sentence_measures_how_even_the_load_is():
    """Two of three modules share the load: entropy log 2 of log 3, one idle."""
    sentence = trace_part(trace()).sentence
    assert f"{100 * np.log(2) / np.log(3):.0f} %" in sentence
    assert "1 of 3 get less than a tenth of an even share" in sentence
    even = trace_part(trace(usage=np.full((4, 3), 1 / 3))).sentence
    assert "100 % of the entropy" in even
    assert "none is idle" in even


def test_many_steps_are_averaged():
    time = np.linspace(0, 1, 3 * MAX_STEPS * 2).reshape(-1, 3)
    over_time = trace_part(trace(time=time)).maps[-1]
    assert over_time.values.shape == (3, MAX_STEPS)
    np.testing.assert_allclose(over_time.values.mean(1), time.mean(0))
    assert over_time.columns[:3] == ("1", "3", "5")


def test_contributions_may_be_negative():
    page = render_traces("t", [trace(usage=-USAGE, unit="logit")], 4)
    assert 'class="minus' in page
    assert "Mean size of the logit of each module" in page
    part = trace_part(trace(usage=np.array([[1.0, -2.0, 0.0], [-1.0, 2.0, 0.0]]), domain=None, unit="logit"))
    assert [mean for _, mean, _ in part.load] == [1.0, 2.0, 0.0], "opposite contributions do not cancel"


def test_names_are_escaped():
    page = render_traces("<u>", [trace(name="<script>", modules=("<i>", "b", "c"))], 4)
    assert page.count("<script>") == 1, "our own"
    assert "<u>" not in page
    assert all(escaped in page for escaped in ("&lt;u&gt;", "&lt;script&gt;", "&lt;i&gt;"))


def test_a_trace_that_does_not_fit_itself_is_refused():
    with pytest.raises(ValueError, match="usage has 3 columns for 2 modules"):
        trace(modules=("a", "b"))
    with pytest.raises(ValueError, match="3 domains for 4 rows"):
        trace(domain=("x", "y", "z"))


def test_nothing_to_show_writes_nothing(tmp_path):
    with pytest.raises(ArtifactError, match="no example"):
        write_traces(tmp_path / "page.html", "t", [], 0)
    assert not (tmp_path / "page.html").exists()
