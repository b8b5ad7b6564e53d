"""The suite's own plugins: groups of tests by system and engine, the budget of a system, checks of types and shapes."""

import asyncio
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import TypeCheckError

import shape_checks
from scheduling import group_of

pytest_plugins = ["pytester"]

TESTS = Path(__file__).parents[1]
BUSY = """
import time

def test_busy():
    until = time.process_time() + {seconds}
    while time.process_time() < until:
        pass
"""
CHILD = """
import subprocess, sys

def test_busy_child():
    subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < {seconds}: pass"], check=True)
"""


@pytest.fixture
def suite(pytester, monkeypatch):
    """Runs files of tests with the two plugins: ``suite({"systems/test_align.py": code}, *options)``."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS), prepend=":")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(files, *options):
        for name, code in files.items():
            path = pytester.path / name
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(code)
        return pytester.runpytest_subprocess("-p", "xdist", "-p", "scheduling", "-p", "budget", *options)

    return run


def test_a_system_over_its_budget_fails_the_run_by_name(suite):
    """Seconds of two files on two workers' reports are added up; each test passes, their sum is what fails."""
    files = {
        "systems/test_align.py": BUSY.format(seconds=0.4),
        "systems/test_align_filters.py": BUSY.format(seconds=0.4).replace("test_busy", "test_busy_too"),
        "systems/test_cmim.py": "def test_quick(): pass",
    }
    result = suite(files, "-o", "system_budget=0.6", "-n", "2", "--dist", "load")
    assert result.ret == 1
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*align*over the budget of 0.6*", "FAILED: align over the budget*"])
    assert "cmim  over" not in result.stdout.str()
    assert suite(files, "-o", "system_budget=60").ret == 0
    assert suite(files).ret == 0  # without a limit


def test_children_of_a_test_count(suite):
    result = suite({"systems/test_align.py": CHILD.format(seconds=0.5)}, "-o", "system_budget=0.4")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["FAILED: align over the budget*"])


def test_what_all_systems_share_costs_none_of_them(suite):
    fixture = BUSY.format(seconds=0.5).replace(
        "def test_busy():", "@pytest.fixture(scope='session')\ndef {0}():"
    )
    fixture, test = "import pytest\n" + fixture, "\n\ndef test_quick({0}): pass"
    shared = {
        "conftest.py": fixture.format("plain_process"),
        "systems/test_align.py": test.format("plain_process"),
    }
    assert suite(shared, "-o", "system_budget=0.4").ret == 0
    of_another_name = {name: code.replace("plain_process", "other") for name, code in shared.items()}
    assert suite(of_another_name, "-o", "system_budget=0.4").ret == 1


@pytest.mark.parametrize("file", ["systems/test_align.py", "systems/align/conftest.py"])
def test_a_fixture_of_a_system_is_not_free_because_of_its_name(suite, file):
    fixture = BUSY.format(seconds=0.5).replace("def test_busy", "@pytest.fixture\ndef plain_process")
    test = "def test_quick(plain_process): pass\n"
    files = {"systems/align/test_any.py": test, file: f"import pytest\n{fixture}\n{test}"}
    if file.endswith("test_align.py"):
        del files["systems/align/test_any.py"]
    assert suite(files, "-o", "system_budget=0.4").ret == 1


@pytest.mark.parametrize(
    ("file", "options"),
    [("systems/test_align.py", ()), ("systems/align/test_any.py", ("-n", "2", "--dist", "loadgroup"))],
)
def test_work_in_the_folder_of_a_system_and_at_import_counts(suite, file, options):
    at_import = BUSY.format(seconds=0.5) + "\ntest_busy()\n\ndef test_quick(): pass\ndel test_busy"
    result = suite({file: at_import}, "-o", "system_budget=0.4", *options)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["FAILED: align over the budget*"])
    assert suite({file: at_import}, "-o", "system_budget=0.9", *options).ret == 0  # once, on two workers too


def test_what_a_file_imports_is_no_work_of_its_system(suite):
    heavy = BUSY.format(seconds=0.5) + "\ntest_busy()"
    files = {
        "conftest.py": "",
        "heavy.py": heavy,
        "systems/test_align.py": "import heavy\n\ndef test_quick(): pass",
    }
    assert suite(files, "-o", "system_budget=0.4").ret == 0


