"""The command that trains a system's idea and its controls on the user's data, and says whether it helps."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brickwork.cli import output
from brickwork.cli.options import AsJson, Quiet, add

if TYPE_CHECKING:
    from brickwork.api.compare import Comparison


def register(app: typer.Typer) -> None:
    """Adds the command."""
    add(
        app,
        compare,
        "Learn",
        "brickwork compare runs/tickets",
        "brickwork compare runs/tickets --seeds 10 --rates",
    )


def compare(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.", show_default=False)],
    seeds: Annotated[
        int, typer.Option(min=1, help="Trainings of each arm, each with a split of its own.")
    ] = 3,
    rates: Annotated[
        bool, typer.Option("--rates", help="First choose the learning rate of each arm, on validation data.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a run's idea again beside plain training and its controls, on the same data and budget: does it help?

    What is done is kept in the run folder; the same command goes on there.
    """
    from brickwork.api.compare import compare as comparison_of

    with output.results_only(as_json):
        result = comparison_of(
            run, seeds=seeds, rates=rates, progress=lambda message: output.hint(message, quiet)
        )
    if as_json:
        output.emit_json({**asdict(result), "page": str(result.page)})
        return
    _show(result)
    output.line(str(result.page))


def _show(result: "Comparison") -> None:
    from rich.table import Table

    for measure, arms in result.measures.items():
        table = Table(box=None, title=measure, title_justify="left")
        for name in ("", "mean", "rate", "difference [95 %]", ""):
            table.add_column(name)
        for arm in arms:
            mean = sum(arm.values) / len(arm.values)
            gap = "" if arm.difference is None else f"{arm.difference:+.2f}"
            if arm.interval is not None:
                gap += f" [{arm.interval[0]:+.2f}, {arm.interval[1]:+.2f}]"
            table.add_row(arm.name, f"{mean:.2f}", f"{arm.learning_rate:.2g}", gap, arm.words)
        output.console().print(table)
