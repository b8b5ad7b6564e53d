"""What a Python file documents, read from its syntax tree; the file is never imported.

This file uses the standard library alone and also runs as a program (a worker of
:mod:`brickwork.data.sets.python_corpus`): it reads ``[path, module]`` pairs as JSON from its input and writes the
entries of each file as a JSON list.
"""

import ast
import inspect
import json
import os
import re
import sys
import textwrap
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

MAX_BYTES = 1_000_000
MIN_SUMMARY_WORDS = 4
MAX_SUMMARY_WORDS = 64
MIN_BODY_WORDS = 20
MIN_SOURCE_WORDS = 10
MAX_CHARACTERS = 6000  # of body and of source
SHINGLE_WORDS = 8
SKETCH = 4

_WORD = re.compile(r"\w+")
_PARAGRAPH = re.compile(r"\n\s*\n")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def file_entries(path: str, module: str) -> list[dict]:
    """The documented public functions, classes and methods of a file; nothing if it cannot be parsed.

    Each is a dict of ``name`` (qualified), ``module``, ``line``, ``kind``, ``signature``, ``summary`` (first
    paragraph), ``body`` (the rest) and ``source`` (without docstrings); ``body`` or ``source`` is empty where
    it is too short to be asked for. ``body_sketch`` and ``source_sketch`` serve :func:`sketch` comparison.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            return []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes
            tree = ast.parse(raw)
        lines = _decode(raw).splitlines()
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    hidden = _docstring_lines(tree.body)
    entries: dict[str, dict] = {}
    for node, name in _definitions(tree.body, module):
        entry = _entry(node, name, lines, hidden)
        if entry:
            entry["module"] = module
            # The first of several definitions of a name counts (overloads, branches, property setters).
            entries.setdefault(name, entry)
    return list(entries.values())


def _docstring_lines(body: list[ast.stmt]) -> set[int]:
    """The line numbers of all docstrings of functions and classes, however deep."""
    lines: set[int] = set()
    waiting: list[Any] = list(body)
    while waiting:
        node = waiting.pop()
        inner = getattr(node, "body", None)
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)) and inner:
            first = inner[0]
            text = first.value if isinstance(first, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                lines.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
        for branch in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting.extend(getattr(node, branch, ()))
    return lines


def _decode(raw: bytes) -> str:
    text = raw.decode("utf-8-sig", errors="replace")
    # Form feeds end a line for str.splitlines and not for the parser.
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0c", " ").replace("\x0b", " ")


def _definitions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[ast.AST, str]]:
    for node in body:
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            if node.name.startswith("_"):
                continue
            name = f"{prefix}.{node.name}"
            yield node, name
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node.body, name)
        elif isinstance(node, ast.If | ast.Try):
            yield from _definitions(node.body, prefix)
            yield from _definitions(node.orelse, prefix)


def _entry(node: Any, name: str, lines: list[str], hidden: set[int]) -> dict | None:
    documentation = ast.get_docstring(node, clean=False)
    if not documentation:
        return None
    documentation = inspect.cleandoc(documentation).replace("\0", "")
    documentation = documentation.encode("utf-8", "replace").decode("utf-8")
    first, *rest = _PARAGRAPH.split(documentation, maxsplit=1)
    summary = " ".join(first.split()[:MAX_SUMMARY_WORDS])
    if len(_WORD.findall(summary)) < MIN_SUMMARY_WORDS or summary.startswith(("..", ":", ">>>")):
        return None
    body = rest[0].strip()[:MAX_CHARACTERS] if rest else ""
    if len(_WORD.findall(body)) < MIN_BODY_WORDS:
        body = ""
    source = _source(node, lines, hidden)
    if len(_WORD.findall(source)) < MIN_SOURCE_WORDS:
        source = ""
    if not body and not source:
        return None
    return {
        "name": name,
        "line": node.lineno,
        "kind": "class" if isinstance(node, ast.ClassDef) else "function",
        "signature": _signature(node, lines),
        "summary": summary,
        "body": body,
        "source": source,
        "body_sketch": sketch(body),
        "source_sketch": sketch(source.partition("\n")[2]),
    }


def _source(node: Any, lines: list[str], hidden: set[int]) -> str:
    """The definition with its decorators and without any docstring in it."""
    if node.lineno in hidden:
        return ""  # def and docstring on one line
    start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    kept = [
        lines[number - 1]
        for number in range(start, min(node.end_lineno, len(lines)) + 1)
        if number not in hidden
    ]
    text = textwrap.dedent("\n".join(kept)).strip()
    return re.sub(r"\n\s*\n+", "\n", text)[:MAX_CHARACTERS]


def _signature(node: Any, lines: list[str]) -> str:
    """The line of ``def`` or ``class``, on one line and without its colon."""
    stop = max(node.body[0].lineno - 1, node.lineno)
    text = " ".join(" ".join(lines[node.lineno - 1 : stop]).split())
    head, colon, _ = text.rpartition(":")
    return (head if colon else text)[:500].strip()


def sketch(text: str) -> list[int]:
    """The smallest hashes of the runs of eight words: near copies share most of them (bottom-k sketch,
    Broder 1997). Empty for texts with fewer words."""
    words = [word.lower() for word in _WORD.findall(text)]
    shingles = {
        zlib.crc32(" ".join(words[start : start + SHINGLE_WORDS]).encode())
        for start in range(len(words) - SHINGLE_WORDS + 1)
    }
    return sorted(shingles)[:SKETCH]


def main() -> None:
    """Answers the pairs on the input. An abandoned worker ends with its parent."""
    files = json.load(sys.stdin)
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as out:
        json.dump([file_entries(path, module) for path, module in files], out)


if __name__ == "__main__":
    main()
