"""``train``, ``resume`` and ``demo``."""

import os
import shlex
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brickwork.cli import output
from brickwork.cli.options import AllowOutside, AsJson, Columns, Quiet, Slug, add, column_settings
from brickwork.core.errors import ConfigError

if TYPE_CHECKING:
    from brickwork.api.train import TrainSummary
    from brickwork.training.progress import Progress


class Strategy(StrEnum):
    """How several processes train one model."""

    ddp = "ddp"
    fsdp = "fsdp"


Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Change one field of the recipe, e.g. train.steps=500. Repeat."
    ),
]
Devices = Annotated[int, typer.Option(min=1, help="Processes to train with (gloo on CPU).")]
Strategies = Annotated[
    Strategy,
    typer.Option(help="ddp: each process has the whole model; fsdp: they share one (more than 1 process)."),
]
Tensorboard = Annotated[bool, typer.Option("--tensorboard", help="Also write TensorBoard events.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    add(
        app,
        train,
        "Learn",
        "brickwork train matryoshka-2d --data docs/ --out runs/docs",
        "brickwork train matryoshka-2d --data pairs.csv --column anchor=question",
        "brickwork train matryoshka-2d --data docs/ --set train.steps=200 --dry-run",
        "brickwork train matryoshka --data labelled.csv --backbone models/bert",
        "brickwork train align --recipe clip --data photos/ --backbone models/clip",
    )
    add(app, resume, "Learn", "brickwork resume runs/docs")
    add(app, demo, "Learn", "brickwork demo --out runs/demo", "brickwork demo --set train.steps=20")


def train(
    slug: Slug,
    data: Annotated[
        str | None,
        typer.Option(help="A folder, a file or a known set (default: the recipe's).", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder (default: runs/SLUG-TIME).", show_default=False)
    ] = None,
    recipe: Annotated[str, typer.Option(help="A recipe of `brickwork info SLUG`.")] = "small",
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            help="The pretrained model to start from: minilm, a folder, a hub id (default: the recipe's). Repeat for one "
            "of images and one of texts.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed (default: the recipe's).")] = None,
    settings: Settings = None,
    columns: Columns = None,
    allow_outside: AllowOutside = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build all, run two steps, print shapes, memory and time.")
    ] = False,
    devices: Devices = 1,
    strategy: Strategies = Strategy.ddp,
    tensorboard: Tensorboard = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a system on your data and leave a run folder: model, metrics, report."""
    from brickwork.api import train as api
    from brickwork.api.backbones import backbone_settings
    from brickwork.core.config import override

    run = api.recipe(slug, recipe)
    given = [f"data.source={data}"] if data is not None else []
    given += [f"data.columns.{choice}" for choice in column_settings(columns)]
    given += ["data.allow_outside=true"] if allow_outside else []
    given += backbone_settings(run, backbone or [])
    given += [f"seed={seed}"] if seed is not None else []
    run = override(run, [*given, *(settings or [])])
    if dry_run:
        with output.results_only(as_json):
            forecast = api.plan(run)
        output.emit_json(forecast) if as_json else _show_plan(forecast)
        return
    folder = out or _default_folder(slug, devices)
    with output.results_only(as_json):
        summary = api.train(
            run,
            folder,
            devices=devices,
            strategy=strategy.value,
            progress=_progress(quiet),
            tensorboard=tensorboard,
        )
    _finished(summary, as_json, quiet)


def resume(
    folder: Annotated[
        Path, typer.Argument(help="The run folder of a training that was stopped.", show_default=False)
    ],
    data: Annotated[
        str | None,
        typer.Option(help="Where its data lies now, if it was moved or renamed.", metavar="PATH"),
    ] = None,
    devices: Devices = 1,
    strategy: Strategies = Strategy.ddp,
    tensorboard: Tensorboard = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a stopped training from its newest good checkpoint."""
    from brickwork.api import train as api

    with output.results_only(as_json):
        summary = api.resume(
            folder,
            data,
            devices=devices,
            strategy=strategy.value,
            progress=_progress(quiet),
            tensorboard=tensorboard,
        )
    _finished(summary, as_json, quiet)


def demo(
    out: Annotated[Path, typer.Option(help="The run folder; a finished demo there is replaced.")] = Path(
        "runs/demo"
    ),
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    settings: Settings = None,
    quiet: Quiet = False,
) -> None:
    """The main job on the documentation of your Python packages: train, measure, index, search."""
    from brickwork.api.demo import run_demo

    console = output.console()
    console.quiet = quiet
    run_demo(out, settings=tuple(settings or ()), seed=seed, console=console, progress=_progress(quiet))


def _progress(quiet: bool) -> "Progress | None":
    from brickwork.training.progress import Progress

    return None if quiet else Progress()


def _default_folder(slug: str, devices: int) -> Path:
    if devices > 1 or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Each process would choose by its own clock.
        raise ConfigError("several processes need one folder: name it with --out DIR")
    return Path("runs") / f"{slug}-{time.strftime('%Y%m%d-%H%M%S')}"


