"""Where words go: results on standard output, everything else on standard error."""

import contextlib
import json
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console


def emit_json(value: Any) -> None:
    """``value`` as the JSON document on standard output."""
    from brickwork.core.files import plain

    sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def results_only(active: bool) -> Iterator[None]:
    """While JSON is wanted, keeps whatever libraries print away from standard output."""
    with contextlib.redirect_stdout(sys.stderr) if active else contextlib.nullcontext():
        yield


def console(*, error: bool = False) -> "Console":
    """A rich console; it does not colour what it takes for numbers or paths."""
    from rich.console import Console

    return Console(stderr=error, highlight=False)


def hint(text: str, quiet: bool) -> None:
    """A line for people on standard error, unless ``quiet``. ``text`` is plain, not markup."""
    if not quiet:
        console(error=True).print(text, markup=False, soft_wrap=True)


def next_commands(commands: Mapping[str, str], quiet: bool) -> None:
    """What to do now: description → command line."""
    if quiet:
        return
    out = console(error=True)
    out.print("\n[bold]Next[/bold]")
    for what, command in commands.items():
        out.print(f"  {what}", style="dim", markup=False, soft_wrap=True)
        out.print(f"    {command}", style="cyan", markup=False, soft_wrap=True)


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
            print(f"note: {text}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
