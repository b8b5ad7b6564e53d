"""What several commands share: option types, their parsing, and the Example section of a command's help."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from brickwork.core.console import decoded
from brickwork.core.errors import ConfigError

if TYPE_CHECKING:
    from brickwork.data.config import ColumnNames


def _quiet(wanted: bool) -> bool:
    """The callback of ``-q``: bars of other libraries are off as well."""
    if wanted:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = (
            "1"  # read when huggingface_hub and transformers are imported
        )
        if "transformers" in sys.modules:
            from transformers.utils import logging

            logging.disable_progress_bar()
    return wanted


Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Only results, notes and errors.", callback=_quiet)
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, all else on standard error.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="ROLE=NAME", help="Which column plays a role, e.g. anchor=question. Repeat."
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Use only the first N documents or rows.")]
AllowOutside = Annotated[
    bool,
    typer.Option(
        "--allow-outside",
        help="Follow names and links in the data that lead out of the folder that was given.",
    ),
]
PassageWords = Annotated[
    int | None,
    typer.Option(
        min=10,
        help="Words of a passage of a document (default: what the model reads). Updates need the same.",
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        metavar="auto|torch|int8",
        help="What computes: int8 is faster and a little less exact, calibrated on the documents the first time "
        "(pip install 'brickwork[openvino]').",
    ),
]
Dim = Annotated[int | None, typer.Option(help="Dimensions of each vector to use (default: all).")]
Layers = Annotated[int | None, typer.Option(help="Layers of the encoder to run (default: all).")]
Slug = Annotated[str, typer.Argument(help="A system of `brickwork list`.", show_default=False)]
Model = Annotated[
    str, typer.Argument(help="A run folder, a SentenceTransformer folder or a hub id.", show_default=False)
]
Data = Annotated[
    str,
    typer.Argument(
        help="A folder, a .jsonl, .csv, .parquet or .txt file, or a known set.", show_default=False
    ),
]


def given_text(value: Any) -> Any:
    """A callback of arguments that are texts and no file names: whatever bytes they came as, they are text."""
    return [decoded(text) for text in value] if isinstance(value, list) else value and decoded(value)


class Command(TyperCommand):
    """A command of the command line: its help ends with an Example section, printed as it is written."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Writes the epilog without wrapping its lines."""
        write_epilog(self.epilog, formatter)


def write_epilog(epilog: str | None, formatter: Any) -> None:
    """Adds ``epilog`` to a help page, line by line."""
    if epilog:
        formatter.write(f"\n{epilog}\n")


def add(
    app: typer.Typer, command: Callable[..., None], panel: str, *examples: str, name: str | None = None
) -> None:
    """Makes ``command`` a command, listed under ``panel``, with an Example section in its help."""
    epilog = "\n".join(["Example:", *(f"  $ {line}" for line in examples)])
    app.command(name, cls=Command, rich_help_panel=panel, epilog=epilog)(command)


def sizes(text: str | None, option: str, *, least: int = 1) -> list[int] | None:
    """``"48,96"`` as [48, 96]; ``None`` stays.

    Raises:
        ConfigError: something between the commas is not a whole number of at least ``least``.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and int(part) >= least for part in parts):
        raise ConfigError(
            f"{option}={text!r}: write whole numbers with commas between, for example {option} 3,6"
        )
    return [int(part) for part in parts]


def column_settings(columns: Sequence[str] | None) -> list[str]:
    """``role=name`` choices as settings of ``ColumnNames``, checked for their form.

    Raises:
        ConfigError: one without an equals sign, without a name, or for a role that there is not.
    """
    from dataclasses import fields

    from brickwork.core.config import nearest
    from brickwork.data.config import ColumnNames

    roles = [field.name for field in fields(ColumnNames)]
    for choice in columns or ():
        role, _, name = choice.partition("=")
        if not role.strip() or not name.strip():
            raise ConfigError(
                f"--column {choice!r}: write it as role=name, for example --column anchor=question"
            )
        if role.strip() not in roles:
            table = "what a table is to teach is said by --set data.table.targets=NAME"
            hint = table if "target" in role else nearest(role.strip(), roles)
            raise ConfigError(f"--column {choice!r}: '{role.strip()}' is no role; {hint}")
    return list(columns or ())


def column_names(columns: Sequence[str] | None) -> "ColumnNames | None":
    """``role=name`` choices as :class:`ColumnNames`; ``None`` where nothing was chosen."""
    if not columns:
        return None
    from brickwork.core.config import override
    from brickwork.data.config import ColumnNames

    return override(ColumnNames(), column_settings(columns))


def values_of(settings: Sequence[str]) -> dict[str, Any]:
    """``name=value`` options of a system's own command, by name: JSON where the value is JSON, else its text.

    Raises:
        ConfigError: an option without a value.
    """
    values = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: write it as name=value, for example rank=2")
        try:
            values[name.strip()] = json.loads(text)
        except ValueError:
            values[name.strip()] = text
    return values
