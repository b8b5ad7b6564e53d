"""The measurements of benchmarks/ are run by hand, so what a renaming breaks in them would show only then."""

import ast
import importlib
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
