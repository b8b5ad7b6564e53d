"""The tally: every reliability test says what it did and how often, for the table in ``docs/reliability.md``.

def test_bit_flips(tally, long): ...
    tally("R3", "bits flipped in a checkpoint, each refused by name", flips)
    tally("R19", "MB that memory grew by over 10,000 encodes", growth, limit=20)
"""

import json
import os
from collections.abc import Callable

import pytest

_PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.stash[_PASSED] = report.passed
    return report


@pytest.fixture(scope="session")
def long() -> bool:
    """Whether this is ``make reliability`` (``BRICKWORK_LONG=1``), which injects many more faults."""
    return os.environ.get("BRICKWORK_LONG") == "1"


@pytest.fixture
def tally(request) -> "Callable[..., None]":
    """``tally(row, what, count, limit=None)``: one line of the table.

    ``row`` is ``R1`` … ``R19`` (tests/reliability/table.py). Equal ``what`` of several tests are added up. With a
    ``limit``, ``count`` is a measurement that may be that much at most: the largest is shown, and more fails the
    test. Lines go to the file that ``BRICKWORK_TALLY`` names, one JSON object each, once the test has passed.
    """
    lines = []

    def record(row: str, what: str, count: float, limit: float | None = None) -> None:
        assert count > 0 or limit is not None, f"{what}: nothing was done"
        assert limit is None or count <= limit, f"{what}: {count} is more than {limit}"
        test = request.node.nodeid.split("::")[0].rpartition("/")[2]
        lines.append({"row": row, "what": what, "count": count, "limit": limit, "test": test})

    yield record
    file = os.environ.get("BRICKWORK_TALLY")
    if file and request.node.stash.get(_PASSED, False):
        with open(file, "a") as out:  # one short write: several workers may append
            out.write("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def not_here(request) -> "Callable[[str, str, str], None]":
    """``not_here(row, what, reason)``: says in the table that something was not tried, and skips the test."""

    def skip(row: str, what: str, reason: str) -> None:
        file = os.environ.get("BRICKWORK_TALLY")
        if file:
            with open(file, "a") as out:
                test = request.node.nodeid.split("::")[0].rpartition("/")[2]
                out.write(json.dumps({"row": row, "what": what, "missing": reason, "test": test}) + "\n")
        pytest.skip(f"{row}, {what}: {reason}")

    return skip
