"""What one does with a trained model: ``evaluate``, ``encode``, ``export``."""

from collections.abc import Mapping
from enum import StrEnum
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


class ExportFormat(StrEnum):
    """What a model can be exported to."""

    sentence_transformers = "sentence-transformers"
    onnx = "onnx"
    peft = "peft"
    merged = "merged"
    bricks = "bricks"
    decoder_states = "decoder-states"
    pruned = "pruned"
    dense = "dense"


# Which options of `export` each format has a use for.
_OPTIONS = {
    ExportFormat.sentence_transformers: ("dim", "layers"),
    ExportFormat.onnx: ("dim", "layers"),
    ExportFormat.peft: ("rank",),
    ExportFormat.merged: ("brick", "rank"),
    ExportFormat.bricks: ("brick",),
    ExportFormat.decoder_states: (),
    ExportFormat.pruned: ("keep",),
    ExportFormat.dense: (),
}
# What a system writes by a method of its own.
_BY_SYSTEMS = (
    ExportFormat.peft,
    ExportFormat.merged,
    ExportFormat.bricks,
    ExportFormat.pruned,
    ExportFormat.dense,
)


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
    add(
        app,
        export,
        "Use",
        "brickwork export runs/docs --to sentence-transformers --out docs-st/",
        "brickwork export runs/adapted --to peft --rank 4 --out adapter/",
        "brickwork export runs/domains --to merged --brick law+medicine --out law-and-medicine/",
        "brickwork export models/t5 --to decoder-states --out runs/t5-states",
        "brickwork export runs/circuit --to pruned --keep 'p<0.01' --out runs/pruned",
        "brickwork export runs/tickets --to dense --out tickets-model/",
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
            tell=partial(output.hint, quiet=quiet),
            progress=not quiet,
        )
    if as_json:
        output.emit_json(made)
    else:
        output.line(str(out))
        output.hint(", ".join(f"{name}: {value}" for name, value in made.items()), quiet)


def export(
    model: Model,
    out: Annotated[Path, typer.Option(help="The folder to write.", show_default=False)],
    to: Annotated[ExportFormat, typer.Option(help="The format.")] = ExportFormat.sentence_transformers,
    dim: Dim = None,
    layers: Layers = None,
    rank: Annotated[
        int | None, typer.Option(help="Rank of a peft adapter or of merged bricks (default: the largest).")
    ] = None,
    brick: Annotated[
        str | None,
        typer.Option(
            metavar="A|A+B|-A",
            help="Which bricks, for --to bricks or merged (default: all).",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(help="Which parts of a model stay with --to pruned: 'p<0.01', 'effect>0.1', 'top 20'."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write a model for other tools, whole or cut to a size; or, of a pretrained encoder-decoder (T5, BART), what its
    decoder thinks of a text as a model of its own, for `index`, `encode`, `evaluate` and `serve`; or the model that a run
    looked into, with only the parts that matter; or a model of groups whole.
    """
    given: dict[str, Any] = {"dim": dim, "layers": layers, "rank": rank, "brick": brick, "keep": keep}
    given = {name: value for name, value in given.items() if value is not None}
    _refuse_idle(to, given)
    if to in _BY_SYSTEMS:
        from brickwork.api import predict as predict_api

        if to is ExportFormat.peft:
            written = predict_api.export_adapter(model, out, **given)
        elif to is ExportFormat.pruned:
            written = predict_api.export_pruned(model, out, **given)
        elif to is ExportFormat.dense:
            written = predict_api.export_dense(model, out)
        else:
            written = predict_api.export_bricks(model, out, merged=to is ExportFormat.merged, **given)
        output.line(str(written))
        return
    if to is ExportFormat.decoder_states:
        from brickwork.representation.import_decoder_states import import_decoder_states

        output.line(str(import_decoder_states(model).save(out)))
        return
    from brickwork.representation.load import load_representation

    representation = load_representation(model)
    if to is ExportFormat.onnx:
        from brickwork.representation.export_onnx import export_onnx

        export_onnx(representation, out, dim=dim, layers=layers)
    else:
        from brickwork.representation.export_sentence_transformers import export_sentence_transformers

        export_sentence_transformers(representation, out, dim=dim, layers=layers)
    output.line(str(out))


def _refuse_idle(to: ExportFormat, given: Mapping[str, Any]) -> None:
    """Raises ConfigError for an option that the format has no use for."""
    for name in given:
        if name not in _OPTIONS[to]:
            others = ", ".join(other.value for other, options in _OPTIONS.items() if name in options)
            raise ConfigError(
                f"--{name} has no effect with --to {to.value}: leave it out (it is for {others})"
            )
    if to is ExportFormat.pruned and not given:
        raise ConfigError("--to pruned needs --keep, which parts stay: --keep 'p<0.01', --keep 'top 20'")


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
