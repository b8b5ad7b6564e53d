"""Text on a terminal as it is: no markup is read in it, no control character in it acts, and any encoding can show it."""

import os
import re
import sys
from typing import TYPE_CHECKING, Any, TextIO

from brickwork.core.text import clean_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn
    from rich.text import Text

# All of C0 but tab and newline, DEL, C1, and the marks that turn the direction of what follows.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """The text with control characters written out (``\\x1b``): in a document they could move the cursor."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def any_encoding() -> None:
    """Lets the standard streams write letters that their encoding lacks, as ``\\xe9``, where Python would stop."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def decoded(argument: str) -> str:
    """An argument of the command line as text. Bytes that the locale could not read, which Python keeps as lone surrogates,
    are read as UTF-8, and what is none of it either becomes U+FFFD."""
    if argument.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in argument):
        return argument
    try:
        return os.fsencode(argument).decode("utf-8", "replace")
    except UnicodeEncodeError:  # surrogates that no byte made
        return clean_text(argument)


def encodes(text: str, stream: TextIO) -> bool:
    """Whether the encoding of a stream has all letters of ``text``."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def plain_console(*, error: bool = False) -> "Console":
    """A rich console that prints strings, also those in tables, letter by letter: no markup, no emoji codes, no colours for
    numbers or paths, control characters written out. Styles are given as :func:`styled` text."""
    from rich.console import Console

    class PlainConsole(Console):
        def render_str(self, text: str, **options: Any) -> "Text":
            return super().render_str(visible(text), **{**options, "markup": False, "emoji": False})

    return PlainConsole(stderr=error, highlight=False, markup=False, emoji=False)


def progress_bar(*columns: "str | ProgressColumn", transient: bool = False) -> "Progress":
    """rich's progress on the error stream where that is a terminal; in a log or a pipe nothing is drawn."""
    from rich.progress import Progress

    console = plain_console(error=True)
    return Progress(*columns, console=console, transient=transient, disable=not console.is_terminal)


def styled(*parts: "str | tuple[str, str] | Text") -> "Text":
    """Parts with their styles, as one text: ``styled(("name", "bold"), " plain")``."""
    from rich.text import Text

    return Text.assemble(
        *(
            part
            if isinstance(part, Text)
            else visible(part)
            if isinstance(part, str)
            else (visible(part[0]), part[1])
            for part in parts
        )
    )
