"""The command that makes an index and keeps it in order."""

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brickwork.cli import output
from brickwork.cli.options import (
    AllowOutside,
    AsJson,
    Columns,
    Engine,
    Limit,
    PassageWords,
    Quiet,
    add,
    column_names,
    sizes,
)
from brickwork.core.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from brickwork.index.index import Index


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    add(
        app,
        index,
        "Use",
        "brickwork index runs/docs docs/ --out runs/docs-index --layers 3,6",
        "brickwork index runs/docs docs/ --out runs/docs-bits --bits 64",
        "brickwork index runs/docs docs/ --out runs/docs-index --words model",
        "brickwork index runs/docs docs/ --out runs/docs-index --update",
        "brickwork index runs/docs-v2 --out runs/docs-index --update",
        "brickwork index runs/docs-index --verify",
    )


def index(
    model: Annotated[
        str,
        typer.Argument(
            help="A run folder, a SentenceTransformer folder or a hub id; with --verify, --repair or --stats "
            "the folder of an index.",
            metavar="MODEL|INDEX",
            show_default=False,
        ),
    ],
    data: Annotated[
        str | None,
        typer.Argument(
            help="A folder, a .jsonl, .csv, .parquet or .txt file, or a known set.", show_default=False
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder of the index.", show_default=False)] = None,
    layers: Annotated[
        str | None, typer.Option(help="Depths to search at, e.g. 3,6 (default: the full depth).")
    ] = None,
    dim: Annotated[
        int | None,
        typer.Option(
            help="Keep only the first N numbers of each vector.", metavar="N", min=1, show_default=False
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            help="Keep only the signs of the first N numbers: N/8 bytes a document.",
            metavar="N",
            min=1,
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(help="How searches begin: flat, int8, binary, hnsw, ivf, rabitq, or auto to measure."),
    ] = "auto",
    words: Annotated[
        str,
        typer.Option(
            help="What is compared beside vectors: words of the text by BM25, or those that the model reads off its "
            "vectors (model).",
            metavar="text|model",
        ),
    ] = "text",
    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="Bring the index in --out up to date: encode only what changed. A compatible successor of its model "
            "takes over; without DATA, that is all.",
        ),
    ] = False,
    store: Annotated[
        str | None,
        typer.Option(
            help="Keep documents and vectors elsewhere, e.g. postgresql://user@host/db.", show_default=False
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every file of INDEX against its recorded hash.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Rebuild what is damaged in INDEX from its documents.")
    ] = False,
    good_model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="With --repair: a good copy of the model of INDEX, if its own is damaged.",
            show_default=False,
        ),
    ] = None,
    stats: Annotated[bool, typer.Option("--stats", help="Show what INDEX holds.")] = False,
    dense_weight: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHT",
            help="Keep in INDEX how much vectors count in its hybrid searches, 0 … 1, or `none`: as much as words.",
            show_default=False,
        ),
    ] = None,
    columns: Columns = None,
    limit: Limit = None,
    passage_words: PassageWords = None,
    allow_outside: AllowOutside = False,
    engine: Engine = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Encode documents and store them in a searchable index; bring one up to date, check it, repair it."""
    kinds = {"verify": verify, "repair": repair, "stats": stats, "dense-weight": dense_weight is not None}
    care = [name for name, wanted in kinds.items() if wanted]
    if len(care) > 1 or (care and (data or out or update or store)):
        raise ConfigError(f"--{care[0]} takes the folder of an index and nothing else: index DIR --{care[0]}")
    if good_model and not repair:
        raise ConfigError(
            "--model goes with --repair; else the model is the first argument: index MODEL DATA"
        )
    if repair:
        _repair(Path(model), good_model, as_json, quiet)
        return
    if dense_weight is not None:
        _keep_weight(Path(model), dense_weight, as_json, quiet)
        return
    if care:
        (_verify if verify else _stats)(Path(model), as_json, quiet)
        return
    if (
        update
        and data is None
        and out is not None
        and not (layers or store or kind != "auto" or engine != "auto" or words != "text" or dim or bits)
    ):
        _replace(model, out, as_json, quiet)
        return
    if data is None or out is None:
        missing = "DATA" if data is None else "--out DIR"
        raise ConfigError(f"{missing} is missing; write: brickwork index MODEL DATA --out DIR")
    if update:
        if layers or store or kind != "auto" or engine != "auto" or words != "text" or dim or bits:
            raise ConfigError(
                "--update keeps layers, sizes, kind, store, words and engine of the index; leave these options out"
            )
        _update(model, data, out, columns, limit, passage_words, allow_outside, as_json, quiet)
    else:
        _build(
            model,
            data,
            out,
            layers,
            dim,
            bits,
            kind,
            store,
            columns,
            limit,
            passage_words,
            allow_outside,
            engine,
            words,
            as_json,
            quiet,
        )


def _build(
    model: str,
    data: str,
    out: Path,
    layers: str | None,
    dim: int | None,
    bits: int | None,
    kind: str,
    store: str | None,
    columns: list[str] | None,
    limit: int | None,
    passage_words: int | None,
    allow_outside: bool,
    engine: str,
    words: str,
    as_json: bool,
    quiet: bool,
) -> None:
    from brickwork.api import index as indexing

    with output.results_only(as_json):
        made = indexing.build_index(
            model,
            data,
            out,
            layers=sizes(layers, "--layers", least=0),
            dim=dim,
            bits=bits,
            kind=kind,
            store=store,
            columns=column_names(columns),
            limit=limit,
            passage_words=passage_words,
            allow_outside=allow_outside,
            engine=engine,
            words=words,
            tell=partial(output.hint, quiet=quiet),
            progress=not quiet,
        )
    if as_json:
        output.emit_json({"folder": str(out), **_held(made)})
        return
    output.line(str(out))
    output.hint(_summary(made), quiet)
    if made.reason:
        output.hint(f"searches begin with {made.reason}", quiet)
    query = "--image FILE" if made.representation.encoder.kind == "image" else '"your question"'
    output.next_commands({"search them": f"brickwork search {shlex.quote(str(out))} {query}"}, quiet)


def _update(
    model: str,
    data: str,
    out: Path,
    columns: list[str] | None,
    limit: int | None,
    passage_words: int | None,
    allow_outside: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    from dataclasses import asdict

    from brickwork.api import index as indexing

    with output.results_only(as_json):
        made, report = indexing.update_index(
            model,
            data,
            out,
            columns=column_names(columns),
            limit=limit,
            passage_words=passage_words,
            allow_outside=allow_outside,
            tell=partial(output.hint, quiet=quiet),
            progress=not quiet,
        )
    if as_json:
        output.emit_json({"folder": str(out), **_held(made), **asdict(report)})
        return
    output.line(str(out))
    counts = ", ".join(f"{count:,} {name}" for name, count in asdict(report).items())
    output.hint(f"{len(made):,} documents: {counts}", quiet)


def _replace(model: str, folder: Path, as_json: bool, quiet: bool) -> None:
    from brickwork.api import index as indexing

    with output.results_only(as_json):
        index, replaced = indexing.replace_model(model, folder)
        versions = index.statistics().versions
    if as_json:
        output.emit_json({"folder": str(folder), **_held(index), "replaced": replaced, "versions": versions})
        return
    output.line(str(folder))
    if not replaced:
        output.hint(f"nothing to do: {index.model} is the model of this index", quiet)
        return
    kept = f"; the vectors of {len(index):,} documents stay as they are" if versions else ""
    output.hint(f"queries and new documents are encoded by {index.model} from now on{kept}", quiet)


def _held(made: "Index") -> dict[str, Any]:
    contents = made.contents
    sizes_held = {"dims": list(contents.dims), "codec": contents.codec, "layers": list(contents.depths)}
    return {"documents": len(made), "model": made.model, "engine": made.engine, **sizes_held}


def _summary(made: "Index") -> str:
    duplicates = made.statistics().duplicates
    return f"{len(made):,} documents" + (
        f", {duplicates:,} of them with the title and text of another one" if duplicates else ""
    )


def _verify(folder: Path, as_json: bool, quiet: bool) -> None:
    from dataclasses import asdict

    from brickwork.index.lifecycle import verify_index

    problems = verify_index(folder)
    if as_json:
        output.emit_json({"folder": str(folder), "problems": [asdict(problem) for problem in problems]})
    else:
        for problem in problems:
            output.line(problem.what)
    if problems:
        raise ArtifactError(
            f"{len(problems)} of the files of {folder} are not as they were written; "
            f"repair it: brickwork index {shlex.quote(str(folder))} --repair"
        )
    output.hint(f"{folder}: every file is as it was written", quiet or as_json)


def _repair(folder: Path, model: str | None, as_json: bool, quiet: bool) -> None:
    from dataclasses import asdict

    from brickwork.index.lifecycle import repair_index
    from brickwork.representation.load import load_representation

    with output.results_only(as_json):
        report = repair_index(folder, load_representation(model) if model else None)
    if as_json:
        output.emit_json({"folder": str(folder), **asdict(report)})
        return
    for name in report.repaired:
        output.line(f"{name}: rebuilt")
    for text in report.lost:
        output.line(f"lost: {text}")
    done = "what was damaged is rebuilt" if report.repaired else "nothing was damaged"
    count = f"; {report.documents:,} documents" if report.documents else ""
    output.hint(f"{folder}: {done}{count}", quiet)


def _keep_weight(folder: Path, text: str, as_json: bool, quiet: bool) -> None:
    from brickwork.index.index import open_index

    try:
        weight = None if text.strip().lower() == "none" else float(text)
    except ValueError:
        raise ConfigError(f"--dense-weight {text!r}: write a number from 0 to 1, or none") from None
    with output.results_only(as_json), open_index(folder, verify=False) as opened:
        opened.keep_dense_weight(weight)
    if as_json:
        output.emit_json({"folder": str(folder), "dense_weight": weight})
        return
    output.line(str(folder))
    output.hint(f"hybrid searches: {_weight(weight)}", quiet)


def _weight(weight: float | None) -> str:
    return (
        "vectors and words count alike"
        if weight is None
        else f"vectors count {weight:g}, words {1 - weight:g}"
    )


def _stats(folder: Path, as_json: bool, quiet: bool) -> None:
    from dataclasses import asdict

    from brickwork.index.index import open_index

    with output.results_only(as_json), open_index(folder, verify=False) as opened:
        statistics = opened.statistics()
        held = _held(opened) | {"dense_weight": opened.dense_weight}
    if as_json:
        output.emit_json({"folder": str(folder), **held, **asdict(statistics)})
        return
    rows: dict[str, Any] = {
        "documents": f"{statistics.documents:,}",
        "removed, space not yet given back": f"{statistics.removed:,}",
        "with title and text of another one": f"{statistics.duplicates:,}",
        "modes of search": ", ".join(statistics.modes),
        **({"in hybrid searches": _weight(held["dense_weight"])} if "hybrid" in statistics.modes else {}),
        "kinds of search": ", ".join(statistics.kinds),
        "dims": ", ".join(map(str, held["dims"])),
        "layers": ", ".join(map(str, held["layers"])),
        "fields for --where": ", ".join(statistics.fields),
        "model": held["model"],
        "engine": held["engine"],
        **{f"documents encoded by {name}": f"{count:,}" for name, count in statistics.versions.items()},
        **{f"bytes of {part}": f"{size:,}" for part, size in statistics.bytes.items()},
    }
    width = max(36, *(len(name) + 2 for name in rows))
    for name, value in rows.items():
        output.line(f"{name:<{width}}{value}")
