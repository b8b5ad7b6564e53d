"""What one does with a trained model: ``evaluate``, ``encode``."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from brickwork.cli import judging, output
from brickwork.cli.options import (
    AllowOutside,
    AsJson,
    Columns,
    Data,
    Dim,
    Engine,
    Layers,
    Limit,
    Model,
    PassageWords,
    Quiet,
    add,
    column_names,
    sizes,
)
from brickwork.core.console import styled
from brickwork.core.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    add(
        app,
        evaluate,
        "Use",
        "brickwork evaluate runs/docs docs/ --dims 48,384 --layers 3,6",
        "brickwork evaluate runs/v2 tickets.csv --against runs/v1",
        "brickwork evaluate runs/docs-index --queries queries.tsv --qrels qrels.tsv",
    )
    add(
        app,
        encode,
        "Use",
        "brickwork encode runs/docs docs/ --out vectors/ --dim 96",
        "brickwork encode runs/docs tables/ --out vectors/ --ray local --workers 8",
    )


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="A run folder, a SentenceTransformer folder or a hub id; with --queries also the folder of an index.",
            metavar="MODEL|INDEX",
            show_default=False,
        ),
    ],
    data: Annotated[
        str | None,
        typer.Argument(
            help="A folder, a .jsonl, .csv, .parquet or .txt file, or a known set; with --queries the documents.",
            show_default=False,
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Your own queries: ids and texts (.jsonl, .csv, .tsv, .parquet), or TREC topics. Without --qrels their "
            "answers are shown side by side.",
            show_default=False,
        ),
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option(
            help="With --queries: which documents answer them how well; TREC's four columns, BEIR's three, or a table.",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="With --queries: an HTML page to write.", show_default=False)
    ] = None,
    learn_weight: Annotated[
        bool,
        typer.Option(
            "--learn-weight",
            help="With --queries and --qrels: learn how much vectors count in hybrid searches of INDEX on one half of "
            "them, measure on the other, and keep it in INDEX.",
        ),
    ] = False,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines/--no-baselines",
            help="Whether the untouched model is measured beside it; with --queries it encodes all documents anew.",
        ),
    ] = True,
    dims: Annotated[
        str | None, typer.Option(help="Vector sizes, e.g. 48,96 (default: the trained ones).")
    ] = None,
    layers: Annotated[str | None, typer.Option(help="Depths, e.g. 3,6 (default: the trained ones).")] = None,
    columns: Columns = None,
    limit: Limit = None,
    seed: Annotated[
        int | None, typer.Option(help="The seed of the split (default: that of the training).")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD",
            help="An older model whose vectors MODEL is to search: print the compatibility matrix instead. Repeat, the "
            "oldest first.",
        ),
    ] = None,
    allow_outside: AllowOutside = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure a model on the held-out part of your data, at every size, beside BM25 and TF-IDF; or a search by your own
    queries and judgements, beside BM25 and the model as it was published.

    A judgement may name a file: then each file stands at the place of its best passage.
    """
    from brickwork.api import evaluate as evaluating

    if against and queries is not None:
        raise ConfigError("--against compares models on DATA; with --queries leave it out")
    if against:
        if data is None:
            raise ConfigError("DATA is missing: give data to compare the models on")
        if dims or layers:
            raise ConfigError("--against compares full vectors; leave --dims and --layers out")
        with output.results_only(as_json):
            compared = evaluating.compatibility(
                [*against, model],
                data,
                columns=column_names(columns),
                limit=limit,
                seed=seed,
                allow_outside=allow_outside,
            )
        output.emit_json(compared) if as_json else _show_compatibility(compared)
        return
    with output.results_only(as_json):
        results = evaluating.evaluate(
            model,
            data,
            dims=sizes(dims, "--dims"),
            layers=sizes(layers, "--layers", least=0),
            columns=column_names(columns),
            limit=limit,
            seed=seed,
            allow_outside=allow_outside,
            progress=not quiet,
            queries=queries,
            qrels=qrels,
            report=report,
            learn_weight=learn_weight,
            baselines=baselines,
        )
    if as_json:
        output.emit_json(results)
    elif queries is None:
        _show_evaluation(results)
    else:
        judging.show(results, report)


