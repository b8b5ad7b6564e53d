"""What was read, for people and as plain values: sizes, the notes of its reader, and parts that came out empty."""

import contextlib
import warnings
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from brickwork.core.errors import DataError, warn

if TYPE_CHECKING:
    from brickwork.data.types import TaskData


def describe(data: "TaskData") -> dict[str, Any]:
    """Kind and sizes of a task, and the notes of whoever read it."""
    return {
        "name": data.name,
        "kind": data.kind,
        "modality": data.modality,
        "train": len(data.train),
        "validation": len(data.validation),
        "test": len(data.test),
        "retrieval": {
            name: {"queries": len(task.queries), "documents": len(task.documents)}
            for name, task in data.retrieval.items()
        },
        "notes": list(data.notes),
    }


def data_lines(data: "TaskData", told: Collection[str] = ()) -> list[str]:
    """What was read, for a person: how much of what kind, then the notes of whoever read it, but for those that were
    ``told`` as warnings."""
    from brickwork.api.report import in_words

    parts = (
        f"{len(data.train):,} to train on, {len(data.validation):,} to validate, {len(data.test):,} held out"
    )
    notes = (f"  {note}" for note in data.notes if note not in told)
    return [f"{data.name}: {in_words(data)}, {parts}", *notes]


def check_parts(data: "TaskData", config: Any) -> None:
    """Warns of a part of the split that was asked for and is empty, and refuses a training on nothing.

    Raises:
        DataError: no example is left to train on; with the rows that there are, and what to do.
    """
    parts = {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)}
    rows = sum(parts.values())
    if not parts["train"]:
        raise DataError(
            f"{data.name}: its {rows:,} examples leave none to train on (validation {parts['validation']:,}, test "
            f"{parts['test']:,}); give more data, or lower data.validation_share and data.test_share"
        )
    empty = {"validation": config.validation_share, "test": config.test_share}
    if names := [name for name, share in empty.items() if share > 0 and not parts[name]]:
        shares = " and ".join(f"data.{name}_share={empty[name]:g}" for name in names)
        warn(
            f"{data.name}: its {rows:,} examples leave none for {' and '.join(names)} ({shares}; examples that share a text "
            "stay together), so nothing will say how well it learns; give more data, or larger shares with --set"
        )


@contextlib.contextmanager
def warnings_told() -> "Iterator[set[str]]":
    """Shows warnings as they are shown otherwise, and collects what they say."""
    told: set[str] = set()
    show = warnings.showwarning

    def show_and_note(message: Warning | str, *arguments: Any, **options: Any) -> None:
        told.add(str(message))
        show(message, *arguments, **options)

    warnings.showwarning = show_and_note
    try:
        yield told
    finally:
        warnings.showwarning = show