def test_waiting_costs_nothing(suite):
    waiting = "import time\n\ndef test_waits(): time.sleep(1)"
    assert suite({"systems/test_align.py": waiting}, "-o", "system_budget=0.5").ret == 0


@pytest.mark.parametrize(
    ("nodeid", "group"),
    [
        ("tests/conformance/test_runs.py::test_seed[align]", ("system", "align")),
        ("tests/conformance/test_runs.py::test_seed[matryoshka-2d-odd]", ("system", "matryoshka-2d")),
        ("tests/conformance/test_runs.py::test_seed[odd-cmim]", ("system", "cmim")),
        ("tests/systems/test_align_filters.py::test_own", ("system", "align")),
        ("tests/studies/test_matryoshka_2d_grid.py::test_own[3]", ("system", "matryoshka-2d")),
        ("tests/systems/test_matryoshka.py::test_own[2d]", ("system", "matryoshka")),
        ("tests/systems/align/test_any.py::test_own", ("system", "align")),
        ("tests/studies/matryoshka_2d/deep/test_any.py::test_own", ("system", "matryoshka-2d")),
        (
            "tests/systems/test_alignment_of_columns.py::test_own",
            ("file", "tests/systems/test_alignment_of_columns.py"),
        ),
        ("tests/unit/index/test_postgres.py::test_rows", ("engine", "postgres")),
        ("tests/conformance/test_backends.py::test_rows[local]", ("engine", "postgres")),
        ("tests/unit/service/test_page.py::test_page", ("engine", "browser")),
        ("tests/unit/objectives/test_contrastive.py::test_two", ("engine", "processes")),
        ("tests/unit/test_suite.py::test_group", ("file", "tests/unit/test_suite.py")),
    ],
    ids=str,
)
def test_tests_of_a_system_or_an_engine_are_one_group(nodeid, group):
    """By a parameter, by the name of the file, by the engine that the file imports; another file is a group of its own."""
    assert group_of(nodeid, TESTS.parent) == group


def test_groups_stay_together_and_the_longest_goes_first(suite):
    """Without an earlier run systems go before files; after it, what took long does."""
    parameters = (
        "import pytest\n\n@pytest.mark.parametrize('slug', ['cmim', 'align'])\ndef test_of(slug): pass"
    )
    files = {
        "conformance/test_any.py": parameters,
        "systems/test_align.py": "def test_system(): pass",
        "unit/test_a.py": "def test_quick(): pass",
        "unit/test_b.py": "import time\n\ndef test_long(): time.sleep(0.5)",
    }

    def order():
        lines = suite(files, "-v", "-n", "1", "--dist", "loadgroup").stdout.lines
        return [line.split("::")[1].strip() for line in lines if "PASSED" in line and "::" in line]

    assert order() == ["test_of[cmim]", "test_of[align]", "test_system", "test_quick", "test_long"]
    assert order()[0] == "test_long"


def test_groups_are_what_workers_are_given(suite, pytester):
    """Two files of a system run in the same process, beside two of another system in the other."""
    write = "import os, time\n\ndef test_{0}():\n    time.sleep(0.2)\n    open('{0}', 'w').write(str(os.getpid()))"
    names = [f"{system}_{part}" for part in "xy" for system in ("align", "cmim")]
    result = suite(
        {f"systems/test_{name}.py": write.format(name) for name in names}, "-n", "2", "--dist", "loadgroup"
    )
    assert result.ret == 0
    workers = {name: (pytester.path / name).read_text() for name in names}
    assert workers["align_x"] == workers["align_y"]
    assert workers["cmim_x"] == workers["cmim_y"]
    assert workers["align_x"] != workers["cmim_x"]


# ---- what shape_checks checks

