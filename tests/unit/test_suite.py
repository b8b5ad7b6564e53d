"""The suite's own plugins: groups of tests by system and engine, and the budget of CPU-seconds for a system."""

from pathlib import Path

import pytest

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
            path.parent.mkdir(exist_ok=True)
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
