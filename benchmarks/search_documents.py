"""Search end to end: from the vector of a query to its ten documents, with and without filters.

What `search.py` measures is the comparison of vectors alone. This measures what a user waits for after the query is
encoded: `LocalBackend.search` on an index in a folder, 200,000 documents of about 400 characters with metadata, the ten best
returned as documents; without a filter, under filters that leave 10 % and 1 % of the rows at random, and under one
that leaves a tenth that lies together (documents of one topic, and the query of another). Recall@10 is against the exact
search under the same filter. Plans are the cheapest that found 0.95 and 0.99 with documents as queries, as `--recall`
takes them.

Vectors: MiniLM's of the abstracts of NFCorpus, and made ones between them (`search_data.grow`); queries are NFCorpus' own.

    python benchmarks/search_documents.py [--rows 200000] [--kinds flat ivf hnsw] [--threads 1]
"""

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import faiss
import numpy as np
import torch

from brickwork.data.sets.source import cache_folder
from brickwork.data.types import Document
from brickwork.index.filters import parse_filter
from brickwork.index.local import LocalBackend
from brickwork.index.types import Contents, Plan
from common import environment, save
from search_data import grow

TOP, ROUNDS, WIDTH = 10, 40, 384
RECALLS = (0.95, 0.99)  # as --recall asks for; the second is the default
CONTENTS = Contents(model="none", dims=(96, 192, 384), layers=(6,), depths=(6,))
WORDS = ["data", "model", "vector", "search", "query", "layer", "token", "index", "train", "error", "value"]
FILTERS = {
    "no filter": None,
    "10 % at random": "percent<10",
    "1 % at random": "percent=50",
    "10 % of one topic": "topic=3",
    "10 %, as text": "tag in p1|p2|p3|p4|p5|p6|p7|p8|p9|p10",
}


def vectors(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Documents and queries, kept in the cache."""
    import pyarrow.parquet as pq

    import brickwork
    from brickwork.encoders.build import minilm_package_folder

    file = cache_folder() / "benchmark-search" / f"nfcorpus-{rows}.npz"
    if not file.exists():
        folder = Path(os.environ["BRICKWORK_DATA"]) / "retrieval"
        model = brickwork.load(str(minilm_package_folder()))
        made = {}
        for name in ("docs", "queries"):
            table = pq.read_table(folder / f"nfcorpus_{name}.parquet").to_pydict()
            made[name] = model.encode([text[:600] for text in table["text"]]).astype(np.float32)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, docs=grow(made["docs"], rows, 1.4), queries=made["queries"])
    with np.load(file) as kept:
        return kept["docs"], kept["queries"][:300]


def batches(documents: np.ndarray, topics: np.ndarray) -> Iterator[tuple[list[Any], dict[int, np.ndarray]]]:
    words = random.Random(0)
    for start in range(0, len(documents), 512):
        rows = range(start, min(start + 512, len(documents)))
        yield (
            [
                Document(
                    id=f"d{n}",
                    title=f"title {n}",
                    text=f"{n} " + " ".join(words.choices(WORDS, k=70)),
                    source=f"file{n % 1000}.md",
                    meta={
                        "percent": n * 7919 % 100,
                        "topic": int(topics[n]),
                        "tag": f"p{n * 7919 % 100}",
                        "row": n,
                    },
                )
                for n in rows
            ],
            {6: documents[rows.start : rows.stop]},
        )


def measure(backend: LocalBackend, queries: np.ndarray, plan: Plan) -> dict[str, Any]:
    """Milliseconds of one query alone and recall@10, by filter; the first search with a filter by itself."""
    found: dict[str, Any] = {}
    exact = Plan(stages=((WIDTH, TOP),))
    for name, text in FILTERS.items():
        where = parse_filter(text)
        first = time.perf_counter()
        backend.search(queries[:1], plan, layers=6, where=where)
        first = time.perf_counter() - first
        times = []
        for query in queries[:ROUNDS]:
            started = time.perf_counter()
            backend.search(query[None], plan, layers=6, where=where)
            times.append(1000 * (time.perf_counter() - started))
        got, wanted = (
            [
                {hit.document.id for hit in hits}
                for hits in backend.search(queries, each, layers=6, where=where)
            ]
            for each in (plan, exact)
        )
        recall = np.mean([len(a & b) / len(b) for a, b in zip(got, wanted)])
        found[name] = {
            "milliseconds": round(statistics.median(times), 3),
            "first_milliseconds": round(1000 * first, 1),
            "recall": round(float(recall), 4),
        }
    return found


def cheapest(backend: LocalBackend, kind: str, target: float) -> Plan:
    """The plan of a kind that ``recall=target`` takes: the cheapest that found so much, else the one that found most."""
    if kind == "flat":
        return Plan(stages=((WIDTH, TOP),))
    own = [point for point in backend.frontier(6).points if point.plan.kind == kind]
    reached = [point for point in own if point.recall >= target]
    if reached:
        return min(reached, key=lambda point: point.milliseconds).plan
    return max(own, key=lambda point: point.recall).plan


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--kinds", nargs="+", default=["flat", "int8", "binary", "hnsw", "ivf", "rabitq"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    documents, queries = vectors(options.rows)
    middles = documents[:3000:300]
    topics = (documents @ middles.T).argmax(axis=1)
    # Ten topics of equal size: a tenth of the rows each, those that are nearest to its middle.
    topics = np.argsort(np.argsort(documents @ middles[3])) * 10 // len(documents)
    result: dict[str, Any] = {**environment(), "rows": options.rows, "threads": options.threads, "kinds": {}}
    for kind in options.kinds:
        with tempfile.TemporaryDirectory(prefix="bw-search-") as place:
            backend = LocalBackend.create(Path(place) / "index", CONTENTS, kind=kind)
            started = time.perf_counter()
            backend.write(batches(documents, topics))
            building = time.perf_counter() - started
            opened = LocalBackend.open(Path(place) / "index", verify=False)
            result["kinds"][kind] = {"write_seconds": round(building, 1)}
            for target in RECALLS if kind != "flat" else RECALLS[-1:]:
                plan = cheapest(backend, kind, target)
                result["kinds"][kind][f"recall={target}"] = {
                    "plan": [list(stage) for stage in plan.stages],
                    "effort": plan.effort,
                    **measure(opened, queries, plan),
                }
            print(kind, result["kinds"][kind], file=sys.stderr, flush=True)
    save("search-documents", result)


if __name__ == "__main__":
    main()