CHECKED = """
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

Rows = Float[np.ndarray, "rows dim"]

def same_rows(a: Float[np.ndarray, "rows dim"], b: Float[np.ndarray, "rows other"]) -> Float[np.ndarray, " rows"]:
    return a.sum(1) + b.sum(1)

def wrong_result(a: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, " rows"]:
    return a

def by_alias(a: Rows, b: Rows) -> None: ...

def in_the_body(a: Any, b: Any) -> None:
    assert isinstance(a, Float[np.ndarray, "rows dim"])
    assert isinstance(b, Float[np.ndarray, "rows dim"])

def words(count: int, word: str = "") -> str:
    return word * count

def wrong_word() -> str:
    return 1

def each(a: dict[str, Rows]) -> dict[str, Float[np.ndarray, " rows"]]:
    return {name: rows[0] if name == "bad" else rows.sum(1) for name, rows in a.items()}

def maybe_each(a: Mapping[str, list[Rows]] | None, b: Rows) -> None: ...

def each_of_two(a: tuple[list[Rows], int], *more: tuple[Rows, ...]) -> None: ...

async def later(a: dict[str, Rows]) -> dict[str, Float[np.ndarray, " rows"]]:
    return {name: rows if name == "bad" else rows.sum(1) for name, rows in a.items()}

async def words_later(count: int, unknown: "only.a.TypeChecker" = None) -> str:
    return count if count > 1 else "a"

def outer_alias(a: Any, b: Any) -> Any:
    def inner(a: Rows, b: Rows) -> None: ...
    return inner(a, b)

def outer(a: Any, b: Any) -> Any:
    def inner(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> None: ...
    return inner(a, b)

@dataclass(frozen=True)
class Point:
    x: int
    row: Float[np.ndarray, " dim"] | None = None

class Thing:
    def __init__(self, size: int): ...

    @property
    def name(self) -> str:
        return 1

    @staticmethod
    def double(x: int) -> int:
        return 2 * x
"""


@pytest.fixture(scope="module")
def checked_module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checked")
    (folder / "module_under_check.py").write_text(CHECKED)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        with shape_checks.checks("module_under_check"):
            yield importlib.import_module("module_under_check")
    sys.modules.pop("module_under_check")


A, B, V = np.zeros((2, 3)), np.zeros((2, 4)), np.zeros(3)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.same_rows(A, B),
        lambda m: m.by_alias(A, A),
        lambda m: m.in_the_body(A, A),
        lambda m: m.words(2, "a"),
        lambda m: m.outer(V, V),
        lambda m: m.outer_alias(A, A),
        lambda m: m.each({"a": A, "b": A}),
        lambda m: m.each({}),
        lambda m: m.maybe_each(None, A),
        lambda m: m.maybe_each({"a": [A, A], "b": []}, A),
        lambda m: m.each_of_two(([A, A], 1), (A, A), (A,)),
        lambda m: asyncio.run(m.later({"a": A})),
        lambda m: asyncio.run(m.words_later(1)),
        lambda m: m.Point(1, V),
        lambda m: m.Thing(1),
        lambda m: m.Thing.double(1),
    ],
)
def test_what_fits_passes_the_checks(checked_module, call):
    call(checked_module)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.same_rows(A, B[:1]),
        lambda m: m.same_rows(A, V),
        lambda m: m.wrong_result(A),
        lambda m: m.by_alias(A, B),
        lambda m: m.in_the_body(A, B),
        lambda m: m.words("2"),
        lambda m: m.words(1, word=3),
        lambda m: m.wrong_word(),
        lambda m: m.outer(V, V[:2]),
        lambda m: m.outer_alias(A, B),
        lambda m: m.each({"a": A, "b": B}),
        lambda m: m.each({"a": A, "b": A, "bad": A}),
        lambda m: m.maybe_each({"a": [A], "b": [A, B]}, A),
        lambda m: m.maybe_each({"a": [A] * 9 + [V]}, A),
        lambda m: m.each_of_two(([A] * 9 + [B], 1)),
        lambda m: m.each_of_two(([A], 1), (*[A] * 9, B)),
        lambda m: asyncio.run(m.later({"a": A, "b": V})),
        lambda m: asyncio.run(m.later({"a": A, "bad": A})),
        lambda m: asyncio.run(m.words_later("1")),
        lambda m: asyncio.run(m.words_later(2)),
        lambda m: m.Point("1"),
        lambda m: m.Point(1, A),
        lambda m: m.Thing("1"),
        lambda m: m.Thing(1).name,
        lambda m: m.Thing.double("1"),
    ],
)
def test_what_does_not_fit_fails_the_checks(checked_module, call):
    with pytest.raises((TypeCheckError, AssertionError)):
        call(checked_module)
