"""What may be read: the folder that was given and what is below it, wherever names and links in it lead.

A table, a caption or a link comes from whoever made the data, and the folder from the user. So a name in the data is
followed only as far as the folder goes: ``..``, absolute paths and links (of files and of folders, links to links too)
that lead out of it are left out, counted and told, unless the user allows them. The given path itself may be a link.
"""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from brickwork.core.errors import DataError
from brickwork.core.folders import known_folder
from brickwork.data.readers.files import ReadReport

MOST_OTHERS = 100_000
"""Files of other types in a folder of data."""
OUTSIDE = (
    "leads outside the folder that was given; copy it into the folder, or allow it with --allow-outside "
    "(allow_outside=True in Python)"
)


def inside(folder: Path, name: str | Path, allow_outside: bool = False) -> Path | None:
    """Where ``name``, as it stands in the data, is to be read: below ``folder``, with all links followed.

    ``None`` if it leads outside. With ``allow_outside``: wherever that is. The file need not exist.
    """
    try:
        real = Path(os.path.realpath(folder / name))
        return real if allow_outside or real.is_relative_to(os.path.realpath(folder)) else None
    except (OSError, ValueError):  # a NUL in the name: there is no such file
        return folder / name


def refuse_own_folder(path: Path) -> None:
    """A run, a model, an index or a part of one is no data, though there are texts in it; nor is the whole machine.

    Raises:
        DataError: names what it is and what can be done with it.
    """
    if path.resolve() == Path(path.resolve().anchor):
        raise DataError(
            f"{path} is the root of the file system, with all files of this machine; give the folder of the data"
        )
    known = known_folder(path)
    foreign_model = known.kind == "model" and not (path / "brickwork.json").is_file()
    if known.kind not in ("data", "empty", "") and not foreign_model:
        raise DataError(f"{path} is no folder of data: it {known.about}")


def need_file(path: Path, instead: str) -> None:
    """Refuses a path without a file; ``instead`` says what to give.

    Raises:
        DataError: nothing there, or a folder: one of ours says what it is.
    """
    if path.is_dir():
        refuse_own_folder(path)
        raise DataError(f"{path} is a folder; give {instead}")
    if not path.is_file():
        raise DataError(f"{path} is not a file; give {instead}")


def _refuse_walk(folder: Path, others: int, ours: int, endings: Collection[str]) -> None:
    raise DataError(
        f"{folder} holds {others:,} files of other types so far and {ours:,} of those that are read here "
        f"({', '.join(endings)}); is it the right folder? Give the one of the data alone"
    )


def files_below(
    folder: Path, endings: Collection[str], report: ReadReport, *, allow_outside: bool = False
) -> Iterator[Path]:
    """The regular files below a folder that end in one of ``endings``, in the order of their names.

    What is left out is counted. A link to a folder is not followed: what it leads to is either inside, and read where it
    lies, or outside; ``allow_outside`` follows those, each folder once. A walk that meets more than :data:`MOST_OTHERS`
    files of other types, most of all files, ends: it was perhaps a wrong folder, and would go on for long without a word.

    Raises:
        DataError: far too many files of other types.
    """
    others = ours = 0
    seen = {os.path.realpath(folder)}

    def below(top: Path) -> Iterator[Path]:
        nonlocal others, ours
        for parent, folders, files in os.walk(top):
            place = Path(parent)
            kept = sorted(name for name in folders if not name.startswith("."))
            report.quiet["hidden"] += len(folders) - len(kept)
            folders[:] = [name for name in kept if not os.path.islink(place / name)]
            for name in sorted(files):
                path = place / name
                if name.startswith("."):
                    report.quiet["hidden"] += 1
                elif path.suffix.lower() not in endings:
                    report.quiet[f"type {path.suffix.lower() or 'without ending'}"] += 1
                    others += 1
                    if others > MOST_OTHERS and others > ours:
                        _refuse_walk(folder, others, ours, endings)
                elif path.is_symlink() and inside(folder, path.relative_to(folder), allow_outside) is None:
                    report.skip(OUTSIDE, path.relative_to(folder).as_posix())
                elif not path.is_file():
                    report.skip("not a regular file", path.relative_to(folder).as_posix())
                else:
                    ours += 1
                    yield path
            for name in kept:
                if name not in folders:
                    yield from linked(place / name)

    def linked(link: Path) -> Iterator[Path]:
        if inside(folder, link.relative_to(folder)) is not None:
            report.quiet["linked folders whose files are read where they lie"] += 1
        elif not allow_outside:
            report.skip(OUTSIDE, link.relative_to(folder).as_posix())
        elif (real := os.path.realpath(link)) not in seen:
            seen.add(real)
            yield from below(link)

    yield from below(folder)
    report.quiet += type(report.quiet)()  # drops zero counts
