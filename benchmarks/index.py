"""The index in a folder: how fast it is written, opened, verified, changed and repaired, and what its kinds weigh.

Vectors of random directions and texts of random words: sizes and rates do not depend on what they mean. Encoding is
left out, the vectors are given. Each kind is measured in a process of its own, whose memory is what it needs to
answer a query, file pages that the system can drop at any time apart.

    python benchmarks/index.py [--rows 1000000] [--width 384]
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from common import begin, environment, save

KINDS = ("flat", "int8", "binary", "hnsw", "ivf")
WORDS = ["data", "model", "vector", "search", "query", "layer", "token", "index", "train", "error", "value"]
BATCH = 512


def batches(rows: int, width: int) -> Iterator[tuple[list[Any], dict[int, np.ndarray]]]:
    """Documents of about 400 characters with unit vectors."""
    from brickwork.data.types import Document

    rng, words = np.random.default_rng(0), random.Random(0)
    for start in range(0, rows, BATCH):
        count = min(BATCH, rows - start)
        vectors = rng.standard_normal((count, width), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        documents = [
            Document(
                id=f"d{n}",
                title=f"title {n}",
                text=f"{n} " + " ".join(words.choices(WORDS, k=70)),
                source=f"file{n % 1000}.md",
                meta={"year": 2000 + n % 25},
            )
            for n in range(start, start + count)
        ]
        yield documents, {6: vectors}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def contents(width: int) -> Any:
    from brickwork.index.types import Contents

    dims = tuple(width // part for part in (8, 4, 2, 1))
    return Contents(model="none", dims=dims, layers=(6,), depths=(6,))


def lifecycle(folder: Path, rows: int, width: int) -> dict[str, Any]:
    """Seconds and MB/s of what happens to an index, of kind flat."""
    from brickwork.index.lifecycle import verify_index
    from brickwork.index.local import LocalBackend
    from brickwork.index.types import Plan

    found: dict[str, Any] = {}
    backend = LocalBackend.create(folder, contents(width))
    making, _ = timed(lambda: sum(1 for _ in batches(rows, width)))
    writing, _ = timed(lambda: backend.write(batches(rows, width)))
    size = folder_bytes(folder) / 1e6

    def tell(name: str, seconds: float) -> None:
        found[name] = {"seconds": round(seconds, 3), "mb_per_second": round(size / seconds, 1)}

    tell("build", writing - making)  # the making of the input is not ours
    tell("open", timed(lambda: LocalBackend.open(folder))[0])
    tell("open without hashing", timed(lambda: LocalBackend.open(folder, verify=False))[0])
    tell("verify", timed(lambda: verify_index(folder))[0])
    query = np.random.default_rng(1).standard_normal((1, width)).astype(np.float32)
    plan = Plan(stages=((width, 10),))
    from brickwork.index.filters import parse_filter

    where = parse_filter("year=2003")
    found["first filter seconds"] = round(
        timed(lambda: backend.search(query, plan, layers=6, where=where))[0], 3
    )
    documents, vectors = next(batches(100, width))
    from dataclasses import replace

    new = [replace(document, id=f"new{document.id}") for document in documents]
    found["add 100 seconds"] = round(timed(lambda: backend.add(new, vectors))[0], 3)
    found["remove 100 seconds"] = round(timed(lambda: backend.remove([d.id for d in documents]))[0], 3)
    reader = LocalBackend.open(folder, verify=False)
    backend.add([replace(document, id=f"again{document.id}") for document in documents], vectors)
    found["refresh seconds"] = round(timed(reader.refresh)[0], 4)
    tell("compact", timed(backend.compact)[0])
    return {"rows": rows, "width": width, "megabytes": round(size, 1), **found}


def kind_memory(kind: str, rows: int, width: int) -> dict[str, Any]:
    """What an index of a kind needs beside its files, for a million vectors, and how long its first stage takes
    to build."""

    from brickwork.index.local import LocalBackend
    from brickwork.index.planning import stage_dim

    folder = Path(tempfile.mkdtemp(prefix="bw-index-"))
    try:
        backend = LocalBackend.create(folder / "index", contents(width), kind=kind)
        seconds, _ = timed(lambda: backend.write(batches(rows, width)))
        found = {"build seconds": round(seconds, 2), "bytes": backend.statistics().bytes}
        backend.close()
        dim = stage_dim(kind, contents(width).dims)
        opened = json.loads(
            subprocess.run(
                [sys.executable, __file__, "--search", str(folder / "index"), kind, str(dim)],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout
        )
        return {"kind": kind, "dim": dim, **found, **opened}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def searched(folder: Path, kind: str, dim: int) -> dict[str, Any]:
    """Memory of a process that opens an index and answers, per million vectors: its own, and mapped pages."""
    import psutil
    import torch  # noqa: F401

    from brickwork.index.local import LocalBackend
    from brickwork.index.types import Plan

    process = psutil.Process()
    backend = LocalBackend.open(folder, verify=False)
    width = backend.contents.width
    queries = np.random.default_rng(1).standard_normal((20, width)).astype(np.float32)
    backend.search(queries[:1], Plan(stages=((width, 1),)), layers=6)
    before = process.memory_info()
    plan = Plan(stages=((dim, 200), (width, 10)), kind=kind)
    first, _ = timed(lambda: backend.search(queries[:1], plan, layers=6))
    later, _ = timed(lambda: [backend.search(query[None], plan, layers=6) for query in queries])
    after = process.memory_info()
    million = 1e6 / len(backend)
    own = (after.rss - after.shared) - (before.rss - before.shared)
    return {
        "own megabytes per million": round(own / 1e6 * million, 1),
        "first query seconds": round(first, 3),
        "query milliseconds": round(1000 * later / len(queries), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--out", default="index", help="name of the file of results")
    parser.add_argument("--search", nargs=3, metavar=("FOLDER", "KIND", "DIM"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    begin()
    if asked.search:
        folder, kind, dim = asked.search
        print(json.dumps(searched(Path(folder), kind, int(dim))))
        return
    folder = Path(tempfile.mkdtemp(prefix="bw-index-"))
    try:
        result: dict[str, Any] = {"lifecycle": lifecycle(folder / "index", asked.rows, asked.width)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result["kinds"] = [kind_memory(kind, asked.rows, asked.width) for kind in KINDS]
    save(asked.out, {"environment": environment(), **result})


if __name__ == "__main__":
    main()
