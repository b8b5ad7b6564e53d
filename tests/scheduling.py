"""Which tests run together on one worker, and in which order, with ``--dist loadgroup``.

All tests of a system form one group, so that what is built for it is built once; the tests that need a heavy engine form
one, so that it starts once; every other file is a group. Long groups go first, so that the workers end together. Groups are
derived from the names of tests and the imports of their files; no test says where it belongs.

xdist's own scheduler of that name looks for groups in node ids, which pytest 9 no longer lets it rename.
"""

import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from brickwork.core import registry

# A helper module of tests/ that a test file imports -> the engine that this means.
ENGINES = {"stores": "postgres", "search_page": "browser", "two_processes": "processes"}
# Seconds of a group that has not been timed on this machine: an engine, a system, another file.
UNKNOWN = {"engine": 60.0, "system": 25.0, "file": 1.0}
SECONDS = "brickwork/group_seconds"


@cache
def _slugs() -> tuple[str, ...]:
    """Longest first, so that ``matryoshka-2d`` is tried before ``matryoshka``."""
    return tuple(sorted(registry.slugs(), key=len, reverse=True))


def _slug_in(words: str) -> str | None:
    """The system whose slug is the first or the last of ``words``, which hyphens divide."""
    return next(
        (s for s in _slugs() if f"{words}-".startswith(f"{s}-") or f"-{words}".endswith(f"-{s}")), None
    )


@cache
def system_of(nodeid: str) -> str | None:
    """The system that a test belongs to: by a parameter that is its slug, or by the name of a file or folder about it."""
    path, _, test = nodeid.partition("::")
    parameters = test.partition("[")[2].rstrip("]")
    if parameters and (slug := _slug_in(parameters)):
        return slug
    for room, inside in pairwise(Path(path).with_suffix("").parts):
        if room in ("systems", "studies"):
            name = inside.removeprefix("test_").replace("_", "-")
            return next((slug for slug in _slugs() if f"{name}-".startswith(f"{slug}-")), None)
    return None


@cache
def _engine(path: Path) -> str | None:
    """The engine that a file's imports mean."""
    if not path.is_file():
        return None
    imported = re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return next((engine for module, engine in ENGINES.items() if module in imported), None)


def group_of(nodeid: str, root: Path) -> tuple[str, str]:
    """The kind and the name of the group that a test is in."""
    if slug := system_of(nodeid):
        return "system", slug
    path = nodeid.partition("::")[0]
    if engine := _engine(root / path):
        return "engine", engine
    return "file", path


class Groups(LoadScopeScheduling):
    """Gives whole groups to workers, in the order of the collection."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid, self.config.rootpath)[1]


class Scheduling:
    """The plugin: orders the groups, and remembers how long each took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Longest group first; the tests of a group stay in pytest's order. Not without workers."""
        if not hasattr(config, "workerinput"):
            return
        timed = remembered(config)
        place: dict[str, int] = {}
        key = {}
        for item in items:
            kind, group = group_of(item.nodeid, config.rootpath)
            key[item] = -timed.get(group, UNKNOWN[kind]), place.setdefault(group, len(place))
        items.sort(key=key.__getitem__)

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log):
        if config.getvalue("dist") != "loadgroup":
            return None
        config.option.loadscopereorder = False  # the order is that of the collection
        return Groups(config, log)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        config = session.config
        if not hasattr(config, "cache") or hasattr(config, "workerinput"):
            return
        took: dict[str, float] = {}
        for nodeid, seconds in self.seconds.items():
            group = group_of(nodeid, config.rootpath)[1]
            took[group] = took.get(group, 0) + seconds
        known = remembered(config)
        # A run of a part of the suite knows less about a group than the whole: keep the longer of the two.
        longer = {group: max(round(s, 1), known.get(group, 0)) for group, s in took.items()}
        config.cache.set(SECONDS, {**known, **longer})


def remembered(config: pytest.Config) -> dict[str, float]:
    """Seconds of each group in earlier runs on this machine; none without pytest's cache."""
    return dict(config.cache.get(SECONDS, {})) if getattr(config, "cache", None) else {}


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Scheduling(), "brickwork-scheduling")
