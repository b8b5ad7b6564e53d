"""What each system costs the suite, in CPU-seconds, and a limit: with 34 systems none may take more than its share.

The processor time of the test's process and of its children is measured, not the time on the clock, so that a busy machine
fails nothing. What a file of tests does while it is collected counts with the first of its tests; what it imports does not,
as others import it too. ``system_budget`` in ``pyproject.toml`` is the limit; 0 means none.
"""

import builtins
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from scheduling import system_of

PROPERTY = "cpu_seconds_of_system"
# Fixtures of tests/conftest.py that all systems share: whoever comes first does not pay for them.
SHARED = {"plain_process"}
ABOVE_ALL = ("", "tests")
_BEGAN = pytest.StashKey[float]()
_LAST_CALL = pytest.StashKey[float]()


def cpu_seconds() -> float:
    """Processor time of this process, of its children that have ended, and of those that run."""
    mine = os.times()
    total = mine.user + mine.system + mine.children_user + mine.children_system
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:  # it ended meanwhile, and counts for its parent
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


@contextmanager
def imports() -> Iterator[list[float]]:
    """Adds up the processor time of the imports inside it, as the one entry of the list."""
    seconds, depth, real = [0.0], 0, builtins.__import__

    def timed(*arguments, **options):
        nonlocal depth
        before, depth = time.process_time(), depth + 1
        try:
            return real(*arguments, **options)
        finally:
            depth -= 1
            seconds[0] += time.process_time() - before if depth == 0 else 0

    builtins.__import__ = timed
    try:
        yield seconds
    finally:
        builtins.__import__ = real


class Budget:
    """The plugin. Workers measure and send seconds along with their reports; the controller adds up and decides."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.seconds: dict[str, float] = {}
        self.collected: dict[str, float] = {}
        self.last = False

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector):
        if not isinstance(collector, pytest.Module | pytest.Class) or not system_of(collector.nodeid):
            return (yield)
        before = cpu_seconds()
        with imports() as imported:
            report = yield
        file = collector.nodeid.partition("::")[0]
        self.collected[file] = self.collected.get(file, 0) + cpu_seconds() - before - imported[0]
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None):
        self.last = nextitem is None
        if system_of(item.nodeid):
            file = item.nodeid.partition("::")[0]
            item.stash[_BEGAN] = cpu_seconds() - self.collected.pop(file, 0)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef, request: pytest.FixtureRequest):
        shared = fixturedef.argname in SHARED and fixturedef.baseid in ABOVE_ALL
        if not shared or _BEGAN not in request._pyfuncitem.stash:
            return (yield)
        before = cpu_seconds()
        value = yield
        request._pyfuncitem.stash[_BEGAN] += cpu_seconds() - before
        return value

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo):
        report = yield
        if _BEGAN in item.stash and report.when != "teardown" and self.last:
            item.stash[_LAST_CALL] = cpu_seconds()
        if _BEGAN in item.stash and report.when == "teardown":
            # The teardown of the last test ends the session for all: nothing of it is this system's.
            ended = item.stash[_LAST_CALL] if self.last else cpu_seconds()
            report.user_properties.append((PROPERTY, (system_of(item.nodeid), ended - item.stash[_BEGAN])))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name == PROPERTY:
                slug, seconds = value
                self.seconds[slug] = self.seconds.get(slug, 0) + seconds

    def over(self) -> dict[str, float]:
        return {slug: s for slug, s in self.seconds.items() if self.limit and s > self.limit}

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not hasattr(session.config, "workerinput") and self.over() and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.seconds:
            return
        terminalreporter.section("CPU-seconds by system")
        for slug, seconds in sorted(self.seconds.items(), key=lambda entry: -entry[1]):
            late = f"  over the budget of {self.limit:g}" if slug in self.over() else ""
            terminalreporter.line(f"{seconds:8.1f}  {slug}{late}", red=bool(late))
        terminalreporter.line(f"{sum(self.seconds.values()):8.1f}  together")
        if self.over():
            terminalreporter.line(
                f"FAILED: {', '.join(sorted(self.over()))} over the budget of {self.limit:g} CPU-seconds "
                "(battery, own tests, one smoke claim): --durations=20 -k SLUG shows where they go; make the smoke "
                "recipe or the tests smaller",
                red=True,
            )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        "system_budget", "CPU-seconds that the tests of one system may take; 0: no limit", default="0"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Budget(float(config.getini("system_budget"))), "brickwork-budget")
