"""The import rule of the house, by reading the source; and what may not be imported just by looking at us."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import brickwork

PACKAGE = Path(brickwork.__file__).parent
LOW = {"data", "encoders", "modules", "objectives"}
MIDDLE = {"training", "representation"}
HIGH = {"evaluation", "index", "inspection"}

# Folder -> the other folders that its files may import. The flow of the data, from left to right.
ALLOWED = {
    "core": set(),
    **{folder: {"core"} for folder in LOW},
    **{folder: {"core"} | LOW | (MIDDLE - {folder}) for folder in MIDDLE},
    **{folder: {"core"} | LOW | MIDDLE for folder in HIGH},
    "service": {"core", "index"} | LOW | MIDDLE,
    "systems": {"core"} | LOW | MIDDLE | HIGH,
    # What users call, each on top of the one before it.
    "reporting": {"core"} | LOW | MIDDLE | HIGH,
    "api": {"core", "reporting"} | LOW | MIDDLE | HIGH,
    "evaluating": {"core", "api"} | LOW | MIDDLE | HIGH,
    "indexing": {"core"} | LOW | MIDDLE | HIGH,
    "using": {"core", "api"} | LOW | MIDDLE | HIGH,
    "demo": {"core", "reporting", "api"} | LOW | MIDDLE | HIGH,
    "cli": {"core", "api", "evaluating", "indexing", "using", "demo", "service"} | LOW | MIDDLE | HIGH,
    "__main__": {"cli"},
}
# A module of its own inside a folder that others may use although the folder is closed to them.
EXCEPTIONS = {("modules", "encoders.blocks")}


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every brickwork import of a file, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}: write it in full"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def place(parts: tuple[str, ...]) -> str:
    """Where a file or module lives: its folder, or for systems the folder of the paper."""
    return "/".join(parts[:2]) if parts[0] == "systems" and len(parts) > 1 else parts[0]


def violations(file: Path, source: str) -> list[str]:
    here = place(file.with_suffix("").parts)
    found = []
    for line, name in imported(ast.parse(source)):
        parts = tuple(name.split("."))[1:]
        if name.split(".")[0] != "brickwork" or not parts:
            continue
        there = place(parts)
        allowed = ALLOWED.get(here.split("/")[0], set()) | {here}
        if any(here == a and name.startswith(f"brickwork.{b}") for a, b in EXCEPTIONS):
            continue
        if there not in allowed and not there.startswith("__"):
            found.append(f"{file}:{line}: {here} may not import {there} ({name})")
    return found


def test_folders_import_only_what_stands_before_them():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE)
        if file != Path("__init__.py"):  # opens the API, lazily
            found += violations(file, path.read_text(encoding="utf-8"))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("file", "source", "wrong"),
    [
        ("core/a.py", "from brickwork.data.types import Examples", True),
        ("modules/a.py", "from brickwork.encoders.blocks.mlp import Mlp", False),
        ("modules/a.py", "from brickwork.encoders.text import TextEncoder", True),
        ("systems/a/system.py", "def f():\n    from brickwork.systems.b.system import B", True),
        ("systems/a/system.py", "from brickwork.systems.a.recipes import small", False),
        ("evaluation/a.py", "import brickwork.index.index", True),
        ("data/a.py", "import numpy", False),
    ],
)
def test_the_rule_itself(file, source, wrong):
    assert bool(violations(Path(file), source)) == wrong


LIGHT = """
import sys
{code}
heavy = sorted({{"torch", "transformers", "lightning", "sklearn", "faiss", "pandas"}} & set(sys.modules))
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "code",
    [
        "import brickwork",
        "from brickwork.core import registry; [registry.card(slug) for slug in registry.slugs()]",
        "from brickwork.cli.main import main; sys.argv = ['brickwork', '--help']\n"
        "try:\n    main()\nexcept SystemExit as leaving:\n    assert leaving.code in (0, None)",
    ],
    ids=["import", "cards", "help"],
)
def test_looking_is_light(code):
    done = subprocess.run([sys.executable, "-c", LIGHT.format(code=code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
