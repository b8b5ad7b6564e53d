"""How a criterion decides."""

import pytest

from brickwork.studies.criterion import decide
from brickwork.studies.old import ArmCost


def test_a_criterion_that_is_not_met_is_refuted():
    assert decide([1.0, 2.0, 3.0], True, unit="points").verdict == "supported"
    assert decide([1.0, 2.0, 3.0], False, unit="points").verdict == "refuted"


def test_a_criterion_that_needs_scale_says_so():
    result = decide([1.0], False, unit="points", needs="100 classes", arms=[ArmCost(name="a")])
    assert result.verdict == "not at this scale"
    assert "100 classes" in result.note
    assert result.interval is None


def test_interval_is_students():
    """1, 2, 3: mean 2, standard error 1/√3, t(2) = 4.3027 (a table of the distribution)."""
    result = decide([1.0, 2.0, 3.0], True, unit="points")
    assert result.interval == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-3)
