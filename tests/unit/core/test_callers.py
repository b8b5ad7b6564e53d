"""Warnings point to the line of whoever called."""

import numpy as np
import pytest

from brickwork.core.errors import BrickworkWarning, ConfigError, warn
from brickwork.core.values import whole_number
from brickwork.data.load import read_documents


def test_a_warning_points_to_the_callers_own_line(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "one"}\n{"text": ""}\n{"text": "three"}\n')
    with pytest.warns(BrickworkWarning, match="is empty") as caught:
        list(read_documents(path))
    assert {warning.filename for warning in caught} == {__file__}


def test_a_warning_from_outside_points_there():
    with pytest.warns(BrickworkWarning, match="by hand") as caught:
        warn("by hand")
    assert caught[0].filename == __file__


@pytest.mark.parametrize("value", ["48", 48.0, None, True, [48]])
def test_what_is_no_whole_number_is_refused_by_name(value):
    with pytest.raises(ConfigError, match=r"top=.* give a whole number"):
        whole_number("top", value)


def test_whole_numbers_of_numpy_are_taken_and_small_ones_refused():
    assert whole_number("top", np.int64(3)) == 3
    with pytest.raises(ConfigError, match="top=0: give at least 1"):
        whole_number("top", 0, least=1)
