"""Which definitions a system can reach: what its results may depend on, name by name.

Every top-level definition of a system's folder is reached; from each, every name that it uses, through imports (also
those inside functions) into the definitions of other modules. Annotations are not followed: they compute nothing. A
module that is passed around as a value is reached whole, and statements that bind nothing (they run when a module is
imported) belong to every definition of their module. Imports of other packages are not looked at.

Of a class without a base from outside, a method or field is reached when some reached code says its name (as an attribute,
a keyword or a string); special methods always are. A class with a base from outside is reached whole: the base may call
any of its methods.
"""

import ast
import functools
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

Place = tuple[Path, str]
"""A file and the name of a definition in it, ``Class.member`` for a part of a class; the name is empty for the statements
that bind nothing."""
Lines = tuple[int, int]
"""First and last line, counted from 1."""


@dataclass
class Unit:
    """What binds a name: its nodes, the lines that they stand on, and the parts of a class that are units of their own.

    ``opens``: the first lines are the head of a class, whose body is elsewhere.
    """

    nodes: list[ast.AST] = field(default_factory=list)
    lines: list[Lines] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    opens: bool = False


@dataclass
class Module:
    """The top level of a file: what each name is bound by, and what each import stands for."""

    units: dict[str, Unit] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Local name → (dotted module, name in it); the name is empty where the module itself is meant."""


def reached(slugs: Iterable[str], package: Path, without: Container[str] = ()) -> list[Place]:
    """The definitions that the folders of the systems reach, sorted. Files ``without`` effect are not entered."""
    folders = [package / "systems" / slug.replace("-", "_") for slug in slugs]
    waiting = [
        place for folder in folders for file in folder.rglob("*.py") for place in _whole(file, package)
    ]
    found: set[Place] = set()
    said: set[str] = set()
    unsaid: dict[str, list[Place]] = {}
    while waiting:
        file, name = place = waiting.pop()
        if place in found or file.relative_to(package).as_posix() in without:
            continue
        unit = parsed(file, package).units.get(name)
        if unit is not None or not name:
            found.add(place)
        for member in unit.members if unit is not None else ():
            if member in said or member.startswith("__"):
                waiting.append((file, f"{name}.{member}"))
            else:
                unsaid.setdefault(member, []).append((file, f"{name}.{member}"))
        links, words = _links(place, file.stat().st_mtime_ns, package)
        waiting.extend(links)
        for word in words - said:
            waiting.extend(unsaid.pop(word, ()))
        said |= words
    return sorted(found)


def parsed(file: Path, package: Path) -> Module:
    """The top level of a file, read again when it changes."""
    return _parsed(file, file.stat().st_mtime_ns, package.name)


@functools.lru_cache(maxsize=65536)
def _links(place: Place, _changed: int, package: Path) -> tuple[tuple[Place, ...], frozenset[str]]:
    """Where a definition leads in one step (to the statements that bind nothing, and to all that it uses), and every
    word by which it may ask for a member of something."""
    file, name = place
    module = parsed(file, package)
    found = [(file, "")]
    if name not in module.units and name in module.imports:  # handed on from elsewhere
        found.extend(_targets(module, name, (), package))
    nodes = module.units[name].nodes if name in module.units else []
    for node in nodes:
        for used, attributes in _uses(node, package.name):
            found.extend(_resolve(file, module, used, attributes, package))
    return tuple(dict.fromkeys(found)), frozenset(word for node in nodes for word in _words(node))


@functools.lru_cache(maxsize=4096)
def _parsed(file: Path, _changed: int, package: str) -> Module:
    module = Module()
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if _is_prose(statement) or _for_types_only(statement):
            continue
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for local, target in _bound(statement, package):
                module.imports[local] = target
        elif isinstance(statement, ast.ClassDef) and _can_be_split(statement, module):
            _split(statement, module)
        else:
            for name in _names(statement) or [""]:
                _bind(module, name, statement)
    return module


def _bind(module: Module, name: str, statement: ast.stmt) -> None:
    unit = module.units.setdefault(name, Unit())
    unit.nodes.append(statement)
    unit.lines.append((_first_line(statement), statement.end_lineno or statement.lineno))


def _can_be_split(statement: ast.ClassDef, module: Module) -> bool:
    """Whether all bases are of this package (or there are none) and the body stands on lines of its own."""
    bases = [base.id if isinstance(base, ast.Name) else "" for base in statement.bases]
    known = all(base in module.units or base in module.imports for base in bases)
    return known and _first_line(statement.body[0]) > statement.lineno


def _split(statement: ast.ClassDef, module: Module) -> None:
    head = Unit(opens=True)
    head.nodes += [*statement.decorator_list, *statement.bases, *statement.keywords]
    head.lines.append((_first_line(statement), _first_line(statement.body[0]) - 1))
    module.units[statement.name] = head
    for part in statement.body:
        if _is_prose(part):
            continue
        names = _names(part)
        if not names:
            head.nodes.append(part)
            head.lines.append((_first_line(part), part.end_lineno or part.lineno))
        for name in names:
            if name not in head.members:
                head.members.append(name)
            _bind(module, f"{statement.name}.{name}", part)


def _first_line(statement: ast.stmt) -> int:
    decorators = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


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


def _words(node: ast.AST) -> Iterator[str]:
    """Attributes, keywords, and strings that could be names."""
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute):
            yield part.attr
        elif isinstance(part, ast.keyword) and part.arg:
            yield part.arg
        elif isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value.isidentifier():
            yield part.value


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
