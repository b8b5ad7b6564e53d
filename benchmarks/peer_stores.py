"""An index in a folder beside the embedded stores of others: time, and what becomes of a file in which one bit has turned.

Every store gets the same documents (id, text, a number) and unit vectors and is asked for the ten nearest, documents
returned, exactly, one query at a time; then 60 times: one bit of one of its files is turned (in a byte that is not 0, as
some reserve space in advance), the store is opened, every document is read and three queries are asked. An answer that
differs from that of the good store without any error is *wrong*, one that is the same is *unseen* (the bit may lie where
nothing is read), an error is *told*.

The peers may live in another environment: the vectors are made from a seed.

    python benchmarks/peer_stores.py brickwork lancedb duckdb zvec qdrant-edge [--rows 50000] [--flips 60]
"""

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, TOP = 384, 10
Answer = Callable[[Path, np.ndarray], list[str]]


def data(rows: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((rows + 40, WIDTH), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [f"document {n} " * 20 for n in range(rows)], vectors[:rows], vectors[rows:]


class Brickwork:
    def write(self, folder: Path, texts: list[str], vectors: np.ndarray) -> None:
        from brickwork.data.types import Document
        from brickwork.index.local import LocalBackend
        from brickwork.index.types import Contents

        contents = Contents(model="none", dims=(WIDTH,), layers=(1,), depths=(1,))
        backend = LocalBackend.create(folder / "index", contents)
        step = 1024

        def batches() -> Any:
            for start in range(0, len(texts), step):
                part = range(start, min(start + step, len(texts)))
                yield (
                    [
                        Document(id=str(n), title="", text=texts[n], source="s", meta={"n": n % 100})
                        for n in part
                    ],
                    {1: vectors[part.start : part.stop]},
                )

        backend.write(batches())

    def open(self, folder: Path) -> Any:
        from brickwork.index.local import LocalBackend

        return LocalBackend.open(folder / "index")

    def search(self, store: Any, query: np.ndarray) -> list[str]:
        from brickwork.index.types import Plan

        (hits,) = store.search(query[None], Plan(stages=((WIDTH, TOP),)), layers=1)
        return [f"{hit.document.id} {hit.document.text}" for hit in hits]

    def read(self, store: Any) -> list[str]:
        return [f"{document.id} {document.text}" for document in store.documents()]


def as_table(texts: list[str], vectors: np.ndarray) -> Any:
    """The documents as an Arrow table."""
    import pyarrow as pa

    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), WIDTH)
    ids, groups = [str(n) for n in range(len(texts))], [n % 100 for n in range(len(texts))]
    return pa.table({"id": ids, "text": texts, "n": groups, "vector": column})


class Lance:
    def write(self, folder: Path, texts: list[str], vectors: np.ndarray) -> None:
        import lancedb

        table = as_table(texts, vectors)
        lancedb.connect(str(folder)).create_table("t", table)

    def open(self, folder: Path) -> Any:
        import lancedb

        return lancedb.connect(str(folder)).open_table("t")

    def search(self, store: Any, query: np.ndarray) -> list[str]:
        found = store.search(query).distance_type("dot").select(["id", "text"]).limit(TOP).to_list()
        return [f"{row['id']} {row['text']}" for row in found]

    def read(self, store: Any) -> list[str]:
        table = store.to_arrow().to_pydict()
        return [f"{name} {text}" for name, text in zip(table["id"], table["text"])]


class Duck:
    def write(self, folder: Path, texts: list[str], vectors: np.ndarray) -> None:
        import duckdb

        table = as_table(texts, vectors)
        with duckdb.connect(str(folder / "store.duckdb")) as run:
            run.register("given", table)
            run.execute(f"CREATE TABLE t AS SELECT id, text, n, vector::FLOAT[{WIDTH}] AS vector FROM given")

    def open(self, folder: Path) -> Any:
        import duckdb

        return duckdb.connect(str(folder / "store.duckdb"), read_only=True, config={"threads": 1})

    def search(self, store: Any, query: np.ndarray) -> list[str]:
        statement = (
            f"SELECT id, text FROM t ORDER BY array_inner_product(vector, ?::FLOAT[{WIDTH}]) DESC LIMIT {TOP}"
        )
        return [f"{name} {text}" for name, text in store.execute(statement, [query.tolist()]).fetchall()]

    def read(self, store: Any) -> list[str]:
        return [f"{name} {text}" for name, text in store.execute("SELECT id, text FROM t").fetchall()]


class Zvec:
    def write(self, folder: Path, texts: list[str], vectors: np.ndarray) -> None:
        import zvec

        fields = [zvec.FieldSchema("text", zvec.DataType.STRING), zvec.FieldSchema("n", zvec.DataType.INT64)]
        # Exact search by inner product, as the others do.
        column = zvec.VectorSchema("vector", zvec.DataType.VECTOR_FP32, WIDTH, zvec.FlatIndexParam())
        schema = zvec.CollectionSchema("t", fields=fields, vectors=[column])
        store = zvec.create_and_open(str(folder / "store"), schema)
        for start in range(0, len(texts), 1024):
            store.insert(
                [
                    zvec.Doc(
                        id=str(n),
                        fields={"text": texts[n], "n": n % 100},
                        vectors={"vector": vectors[n].tolist()},
                    )
                    for n in range(start, min(start + 1024, len(texts)))
                ]
            )
        store.optimize()
        store.flush()

    def open(self, folder: Path) -> Any:
        import zvec

        return zvec.open(str(folder / "store"), zvec.CollectionOption(read_only=True))

    def search(self, store: Any, query: np.ndarray) -> list[str]:
        import zvec

        hits = store.query(
            zvec.Query(field_name="vector", vector=query.tolist()), topk=TOP, output_fields=["text"]
        )
        return [f"{hit.id} {hit.fields['text']}" for hit in hits]

    def read(self, store: Any) -> list[str]:
        ids = [str(n) for n in range(store.stats.doc_count)]
        found = [store.fetch(ids[start : start + 1000]) for start in range(0, len(ids), 1000)]
        return [f"{name} {doc.fields['text']}" for part in found for name, doc in part.items()]