def _finished(summary: "TrainSummary", as_json: bool, quiet: bool) -> None:
    """Says what was made and what to do with it, once for all processes."""
    from brickwork.core import distributed

    if distributed.rank() != 0:
        return
    folder = summary.folder
    made = sorted(f.name for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    if as_json:
        measured = summary.measurement.summary() if summary.measurement is not None else None
        measured = {"scores": summary.scores} if summary.scores else measured
        seconds = round(summary.result.seconds, 3)
        numbers = {"folder": str(folder), "steps": summary.result.step, "seconds": seconds}
        output.emit_json({**numbers, "files": made, "evaluation": measured})
    else:
        output.line(str(folder))
    output.hint(f"made {', '.join(made)}", quiet)
    if summary.scores:
        output.hint(
            "held out: " + ", ".join(f"{name} {value:.4g}" for name, value in summary.scores.items()), quiet
        )
    if (folder / "report.html").is_file():
        output.hint(f"look at it in a browser: {folder / 'report.html'}", quiet)
    if commands := _next(folder, summary):
        output.next_commands(commands, quiet)
    if summary.measurement is not None and summary.measurement.against:
        output.hint("\nDid it help?", quiet)
        for one in (*summary.measurement.against, *summary.measurement.against_cut):
            output.hint(f"  {one.sentence}", quiet)


def _next(folder: Path, summary: "TrainSummary") -> dict[str, str]:
    """What to do with a trained model, on the data and with the split that it was trained with."""
    from brickwork.core.files import read_json
    from brickwork.core.types import Draws, Generates, GeneratesImages, Predicts, Traces

    run = read_json(folder / "config.json")
    commands = {}
    images = getattr(summary.system, "input_kind", "columns") == "images"
    kind, new = ("images", "your-images.npy") if images else ("rows", "your-rows.csv")
    for can, what, command in (
        (Predicts, f"predict for new {kind}", f"predict {{}} {new}"),
        (Generates, "let it write", 'generate {} "a beginning"'),
        (GeneratesImages, "let it make images", "generate {} CLASS --count 16 --out pictures/"),
        (Traces, "look at its modules at work", "inspect {}"),
        (Draws, "look at what it found, in pictures", "inspect {}"),
    ):
        if isinstance(summary.system, can):
            commands[what] = f"brickwork {command.format(shlex.quote(str(folder)))}"
    if summary.representation is None:
        return commands
    data = run["data"]
    model, index, source = (shlex.quote(text) for text in (str(folder), f"{folder}-index", data["source"]))
    columns = [f" --column {role}={shlex.quote(name)}" for role, name in data["columns"].items() if name]
    same = "".join(columns) + (f" --limit {data['limit']}" if data["limit"] else "")
    seed = f" --seed {run['seed']}" if run["seed"] else ""
    measure = commands | {"measure it at every size": f"brickwork evaluate {model} {source}{same}{seed}"}
    if previous := run.get("model", {}).get("previous"):  # a version that replaces another
        old = shlex.quote(previous)
        measure["see whether it can search what the old one has indexed"] = (
            f"brickwork evaluate {model} {source}{same}{seed} --against {old}"
        )
    kind = summary.representation.encoder.kind
    if kind == "image" and not Path(data["source"]).is_dir():  # a known set, not the user's own images
        return measure
    what, query = ("images", "--image FILE") if kind == "image" else ("documents", '"your question"')
    if previous:
        measure["let it take over an index of the old one"] = (
            f"brickwork index {model} --out {old}-index --update"
        )
    return {
        **measure,
        f"index {what} with it": f"brickwork index {model} {source}{''.join(columns)} --out {index}",
        "search them": f"brickwork search {index} {query}",
    }


def _show_plan(plan: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(plan):
        table.add_row(name, value)
    output.console().print(table)


def _rows(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Names (``batch.anchor``) and values as a person reads them; entries of a list one below the other."""
    rows = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows.extend(_rows(value, f"{prefix}{name}."))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, part in enumerate(value):
                rows.extend(_rows(part, f"{prefix}{name}.{part.get('name', number)}."))
        elif isinstance(value, list):
            label = f"{prefix}{name}".replace("_", " ")
            rows.extend(("" if place else label, _worded(name, item)) for place, item in enumerate(value))
        else:
            label = (prefix + name).removesuffix("_bytes").replace("forecast_seconds", "forecast")
            rows.append((label.replace("_", " "), _worded(name, value)))
    return rows


def _worded(name: str, value: Any) -> str:
    """A value with its unit: ``773 MiB``, ``2 min 5 s``, ``22,564,608``."""
    if name.endswith("_bytes"):
        return f"{value / 2**20:,.0f} MiB"
    if name == "forecast_seconds":
        minutes, seconds = divmod(round(value), 60)
        hours, minutes = divmod(minutes, 60)
        clock = (
            f"{hours} h {minutes} min"
            if hours
            else f"{minutes} min {seconds} s"
            if minutes
            else f"{seconds} s"
        )
        return f"{clock}, without validating, saving and measuring"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
