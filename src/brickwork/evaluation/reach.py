"""Which definitions a system can reach: what its results may depend on, name by name.

Every top-level definition of a system's folder is reached; from each, every name that it uses, through imports (also
those inside functions) into the definitions of other modules. A class is reached whole. Annotations are not followed:
they compute nothing. A module that is passed around as a value, or whose name cannot be resolved, is reached whole, and
statements that bind nothing (they run when a module is imported) belong to every definition of their module. Imports of
other packages are not looked at.
"""

import ast
import functools
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

Place = tuple[Path, str]
"""A file and the name of a definition in it; the name is empty for the statements that bind nothing."""


@dataclass
class Module:
    """The top level of a file: what each name is bound by, what each import stands for, and all other statements."""

    units: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Local name → (dotted module, name in it); the name is empty where the module itself is meant."""


def reached(slugs: Iterable[str], package: Path, without: Container[str] = ()) -> list[Place]:
    """The definitions that the folders of the systems reach, sorted. Files ``without`` effect are not entered."""
    folders = [package / "systems" / slug.replace("-", "_") for slug in slugs]
    waiting = [
        place for folder in folders for file in folder.rglob("*.py") for place in _whole(file, package)
    ]
    found: set[Place] = set()
    while waiting:
        file, name = place = waiting.pop()
        if place in found or file.relative_to(package).as_posix() in without:
            continue
        if not name or name in parsed(file, package).units:
            found.add(place)
        waiting.extend(_links(place, file.stat().st_mtime_ns, package))
    return sorted(found)


@functools.lru_cache(maxsize=65536)
def _links(place: Place, _changed: int, package: Path) -> tuple[Place, ...]:
    """Where a definition leads in one step: to the statements that bind nothing, and to all that it uses."""
    file, name = place
    module = parsed(file, package)
    found = [(file, "")]
    if name not in module.units and name in module.imports:  # handed on from elsewhere
        found.extend(_targets(module, name, (), package))
    for statement in module.units.get(name, ()):
        for used, attributes in _uses(statement, package.name):
            found.extend(_resolve(file, module, used, attributes, package))
    return tuple(dict.fromkeys(found))


def statements(place: Place, package: Path) -> list[ast.stmt]:
    """The statements that bind the name of a place (several where it is bound more than once)."""
    return parsed(place[0], package).units.get(place[1], [])


def parsed(file: Path, package: Path) -> Module:
    """The top level of a file, read again when it changes."""
    return _parsed(file, file.stat().st_mtime_ns, package.name)


@functools.lru_cache(maxsize=4096)
def _parsed(file: Path, _changed: int, package: str) -> Module:
    module = Module()
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if _is_prose(statement) or _for_types_only(statement):
            continue
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for local, target in _bound(statement, package):
                module.imports[local] = target
            continue
        for name in _names(statement) or [""]:
            module.units.setdefault(name, []).append(statement)
    return module


def _is_prose(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _names(statement: ast.stmt) -> list[str]:
    """What a statement binds; nothing for one that is only run."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign):
        targets: list[ast.expr] = statement.targets
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        targets = [statement.target]
    else:
        return []
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def _bound(statement: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Local name → target, for each import of our own package."""
    if isinstance(statement, ast.ImportFrom):
        if not statement.level and statement.module and statement.module.split(".")[0] == package:
            for alias in statement.names:
                yield alias.asname or alias.name, (statement.module, alias.name)
        return
    for alias in statement.names:
        if alias.name.split(".")[0] == package:
            yield alias.asname or alias.name, (alias.name, "")


def _uses(node: ast.AST, package: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names that a statement uses, each with the attributes asked of it; imports inside it as ``module:name``."""
    if _for_types_only(node):
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        for _, (module, name) in _bound(node, package):
            yield f"{module}:{name}", ()
        return
    if isinstance(node, ast.Attribute | ast.Name):
        chain: list[str] = []
        base: ast.expr = node
        while isinstance(base, ast.Attribute):
            chain.insert(0, base.attr)
            base = base.value
        if isinstance(base, ast.Name):
            if not isinstance(base.ctx, ast.Store):
                yield base.id, tuple(chain)
            return
        node = base
    skipped = {id(getattr(node, name, None)) for name in ("annotation", "returns")}
    for child in ast.iter_child_nodes(node):
        if id(child) not in skipped:
            yield from _uses(child, package)


def _resolve(
    file: Path, module: Module, used: str, attributes: tuple[str, ...], package: Path
) -> Iterator[Place]:
    if ":" in used:
        dotted, _, name = used.partition(":")
        yield from _imported(dotted, name, (), package)
    elif used in module.units:
        yield file, used
    elif used in module.imports or any(name.startswith(f"{used}.") for name in module.imports):
        yield from _targets(module, used, attributes, package)


def _targets(module: Module, used: str, attributes: tuple[str, ...], package: Path) -> Iterator[Place]:
    if used in module.imports:
        yield from _imported(*module.imports[used], attributes, package)
    for name, (dotted, _) in module.imports.items():
        if name.startswith(f"{used}."):  # import a.b.c, used as a.b.c.name
            yield from _imported(dotted, "", (), package)


def _imported(dotted: str, name: str, attributes: tuple[str, ...], package: Path) -> Iterator[Place]:
    """The places behind ``from dotted import name``, of which ``attributes`` are used.

    The package's own ``__init__`` is left out: it only opens the API, and through it would come everything.
    """
    path = package.joinpath(*dotted.split(".")[1:])
    if name:
        inner = _file(path / name)
        if inner is not None:  # a module
            yield from [(inner, attributes[0])] if attributes else _whole(inner, package)
            return
    file = _file(path)
    if file is not None and path != package:
        yield from [(file, name)] if name else _whole(file, package)


def _file(path: Path) -> Path | None:
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _whole(file: Path, package: Path) -> list[Place]:
    module = parsed(file, package)
    return [(file, name) for name in {*module.units, *module.imports, ""}]
