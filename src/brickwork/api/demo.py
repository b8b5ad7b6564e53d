"""The main job on a corpus that every machine has: the documentation of its Python packages.

Collect, train MiniLM as ``matryoshka-2d``, measure it beside MiniLM as it was published and BM25, index, search, report.
"""

import datetime
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from brickwork.api import train as api
from brickwork.core.config import override, to_dict
from brickwork.core.console import plain_console, styled
from brickwork.core.errors import ConfigError, naming_extras
from brickwork.core.files import read_json

if TYPE_CHECKING:
    from brickwork.data.types import Document, TaskData
    from brickwork.evaluation.grid import Comparison
    from brickwork.evaluation.measure import Measurement
    from brickwork.index.index import Index
    from brickwork.inspection.report_data import ExampleSearch
    from brickwork.training.progress import Progress

SMALL_DIM, SMALL_LAYERS = 48, 3
QUERIES = (
    "read a csv file into a table",
    "run a function again when it fails, waiting longer each time",
    "compute the cosine similarity of two vectors",
)


@dataclass(frozen=True)
class DemoResult:
    """Where the demo left things, and its main numbers."""

    folder: Path
    report: Path
    seconds: float
    measurement: "Measurement"


@naming_extras("the demo")
def run_demo(
    out: Path | str = "runs/demo",
    *,
    settings: tuple[str, ...] = (),
    seed: int = 0,
    console: Console | None = None,
    progress: "Progress | None" = None,
) -> DemoResult:
    """Runs the demo and leaves model, index and ``report.html`` in ``out``.

    ``settings`` are ``field=value`` overrides of its recipe. A finished demo in ``out`` is replaced.
    """
    from brickwork.data.sets.python_corpus import documents as python_documents
    from brickwork.encoders.build import find_backbone
    from brickwork.index.build import build_index

    console = console or plain_console()
    started = time.perf_counter()
    folder = Path(out)
    run = override(replace(api.recipe("matryoshka-2d", "demo"), seed=seed), settings)
    if find_backbone(run.model.encoder.backbone, run.model.encoder.revision) is None:
        raise ConfigError(
            f"model.encoder.backbone={run.model.encoder.backbone} begins with fresh weights, and the demo compares with the "
            "pretrained model that it trains; name one, or use: brickwork train matryoshka-2d"
        )

    _headline(console, "1/5", "Collect the documentation of the installed Python packages")
    system, data = api.build(run)
    _describe(console, data)

    _headline(console, "2/5", f"Train MiniLM as {run.system}: every prefix, every depth")
    _clear(folder)
    summary = api.train(run, folder, progress=progress, prepared=(system, data))
    assert summary.measurement is not None
    assert summary.representation is not None
    after = summary.measurement

    _headline(
        console,
        "3/5",
        "Compare it with MiniLM as it was published, and BM25, on modules that it has not seen",
    )
    _show_before(console, after)
    _show_grids(console, after)

    _headline(console, "4/5", "Build the index and search it")
    documents = list(python_documents(run.data.limit))
    depths = (SMALL_LAYERS, summary.representation.axes.num_layers)
    index = build_index(summary.representation, documents, folder / "index", layers=depths)
    console.print(f"  {len(index):,} documents at {' and '.join(map(str, depths))} layers")
    searches = tuple(_search(console, index, query) for query in QUERIES)

    _headline(console, "5/5", "Write the report")
    report = _report(folder, run, data, after, documents, index, searches)
    seconds = time.perf_counter() - started
    console.print(f"  {report}")
    _goodbye(console, folder, seconds)
    return DemoResult(folder, report, seconds, after)


def _headline(console: Console, number: str, text: str) -> None:
    console.print(f"\n{number}  {text}", style="bold")


def _describe(console: Console, data: "TaskData") -> None:
    console.print(f"  {len(data.train):,} pairs to train on, split by module")
    for name, task in data.retrieval.items():
        console.print(
            f"  {name} search: {len(task.queries):,} queries, {len(task.documents):,} documents, held out"
        )


def _show_before(console: Console, after: "Measurement") -> None:
    for name, grid in after.untouched.items():
        full = max(grid.cells, key=lambda cell: (cell.layers, cell.dim))
        small = grid.cell(SMALL_DIM, SMALL_LAYERS)
        others = ", ".join(
            f"{label} {statistics.fmean(scores['ndcg@10']):.3f}"
            for label, scores in after.baselines[name].items()
        )
        console.print(
            f"  {name}: MiniLM has nDCG@10 {full.mean('ndcg@10'):.3f} at full size, "
            f"{small.mean('ndcg@10'):.3f} at {SMALL_DIM} dimensions and {SMALL_LAYERS} layers; {others}"
        )


def _show_grids(console: Console, after: "Measurement") -> None:
    """The grid after training with the paired difference to MiniLM cut to the same size; * where it is clear."""
    from brickwork.evaluation.grid import compare

    for name, grid in after.grids.items():
        cells = {(c.dim, c.layers): c for c in compare(after.untouched[name], grid)}
        dims = sorted({dim for dim, _ in cells}, reverse=True)
        console.print(f"\n  {name} search: nDCG@10 after training, and the change")
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
        table.add_column("layers", justify="right")
        for dim in dims:
            table.add_column(f"{dim} dims", justify="right", no_wrap=True)
        for layers in sorted({layers for _, layers in cells}, reverse=True):
            table.add_row(str(layers), *(_cell(cells[dim, layers]) for dim in dims))
        console.print(table)
    console.print("  * the 95 % interval of the change, paired over queries, leaves out zero")
    for one in after.against:
        console.print(f"  {one.sentence}")


