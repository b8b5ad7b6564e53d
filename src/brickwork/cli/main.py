"""The command ``brickwork``: its commands, and what every command does with errors, warnings and Ctrl-C.

Nothing here or in the modules of the commands imports torch before a command needs it.
"""

import errno
import os
import re
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from brickwork.cli import (
    catalogue,
    choosing,
    claims,
    comparing,
    datasets,
    doctor,
    exporting,
    indexing,
    models,
    output,
    searching,
    serve,
    systems,
    training,
)
from brickwork.cli.options import write_epilog
from brickwork.core.config import nearest
from brickwork.core.console import any_encoding, visible
from brickwork.core.errors import EXIT_CODES, BrickworkError, Interrupted, ResourceError, missing_extra

# What the system says of names that users give and of folders that they may not read.
_OF_NAMES = (
    errno.ENAMETOOLONG,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EACCES,
    errno.EPERM,
)


_CHOICE = re.compile(r"(?:Value error, )?'(?P<given>.*)' is not one of (?P<choices>.*?)\.?")


class Commands(TyperGroup):
    """The group of commands: turns errors into one line and an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the command line; what is printed fits any encoding."""
        any_encoding()
        return super().main(*args, **kwargs)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Takes ``--debug`` wherever it stands."""
        if "--debug" in args:
            args = ["--debug", *(word for word in args if word != "--debug")]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Lists the commands by panel."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            panels.setdefault(getattr(command, "rich_help_panel", ""), []).append(
                (name, command.get_short_help_str(200))
            )
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Writes the epilog without wrapping its lines."""
        write_epilog(self.epilog, formatter)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command.

        A :class:`BrickworkError` becomes ``error: …`` on standard error and its exit code, as does what the system says of
        a path; anything else is a defect and shows its traceback. A reader that went away (``brickwork list | head``) is
        no error.
        """
        debug = ctx.params.get("debug") or os.environ.get("BRICKWORK_DEBUG", "") not in ("", "0")
        try:
            with output.warnings_as_notes():
                try:
                    result = super().invoke(ctx)
                except typer.BadParameter as error:
                    error.message = _with_nearest(error.message)
                    raise
                except ModuleNotFoundError as error:
                    if missing := missing_extra(error, "this command"):
                        raise missing from error
                    raise
                sys.stdout.flush()
                return result
        except BrickworkError as error:
            if debug:
                traceback.print_exc()
            # A stop that was asked for is no error, though its exit code says that the work is not done.
            if not isinstance(error, Interrupted):
                print(f"error: {visible(str(error))}", file=sys.stderr)
            elif _is_first_process():
                print(visible(str(error)), file=sys.stderr)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            if debug:
                traceback.print_exc()
            print("stopped", file=sys.stderr)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # Python flushes standard output once more when it leaves; there it must not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except OSError as error:
            if debug or error.errno not in _OF_NAMES or error.filename is None:
                raise
            print(f"error: {error.filename}: {error.strerror}; check the path", file=sys.stderr)
            raise typer.Exit(ResourceError.exit_code) from None


def _with_nearest(message: str) -> str:
    """What typer says of a value that is no choice, with the nearest one that is."""
    found = _CHOICE.fullmatch(message)
    if found is None:
        return message
    hint = nearest(found["given"], re.findall("'([^']+)'", found["choices"]))
    hint = f" {hint[0].upper()}{hint[1:]}" if hint.startswith("did you mean") else ""
    return f"'{found['given']}' is not one of {found['choices']}.{hint}"


def _is_first_process() -> bool:
    """Whether this is the only process or the first of several, which all stop and of which one says so."""
    distributed = sys.modules.get("brickwork.core.distributed")  # not there: nothing was trained
    return distributed is None or distributed.rank() == 0


def _epilog() -> str:
    codes = [f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items()]
    commands = (
        "brickwork train matryoshka-2d --data my-documents/ --out runs/mine",
        "brickwork index runs/mine my-documents/ --out runs/mine-index",
        'brickwork search runs/mine-index "how do I …"',
    )
    return "\n".join(["Example:", *(f"  $ {line}" for line in commands), "", "Exit codes:", *codes])


app = typer.Typer(
    cls=Commands,
    name="brickwork",
    # Plain help: rich would take as long to import as everything else together.
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog=_epilog(),
)


def _version(wanted: bool) -> bool:
    if wanted:
        import brickwork

        print(f"brickwork {brickwork.__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks with errors (also: BRICKWORK_DEBUG=1).")
    ] = False,
) -> None:
    """Learn an elastic encoder for your documents, measure it, index it, search it."""


for module in (
    training,
    models,
    exporting,
    choosing,
    systems,
    indexing,
    searching,
    serve,
    catalogue,
    claims,
    comparing,
    datasets,
    doctor,
):
    module.register(app)


def main() -> None:
    """The entry point of the command ``brickwork``."""
    app(prog_name="brickwork")


if __name__ == "__main__":
    main()
