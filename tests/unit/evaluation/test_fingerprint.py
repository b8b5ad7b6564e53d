"""The code fingerprint: prose does not change it, code does, wherever the code is that a system uses."""

import pytest

from brickwork.evaluation.fingerprint import (
    _PACKAGE,
    _WITHOUT_EFFECT,
    code_fingerprint,
    imported_files,
    normalised,
)

CODE = '''"""What it does."""
import math

LIMIT = 3  # why three
"""Said under the constant."""


def area(r: float) -> str:
    """The area."""
    # a comment
    return f"{math.pi * r**2:.1f} # not a comment"


class Empty:
    """Nothing but prose."""
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""What it does."""', '"""Quite another\n\ndescription."""'),
        ("# why three", "# because"),
        ("    # a comment\n", ""),
        ('    """The area."""\n', ""),
        ('"""Said under the constant."""\n', ""),
        ("\n\n\n", "\n\n\n\n\n"),
        ("(r: float)", "(\n    r: float\n)"),
    ],
)
def test_prose_and_layout_do_not_count(old, new):
    assert old in CODE
    assert normalised(CODE.replace(old, new, 1)) == normalised(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        (".1f} # not", ".2f} # not"),
        ("not a comment", "no comment"),
        ("math.pi", "math.e"),
        ("    return", "    if r:\n        return"),
    ],
)
def test_code_counts(old, new):
    assert old in CODE
    assert normalised(CODE.replace(old, new, 1)) != normalised(CODE)


def test_indentation_counts():
    inside = "if a:\n    b()\n    c()\n"
    assert normalised(inside) != normalised("if a:\n    b()\nc()\n")


@pytest.fixture
def package(tmp_path):
    root = tmp_path / "brickwork"
    files = {
        "__init__.py": "from brickwork.api import everything\n",
        "api.py": "everything = 1\n",
        "core/__init__.py": "",
        "core/used.py": "from brickwork.core import deep\n",
        "core/deep.py": "VALUE = 1\n",
        "core/lazy.py": "VALUE = 1\n",
        "core/typing_only.py": "VALUE = 1\n",
        "core/unused.py": "VALUE = 1\n",
        "systems/__init__.py": "",
        "systems/my_system/__init__.py": "",
        "systems/my_system/system.py": (
            "from typing import TYPE_CHECKING\nfrom brickwork.core.used import anything\n"
            "if TYPE_CHECKING:\n    import brickwork.core.typing_only\n"
            "def run():\n    import brickwork.core.lazy\n"
        ),
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_walk_finds_what_is_imported_and_nothing_else(package):
    found = {f.relative_to(package).as_posix() for f in imported_files(["my-system"], package)}
    assert found == {
        "core/__init__.py",
        "core/used.py",
        "core/deep.py",
        "core/lazy.py",
        "systems/my_system/__init__.py",
        "systems/my_system/system.py",
    }


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("core/deep.py", True),
        ("core/lazy.py", True),
        ("systems/my_system/system.py", True),
        ("core/unused.py", False),
        ("api.py", False),
    ],
)
def test_a_change_counts_where_the_system_can_see_it(package, file, counts):
    before = code_fingerprint(["my-system"], package)
    text = (package / file).read_text()
    (package / file).write_text(f"# prose\n{text}")
    assert code_fingerprint(["my-system"], package) == before
    (package / file).write_text(f"{text}\nMORE = 2\n")
    assert (code_fingerprint(["my-system"], package) != before) is counts


def test_modules_that_compute_nothing_do_not_count():
    names = {file.relative_to(_PACKAGE).as_posix() for file in imported_files(["matryoshka"])}
    assert not names & _WITHOUT_EFFECT
    assert {"training/loop.py", "objectives/nested.py", "index/search.py", "data/load.py"} <= names
    assert all((_PACKAGE / name).is_file() for name in _WITHOUT_EFFECT)
