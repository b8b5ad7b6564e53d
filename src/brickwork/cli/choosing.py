"""The command that chooses the size, the mode and the kind of index for a trained model."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brickwork.cli import output
from brickwork.cli.options import AsJson, Quiet, add

if TYPE_CHECKING:
    from brickwork.api.choose import Choice, Setting


def register(app: typer.Typer) -> None:
    """Adds the command."""
    add(
        app,
        choose,
        "Use",
        "brickwork choose runs/docs --keep 0.98",
        "brickwork choose runs/docs --max-ms 5 --max-bytes 400 --documents 1000000",
        "brickwork choose minilm docs/ --keep 0.98",
    )


def choose(
    model: Annotated[str, typer.Argument(help="A finished run, or any model with DATA.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Argument(help="What to measure it on (default: what the run measured).", show_default=False),
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(help="The share of the full size's nDCG@10 to keep, e.g. 0.98.", show_default=False),
    ] = None,
    max_ms: Annotated[
        float | None, typer.Option(help="Milliseconds of one query at most.", show_default=False)
    ] = None,
    max_bytes: Annotated[
        int | None, typer.Option(help="Bytes of one stored vector at most.", show_default=False)
    ] = None,
    documents: Annotated[
        int | None,
        typer.Option(help="How many documents will be searched (default: as many as were measured)."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Choose the cheapest size and mode of search that holds, by what the run measured or on DATA; say how sure that is.

    Without --keep it is the best one within the limits.
    """
    from dataclasses import asdict

    from brickwork.api.choose import choose as chosen_of

    with output.results_only(as_json):
        choice = chosen_of(
            model,
            data,
            keep=keep,
            max_ms=max_ms,
            max_bytes=max_bytes,
            documents=documents,
            progress=not quiet,
        )
    if as_json:
        output.emit_json(asdict(choice))
        return
    _show(choice)
    if choice.setting.dim and not quiet:
        output.next_commands(_commands(model, data, choice.setting), quiet)


def _show(choice: "Choice") -> None:
    out = output.console()
    kind = f"; index kind {choice.kind}" if choice.setting.dim else ""
    out.print(f"{_costs(choice.setting)}{kind}", style="bold", soft_wrap=True)
    out.print(f"  full size: {_costs(choice.reference)}", soft_wrap=True)
    for one in choice.kept:
        out.print(
            f"  {one.task}: nDCG@10 {one.quality:.3f} of {one.reference:.3f}, {one.share:.3f} kept "
            f"[{one.low:.3f}, {one.high:.3f}], {one.num_queries:,} queries",
            soft_wrap=True,
        )
    if choice.setting.dim:
        exact = "" if choice.kind == "flat" else "; the times here are of an exact scan"
        out.print(f"  {choice.reason}{exact}", soft_wrap=True)
    if choice.holds is None:
        return
    share = f"{choice.keep:g} is kept in {100 * choice.holds:.0f} % of {choice.resamples:,} resamples of the queries"
    if choice.sure == choice.setting:
        out.print(f"sure: {share}", soft_wrap=True)
        return
    safe = (
        f"sure (95 %) is {_costs(choice.sure)}" if choice.sure else "no other setting is sure (95 %) either"
    )
    out.print(f"not sure: {share}; {safe}", soft_wrap=True)


def _costs(setting: "Setting") -> str:
    time = "" if setting.milliseconds is None else f"{setting.milliseconds:.2f} ms a query, "
    return f"{setting.label}: {time}{setting.vector_bytes:,} bytes a vector"


def _commands(run: str, data: Path | None, setting: "Setting") -> dict[str, str]:
    model, index = shlex.quote(run), shlex.quote(f"{run}-index")
    documents = "DATA" if data is None else shlex.quote(str(data))
    size = f"--mode {setting.mode} --dim {setting.dim} --layers {setting.layers}"
    return {
        "use it": f"brickwork index {model} {documents} --out {index} --layers {setting.layers}",
        "search with it": f'brickwork search {index} "your question" {size}',
    }
