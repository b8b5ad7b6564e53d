"""A fingerprint of the code behind a result: it changes when the code does, not when its prose does.

Every definition that a system's folder reaches (:mod:`brickwork.evaluation.reach`) is reduced to its tokens without
comments, docstrings, layout and the types in signatures, and hashed. Tokens, not a dump of the syntax tree: the dump
differs between Python versions, and a result must not grow stale with the interpreter. Definitions, not files: a new
function in a shared file makes no result stale that does not use it.
"""

import ast
import functools
import hashlib
import io
import textwrap
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

from brickwork.evaluation.reach import Place, parsed, reached

_PACKAGE = Path(__file__).resolve().parents[1]
# Modules that carry, keep or show what others compute: no number of a result depends on them.
_WITHOUT_EFFECT = {
    *(f"core/{name}.py" for name in ("distributed", "errors", "files", "hardware", "registry")),
    "data/downloads.py",
    *(f"evaluation/{name}.py" for name in ("claim_records", "fingerprint")),
    *(f"representation/{name}.py" for name in ("card", "export_parquet", "folder", "hub", "kept", "store")),
    *(f"training/{name}.py" for name in ("checkpoint", "devices", "progress", "records", "signals")),
}
_SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
_FSTRING_START = getattr(tokenize, "FSTRING_START", None)  # from Python 3.12 on
_FSTRING_END = getattr(tokenize, "FSTRING_END", None)


def code_fingerprint(slugs: Iterable[str], package: Path = _PACKAGE) -> str:
    """Sixteen hexadecimal digits over all that the systems' folders reach."""
    digest = hashlib.sha256()
    for place in reached(slugs, package, _WITHOUT_EFFECT):
        file, name = place
        where = file.relative_to(package).as_posix()
        digest.update(f"{where} {name} {_place_digest(place, file.stat().st_mtime_ns, package)}\n".encode())
    return digest.hexdigest()[:16]


@functools.lru_cache(maxsize=65536)
def _place_digest(place: Place, _changed: int, package: Path) -> str:
    unit = parsed(place[0], package).units.get(place[1])
    parts = []
    for number, (first, last) in enumerate(unit.lines if unit is not None else ()):
        text = textwrap.dedent("".join(_lines(place[0], _changed)[first - 1 : last]))
        is_head = unit is not None and unit.opens and number == 0
        parts.append(normalised(f"{text.rstrip()} pass\n" if is_head else text))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@functools.lru_cache(maxsize=4096)
def _lines(file: Path, _changed: int) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines(keepends=True)


def normalised(source: str) -> str:
    """The tokens of Python source without comments, docstrings, types in signatures, blank lines and breaks in brackets."""
    tree = ast.parse(source)
    docstrings = set(_docstring_starts(tree))
    lines = source.splitlines(keepends=True)
    types = list(_signature_types(tree, lines))
    parts: list[str] = []
    depth, start = 0, (1, 0)

    def is_type(token: tokenize.TokenInfo) -> bool:
        return token.string == "->" or any(first <= token.start < last for first, last in types)

    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        # An f-string is one token before Python 3.12 and several after: take its text as it stands.
        if _FSTRING_START is not None and token.type == _FSTRING_START:
            start = token.start if depth == 0 else start
            depth += 1
        elif _FSTRING_END is not None and token.type == _FSTRING_END:
            depth -= 1
            if depth == 0:
                parts.append(_between(lines, start, token.end))
        elif depth or token.type in _SKIPPED or token.start in docstrings or is_type(token):
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


def _signature_types(tree: ast.AST, lines: list[str]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """From where to where the types of parameters (with the colon before) and of results stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            name = _place(lines, node.lineno, node.col_offset)
            yield (name[0], name[1] + len(node.arg)), _end(lines, node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            yield _place(lines, node.returns.lineno, node.returns.col_offset), _end(lines, node.returns)


def _end(lines: list[str], node: ast.expr) -> tuple[int, int]:
    return _place(lines, node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)


def _place(lines: list[str], line: int, offset: int) -> tuple[int, int]:
    """A place as ``tokenize`` counts, in characters; ``ast`` counts bytes."""
    return line, len(lines[line - 1].encode()[:offset].decode())
