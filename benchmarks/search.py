"""Search speed: our first stages with exact reranking against FAISS flat, FAISS HNSW and usearch.

Two collections (search_data.py): the documentation and source of the installed Python packages, and one million
vectors grown from them; both are searched with real queries. Every family builds one index and is searched at several
efforts. All settings take turns in each round, alone (one query a call) and in a batch; each is compared with exact
FAISS flat at full width in the same round, and the median over rounds counts. Beside the speed stand recall@10
(against the exact ten nearest), nDCG@10 (against the judgements), build time, and memory beside the vectors.

    python benchmarks/search.py [--collection real|million] [--rounds 5] [--threads 2] [--model runs/demo]

This compares vectors alone, and leaves out what a search of an index does besides: taking the documents from their file, and
filters. `search_documents.py` measures that from end to end.

The first run encodes the corpus and grows the million, and keeps both in the cache folder of Brickwork.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import faiss
import numpy as np
import torch

from brickwork.data.sets.source import cache_folder
from brickwork.evaluation.retrieval import score
from brickwork.index.planning import overlap
from brickwork.index.search import FlatVectors
from brickwork.index.shortlists import build_shortlist, run_plan
from brickwork.index.types import Kind, Plan
from brickwork.inspection.report_data import Number
from brickwork.inspection.svg import Frame, element, figure, label, log_ticks, polyline, short
from common import RESULTS, begin, environment, save
from search_data import Corpus, grow, local_dimension, real_corpus

TOP = 10
BATCH = 256
ALONE = 24
SPREAD = (
    1.4  # calibrated: half of the real corpus grown to the whole's size is like the whole (see `calibration`)
)
REFERENCE = "faiss flat"
OURS: tuple[tuple[Kind, int], ...] = (
    ("ivf", 192),
    ("ivf", 384),
    ("rabitq", 384),
    ("int8", 96),
    ("int8", 192),
    ("binary", 384),
    ("flat", 48),
    ("flat", 96),
    ("hnsw", 96),
)
Search = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Setting:
    """One way to search an index: ``family`` is what was built, ``effort`` what this setting spends."""

    family: str
    effort: str
    search: Search


@dataclass(frozen=True)
class Family:
    """A built index and its settings; ``bytes`` beside the vectors at full width."""

    name: str
    build_seconds: float
    bytes: int
    settings: list[Setting]


def faiss_flat(vectors: np.ndarray) -> Family:
    """Exact inner products, FAISS's own index over the same memory layout."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    started = time.perf_counter()
    index.add(vectors)
    seconds = time.perf_counter() - started
    return Family(REFERENCE, seconds, 0, [Setting(REFERENCE, "exact", lambda q: index.search(q, TOP)[1])])


