"""``data``: which real sets are known, under which licence, where they are, what is in them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brickwork.cli import output
from brickwork.cli.options import AsJson, Quiet, add
from brickwork.core.console import styled

if TYPE_CHECKING:
    from brickwork.data.sets.source import Source

_EXAMPLE_ROWS = 100


def register(app: typer.Typer) -> None:
    """Adds the command of this module."""
    add(app, data, "Look", "brickwork data", "brickwork data nfcorpus", "brickwork data --json")


def data(
    name: Annotated[str | None, typer.Argument(help="One set, in detail.", show_default=False)] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """The known data sets: what they are, licence, where, present or not."""
    from brickwork.data.sets.sources import catalogue, source

    if name is not None:
        with output.results_only(as_json):
            details = {**summary(source(name)), **contents(source(name))}
        output.emit_json(details) if as_json else _show_one(details)
        return
    entries = [summary(entry) for entry in catalogue()]
    if as_json:
        output.emit_json(entries)
        return
    from rich.table import Table

    table = Table(title="Data sets", title_justify="left", title_style="bold")
    table.add_column("name", no_wrap=True, style="bold")
    table.add_column("what, task, licence", ratio=3)
    table.add_column("present", ratio=1, overflow="fold")
    for entry in entries:
        here = styled(("yes", "green") if entry["present"] else (entry["where"], "dim"))
        more = f"\n{entry['task'] or 'for later systems'} · {entry['licence']}"
        table.add_row(entry["name"], styled(entry["what"], (more, "dim")), here)
    output.console().print(table)
    output.hint(
        "one in detail: brickwork data NAME · your own: any folder, .jsonl, .csv, .parquet, .txt", quiet
    )


def summary(source: "Source") -> dict[str, Any]:
    """A set as ``brickwork data --json`` shows it."""
    return {
        "name": source.name,
        "what": source.what,
        "licence": source.licence,
        "task": source.task,
        "citation": source.citation,
        "url": source.url,
        "where": source.where(),
        "present": source.is_present(),
    }


def contents(source: "Source") -> dict[str, Any]:
    """What lies in the files of a set that is here, and, where it can be trained on, its first example."""
    more: dict[str, Any] = {"files": {}, "example": {}}
    root = source.folder()
    if root is not None:
        more["files"] = {file: inside(root / file) for file in source.files}
    if source.task and source.is_present():
        from brickwork.data.config import DataConfig
        from brickwork.data.load import load_task
        from brickwork.training.run import load_data

        config = DataConfig(source=source.name, limit=_EXAMPLE_ROWS)
        task = load_data(source.system, config, 0) if source.system else load_task(config, 0)
        first = task.train.take([0])
        more["kind"], more["modality"] = task.kind, task.modality
        more["example"] = {column: _brief(values[0]) for column, values in first.items()}
    return more


def inside(path: Path) -> dict[str, str]:
    """Column (or array) → type and shape, without reading the values where the format allows."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        file = pq.ParquetFile(path)
        return {f.name: f"{f.type} × {file.metadata.num_rows:,}" for f in file.schema_arrow}
    if path.suffix == ".npz":
        import numpy as np

        with np.load(path) as arrays:
            return {
                key: f"{arrays[key].dtype} {'×'.join(map(str, arrays[key].shape))}" for key in arrays.files
            }
    return {"bytes": f"{path.stat().st_size:,}"}


def _brief(value: Any) -> str:
    """A value in one line: arrays by type and shape, texts cut."""
    if hasattr(value, "shape") and value.shape:
        return f"{value.dtype} {'×'.join(map(str, value.shape))}"
    text = " ".join(str(value).split())
    return text if len(text) <= 120 else text[:119] + "…"


def _show_one(details: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key in ("name", "what", "licence", "task", "citation", "url", "where"):
        table.add_row(key, details[key] or "for later systems")
    for file, columns in details["files"].items():
        table.add_row("file", styled((file, "cyan")))
        for name, shape in columns.items():
            table.add_row("", f"{name}: {shape}")
    for column, value in details["example"].items():
        table.add_row("example", styled((column, "cyan"), f" {value}"))
    output.console().print(table)