def encode(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option(help="The folder for the Parquet files.", show_default=False)],
    dim: Dim = None,
    layers: Layers = None,
    columns: Columns = None,
    limit: Limit = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="local|auto|HOST:PORT", help="Share the work among processes or machines, by Ray."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers of --ray (default: one a core or GPU).")
    ] = None,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each worker of --ray.")] = 0,
    passage_words: PassageWords = None,
    allow_outside: AllowOutside = False,
    engine: Engine = "auto",
    view: Annotated[
        str, typer.Option(help="dense, or sparse: words with weights, of a model that reads words.")
    ] = "dense",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Turn documents into vectors on disk; a second call goes on where the first was stopped."""
    from brickwork.api import index as indexing

    with output.results_only(as_json):
        made = indexing.encode_file(
            model,
            data,
            out,
            dim=dim,
            layers=layers,
            columns=column_names(columns),
            limit=limit,
            ray=ray,
            workers=workers,
            gpus=gpus,
            passage_words=passage_words,
            allow_outside=allow_outside,
            engine=engine,
            view=view,
            tell=partial(output.hint, quiet=quiet),
            progress=not quiet,
        )
    if as_json:
        output.emit_json(made)
    else:
        output.line(str(out))
        output.hint(", ".join(f"{name}: {value}" for name, value in made.items()), quiet)


def _show_evaluation(results: dict[str, Any]) -> None:
    from rich.table import Table

    out = output.console()
    for part in results["retrieval"]:
        cells = {(cell["layers"], cell["dim"]): cell["ndcg@10"] for cell in part["cells"]}
        title = f"{part['name']}: nDCG@10 ({part['queries']:,} queries, {part['documents']:,} documents)"
        out.print(title, style="bold", soft_wrap=True)  # a table as narrow as this would break its title
        out.print(_size_table(cells))
        for name, metrics in part.get("baselines", {}).items():
            out.print(f"  {name} {metrics['ndcg@10']:.3f}", style="dim")
        if cells := part.get("untouched"):
            out.print("  the untouched model, with its own token limit and prompts:", style="dim")
            out.print(_size_table({(cell["layers"], cell["dim"]): cell["ndcg@10"] for cell in cells}))
        if simple := part.get("simple"):
            out.print(f"  {simple['name']}, without training, from the same texts:", style="dim")
            out.print(
                _size_table({(cell["layers"], cell["dim"]): cell["ndcg@10"] for cell in simple["cells"]})
            )
    if results["scores"] and results["data"]["test"]:
        out.print(f"scores on {results['data']['test']:,} rows that were not trained on", style="bold")
    for name, values in results["scores"].items():
        if isinstance(values, list):
            out.print(name, style="bold")
            out.print(_size_table({(v["layers"], v["dim"]): v["value"] for v in values}))
        else:
            out.print(f"{name} not a number" if values is None else f"{name} {values:.4g}")
    if not results["retrieval"] and not results["scores"]:
        table = Table(box=None, show_header=False)
        table.add_row("nothing to measure: the data has no held-out queries, scores or labels")
        out.print(table)


def _show_compatibility(results: dict[str, Any]) -> None:
    from rich.table import Table

    out = output.console()
    for matrix in results["matrices"]:
        out.print(f"{matrix['metric']}: queries by the row's model, documents by the column's", style="bold")
        table = Table()
        table.add_column("", style="bold")
        for name in matrix["models"]:
            table.add_column(name, justify="right")
        for name, row in zip(matrix["models"], matrix["matrix"]):
            table.add_row(name, *(f"{value:.3f}" for value in row))
        out.print(table)
        chance = "" if matrix["chance"] is None else f"; chance {100 * matrix['chance']:.1f} %"
        out.print(
            f"  cross-tests {matrix['mean_cross']:.1f} %, self-tests {matrix['mean_self']:.1f} %{chance}\n"
            f"  a new model in an old index: {matrix['mean_gain']:+.1f} points against the old model there\n"
            f"  AC {matrix['average_compatibility']:.2f} (share of cross-tests above the old self-test), "
            f"AA {matrix['average_accuracy']:.2f}",
            style="dim",
        )


def _size_table(cells: dict[tuple[int, int], float]) -> Any:
    from rich.table import Table

    table = Table()
    table.add_column("layers", justify="right", style="bold")
    dims = sorted({dim for _, dim in cells})
    best = max(cells.values())
    for dim in dims:
        table.add_column(f"{dim} dims", justify="right")
    for layers in sorted({depth for depth, _ in cells}, reverse=True):
        row = [cells.get((layers, dim)) for dim in dims]
        printed = ["" if v is None else styled((f"{v:.3f}", "bold" if v == best else "")) for v in row]
        table.add_row(str(layers), *printed)
    return table
