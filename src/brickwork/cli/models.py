"""What one does with a trained model: ``evaluate``, ``encode``, ``index``, ``search``, ``export``."""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from brickwork.cli import output
from brickwork.cli.options import (
    AsJson,
    Columns,
    Data,
    Dim,
    Layers,
    Limit,
    Model,
    Quiet,
    add,
    column_names,
    sizes,
)


class ExportFormat(StrEnum):
    """What a model can be exported to."""

    sentence_transformers = "sentence-transformers"
    onnx = "onnx"


def register(app: typer.Typer) -> None:
    """Adds the verbs of this module."""
    add(app, evaluate, "Use", "brickwork evaluate runs/docs docs/ --dims 48,384 --layers 3,6")
    add(app, encode, "Use", "brickwork encode runs/docs docs/ --out vectors/ --dim 96")
    add(app, index, "Use", "brickwork index runs/docs docs/ --out runs/docs-index --layers 3,6")
    add(
        app,
        search,
        "Use",
        'brickwork search runs/docs-index "how do I resume a run?"',
        'brickwork search runs/docs-index "resume" --dim 48 --layers 3 --json',
    )
    add(app, export, "Use", "brickwork export runs/docs --to sentence-transformers --out docs-st/")


def evaluate(
    model: Model,
    data: Data,
    dims: Annotated[
        str | None, typer.Option(help="Vector sizes, e.g. 48,96 (default: the trained ones).")
    ] = None,
    layers: Annotated[str | None, typer.Option(help="Depths, e.g. 3,6 (default: the trained ones).")] = None,
    columns: Columns = None,
    limit: Limit = None,
    seed: Annotated[int, typer.Option(help="The seed of the training, for the same held-out part.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure a model on the held-out part of your data, at every size, beside BM25 and TF-IDF."""
    from brickwork import api

    with output.results_only(as_json):
        found = api.evaluate(
            model,
            data,
            dims=sizes(dims, "--dims"),
            layers=sizes(layers, "--layers"),
            columns=column_names(columns),
            limit=limit,
            seed=seed,
            progress=not quiet,
        )
    output.emit_json(found) if as_json else _show_evaluation(found)


def encode(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option(help="The folder for the Parquet files.", show_default=False)],
    dim: Dim = None,
    layers: Layers = None,
    columns: Columns = None,
    limit: Limit = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Turn documents into vectors on disk; a second call goes on where the first was stopped."""
    from brickwork import api

    with output.results_only(as_json):
        made = api.encode_file(
            model,
            data,
            out,
            dim=dim,
            layers=layers,
            columns=column_names(columns),
            limit=limit,
            progress=not quiet,
        )
    if as_json:
        output.emit_json(made)
    else:
        print(out)
        output.hint(", ".join(f"{name}: {value}" for name, value in made.items()), quiet)


def index(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option(help="The folder of the index.", show_default=False)],
    layers: Annotated[
        str | None, typer.Option(help="Depths to search at, e.g. 3,6 (default: the full depth).")
    ] = None,
    columns: Columns = None,
    limit: Limit = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Encode documents and store them in a searchable index."""
    from brickwork import api

    depths = sizes(layers, "--layers")
    with output.results_only(as_json):
        made = api.build_index(
            model, data, out, layers=depths, columns=column_names(columns), limit=limit, progress=not quiet
        )
    if as_json:
        manifest = made.manifest
        sizes_held = {"dims": list(manifest.dims), "layers": list(manifest.depths)}
        output.emit_json({"folder": str(out), "documents": len(made), "model": manifest.model, **sizes_held})
        return
    print(out)
    output.hint(f"{len(made):,} documents", quiet)
    output.next_commands({"search them": f'brickwork search {shlex.quote(str(out))} "your question"'}, quiet)


def search(
    index: Annotated[Path, typer.Argument(help="The folder of an index.", show_default=False)],
    query: Annotated[str, typer.Argument(help="What to look for.", show_default=False)],
    dim: Dim = None,
    layers: Layers = None,
    top: Annotated[int, typer.Option(min=1, help="How many results.")] = 10,
    shortlist: Annotated[
        int | None, typer.Option(help="Find this many on a short prefix first, then order them at --dim.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Search an index; cut the vectors and the encoder for speed.

    The time is that of encoding and comparing this query, with model and vectors already in memory.
    """
    import warnings
    from dataclasses import asdict

    from brickwork.index.index import open_index

    with output.results_only(as_json):
        opened = open_index(index)
        # Once untimed: the first call also loads the model, which says nothing about the size asked for.
        opened.answer(query, top, dim=dim, layers=layers, shortlist=shortlist)
        answer = opened.answer(query, top, dim=dim, layers=layers, shortlist=shortlist)
    for text in answer.notes:
        warnings.warn(text, stacklevel=1)
    milliseconds = round(answer.encode_milliseconds + answer.scan_milliseconds, 3)
    if as_json:
        results = [asdict(hit) for hit in answer.hits[0]]
        sizes_used = {"dim": answer.dim, "layers": answer.layers, "notes": list(answer.notes)}
        output.emit_json({"results": results, "milliseconds": milliseconds, **sizes_used})
        return
    _show_hits(answer.hits[0])
    size = f"{answer.dim} dims, {answer.layers} layers"
    output.hint(f"{len(opened):,} documents at {size}: {milliseconds:.1f} ms", quiet)


def export(
    model: Model,
    out: Annotated[Path, typer.Option(help="The folder to write.", show_default=False)],
    to: Annotated[ExportFormat, typer.Option(help="The format.")] = ExportFormat.sentence_transformers,
    dim: Dim = None,
    layers: Layers = None,
    quiet: Quiet = False,
) -> None:
    """Write a model for other tools, whole or cut to a size."""
    from brickwork.representation.model import load

    representation = load(model)
    if to is ExportFormat.onnx:
        from brickwork.representation.export_onnx import export_onnx

        export_onnx(representation, out, dim=dim, layers=layers)
    else:
        from brickwork.representation.export_sentence_transformers import export_sentence_transformers

        export_sentence_transformers(representation, out, dim=dim, layers=layers)
    print(out)


def _show_hits(hits: list[Any]) -> None:
    from rich.markup import escape
    from rich.padding import Padding

    out = output.console()
    for rank, hit in enumerate(hits, 1):
        title = escape(hit.title or hit.id)
        out.print(
            f"[bold]{rank:>2}  {title}[/bold]  [dim]{hit.score:.3f}  {escape(hit.source)}[/dim]",
            soft_wrap=True,
        )
        text = " ".join(hit.text.split())
        out.print(Padding(escape(text if len(text) <= 240 else text[:239] + "…"), (0, 0, 0, 4)))


def _show_evaluation(found: dict[str, Any]) -> None:
    from rich.table import Table

    out = output.console()
    for part in found["retrieval"]:
        cells = {(cell["layers"], cell["dim"]): cell["ndcg@10"] for cell in part["cells"]}
        title = f"{part['name']}: nDCG@10 ({part['queries']:,} queries, {part['documents']:,} documents)"
        out.print(_size_table(title, cells))
        for name, metrics in part.get("baselines", {}).items():
            out.print(f"  {name} {metrics['ndcg@10']:.3f}", style="dim")
    for name, values in found["scores"].items():
        out.print(_size_table(name, {(v["layers"], v["dim"]): v["value"] for v in values}))
    if not found["retrieval"] and not found["scores"]:
        table = Table(box=None, show_header=False)
        table.add_row("nothing to measure: the data has no held-out queries, scores or labels")
        out.print(table)


def _size_table(title: str, cells: dict[tuple[int, int], float]) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("layers", justify="right", style="bold")
    dims = sorted({dim for _, dim in cells})
    best = max(cells.values())
    for dim in dims:
        table.add_column(f"{dim} dims", justify="right")
    for layers in sorted({depth for depth, _ in cells}, reverse=True):
        row = [cells.get((layers, dim)) for dim in dims]
        shown = ["" if v is None else f"[bold]{v:.3f}[/bold]" if v == best else f"{v:.3f}" for v in row]
        table.add_row(str(layers), *shown)
    return table
