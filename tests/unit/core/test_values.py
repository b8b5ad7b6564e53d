"""What values of metadata become: the same whichever library they come from."""

import datetime as dt
import enum
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow
import pytest
import torch

from brickwork.core.values import as_moment, json_value, read_date

pandas = pytest.importorskip("pandas", reason="pandas is not installed")


class Colour(enum.Enum):
    RED = "red"


EAST, WEST = (dt.timezone(dt.timedelta(hours=hours)) for hours in (2, -2))
VALUES = [
    (np.int64(2020), 2020),
    (np.uint8(7), 7),
    (np.float32(0.1), 0.1),
    (np.float16(0.5), 0.5),
    (np.float64(0.1), 0.1),
    (np.bool_(True), True),
    (np.str_("a"), "a"),
    (np.array(3), 3),
    (np.array([1, 2]), [1, 2]),
    (torch.tensor(4), 4),
    (Decimal("12.50"), 12.5),
    (Decimal("3.00"), 3),
    (Decimal(2**60 + 1), 2**60 + 1),
    (Decimal("NaN"), None),
    (Fraction(1, 2), 0.5),
    (float("nan"), None),
    (np.float64("nan"), None),
    (pandas.NaT, None),
    (pandas.NA, None),
    (np.datetime64("NaT", "ns"), None),
    (dt.date(2024, 1, 5), "2024-01-05"),
    (dt.datetime(2024, 1, 5, 12), "2024-01-05T12:00:00"),
    (dt.datetime(2024, 1, 5, 12, tzinfo=EAST), "2024-01-05T10:00:00+00:00"),
    (pandas.Timestamp("2024-01-05 12:00"), "2024-01-05T12:00:00"),
    (np.datetime64("2024-01-05"), "2024-01-05"),
    (np.datetime64("2024-01-05T12:00:00", "ns"), "2024-01-05T12:00:00"),
    (dt.time(12, 30), "12:30:00"),
    ({"b", "a"}, ["a", "b"]),
    ((1, np.int8(2)), [1, 2]),
    ({1: np.int8(2)}, {"1": 2}),
    (Colour.RED, "red"),
    (None, None),
    (np.longdouble("1.5"), 1.5),
    (np.ma.masked, None),
    (Fraction(10**400), float("inf")),
    (pyarrow.scalar(5), 5),
    (pyarrow.scalar(None, pyarrow.int8()), None),
    (range(2), [0, 1]),
    (b"text", "text"),
    (bytearray(b"\xff\x00"), "ff00"),
    (memoryview(b"a"), "a"),
    (np.bytes_(b"z"), "z"),
    (dt.timedelta(minutes=1), 60.0),
    (np.timedelta64(60_000, "ms"), 60.0),
    (pandas.Timedelta("1min"), 60.0),
    (np.timedelta64("NaT"), None),
    (np.timedelta64(1, "M"), "1 months"),
    (np.datetime64("12000-01-01T00:00"), "12000-01-01T00:00"),
    (dt.datetime(9999, 12, 31, 23, tzinfo=WEST), "9999-12-31T23:59:59.999999+00:00"),
]


@pytest.mark.parametrize(
    ("value", "wanted"), VALUES, ids=[f"{type(value).__name__}-{n}" for n, (value, _) in enumerate(VALUES)]
)
def test_values_as_json_keeps_them(value, wanted):
    result = json_value(value)
    assert result == wanted
    assert type(result) is type(wanted)


def test_dates_are_read_from_texts():
    noon = dt.datetime(2024, 1, 5, 12, tzinfo=dt.UTC)
    for text in ("2024-01-05T12:00:00Z", "2024-01-05 12:00", "2024-01-05T14:00:00+02:00"):
        assert read_date(text) == noon
    assert read_date("9999-12-31T23:00-02:00") == dt.datetime.max.replace(tzinfo=dt.UTC)
    assert read_date("0001-01-01T00:00+02:00") == dt.datetime.min.replace(tzinfo=dt.UTC)
    assert read_date("2024-01-05") == as_moment(dt.date(2024, 1, 5))
    for text in ("", "2024", "20240105", "2024-13-45", "2024-01-05 and more", "2024-W01-1", "n/a", "x" * 99):
        assert read_date(text) is None