def _cell(comparison: "Comparison") -> str:
    """``.637 +.035*``: quality, change, and whether the change is clear."""
    clear = comparison.difference.low > 0 or comparison.difference.high < 0
    change = f"{comparison.difference.mean:+.3f}".replace("0.", ".")
    return f"{comparison.after:.3f} {change}{'*' if clear else ' '}".replace("0.", ".", 1)


def _clear(folder: Path) -> None:
    """Removes what an earlier demo left in its own folder, so that the demo can be run again."""
    import shutil

    config = folder / "config.json"
    if folder.is_dir() and any(folder.iterdir()):
        if not config.is_file() or read_json(config).get("recipe") != "demo":
            raise ConfigError(f"{folder} holds something else than a demo; choose another folder with --out")
        shutil.rmtree(folder)


def _search(console: Console, index: "Index", query: str) -> "ExampleSearch":
    """Answers the query at full and at small size; shows and returns both."""
    from brickwork.inspection.report_data import ExampleSearch, Hit, SearchSide

    full_layers = index.axes.num_layers
    sizes = (
        ("full size", index.axes.full_dim, full_layers),
        ("cut", SMALL_DIM, SMALL_LAYERS),
    )
    console.print(f"\n  “{query}”", style="bold")
    sides = []
    for label, dim, layers in sizes:
        index.answer(query, 3, dim=dim, layers=layers)  # to warm up: the first call reads vectors and weights
        times = []
        for _ in range(5):
            answer = index.answer(query, 3, dim=dim, layers=layers)
            times.append(answer.encode_milliseconds + answer.scan_milliseconds)
        side = SearchSide(
            label=label,
            dim=dim,
            layers=layers,
            milliseconds=statistics.median(times),
            hits=tuple(
                Hit(title=h.title, score=h.score, text=h.text, source=h.source) for h in answer.hits[0]
            ),
        )
        sides.append(side)
        console.print(f"  {label}: {dim} dimensions, {layers} layers, {side.milliseconds:.1f} ms")
        for hit in side.hits:
            line = styled(f"    {hit.score:.3f}  {hit.title}  ", (" ".join(hit.text.split())[:200], "dim"))
            console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
    return ExampleSearch(query=query, sides=tuple(sides))


def _report(
    folder: Path,
    run: Any,
    data: "TaskData",
    after: "Measurement",
    documents: list["Document"],
    index: "Index",
    searches: tuple["ExampleSearch", ...],
) -> Path:
    from brickwork.api.report import costs, facts, finding, retrieval_part, training_curves
    from brickwork.inspection.maps import corpus_map
    from brickwork.inspection.report import write_report
    from brickwork.inspection.report_data import ReportData

    descriptions = {
        "documentation": "From the first sentence of a function's documentation to the rest of it.",
        "code": "From the first sentence of the documentation to the source code, without its documentation.",
    }
    main = after.grids["documentation"]
    return write_report(
        folder,
        ReportData(
            title="An elastic encoder for Python's documentation",
            subtitle="MiniLM-L6 fine-tuned as matryoshka-2d on the packages of this machine",
            created=datetime.date.today().isoformat(),
            finding=finding(after.untouched["documentation"], main, SMALL_DIM, SMALL_LAYERS),
            facts={**facts(data), "steps": f"{run.train.steps:,} × {run.train.batch_size} pairs"},
            quality=tuple(
                retrieval_part(grid, after.untouched[name], after.baselines[name], descriptions.get(name, ""))
                for name, grid in after.grids.items()
            ),
            costs=costs(main),
            curves=training_curves(folder),
            corpus_map=corpus_map(
                index.vectors(index.axes.num_layers),
                [document.title for document in documents],
                [document.text for document in documents],
            ),
            searches=searches,
            notes=tuple(data.notes),
            commands=_commands(folder),
            environment=read_json(folder / "env.json"),
            configuration=to_dict(run),
        ),
    )


def _commands(folder: Path) -> tuple[tuple[str, str], ...]:
    return (
        ("measure it beside the closed form, which needs no training", f"brickwork evaluate {folder} python"),
        ("train on your own files", "brickwork train matryoshka-2d --data YOUR_FOLDER --out runs/mine"),
        ("index them", "brickwork index runs/mine YOUR_FOLDER --out runs/mine-index"),
        ("search them", 'brickwork search runs/mine-index "your question"'),
    )


def _goodbye(console: Console, folder: Path, seconds: float) -> None:
    took = (f"Done in {int(seconds // 60)} min {int(seconds % 60)} s.", "bold")
    console.print(styled("\n", took, f" Everything is in {folder}."))
    console.print("\nThe same on your own files (txt, md, rst, html, py, jsonl, csv, parquet):")
    (_, measure), *own = _commands(folder)
    for _, command in own:
        console.print(f"  {command}", soft_wrap=True)
    console.print(
        f"\nIt beside the closed form, which makes MiniLM elastic without training:\n  {measure}",
        soft_wrap=True,
    )
