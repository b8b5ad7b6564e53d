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
    from rich.table import Table

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
_ROWS = ("rows", "your-rows.csv")
_EXAMPLES = {
    "image": "your-images/ --examples a-folder-for-each-class/",
    "text": "your-texts.csv --examples labelled-examples.csv",
}
"""By what an encoder reads: new inputs, and examples of classes that it was not trained on."""
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
    from brickwork.api.train import CONTENT
    from brickwork.core.files import read_json
    from brickwork.core.types import Draws, Evaluates, Generates, GeneratesImages, Predicts, Traces
    from brickwork.data.readers.files import TABLES

    run = read_json(folder / "config.json")
    data = run["data"]
    own_images = Path(data["source"]).is_dir()
    commands = {}
    images = getattr(summary.system, "input_kind", "columns") == "images"
    kind, new = ("images", "your-images/" if own_images else "your-images.npy") if images else _ROWS
    if asked := getattr(summary.system, "predict_columns", ()):
        kind += f" with the columns {' and '.join(asked)}"
    for can, what, command in (
        (Predicts, f"predict for new {kind}", f"predict {{}} {new}"),
        (Generates, "let it write", 'generate {} "a beginning"'),
        (GeneratesImages, "let it make images", _generate_command(summary.system)),
        (Traces, "look at its modules at work", "inspect {}"),
        (Draws, "look at what it found, in pictures", "inspect {}"),
    ):
        if isinstance(summary.system, can):
            commands[what] = f"brickwork {command.format(shlex.quote(str(folder)))}"
    if summary.representation is None:
        return commands
    model, index, source = (shlex.quote(text) for text in (str(folder), f"{folder}-index", data["source"]))
    columns = [f" --column {role}={shlex.quote(name)}" for role, name in data["columns"].items() if name]
    same = "".join(columns) + (f" --limit {data['limit']}" if data["limit"] else "")
    seed = f" --seed {run['seed']}" if run["seed"] else ""
    how = "by its own measure" if isinstance(summary.system, Evaluates) else "at every size"
    measure = commands | {f"measure it {how}": f"brickwork evaluate {model} {source}{same}{seed}"}
    if previous := run.get("model", {}).get("previous"):  # a version that replaces another
        old = shlex.quote(previous)
        measure["see whether it can search what the old one has indexed"] = (
            f"brickwork evaluate {model} {source}{same}{seed} --against {old}"
        )
    kind = summary.representation.encoder.kind
    record = folder / CONTENT
    if kind in _EXAMPLES and record.is_file() and "label" in read_json(record).get("train", {}):
        measure["sort by other classes than those of the training, from a few examples of each"] = (
            f"brickwork classify {model} {_EXAMPLES[kind]}"
        )
    is_table = data["source"].lower().endswith(TABLES)
    if kind == "image" and not own_images and not is_table:  # a known set, or arrays
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


def _generate_command(system: Any) -> str:
    """With a class that it knows."""
    first = next(iter(getattr(system, "classes", ())), "CLASS")
    return f"generate {{}} {shlex.quote(str(first)).replace('{', '{{').replace('}', '}}')} --count 16 --out pictures/"


def _show_plan(plan: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    stages = plan.get("stages", [])
    # Where there are stages, each says below what it trains and how its loss begins.
    left_out = ("stages", "parameters", "losses") if stages else ("stages",)
    for name, value in _rows({name: value for name, value in plan.items() if name not in left_out}):
        table.add_row(name, value)
    output.console().print(table)
    if stages:
        output.console().print(_stages_table(stages))


def _stages_table(stages: list[dict[str, Any]]) -> "Table":
    """A row for each stage: how long it is, what it trains, how its loss begins."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), title="\nStages", title_justify="left", title_style="bold")
    table.add_column("stage", style="bold")
    for name in ("steps", "trained", "loss", "s/step", "time"):
        table.add_column(name, justify="right", no_wrap=name != "trained")
    for stage in stages:
        trained = ", ".join(
            f"{name.replace('_', ' ')} {part['trainable']:,}"
            for name, part in stage["parameters"]["parts"].items()
            if part["trainable"]
        )
        table.add_row(
            stage["name"],
            f"{stage['steps']:,}",
            trained,
            f"{stage['losses'][0]:.4g}",
            f"{stage['seconds_per_step']:.3g}",
            _clock(stage["forecast_seconds"]),
        )
    return table


def _rows(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Names (``batch.anchor``) and values as a person reads them; entries of a list one below the other."""
    rows = []
    for name, value in values.items():
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, dict) and set(value) == {"trainable", "frozen"}:
            rows.append((label, _sizes(value)))
        elif isinstance(value, dict):
            rows.extend(_rows(value, f"{prefix}{name}."))
        elif isinstance(value, list):
            rows.extend(("" if place else label, _worded(name, item)) for place, item in enumerate(value))
        else:
            label = label.removesuffix(" bytes").replace("forecast seconds", "forecast")
            rows.append((label, _worded(name, value)))
    return rows


def _sizes(parameters: dict[str, int]) -> str:
    """``22,564,608 trainable, 1,024 frozen``; of a part that has but one kind, that."""
    return ", ".join(f"{count:,} {kind}" for kind, count in parameters.items() if count) or "0"


def _worded(name: str, value: Any) -> str:
    """A value with its unit: ``773 MiB``, ``2 min 5 s``, ``22,564,608``."""
    if name.endswith("_bytes"):
        return f"{value / 2**20:,.0f} MiB"
    if name == "forecast_seconds":
        return f"{_clock(value)}, without validating, saving and measuring"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)


def _clock(seconds: float) -> str:
    """``1 h 2 min``, ``2 min 5 s``, ``9 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