class Qdrant:
    def write(self, folder: Path, texts: list[str], vectors: np.ndarray) -> None:
        import qdrant_edge as edge

        (folder / "store").mkdir()
        sizes = {"v": edge.EdgeVectorParams(size=WIDTH, distance=edge.Distance.Dot)}
        store = edge.EdgeShard.create(str(folder / "store"), edge.EdgeConfig(vectors=sizes))
        for start in range(0, len(texts), 1024):
            points = [
                edge.Point(n, {"v": vectors[n].tolist()}, {"text": texts[n], "n": n % 100})
                for n in range(start, min(start + 1024, len(texts)))
            ]
            store.update(edge.UpdateOperation.upsert_points(points))
        store.flush()
        store.close()

    def open(self, folder: Path) -> Any:
        import qdrant_edge as edge

        return edge.EdgeShard.load(str(folder / "store"))

    def search(self, store: Any, query: np.ndarray) -> list[str]:
        import qdrant_edge as edge

        nearest = edge.Query.Nearest(query.tolist(), using="v")
        parameters = edge.SearchParams(exact=True)
        hits = store.query(edge.QueryRequest(limit=TOP, query=nearest, params=parameters, with_payload=True))
        return [f"{hit.id} {hit.payload['text']}" for hit in hits]

    def read(self, store: Any) -> list[str]:
        import qdrant_edge as edge

        points, _ = store.scroll(edge.ScrollRequest(limit=10**6, with_payload=True))
        return [f"{point.id} {point.payload['text']}" for point in points]


STORES: dict[str, Any] = {
    "brickwork": Brickwork,
    "lancedb": Lance,
    "duckdb": Duck,
    "zvec": Zvec,
    "qdrant-edge": Qdrant,
}


def everything(name: str, folder: Path, queries: np.ndarray) -> list[list[str]]:
    """All that a store answers: every document, and three searches."""
    maker = STORES[name]()
    store = maker.open(folder)
    return [sorted(maker.read(store)), *(maker.search(store, query) for query in queries[:3])]


def look(name: str, folder: Path, rows: int, good: Path) -> None:
    """In a process of its own, which a damaged file may end: says `same` or `wrong`, or fails."""
    _, _, queries = data(rows)
    answer = everything(name, folder, queries)
    print("same" if answer == json.loads(good.read_text()) else "wrong")


def flips(name: str, folder: Path, rows: int, count: int, queries: np.ndarray) -> dict[str, int]:
    good = folder.parent / f"{name}.json"
    good.write_text(json.dumps(everything(name, folder, queries)))
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    sizes = [path.stat().st_size for path in files]
    rng, results = random.Random(0), {"told": 0, "unseen": 0, "wrong": 0}
    for _ in range(count):
        damaged = folder.parent / f"{name}-damaged"
        shutil.copytree(folder, damaged)
        (file,) = rng.choices(files, sizes)
        path = damaged / file.relative_to(folder)
        content = bytearray(path.read_bytes())
        place = rng.randrange(len(content))
        while not content[place] and any(content):  # not in space that is reserved in advance
            place = rng.randrange(len(content))
        content[place] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        command = [sys.executable, __file__, "--look", name, str(damaged), str(rows), str(good)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        results[{"same": "unseen", "wrong": "wrong"}.get(done.stdout.strip(), "told")] += 1
        shutil.rmtree(damaged)
    return results


def main() -> None:
    if sys.argv[1:2] == ["--look"]:
        name, folder, rows, good = sys.argv[2:6]
        look(name, Path(folder), int(rows), Path(good))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", nargs="+", choices=STORES)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--flips", type=int, default=60)
    parser.add_argument(
        "--flip-rows", type=int, default=2_000, help="documents of the stores whose bits are turned"
    )
    options = parser.parse_args()
    texts, vectors, queries = data(options.rows)
    for name in options.stores:
        maker = STORES[name]()
        with tempfile.TemporaryDirectory(prefix="bw-peer-") as place:
            folder = Path(place) / "store"
            folder.mkdir()
            started = time.perf_counter()
            maker.write(folder, texts, vectors)
            writing = time.perf_counter() - started
            store, times = maker.open(folder), []
            maker.search(store, queries[0])
            for query in queries:
                started = time.perf_counter()
                maker.search(store, query)
                times.append(1000 * (time.perf_counter() - started))
            small = Path(place) / "small"
            small.mkdir()
            few = options.flip_rows
            maker.write(small, texts[:few], vectors[:few])
            result = {
                "write_seconds": round(writing, 2),
                "search_milliseconds": round(statistics.median(times), 2),
                "bits_turned": flips(name, small, few, options.flips, data(few)[2]),
            }
            print(json.dumps({name: result}), flush=True)


if __name__ == "__main__":
    main()
