"""The key of a recorded result: it changes when the comparison does, or the numbers of what is compared.

A result depends on its claim and on what the claim reaches in its study and in the recipes that it starts from, and on what
the systems compute. The first is hashed as source, without comments, docstrings and layout; the last by the golden
losses of each system, which a test compares with today's code. So a refactor that moves no golden loss makes no result
stale, nor does a change of another claim or recipe; and a change of numbers makes all that rest on them stale at once.
"""

import ast
import functools
import hashlib
import symtable
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_GOLDEN = _PACKAGE.parents[1] / "tests" / "golden"


def study_fingerprint(
    slug: str,
    systems: Iterable[str],
    claim: str = "",
    *,
    package: Path = _PACKAGE,
    golden: Path = _GOLDEN,
) -> str:
    """Sixteen hexadecimal digits over the study of ``slug`` and the recipes of the ``systems``, or what one ``claim`` of
    it reaches of both, and over the golden losses of the systems."""
    digest = hashlib.sha256()
    slugs = sorted(set(systems))
    recipes = [package / "systems" / system.replace("-", "_") / "recipes.py" for system in slugs]
    sources = [file.read_text(encoding="utf-8") for file in (*study_files(slug, package), *recipes)]
    for code in reached(claim, sources) if claim else map(code_of, sources):
        digest.update(code.encode())
    for system in slugs:
        losses = golden / f"{system}.json"
        digest.update(losses.read_bytes() if losses.is_file() else b"")
    return digest.hexdigest()[:16]


def study_files(slug: str, package: Path = _PACKAGE) -> list[Path]:
    """The files of a study: one module, or all of a folder."""
    place = package / "studies" / slug.replace("-", "_")
    return sorted(place.glob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


@dataclass(frozen=True)
class _Statement:
    """One statement of a module: its code, the names that it defines and those that it mentions; ``claim``: which it is."""

    code: str
    defines: frozenset[str]
    mentions: frozenset[str]
    claim: str = ""


def reached(claim: str, sources: Iterable[str]) -> list[str]:
    """The code of all statements of a study and its recipes that a claim can reach, each once and sorted: its own, those
    that define a name that one of these mentions, in whichever module, and those that define nothing.

    An attribute counts as a name, whatever it is an attribute of, so what is reached is rather too much.
    """
    statements = [statement for source in sources for statement in _statements(source)]
    todo = [s for s in statements if (not s.defines and not s.claim) or s.claim == claim]
    found = set(todo)
    while todo:
        names = todo.pop().mentions
        fresh = [s for s in statements if s not in found and not names.isdisjoint(s.defines)]
        found.update(fresh)
        todo += fresh
    return sorted({statement.code for statement in found})


@functools.cache
def _statements(source: str) -> tuple[_Statement, ...]:
    body = (node for node in _Unplaced().visit(ast.parse(source)).body if not _is_docstring(node))
    return tuple(_statement(part) for node in body for part in _parts(node))


class _Unplaced(ast.NodeTransformer):
    """Takes from imports where in this package a name stands: a part that moves to another room computes what it did."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        if (node.module or "").partition(".")[0] == "brickwork":
            node.module = "brickwork"
        return node


def _parts(node: ast.stmt) -> Iterator[ast.stmt]:
    """An import by name, as one that nobody mentions changes nothing; all else as it is."""
    if isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield ast.ImportFrom(node.module, [alias], node.level)
    else:
        yield node


def _statement(node: ast.stmt) -> _Statement:
    return _Statement(
        code=_code(node),
        defines=frozenset(_defined(node)),
        mentions=frozenset(_mentioned(node)),
        claim="".join(_claim(decorator) for decorator in getattr(node, "decorator_list", ())),
    )


def _claim(decorator: ast.expr) -> str:
    """The id in ``@claim("C1", …)``."""
    if (
        isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Name)
        and decorator.func.id == "claim"
    ):
        return str(ast.literal_eval(decorator.args[0]))
    return ""


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield (alias.asname or alias.name).partition(".")[0]
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                yield part.id


def _mentioned(node: ast.stmt) -> Iterator[str]:
    yield from _looked_up(symtable.symtable(ast.unparse(node), "statement", "exec"))
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute):
            yield part.attr
        elif isinstance(part, ast.alias):
            yield part.name.rpartition(".")[2]


def _looked_up(table: symtable.SymbolTable) -> Iterator[str]:
    """The names that a statement looks up in its module; those of its own functions' variables are none."""
    outermost = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (outermost or symbol.is_global()):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _looked_up(inner)


@functools.cache
def code_of(source: str) -> str:
    """What Python reads of a source: its syntax tree without docstrings.

    Comments and layout are not in it, all that stands in other strings is. Not written by ``ast.dump``, whose text differs
    between versions of Python: here empty fields are left out, and letters are those of ASCII.
    """
    return _code(ast.parse(source))


def _code(tree: ast.AST) -> str:
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
