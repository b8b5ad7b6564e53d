"""What one does with a system that was kept whole: ``predict``, ``generate``, ``inspect``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from brickwork.cli import output
from brickwork.cli.options import (
    AllowOutside,
    AsJson,
    Columns,
    Data,
    Limit,
    Quiet,
    add,
    column_names,
    given_text,
    values_of,
)
from brickwork.core.errors import ConfigError

Run = Annotated[str, typer.Argument(help="A run folder or a hub id.", show_default=False)]
Out = Annotated[
    Path | None,
    typer.Option(help="A .csv, .parquet or .jsonl file (default: the screen).", show_default=False),
]
_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    add(
        app,
        classify,
        "Use",
        'brickwork classify runs/photos new-photos/ --names "dog,cat,horse"',
        "brickwork classify runs/rich new-photos/ --examples shots/",
    )
    add(
        app,
        predict,
        "Use",
        "brickwork predict runs/patients new.csv --out answers.csv",
        "brickwork predict runs/adapted new.csv --set rank=2",
    )
    add(
        app,
        generate,
        "Use",
        'brickwork generate runs/lm "def add(" --max-tokens 60',
        'brickwork generate runs/lm "Once" --temperature 0 --json',
        "brickwork generate runs/gen cat --count 16 --out pictures/ --set guidance=2",
    )
    add(
        app,
        inspect,
        "Learn",
        "brickwork inspect runs/lm",
        "brickwork inspect runs/lm other-texts/ --out modules.html",
        "brickwork inspect minilm items.csv",
    )


def classify(
    model: Run,
    images: Annotated[
        str,
        typer.Argument(help="A folder of images, or one; with --examples also texts.", show_default=False),
    ],
    names: Annotated[
        str | None,
        typer.Option(help="The classes, with commas between.", show_default=False, callback=given_text),
    ] = None,
    examples: Annotated[
        str | None,
        typer.Option(
            help="Examples of the classes instead: images in a folder for each, or a table of texts and labels.",
            show_default=False,
            callback=given_text,
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            help="A text with {} for the name, e.g. 'a photo of a {}'. Repeat.",
            show_default=False,
            callback=given_text,
        ),
    ] = None,
    out: Out = None,
    columns: Columns = None,
    limit: Limit = None,
    allow_outside: AllowOutside = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Sort images by classes that the model was not trained on: by their names, with a model of images and texts, or, with
    any model of images or texts, by a few examples of each."""
    from brickwork.api import predict as predict_api

    wanted = [name.strip() for name in (names or "").split(",") if name.strip()]
    with output.results_only(as_json):
        answers = predict_api.classify(
            model,
            images,
            wanted,
            out,
            examples=examples,
            prompts=prompt,
            columns=column_names(columns),
            limit=limit,
            allow_outside=allow_outside,
        )
    _tell(answers, out, as_json, quiet)


def predict(
    model: Run,
    data: Data,
    out: Out = None,
    columns: Columns = None,
    limit: Limit = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="An option of the system's own, name=value; repeat it.", show_default=False
        ),
    ] = None,
    allow_outside: AllowOutside = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """What a trained system says of each row of a file."""
    from brickwork.api import predict as predict_api

    with output.results_only(as_json):
        options = values_of(settings or ())
        answers = predict_api.predict(
            model,
            data,
            out,
            columns=column_names(columns),
            limit=limit,
            allow_outside=allow_outside,
            **options,
        )
    _tell(answers, out, as_json, quiet)


def _tell(answers: dict[str, Any], out: Path | None, as_json: bool, quiet: bool) -> None:
    """Answers, a row each: as JSON, as the file they are in, or the first of them on the screen."""
    plain = {
        name: column.tolist() if hasattr(column, "tolist") else list(column)
        for name, column in answers.items()
    }
    rows = [dict(zip(plain, row)) for row in zip(*plain.values())]
    if as_json:
        output.emit_json(rows)
    elif out is not None:
        output.line(str(out))
        output.hint(f"{len(rows):,} rows: {', '.join(plain)}", quiet)
    else:
        _show(list(plain), rows[:_SHOWN])
        if len(rows) > _SHOWN:
            output.hint(f"… and {len(rows) - _SHOWN:,} more; --out FILE writes all of them", quiet)


def _show(names: list[str], rows: list[dict]) -> None:
    from rich.table import Table

    table = Table(box=None)
    for name in names:
        table.add_column(name)
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    output.console().print(table)


