"""A real corpus that every machine has: the documentation and the source of its installed Python packages.

Modules are taken in the order of a hash of their names, so that the first thousand functions come from
everywhere, and a smaller collection is always the beginning of a larger one. Functions with the summary of an
earlier one, or nearly its documentation or source, are left out: copies between packages (or from one module
of a package to the next) would otherwise stand in training and in test.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from brickwork.core.errors import DataError, ResourceError
from brickwork.core.files import atomic_path
from brickwork.data.sets import python_source
from brickwork.data.sets.source import cache_folder
from brickwork.data.splits import normalised, stable_hash
from brickwork.data.types import Document

if TYPE_CHECKING:
    import pyarrow

COLUMNS = ("name", "module", "line", "kind", "signature", "summary", "body", "source")
_WORKERS = 2
_CHUNK = 150  # files a worker process reads before it ends
_SKIPPED = {
    "test", "tests", "testing", "__pycache__", "_vendor", "vendor", "vendored", "_vendored", "extern",
    "externals", "third_party", "thirdparty", "examples", "benchmarks", "site-packages", "dist-packages",
    "node_modules", "lib2to3", "idlelib", "turtledemo",
}  # fmt: skip


def default_roots() -> list[Path]:
    """The standard library and the folders of installed packages."""
    paths = sysconfig.get_paths()
    return list(dict.fromkeys(Path(paths[key]) for key in ("stdlib", "purelib", "platlib")))


def modules(roots: Sequence[Path]) -> list[tuple[str, str]]:
    """(path, module name) of every source file in the order of a hash of the name.

    Tests, vendored copies and examples are left out; of two files with one name the first root's counts.
    """
    names: dict[str, str] = {}
    for root in roots:
        for parent, folders, files in os.walk(root):
            folders[:] = [name for name in folders if name.isidentifier() and name not in _SKIPPED]
            inside = Path(parent).relative_to(root).parts
            for file in files:
                stem, ending = os.path.splitext(file)
                if ending != ".py" or not stem.isidentifier() or _is_test(stem):
                    continue
                parts = inside if stem == "__init__" else (*inside, stem)
                if parts:
                    names.setdefault(".".join(parts), os.path.join(parent, file))
    return [(names[name], name) for name in sorted(names, key=lambda name: (stable_hash(name), name))]


def _is_test(stem: str) -> bool:
    return stem.startswith("test_") or stem.endswith("_test") or stem == "conftest"


def fingerprint(roots: Sequence[Path]) -> str:
    """Changes with the Python version, the installed packages and the code that collects."""
    packages = sorted(
        f"{package.metadata['Name']}=={package.version}" for package in importlib.metadata.distributions()
    )
    code = [Path(path).read_bytes() for path in (__file__, python_source.__file__)]
    parts = [platform.python_version(), *map(str, roots), *packages]
    return hashlib.sha256("\n".join(parts).encode() + b"".join(code)).hexdigest()[:16]


def collect(limit: int | None = None, roots: Sequence[Path] | None = None) -> "pyarrow.Table":
    """The first ``limit`` documented functions and classes (all without a limit), one a row.

    Columns: :data:`COLUMNS`, all texts but ``line``. ``roots`` replaces the folders of the environment; then
    nothing is cached. The result depends on the environment alone.

    Raises:
        DataError: nothing is documented there.
    """
    if roots is not None:
        return _table(_distinct(_entries(modules(roots))), limit, roots)
    import pyarrow.parquet

    roots = default_roots()
    base = cache_folder() / "python" / fingerprint(roots)
    for path in (base / f"{limit or 'all'}.parquet", base / "all.parquet"):
        if path.is_file():
            try:
                return pyarrow.parquet.read_table(path).slice(0, limit)
            except (pyarrow.ArrowInvalid, OSError):
                continue  # a damaged cache is built again
    table = _table(_distinct(_entries(modules(roots))), limit, roots)
    try:
        with atomic_path(base / f"{limit or 'all'}.parquet") as temporary:
            pyarrow.parquet.write_table(table, temporary, compression="zstd")
    except ResourceError:
        pass  # without a cache it only takes longer next time
    return table


def _entries(files: list[tuple[str, str]]) -> Iterator[dict]:
    """The entries of all files in their order, read ahead by a few worker processes."""
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    if len(chunks) < 2:
        for path, module in files:
            yield from python_source.file_entries(path, module)
        return
    # Programs, not multiprocessing: they neither import the user's main script nor inherit locks.
    with ThreadPoolExecutor(_WORKERS) as pool:
        waiting = [pool.submit(_run_worker, chunk) for chunk in chunks[: _WORKERS + 1]]
        try:
            for place in range(len(chunks)):
                answer = waiting.pop(0).result()
                if place + _WORKERS + 1 < len(chunks):
                    waiting.append(pool.submit(_run_worker, chunks[place + _WORKERS + 1]))
                for entries in answer:
                    yield from entries
        finally:
            for future in waiting:
                future.cancel()


def _run_worker(chunk: list[tuple[str, str]]) -> list[list[dict]]:
    command = [sys.executable, "-I", "-S", python_source.__file__]
    # In a session of its own: Ctrl-C is the parent's business.
    done = subprocess.run(
        command, input=json.dumps(chunk).encode(), capture_output=True, check=False, start_new_session=True
    )
    if done.returncode:
        raise RuntimeError(f"reading Python files failed: {done.stderr.decode(errors='replace')[-2000:]}")
    return json.loads(done.stdout)


def _distinct(entries: Iterator[dict]) -> Iterator[dict]:
    """Entries unlike all earlier ones in summary, documentation and source."""
    summaries: set[int] = set()
    sketches: dict[str, set[int]] = {"body_sketch": set(), "source_sketch": set()}
    for entry in entries:
        summary = stable_hash(normalised(entry["summary"]))
        known = summary in summaries or any(
            2 * sum(value in seen for value in entry[kind]) >= max(len(entry[kind]), 1)
            for kind, seen in sketches.items()
        )
        if known:
            continue
        summaries.add(summary)
        for kind, seen in sketches.items():
            seen.update(entry[kind])
        yield entry


def _table(entries: Iterator[dict], limit: int | None, roots: Sequence[Path]) -> "pyarrow.Table":
    import pyarrow as pa

    rows = list(islice(entries, limit))
    if not rows:
        raise DataError(f"no documented Python functions below {', '.join(map(str, roots))}")
    schema = pa.schema([(name, pa.int64() if name == "line" else pa.string()) for name in COLUMNS])
    return pa.table({name: [row[name] for row in rows] for name in COLUMNS}, schema=schema)


def documents(limit: int | None = None) -> Iterator[Document]:
    """The corpus as documents: qualified name, signature and documentation; ``source`` is ``module:line``."""
    for batch in collect(limit).to_batches(max_chunksize=1024):
        for row in batch.to_pylist():
            text = "\n\n".join(part for part in (row["signature"], row["summary"], row["body"]) if part)
            yield Document(
                id=row["name"],
                title=row["name"],
                text=text,
                source=f"{row['module']}:{row['line']}",
                meta={"kind": row["kind"]},
            )
