"""The key of a recorded result: it changes when the comparison does, or the numbers of what is compared.

A result depends on its study, on the recipes that the study starts from, and on what the systems compute. The first two are
hashed as source, without comments, docstrings and layout; the last by the golden losses of each system, which a test
compares with today's code. So a refactor that moves no golden loss makes no result stale, and a change of numbers makes all
that rest on them stale at once.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_GOLDEN = _PACKAGE.parents[1] / "tests" / "golden"


def study_fingerprint(
    slug: str, systems: Iterable[str], package: Path = _PACKAGE, golden: Path = _GOLDEN
) -> str:
    """Sixteen hexadecimal digits over the study of ``slug`` and over recipes and golden losses of the ``systems``."""
    digest = hashlib.sha256()
    for file in study_files(slug, package):
        digest.update(f"{file.name}\n{code_of(file.read_text(encoding='utf-8'))}".encode())
    for system in sorted(set(systems)):
        recipes = package / "systems" / system.replace("-", "_") / "recipes.py"
        digest.update(code_of(recipes.read_text(encoding="utf-8")).encode())
        losses = golden / f"{system}.json"
        digest.update(losses.read_bytes() if losses.is_file() else b"")
    return digest.hexdigest()[:16]


def study_files(slug: str, package: Path = _PACKAGE) -> list[Path]:
    """The files of a study: one module, or all of a folder."""
    place = package / "studies" / slug.replace("-", "_")
    return sorted(place.glob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


@functools.cache
def code_of(source: str) -> str:
    """What Python reads of a source: its syntax tree without docstrings.

    Comments and layout are not in it, all that stands in other strings is. Not written by ``ast.dump``, whose text differs
    between versions of Python: here empty fields are left out, and letters are those of ASCII.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):  # Python 3.12.1 ends some f-strings with an empty part
            node.values = [
                part for part in node.values if not (isinstance(part, ast.Constant) and part.value == "")
            ]
    return _written(tree)


def _written(node: object) -> str:
    if isinstance(node, list):
        return f"[{' '.join(_written(part) for part in node if not _is_docstring(part))}]"
    if not isinstance(node, ast.AST):
        return ascii(node)
    fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
    return f"({type(node).__name__} {' '.join(f'{name}={_written(value)}' for name, value in fields)})"


def _is_docstring(node: object) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
