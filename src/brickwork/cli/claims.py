"""``claims``: check what a paper says."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from brickwork.cli import output
from brickwork.cli.options import Quiet, Slug, add
from brickwork.core.console import styled


class Scale(StrEnum):
    """How much work a check may be."""

    smoke = "smoke"
    small = "small"
    gpu = "gpu"


def register(app: typer.Typer) -> None:
    """Adds the command of this module."""
    add(
        app,
        claims,
        "Learn",
        "brickwork claims matryoshka-2d --scale smoke",
        "brickwork claims matryoshka-2d --only C1 --json results.json",
    )


def claims(
    slug: Slug,
    scale: Annotated[
        Scale, typer.Option(help="smoke: minutes; small: up to hours; gpu: needs one.")
    ] = Scale.smoke,
    only: Annotated[list[str] | None, typer.Option(metavar="ID", help="Only this claim. Repeat.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many random seeds.")] = 3,
    force: Annotated[
        bool, typer.Option("--force", help="Run again what is recorded for today's code.")
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the records there; - for standard output."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Run a system's claims: both arms on equal budgets, an effect with its interval, a verdict.

    In a checkout the results are recorded in docs/claims; what is recorded there for today's code is not run again.
    """
    from brickwork.core.files import write_json
    from brickwork.studies.records import run_claims

    to_stdout = json_file is not None and str(json_file) == "-"

    def say(message: str) -> None:
        output.hint(message, quiet)

    with output.results_only(to_stdout):
        records = run_claims(slug, scale.value, only=only, seeds=seeds, force=force, progress=say)
    if to_stdout:
        output.emit_json(records)
        return
    if json_file is not None:
        write_json(json_file, records)
    _show(records)


def _show(records: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from brickwork.studies.table import effect_text

    table = Table(show_lines=True)
    for name in ("", "claim", "paper", "ours", "verdict"):
        table.add_column(name, overflow="fold")
    for record in records:
        note = f"\n{record['note']}" if record["note"] else ""
        statement = styled(record["statement"], (note, "dim"))
        verdict = styled((record["verdict"], "bold"))
        table.add_row(record["id"], statement, record["paper"], effect_text(record), verdict)
    output.console().print(table)
