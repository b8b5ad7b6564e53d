"""The key of a recorded result: it changes when the comparison does, or the numbers of what is compared.

A result depends on its study, on the recipes that the study starts from, and on what the systems compute. The first two are
hashed as source, without comments and docstrings; the last by the golden losses of each system, which a test compares with
today's code. So a refactor that moves no golden loss makes no result stale, and a change of numbers makes all that rest on
them stale at once.
"""

import ast
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


def code_of(source: str) -> str:
    """Python source without docstrings, lines that are comments, and blank lines."""
    dropped: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            dropped.update(range(value.lineno, (value.end_lineno or value.lineno) + 1))
    lines = (line.rstrip() for number, line in enumerate(source.splitlines(), 1) if number not in dropped)
    return "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#"))
