"""The code fingerprint: prose does not change it, code does, wherever the code is that a system uses."""

import pytest

from brickwork.evaluation.fingerprint import _PACKAGE, _WITHOUT_EFFECT, code_fingerprint, normalised
from brickwork.evaluation.reach import reached

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
        ("(r: float)", "(r: 'float | Sequence[int]')"),
        ("-> str", ""),
        ("(r: float) -> str", "(r) -> dict[str, int]"),
    ],
)
def test_prose_and_layout_do_not_count(old, new):
    assert old in CODE
    assert normalised(CODE.replace(old, new, 1)) == normalised(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("(r: float)", "(r: float = 1)"),
        ("(r: float)", "(s: float)"),
        ("class Empty:\n", "class Empty:\n    size: int\n"),
        (".1f} # not", ".2f} # not"),
        ("not a comment", "no comment"),
        ("math.pi", "math.e"),
        ("    return", "    if r:\n        return"),
    ],
)
def test_code_counts(old, new):
    assert old in CODE
    assert normalised(CODE.replace(old, new, 1)) != normalised(CODE)


def test_types_end_where_they_end():
    """Letters of two bytes before a type, types on several lines, defaults and starred parameters."""
    typed = 'def f(a: "ä" = "ö", /, b: list[\n    int\n] = 2, *c: int, d: dict[str, "é"], **e: int) -> "ü": return a, b\n'
    bare = 'def f(a = "ö", /, b = 2, *c, d, **e): return a, b\n'
    assert normalised(typed) == normalised(bare)
    assert normalised(typed) != normalised(bare.replace("b = 2", "b = 3"))


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
        "core/used.py": (
            "from brickwork.core import deep\nfrom brickwork.core.handed import on as handed_on\n"
            "import brickwork.core.dotted\n"
            "def anything(x: annotated) -> annotated:\n    return deep.VALUE + handed_on + helper(x)\n"
            "def helper(x):\n    return brickwork.core.dotted.VALUE\n"
            "annotated = 1\n"
            "def idle():\n    return 1\n"
        ),
        "core/deep.py": "VALUE = 1\nIDLE = 1\nprint('loose')\n",
        "core/handed.py": "from brickwork.core.origin import on\n",
        "core/origin.py": "on, IDLE = 1, 2\n",
        "core/dotted.py": "VALUE = 1\n",
        "core/lazy.py": "VALUE = 1\n",
        "core/typing_only.py": "VALUE = 1\n",
        "core/unused.py": "VALUE = 1\n",
        "systems/__init__.py": "",
        "systems/my_system/__init__.py": "",
        "core/classes.py": (
            "from dataclasses import dataclass\nimport abc\n"
            "@dataclass\nclass Box:\n    size: int = 1\n    idle: int = 2\n"
            "    def __post_init__(self):\n        special()\n"
            "    def volume(self):\n        return self.size\n    def unused(self):\n        return 1\n"
            "class Outside(abc.ABC):\n    def called_by_the_base(self):\n        return 1\n"
            "def special():\n    return 0\n"
        ),
        "systems/my_system/system.py": (
            "from typing import TYPE_CHECKING\nfrom brickwork.core.used import anything\n"
            "if TYPE_CHECKING:\n    import brickwork.core.typing_only\n"
            "class System:\n    @anything\n    def run(self):\n        from brickwork.core import lazy\n"
            "        return anything(lazy)\n"
            "from brickwork.core.classes import Box, Outside\n"
            "def more():\n    return Box().volume(), Outside()\n"
        ),
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_walk_finds_what_is_used_and_nothing_else(package):
    found = {(f.relative_to(package).as_posix(), name) for f, name in reached(["my-system"], package) if name}
    assert found == {
        ("core/used.py", "anything"),
        ("core/used.py", "helper"),
        ("core/deep.py", "VALUE"),
        ("core/origin.py", "on"),
        ("core/dotted.py", "VALUE"),
        ("core/lazy.py", "VALUE"),
        ("core/classes.py", "Box"),
        ("core/classes.py", "Box.__post_init__"),
        ("core/classes.py", "Box.size"),
        ("core/classes.py", "Box.volume"),
        ("core/classes.py", "Outside"),
        ("core/classes.py", "special"),
        ("systems/my_system/system.py", "System"),
        ("systems/my_system/system.py", "System.run"),
        ("systems/my_system/system.py", "more"),
    }


@pytest.mark.parametrize(
    ("file", "old", "new", "counts"),
    [
        ("core/deep.py", "VALUE = 1", "VALUE = 2", True),
        ("core/deep.py", "IDLE = 1", "IDLE = 2", False),
        ("core/deep.py", "'loose'", "'other'", True),
        ("core/used.py", "return 1", "return 2", False),
        ("core/used.py", "annotated = 1", "annotated = 2", False),
        ("core/used.py", "dotted.VALUE", "dotted.VALUE + 1", True),
        ("core/lazy.py", "VALUE = 1", "VALUE = 2", True),
        ("core/origin.py", "on, IDLE = 1", "on, IDLE = 2", True),
        ("systems/my_system/system.py", "(lazy)", "(lazy.VALUE)", True),
        ("systems/my_system/system.py", "    @anything\n", "", True),
        ("core/classes.py", "size: int = 1", "size: int = 2", True),
        ("core/classes.py", "idle: int = 2", "idle: int = 3", False),
        (
            "core/classes.py",
            "def unused(self):\n        return 1",
            "def other(self):\n        return 2",
            False,
        ),
        ("core/classes.py", "return self.size", "return self.size + 1", True),
        ("core/classes.py", "return 0", "return 1", True),
        ("core/classes.py", "base(self):\n        return 1", "base(self):\n        return 2", True),
        ("core/classes.py", "@dataclass\nclass Box", "@dataclass(frozen=True)\nclass Box", True),
        ("core/unused.py", "VALUE = 1", "VALUE = 2", False),
        ("core/typing_only.py", "VALUE = 1", "VALUE = 2", False),
        ("api.py", "everything = 1", "everything = 2", False),
    ],
)
def test_a_change_counts_where_the_system_can_reach_it(package, file, old, new, counts):
    before = code_fingerprint(["my-system"], package)
    text = (package / file).read_text()
    (package / file).write_text(f"# prose\n{text}")
    assert code_fingerprint(["my-system"], package) == before
    assert old in text
    (package / file).write_text(text.replace(old, new))
    assert (code_fingerprint(["my-system"], package) != before) is counts


def test_modules_that_compute_nothing_do_not_count():
    found = {
        (file.relative_to(_PACKAGE).as_posix(), name)
        for file, name in reached(["matryoshka"], _PACKAGE, _WITHOUT_EFFECT)
    }
    files = {file for file, _ in found}
    assert not files & _WITHOUT_EFFECT
    assert {"training/loop.py", "objectives/nested.py", "index/search.py", "data/load.py"} <= files
    assert ("objectives/contrastive.py", "info_nce") in found
    assert ("objectives/contrastive.py", "LearnedTemperature") not in found, "shared, and not of this system"
    assert all((_PACKAGE / name).is_file() for name in _WITHOUT_EFFECT)