def generate(
    model: Run,
    prompts: Annotated[
        list[str],
        typer.Argument(
            help="One or more beginnings of texts; of a model that makes images, classes.",
            show_default=False,
            callback=given_text,
        ),
    ],
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="At most this many tokens more (default: 100).", show_default=False),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(min=0.0, help="0: the likeliest token each time (default: 0.8).", show_default=False),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(min=0, help="Draw from the K likeliest tokens (default: from all).", show_default=False),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Images of each class (default: 16).", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A new folder for images.", show_default=False, metavar="FOLDER")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Of images: an option of the system's own, name=value; repeat it.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Continue texts with a trained language model, or make images of a class."""
    from brickwork.core.types import GeneratesImages
    from brickwork.representation.load import load

    of_texts = {"max_tokens": max_tokens, "temperature": temperature, "top_k": top_k}
    of_images = {"count": count, "out": out, "set": settings}
    with output.results_only(as_json):
        system = load(model)
    if isinstance(system, GeneratesImages):
        _refuse(of_texts, f"{model} makes images")
        _generate_images(model, system, prompts, count or 16, out, settings or [], seed, as_json, quiet)
    else:
        _refuse(of_images, f"{model} makes no images")
        _continue_texts(model, system, prompts, of_texts, seed, as_json, quiet)


def _refuse(options: dict[str, Any], why: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise ConfigError(f"--{name.replace('_', '-')} has no effect: {why}; leave it out")


def _continue_texts(
    model: str, system: Any, prompts: list[str], how: dict[str, Any], seed: int, as_json: bool, quiet: bool
) -> None:
    from brickwork.api import predict as predict_api

    given = {name: value for name, value in how.items() if value is not None}
    with output.results_only(as_json):
        texts = predict_api.generate(system, prompts, name=model, seed=seed, **given)
    if as_json:
        output.emit_json([{"prompt": prompt, "text": text} for prompt, text in zip(prompts, texts)])
        return
    output.line("\n---\n".join(prompt + text for prompt, text in zip(prompts, texts)))
    if (temperature := given.get("temperature", 0.8)) > 0:
        output.hint(f"seed {seed}, temperature {temperature:g}: another seed gives another text", quiet)


def _generate_images(
    model: str,
    system: Any,
    names: list[str],
    count: int,
    out: Path | None,
    settings: list[str],
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    from brickwork.api import predict as predict_api

    if out is None:
        raise ConfigError(f"{model} makes images: name a new folder for them with --out")
    how = values_of(settings)
    if own := [option for option in ("count", "seed") if option in how]:
        raise ConfigError(f"--set {own[0]}={how[own[0]]} has no effect: use --{own[0]}")
    how |= {"count": count, "seed": seed}
    with output.results_only(as_json):
        predict_api.generate_images(system, names, out, name=model, **how)
    files = sorted(str(path) for path in out.glob("*/*.png"))
    if as_json:
        output.emit_json({"folder": str(out), "images": files})
        return
    output.line(str(out))
    output.hint(
        f"{len(files)} images; all of them at once: {out / 'grid.png'} (from the top: {', '.join(dict.fromkeys(names))})",
        quiet,
    )
    output.hint(f"seed {seed}: another seed gives other images", quiet)


def inspect(
    run: Annotated[
        str,
        typer.Argument(
            help="A run folder; with a table also any model that encodes: a folder, minilm or a hub id.",
            metavar="RUN|MODEL",
            show_default=False,
        ),
    ],
    data: Annotated[
        str | None,
        typer.Argument(
            help="For a model that encodes: a table of texts or images with a column for each property, or a folder "
            "(default: the labels of the run's own data). Else: other data than that of the run.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The page to write (default: inspect.html in RUN, or inspect-TABLE.html); of shares of variance, the "
            "numbers where it ends in .csv, .parquet or .jsonl.",
            show_default=False,
        ),
    ] = None,
    properties: Annotated[
        list[str] | None,
        typer.Option(
            "--property",
            metavar="COLUMN",
            help="Measure this column and no others. Repeat. A run with modules to watch needs it.",
            show_default=False,
            callback=given_text,
        ),
    ] = None,
    columns: Columns = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Look at N examples (default: all; of a table 5,000, drawn from all rows)."),
    ] = None,
    allow_outside: AllowOutside = False,
    quiet: Quiet = False,
) -> None:
    """Write a page of what is inside: what the vectors of a model hold (how much of their variance each column of your
    table explains, by layer); what each module of a run does (use by domain, gates over time, load); or what a run found.
    """
    from brickwork.api import predict as predict_api
    from brickwork.data.readers.files import TABLES

    page = predict_api.inspect(
        run,
        data,
        out,
        limit=limit,
        columns=column_names(columns),
        properties=properties or (),
        allow_outside=allow_outside,
        progress=not quiet,
    )
    output.line(str(page))
    numbers = page.name.lower().endswith(TABLES)
    output.hint("a row for each layer and property" if numbers else "look at it in a browser", quiet)
