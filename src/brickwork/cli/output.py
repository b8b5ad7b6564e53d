"""Where words go: results on standard output, everything else on standard error."""

import contextlib
import json
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from brickwork.core.console import encodes, plain_console, visible

if TYPE_CHECKING:
    from rich.console import Console


def emit_json(value: Any) -> None:
    """``value`` as the JSON document on standard output."""
    from brickwork.core.files import plain

    text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    if not encodes(text, sys.stdout):
        text = json.dumps(plain(value), indent=2, allow_nan=False)  # ASCII, which every encoding has
    sys.stdout.write(text + "\n")


@contextlib.contextmanager
def results_only(active: bool) -> Iterator[None]:
    """While JSON is wanted, keeps whatever libraries print away from standard output."""
    with contextlib.redirect_stdout(sys.stderr) if active else contextlib.nullcontext():
        yield


def console(*, error: bool = False) -> "Console":
    """The console of all commands: see :func:`brickwork.core.console.plain_console`."""
    return plain_console(error=error)


def line(text: str) -> None:
    """A line of results on standard output: as it is for a file or another program, control characters written out on a
    terminal."""
    print(visible(text) if sys.stdout.isatty() else text)


def hint(text: str, quiet: bool) -> None:
    """A line for people on standard error, unless ``quiet``."""
    if not quiet:
        console(error=True).print(text, soft_wrap=True)


def next_commands(commands: Mapping[str, str], quiet: bool) -> None:
    """What to do now: description → command line."""
    if quiet:
        return
    out = console(error=True)
    out.print("\nNext", style="bold")
    for what, command in commands.items():
        out.print(f"  {what}", style="dim", soft_wrap=True)
        out.print(f"    {command}", style="cyan", soft_wrap=True)


@contextlib.contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Shows every warning once, as one line ``note: …`` on standard error."""
    printed: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = " ".join(str(message).split())
        if text not in printed:
            printed.add(text)
            print(f"note: {visible(text)}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
