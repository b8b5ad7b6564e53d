"""The measurements of benchmarks/ are run by hand, so what a renaming breaks in them would show only then."""

import ast
import importlib
import os
from pathlib import Path

import pytest

BENCHMARKS = sorted((Path(__file__).parents[2] / "benchmarks").glob("*.py"))


def missing(source: str) -> list[str]:
    """The names that ``source`` imports from brickwork and that are not there."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "brickwork":
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if not hasattr(module, alias.name):
                    try:
                        importlib.import_module(f"{node.module}.{alias.name}")
                    except ImportError:
                        found.append(f"{node.module}.{alias.name}")
    return found


@pytest.mark.parametrize("file", BENCHMARKS, ids=lambda file: file.stem)
def test_a_benchmark_imports_what_there_is(file):
    assert missing(file.read_text(encoding="utf-8")) == []


def test_a_name_that_is_gone_is_seen():
    assert missing("from brickwork.inspection.svg import Frame, no_such_name") == [
        "brickwork.inspection.svg.no_such_name"
    ]
    assert missing("from brickwork.inspection import svg") == []


def test_a_busy_machine_is_refused_by_a_benchmark_and_not_by_its_own_processes(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS[0].parent))
    common = importlib.import_module("common")
    for name in ("BRICKWORK_BUSY", "BRICKWORK_BEGUN"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(common, "busy", lambda: True)
    with pytest.raises(SystemExit, match="others are at work"):
        common.begin()
    monkeypatch.setenv("BRICKWORK_BEGUN", "")
    monkeypatch.setattr(common, "busy", lambda: False)
    common.begin()
    assert os.environ["BRICKWORK_BEGUN"], "what a process inherits"
    monkeypatch.setattr(common, "busy", lambda: True)
    common.begin()
