"""Search end to end: from a query to its ten documents, by vectors, by words and by both, with and without filters.

What `search.py` measures is the comparison of vectors alone. This measures what a user waits for: encoding the query, and
the search of `LocalBackend` on an index in a folder, 200,000 documents of about 400 characters with metadata, the ten best
returned as documents; without a filter, under filters that leave 10 % and 1 % of the rows at random, and under one
that leaves a tenth that lies together (documents of one topic, and the query of another). Each mode has its own rows:
`dense` compares vectors, `hybrid` vectors and words, `lexical` words; `end_to_end_milliseconds` adds the encoding of the
query, which `lexical` does not need. Recall@10 is against the exact search of the same mode under the same filter. Plans are
the cheapest that found 0.95 and 0.99 with documents as queries, as `--recall` takes them.

Vectors: MiniLM's of the abstracts of NFCorpus, and made ones between them (`search_data.grow`). Texts: words drawn from
those abstracts, each as often as it is there, so that a word of a query is in as many documents as it would be in a real
collection. Queries are NFCorpus' own.

    python benchmarks/search_documents.py [--rows 200000] [--kinds flat ivf hnsw] [--modes dense hybrid lexical]
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
from brickwork.index.filters import Filter, parse_filter
from brickwork.index.fusion import Fusion
from brickwork.index.local import LocalBackend
from brickwork.index.types import Contents, Plan
from common import begin, environment, save
from search_data import grow

TOP, ROUNDS, WIDTH = 10, 40, 384
RECALLS = (0.95, 0.99)  # as --recall asks for; the second is the default
CONTENTS = Contents(model="none", dims=(96, 192, 384), layers=(6,), depths=(6,))
MODES = ("dense", "hybrid", "lexical")
FILTERS = {
    "no filter": None,
    "10 % at random": "percent<10",
    "1 % at random": "percent=50",
    "10 % of one topic": "topic=3",
    "10 %, as text": "tag in p1|p2|p3|p4|p5|p6|p7|p8|p9|p10",
}


def texts(name: str) -> list[str]:
    """The texts of NFCorpus' `docs` or `queries`."""
    import pyarrow.parquet as pq

    table = pq.read_table(Path(os.environ["BRICKWORK_DATA"]) / "retrieval" / f"nfcorpus_{name}.parquet")
    return [text[:600] for text in table.to_pydict()["text"]]


def vectors(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Documents and queries, kept in the cache."""
    import brickwork
    from brickwork.encoders.build import minilm_package_folder

    file = cache_folder() / "benchmark-search" / f"nfcorpus-{rows}.npz"
    if not file.exists():
        model = brickwork.load(str(minilm_package_folder()))
        made = {name: model.encode(texts(name)).astype(np.float32) for name in ("docs", "queries")}
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, docs=grow(made["docs"], rows, 1.4), queries=made["queries"])
    with np.load(file) as kept:
        return kept["docs"], kept["queries"][:300]


def encoding_milliseconds(queries: list[str]) -> float:
    """The median time of encoding one query."""
    import brickwork
    from brickwork.encoders.build import minilm_package_folder

    model = brickwork.load(str(minilm_package_folder()))
    times = []
    for query in queries[:1] + queries[:ROUNDS]:  # the first call prepares the model
        started = time.perf_counter()
        model.encode([query])
        times.append(1000 * (time.perf_counter() - started))
    return round(statistics.median(times[1:]), 3)


def batches(documents: np.ndarray, topics: np.ndarray) -> Iterator[tuple[list[Any], dict[int, np.ndarray]]]:
    words, vocabulary = random.Random(0), " ".join(texts("docs")).split()
    for start in range(0, len(documents), 512):
        rows = range(start, min(start + 512, len(documents)))
        yield (
            [
                Document(
                    id=f"d{n}",
                    title=f"title {n}",
                    text=f"{n} " + " ".join(words.choices(vocabulary, k=60)),
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


def search(
    backend: LocalBackend, mode: str, queries: np.ndarray, words: list[str], plan: Plan, where: Filter | None
) -> list[set[str]]:
    """The ids of the documents that a mode finds for each query."""
    if mode == "dense":
        results = backend.search(queries, plan, layers=6, where=where)
    elif mode == "lexical":
        results = backend.search_words(words, TOP, where=where)
    else:
        results = backend.search_both(queries, words, plan, Fusion(), layers=6, where=where)
    return [{hit.document.id for hit in hits} for hits in results]


def measure(
    backend: LocalBackend, mode: str, queries: np.ndarray, words: list[str], plan: Plan, encoding: float
) -> dict[str, Any]:
    """Milliseconds of one query alone and recall@10, by filter; the first search with a filter by itself."""
    found: dict[str, Any] = {}
    exact = Plan(stages=((WIDTH, TOP),))
    for name, text in FILTERS.items():
        where = parse_filter(text)
        times = []
        for row in (0, *range(ROUNDS)):  # the first search reads what a filter, or the words, need
            started = time.perf_counter()
            search(backend, mode, queries[row : row + 1], words[row : row + 1], plan, where)
            times.append(1000 * (time.perf_counter() - started))
        got, wanted = (search(backend, mode, queries, words, each, where) for each in (plan, exact))
        recall = np.mean([len(a & b) / len(b) if b else 1.0 for a, b in zip(got, wanted)])
        milliseconds = statistics.median(times[1:])
        found[name] = {
            "milliseconds": round(milliseconds, 3),
            "end_to_end_milliseconds": round(milliseconds + (0.0 if mode == "lexical" else encoding), 3),
            "first_milliseconds": round(times[0], 1),
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
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES)
    options = parser.parse_args()
    begin()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    documents, queries = vectors(options.rows)
    words = texts("queries")[: len(queries)]
    encoding = encoding_milliseconds(words)
    middles = documents[:3000:300]
    topics = (documents @ middles.T).argmax(axis=1)
    # Ten topics of equal size: a tenth of the rows each, those that are nearest to its middle.
    topics = np.argsort(np.argsort(documents @ middles[3])) * 10 // len(documents)
    result: dict[str, Any] = {
        **environment(),
        "rows": options.rows,
        "threads": options.threads,
        "encode_milliseconds": encoding,
        "lexical": {},
        "kinds": {},
    }
    for kind in options.kinds:
        with tempfile.TemporaryDirectory(prefix="bw-search-") as place:
            backend = LocalBackend.create(Path(place) / "index", CONTENTS, kind=kind)
            started = time.perf_counter()
            backend.write(batches(documents, topics))
            building = time.perf_counter() - started
            opened = LocalBackend.open(Path(place) / "index", verify=False)
            result["kinds"][kind] = {"write_seconds": round(building, 1)}
            if "lexical" in options.modes and not result["lexical"]:  # words know no kinds
                full = Plan(stages=((WIDTH, TOP),))
                result["lexical"] = measure(opened, "lexical", queries, words, full, 0.0)
            for target in RECALLS if kind != "flat" else RECALLS[-1:]:
                plan = cheapest(backend, kind, target)
                result["kinds"][kind][f"recall={target}"] = {
                    "plan": [list(stage) for stage in plan.stages],
                    "effort": plan.effort,
                    **{
                        mode: measure(opened, mode, queries, words, plan, encoding)
                        for mode in options.modes
                        if mode != "lexical"
                    },
                }
            print(kind, result["kinds"][kind], file=sys.stderr, flush=True)
    save("search-documents", result)


if __name__ == "__main__":
    main()