def faiss_hnsw(vectors: np.ndarray, links: int, construction: int) -> Family:
    """HNSW over full vectors."""
    name = f"faiss hnsw M={links} efConstruction={construction}"
    index = faiss.IndexHNSWFlat(vectors.shape[1], links, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = construction
    started = time.perf_counter()
    index.add(vectors)
    seconds = time.perf_counter() - started

    def at(effort: int) -> Search:
        parameters = faiss.SearchParametersHNSW(efSearch=effort)
        return lambda queries: index.search(queries, TOP, params=parameters)[1]

    settings = [Setting(name, f"efSearch={e}", at(e)) for e in (16, 32, 64, 128, 256, 512, 1024)]
    size = len(faiss.serialize_index(index, faiss.IO_FLAG_SKIP_STORAGE))
    return Family(name, seconds, size, settings)


def usearch_hnsw(vectors: np.ndarray, dtype: str, links: int, construction: int) -> Family:
    """usearch's HNSW; it keeps the vectors in ``dtype`` itself, which counts only where it is not float32."""
    from usearch.index import Index

    name = f"usearch {dtype} M={links} expansion={construction}"
    index = Index(
        ndim=vectors.shape[1], metric="ip", dtype=dtype, connectivity=links, expansion_add=construction
    )
    threads = faiss.omp_get_max_threads()
    started = time.perf_counter()
    index.add(np.arange(len(vectors)), vectors, threads=threads)
    seconds = time.perf_counter() - started

    def at(effort: int) -> Search:
        def search(queries: np.ndarray) -> np.ndarray:
            index.expansion_search = effort
            return index.search(queries, TOP, threads=threads).keys.astype(np.int64).reshape(len(queries), -1)

        return search

    settings = [Setting(name, f"expansion={e}", at(e)) for e in (32, 64, 128, 256, 512, 1024)]
    stored = vectors.nbytes if dtype == "f32" else 0
    return Family(name, seconds, index.memory_usage - stored, settings)


def ours(flat: FlatVectors, kind: Kind, dim: int) -> Family:
    """A shortlist of ours, the candidates reranked exactly at full width."""
    name = f"brickwork {kind}-{dim}"
    started = time.perf_counter()
    shortlist = build_shortlist(kind, flat.vectors, dim)
    seconds = time.perf_counter() - started
    width = flat.vectors.shape[1]

    def at(keep: int, effort: int | None) -> Setting:
        plan = Plan(stages=((dim, keep), (width, TOP)), kind=kind, effort=effort)
        label = f"keep={keep}" + (f" effort={effort}" if effort else "")
        return Setting(name, label, lambda queries: run_plan(flat, shortlist, queries, plan)[1])

    efforts = [effort for effort in shortlist.efforts() if effort is None or effort >= 16]
    keeps = (100, 200, 400, 800) if efforts == [None] else (50, 200, 400)
    return Family(name, seconds, shortlist.nbytes(), [at(k, e) for e in efforts for k in keeps])


def families(vectors: np.ndarray, only: Sequence[str]) -> Iterator[Family]:
    """What is compared, built one after the other."""
    flat = FlatVectors(vectors)
    makers: dict[str, Callable[[], Family]] = {REFERENCE: lambda: faiss_flat(vectors)}
    for kind, dim in OURS:
        makers[f"brickwork {kind}-{dim}"] = lambda kind=kind, dim=dim: ours(flat, kind, dim)  # type: ignore[misc]
    makers["faiss hnsw"] = lambda: faiss_hnsw(vectors, 16, 64)
    makers["usearch f32"] = lambda: usearch_hnsw(vectors, "f32", 16, 64)
    makers["usearch i8"] = lambda: usearch_hnsw(vectors, "i8", 16, 64)
    for name, make in makers.items():
        if name == REFERENCE or not only or any(name.startswith(wanted) for wanted in only):
            family = make()
            print(f"{family.name}: built in {family.build_seconds:.1f} s", file=sys.stderr, flush=True)
            yield family


def milliseconds(search: Search, queries: np.ndarray) -> tuple[float, float]:
    """For a query: median of those searched alone, and its share of a batch."""
    alone = []
    for query in queries[:ALONE]:
        started = time.perf_counter()
        search(query[None])
        alone.append(time.perf_counter() - started)
    started = time.perf_counter()
    search(queries[:BATCH])
    return 1000 * statistics.median(alone), 1000 * (time.perf_counter() - started) / len(queries[:BATCH])


def compare(corpus: Corpus, rounds: int, only: Sequence[str]) -> dict[str, Any]:
    """Every setting's speed as a ratio to exact FAISS flat, with quality, build time and memory."""
    built = list(families(corpus.documents, only))
    settings = [setting for family in built for setting in family.settings]
    exact = settings[0].search(corpus.queries)
    found = {}
    for setting in settings:
        rows = exact if setting is settings[0] else setting.search(corpus.queries)
        ndcg = float(np.mean(score(rows, corpus.relevant, (f"ndcg@{TOP}",))[f"ndcg@{TOP}"]))
        found[setting] = {"recall": round(overlap(rows, exact), 4), "ndcg": round(ndcg, 4)}
    alone: dict[Setting, list[float]] = {setting: [] for setting in settings}
    batch: dict[Setting, list[float]] = {setting: [] for setting in settings}
    for number in range(rounds):
        for setting in settings:
            first, second = milliseconds(setting.search, corpus.queries)
            alone[setting].append(first)
            batch[setting].append(second)
        print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    for setting in settings:
        for name, times in (("alone", alone), ("batch", batch)):
            ratios = [base / own for base, own in zip(times[settings[0]], times[setting])]
            found[setting][f"{name}_ms"] = round(statistics.median(times[setting]), 3)
            found[setting][f"{name}_ratio"] = round(statistics.median(ratios), 1)
            found[setting][f"{name}_ratios"] = [round(ratio, 1) for ratio in ratios]
    return {
        "documents": len(corpus.documents),
        "queries": len(corpus.queries),
        "families": [
            {
                "name": family.name,
                "build_seconds": round(family.build_seconds, 1),
                "megabytes_beside_vectors": round(family.bytes / 1e6, 1),
                "settings": [{"effort": s.effort, **found[s]} for s in family.settings],
            }
            for family in built
        ],
    }


def best(result: dict[str, Any]) -> dict[str, Any]:
    """Each family's fastest setting at a recall, and of those that lose at most 0.005 nDCG@10."""
    reference = result["families"][0]["settings"][0]
    chosen: dict[str, Any] = {}
    for mode in ("alone", "batch"):
        for recall in (0.9, 0.95, 0.99):
            chosen[f"{mode}, recall {recall}"] = {
                family["name"]: min(good, key=lambda s: s[f"{mode}_ms"])
                for family in result["families"]
                if (good := [s for s in family["settings"] if s["recall"] >= recall])
            }
        chosen[f"{mode}, nDCG@10 loss at most 0.005"] = {
            family["name"]: min(good, key=lambda s: s[f"{mode}_ms"])
            for family in result["families"]
            if (good := [s for s in family["settings"] if s["ndcg"] >= reference["ndcg"] - 0.005])
        }
    return chosen


STYLE = """
svg { background: #fff; font: 12px system-ui, sans-serif; fill: #22262b; }
.tick, .note, .axis-title { fill: #6b7280; }
.grid { stroke: #e5e7eb; }
.axis { stroke: #6b7280; }
.line { stroke-width: 1.5; }
.others { stroke-dasharray: 5 3; }
"""
COLOURS = ("#0072b2", "#c85200", "#00805d", "#a3457f", "#8a6a00", "#5a4fcf", "#3f7f9f", "#6b6b6b")
RECALLS = (0.6, 0.7, 0.8, 0.9, 1.0)


def draw(result: dict[str, Any], file: Path) -> None:
    """Recall against queries per second, alone and in a batch, one line a family: solid ours, dashed the others."""
    width, height = 560, 420
    panels = []
    for place, mode in enumerate(("alone", "batch")):
        panels.append(
            element("g", *panel(result, mode, width, height), transform=f"translate({place * width} 24)")
        )
    names = [family["name"] for family in result["families"]]
    for place, name in enumerate(names):
        x, y = 46 + 280 * (place % 4), height + 44 + 20 * (place // 4)
        style = line_style(place, name)
        panels.append(element("line", x1=x, x2=x + 24, y1=y, y2=y, **style))
        panels.append(label(x + 30, y + 4, name, "note", "start"))
    title = f"{result['documents']:,} documents of {result['width']} dimensions: recall@10 against queries per second"
    heading = label(16, 20, title, "title", "start")
    full = height + 60 + 20 * ((len(names) - 1) // 4)
    file.write_text(figure(2 * width, full, title, element("style", STYLE), heading, *panels) + "\n")


def panel(result: dict[str, Any], mode: str, width: int, height: int) -> list[str]:
    """The axes and lines of one mode, in the order of the families."""
    lines = {family["name"]: frontier(family["settings"], mode) for family in result["families"]}
    speeds = [speed for line in lines.values() for speed, _ in line]
    span = min(speeds) / 1.2, max(speeds) * 1.2
    frame = Frame.fit(span, (RECALLS[0], RECALLS[-1]), (width, height), log=True)
    speed_ticks = [(t, short(t)) for t in log_ticks(*span)]
    y_title = "recall@10 against exact search"
    parts = [
        frame.axes(speed_ticks, [(t, f"{t:g}") for t in RECALLS], f"queries per second, {mode}", y_title)
    ]
    for place, (name, line) in enumerate(lines.items()):
        points = [(frame.x(speed), frame.y(recall)) for speed, recall in line if recall >= RECALLS[0]]
        parts.append(polyline(points, **line_style(place, name)))
        parts += [element("circle", cx=x, cy=y, r=2.5, fill=COLOURS[place % len(COLOURS)]) for x, y in points]
    return parts


def frontier(settings: Sequence[dict[str, Any]], mode: str) -> list[tuple[float, float]]:
    """(queries per second, recall) of the settings with more recall than every faster one."""
    line: list[tuple[float, float]] = []
    for setting in sorted(settings, key=lambda s: s[f"{mode}_ms"]):
        if not line or setting["recall"] > line[-1][1]:
            line.append((1000 / setting[f"{mode}_ms"], setting["recall"]))
    return line


def line_style(place: int, name: str) -> dict[str, str | Number | None]:
    """The colour of a family, dashed unless it is ours."""
    return {
        "stroke": COLOURS[place % len(COLOURS)],
        "class_": "line" if name.startswith("brickwork") else "line others",
    }


def calibration(real: np.ndarray) -> dict[str, Any]:
    """Whether made vectors lie as real ones do: half of the real ones, grown to the number of all, beside all."""
    half = real[np.sort(np.random.default_rng(0).permutation(len(real))[: len(real) // 2])]
    kinds = {"real": real, "grown from half": grow(half, len(real), SPREAD)}
    found = {}
    for name, vectors in kinds.items():
        sample = vectors[np.random.default_rng(1).choice(len(vectors), 10_000, replace=False)]
        values = np.sort(np.linalg.eigvalsh(np.cov(sample.T)))[::-1].cumsum()
        found[name] = {
            "local_dimension": round(local_dimension(vectors), 1),
            "variance_of_first": {k: round(float(values[k - 1] / values[-1]), 3) for k in (8, 48, 128)},
        }
    return found


def million(real: np.ndarray, cache: Path, count: int) -> np.ndarray:
    """The real vectors and made ones, kept in the cache."""
    file = cache / f"grown-{len(real)}-{count}-{SPREAD}.npy"
    if not file.exists():
        np.save(file, grow(real, count, SPREAD))
    return np.load(file)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--collection", choices=("real", "million"), default="real")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--count", type=int, default=1_000_000, help="how many vectors `million` has")
    parser.add_argument("--limit", type=int, help="functions of the real corpus (default: all)")
    parser.add_argument("--model", type=Path, default=Path("runs/demo"), help="what `brickwork demo` trained")
    parser.add_argument("--only", nargs="*", default=[], help="families by how their names begin")
    parser.add_argument("--calibrate", action="store_true", help="compare made with real vectors, and stop")
    options = parser.parse_args()
    begin()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    cache = cache_folder() / "benchmark-search"
    corpus = real_corpus(options.model, cache, 2000, options.limit)
    corpus = Corpus(corpus.documents, corpus.queries[: options.queries], corpus.relevant[: options.queries])
    if options.calibrate:
        save("search-calibration", {**environment(), **calibration(corpus.documents)})
        return
    if options.collection == "million":
        documents = million(corpus.documents, cache, options.count)
        corpus = Corpus(documents, corpus.queries, corpus.relevant)
    result = {
        **environment(),
        "threads": options.threads,
        "rounds": options.rounds,
        "width": corpus.documents.shape[1],
        **compare(corpus, options.rounds, options.only),
    }
    result["best"] = best(result)
    save(f"search-{options.collection}", result)
    draw(result, RESULTS / f"search-{options.collection}.svg")


if __name__ == "__main__":
    main()
