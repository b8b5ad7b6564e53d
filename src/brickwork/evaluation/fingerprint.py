"""A fingerprint of the code behind a result: it changes when the code does, not when its prose does.

The source of a system's folder and of every ``brickwork`` module that it imports, directly or through others,
is reduced to its tokens without comments, docstrings and layout, and hashed. Tokens, not a dump of the syntax
tree: the dump differs between Python versions, and a result must not grow stale with the interpreter.
"""

import ast
import functools
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
# Modules that carry, keep or show what others compute: no number of a result depends on them.
_WITHOUT_EFFECT = {
    *(f"core/{name}.py" for name in ("distributed", "errors", "files", "hardware", "registry")),
    "data/downloads.py",
    *(f"evaluation/{name}.py" for name in ("claim_records", "fingerprint")),
    *(f"representation/{name}.py" for name in ("card", "export_parquet", "hub", "store")),
    *(f"training/{name}.py" for name in ("checkpoint", "devices", "progress", "records", "signals")),
}
_SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
_FSTRING_START = getattr(tokenize, "FSTRING_START", None)  # from Python 3.12 on
_FSTRING_END = getattr(tokenize, "FSTRING_END", None)


def code_fingerprint(slugs: Iterable[str], package: Path = _PACKAGE) -> str:
    """Sixteen hexadecimal digits over the systems' folders and all that they import."""
    digest = hashlib.sha256()
    for file in imported_files(slugs, package):
        name = file.relative_to(package).as_posix()
        digest.update(f"{name} {_file_digest(file, file.stat().st_mtime_ns)}\n".encode())
    return digest.hexdigest()[:16]


def imported_files(slugs: Iterable[str], package: Path = _PACKAGE) -> list[Path]:
    """The files of the systems' folders and of the modules that they import transitively, sorted.

    Modules that compute nothing are left out, with what only they import.
    """
    folders = [package / "systems" / slug.replace("-", "_") for slug in slugs]
    waiting = [file for folder in folders for file in folder.rglob("*.py")]
    found: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file in found or file.relative_to(package).as_posix() in _WITHOUT_EFFECT:
            continue
        found.add(file)
        names = _imports(file, file.stat().st_mtime_ns, package.name)
        waiting.extend(path for name in names for path in _files_of(name, package))
    return sorted(found)


@functools.lru_cache(maxsize=4096)
def _file_digest(file: Path, _changed: int) -> str:
    return hashlib.sha256(normalised(file.read_text(encoding="utf-8")).encode()).hexdigest()


def normalised(source: str) -> str:
    """The tokens of Python source without comments, docstrings, blank lines and breaks in brackets."""
    tree = ast.parse(source)
    docstrings = set(_docstring_starts(tree))
    lines = source.splitlines(keepends=True)
    parts: list[str] = []
    depth, start = 0, (1, 0)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        # An f-string is one token before Python 3.12 and several after: take its text as it stands.
        if _FSTRING_START is not None and token.type == _FSTRING_START:
            start = token.start if depth == 0 else start
            depth += 1
        elif _FSTRING_END is not None and token.type == _FSTRING_END:
            depth -= 1
            if depth == 0:
                parts.append(_between(lines, start, token.end))
        elif depth or token.type in _SKIPPED or token.start in docstrings:
            continue
        elif token.type in (tokenize.INDENT, tokenize.DEDENT):
            parts.append(">" if token.type == tokenize.INDENT else "<")
        else:
            parts.append("\n" if token.type == tokenize.NEWLINE else token.string)
    # A removed docstring leaves its line break behind.
    return " ".join(p for i, p in enumerate(parts) if p != "\n" or (i and parts[i - 1] not in "\n>"))


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]]
    middle = lines[start[0] : end[0] - 1]
    return "".join([lines[start[0] - 1][start[1] :], *middle, lines[end[0] - 1][: end[1]]])


def _docstring_starts(tree: ast.AST) -> Iterator[tuple[int, int]]:
    """Places of the strings that are statements of their own: docstrings, and those under a constant."""
    for node in ast.walk(tree):
        constant = node.value if isinstance(node, ast.Expr) else None
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
            yield constant.lineno, constant.col_offset


@functools.lru_cache(maxsize=4096)
def _imports(file: Path, _changed: int, package: str) -> tuple[str, ...]:
    """The dotted names of ``package`` that a file imports, at its top or inside functions."""
    names: list[str] = []
    for node in _outside_type_checking(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.extend(f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(name for name in names if name.split(".")[0] == package)


def _outside_type_checking(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _outside_type_checking(child)


def _files_of(name: str, package: Path) -> Iterator[Path]:
    """The module of a dotted name, and the packages above it; the last part may be a name inside a module.

    The package's own ``__init__`` is left out: it only opens the API, and through it would come everything.
    """
    place = package
    for part in name.split(".")[1:]:
        place = place / part
        if place.is_dir() and (place / "__init__.py").is_file():
            yield place / "__init__.py"
        elif place.with_suffix(".py").is_file():
            yield place.with_suffix(".py")
            return
        else:
            return
