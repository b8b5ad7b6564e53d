"""Inputs with what is known of them: the texts, images or rows of a table beside all of its other columns."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from brickwork.core.errors import DataError
from brickwork.core.framing import Framing
from brickwork.data.config import ColumnNames
from brickwork.data.load import read_documents, table_roles
from brickwork.data.readers.arrays import check_images, read_npz
from brickwork.data.readers.cells import as_list, located
from brickwork.data.readers.columns import USUAL_NAMES, match
from brickwork.data.readers.files import TABLES, ReadReport, column_names, row_of
from brickwork.data.readers.images import Shape, decode, read_images
from brickwork.data.readers.inside import OUTSIDE, inside, need_file
from brickwork.data.readers.typed import read_columns
from brickwork.data.splits import pick
from brickwork.data.types import Document, TextFormat

FOLDER = "folder"
"""What the folder of a file is called as a property of it."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """``inputs`` (N of them: texts, an array of images, or named columns) and the ``columns`` that tell of each; a missing
    cell is ``None``.

    Columns have all rows, so that what is a category or a number does not hang on which rows were drawn; ``chosen`` are the
    numbers of those rows that are inputs, in their order. ``used``: columns that hold the inputs themselves. ``note``: how
    they were found, where another column could have been meant.
    """

    inputs: Any
    columns: dict[str, list[Any]]
    chosen: list[int]
    used: tuple[str, ...] = ()
    note: str = ""

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def rows(self) -> int:
        """How many there were to choose from."""
        return len(next(iter(self.columns.values()))) if self.columns else len(self.chosen)


def read_described(
    source: Path | str,
    kind: Literal["texts", "images", "columns"],
    *,
    columns: ColumnNames | None = None,
    limit: int | None = None,
    allow_outside: bool = False,
    texts: TextFormat | None = None,
    form: Shape | Framing | None = None,
) -> Described:
    """``limit`` of the rows of ``source``, drawn from all of them.

    ``texts``: documents as every command reads them, their other columns beside them; of a folder, the ``folder`` that a
    file lies in. ``images``: a table with a column of paths or files, brought into ``form``; a folder of images, with the
    ``folder`` of each; an .npz file with one array of images. ``columns``: the rows of a table, which are both.

    Raises:
        DataError: the source does not exist, is of another kind or holds nothing.
    """
    path = Path(source).expanduser()
    if kind == "texts":
        return _texts(source, columns, limit, allow_outside, texts)
    if kind == "images" and path.is_dir():
        return _image_folder(path, form, limit, allow_outside)
    need_file(path, "a table of images" if kind == "images" else "a table, which this model reads")
    if path.suffix.lower() == ".npz":
        return _arrays(path, kind, form, limit)
    if kind == "images" and not path.name.lower().removesuffix(".gz").endswith(TABLES):
        raise DataError(
            f"{path} is no table; give a table ({', '.join(TABLES)}) with a column of images and one for each property, or "
            "a folder of images with a folder for each class"
        )
    report = ReadReport()
    numbers, cells = read_columns(path, report)
    held = {name: as_list(column) for name, column in cells.items()}
    if kind == "columns":
        rows = sorted(pick(len(numbers), limit))
        report.warn()
        placed = {
            name: located([column[row] for row in rows], path.parent, allow_outside=allow_outside)
            for name, column in held.items()
        }
        return Described(inputs=placed, columns=held, chosen=rows)
    assert form is not None, "images have a form"
    return _image_table(path, numbers, held, columns, form, limit, allow_outside, report)


def _texts(
    source: Path | str,
    columns: ColumnNames | None,
    limit: int | None,
    allow_outside: bool,
    texts: TextFormat | None,
) -> Described:
    documents = list(read_documents(source, columns=columns, allow_outside=allow_outside, texts=texts))
    chosen = sorted(pick(len(documents), limit))
    names = dict.fromkeys(name for document in documents for name in document.meta)
    known = {name: [document.meta.get(name) for document in documents] for name in names}
    path, note = Path(source).expanduser(), ""
    used: tuple[str, ...] = ()
    if path.is_dir():
        known = {FOLDER: [_top_folder(document.source) for document in documents], **known}
    elif path.is_file() and path.name.lower().removesuffix(".gz").endswith(TABLES):
        roles = table_roles(path, columns or ColumnNames(), texts)
        used, note = (roles["text"],), _other_texts(column_names(path), roles, path)
        known = _all_columns(path, roles, documents, known)
    return Described(
        inputs=[_text(documents[row]) for row in chosen], columns=known, chosen=chosen, used=used, note=note
    )


def _all_columns(
    path: Path, roles: Mapping[str, str], documents: Sequence[Document], known: Mapping[str, list[Any]]
) -> dict[str, list[Any]]:
    """The columns of a table in its order, with those that documents keep elsewhere, and with empty ones."""
    elsewhere: dict[str, list[Any]] = {}
    if "id" in roles:
        elsewhere[roles["id"]] = [document.id for document in documents]
    if "title" in roles and any(document.title for document in documents):
        elsewhere[roles["title"]] = [document.title or None for document in documents]
    # Of a row without a source, file and row stand for it.
    own = f"{path.name}:"
    sources = [None if d.source.startswith(own) else d.source for d in documents]
    names = dict.fromkeys([*column_names(path), *known])
    found = {**known, **elsewhere}
    return {
        name: found.get(name, sources if name == "source" else [None] * len(documents))
        for name in names
        if name != roles["text"]
    }


def _other_texts(names: Sequence[str], roles: Mapping[str, str], path: Path) -> str:
    """Says which column was read as the text, where another one is called like one too."""
    usual = {word for role in ("text", "positive", "anchor") for word in USUAL_NAMES[role].split()}
    others = [name for name in names if name.strip().lower() in usual and name not in roles.values()]
    if not others:
        return ""
    after = f" after '{roles['title']}'" if "title" in roles else ""
    return (
        f"{path.name}: the texts are those of '{roles['text']}'{after}; to read {' or '.join(map(repr, others))} instead: "
        f"--column text={others[0]}"
    )


def _text(document: Document) -> str:
    """The title, unless the text begins with it, and the text: as it is encoded for an index."""
    if not document.title or document.text.startswith(document.title):
        return document.text
    return f"{document.title}\n{document.text}"


def _top_folder(name: str) -> str | None:
    return name.split("/")[0] if "/" in name else None


def _image_folder(
    path: Path, form: Shape | Framing | None, limit: int | None, allow_outside: bool
) -> Described:
    assert form is not None, "images have a form"
    names, images = read_images(path, form, allow_outside=allow_outside)
    rows = sorted(pick(len(names), limit))
    return Described(
        inputs=images[rows], columns={FOLDER: [_top_folder(name) for name in names]}, chosen=rows
    )


def _arrays(path: Path, kind: str, form: Shape | Framing | None, limit: int | None) -> Described:
    arrays = read_npz(path)
    count = len(next(iter(arrays.values())))
    rows = sorted(pick(count, limit))
    known = {name: values.tolist() for name, values in arrays.items() if values.ndim == 1}
    if kind == "columns":
        return Described(
            inputs={name: values[rows] for name, values in arrays.items()}, columns=known, chosen=rows
        )
    names = [name for name, values in arrays.items() if values.ndim > 2]
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise DataError(
            f"{path} must hold one array of images (its arrays with three or more dimensions: {found})"
        )
    images = arrays[names[0]][rows]
    images = check_images(images[..., None] if images.ndim == 3 else images, f"{path}: {names[0]}")
    if isinstance(form, Framing):
        images = form.of_arrays(images)
    return Described(inputs=images, columns=known, chosen=rows, used=(names[0],))


def _image_table(
    path: Path,
    numbers: Any,
    held: Mapping[str, list[Any]],
    columns: ColumnNames | None,
    form: Shape | Framing,
    limit: int | None,
    allow_outside: bool,
    report: ReadReport,
) -> Described:
    role = match(list(held), columns or ColumnNames(), str(path)).get("image")
    if role is None:
        raise DataError(
            f"{path} has the columns {', '.join(held)}; this model reads images, and none is called "
            "like one. Say which it is: --column image=NAME"
        )
    images, kept = [], []
    drawn = sorted(pick(len(numbers), limit))
    for row in drawn:
        image = _image(held[role][row], path, form, allow_outside, report, row_of(path.name, numbers[row]))
        if image is not None:
            images.append(image)
            kept.append(row)
    report.used(len(kept), len(drawn), "rows" if len(drawn) == len(numbers) else "rows that were drawn")
    if not images:
        raise DataError(f"{path} gives no image that can be read: {'; '.join(report.notes())}")
    report.warn()
    known = {name: column for name, column in held.items() if name != role}
    return Described(inputs=np.stack(images), columns=known, chosen=kept, used=(role,))


def _image(
    cell: Any, path: Path, form: Shape | Framing, allow_outside: bool, report: ReadReport, where: str
) -> np.ndarray | None:
    """The image in a cell, the bytes of a file or its path beside the table; one that cannot be used is counted."""
    if isinstance(cell, dict):  # how the datasets library writes images
        cell = cell.get("bytes") or cell.get("path")
    if not isinstance(cell, bytes) and not (isinstance(cell, str) and cell.strip()):
        report.skip("no image", where)
        return None
    try:
        if isinstance(cell, bytes):
            return decode(io.BytesIO(cell), form)
        file = inside(path.parent, cell, allow_outside)
        if file is None:
            report.skip(OUTSIDE, f"{where}, {cell}")
            return None
        with open(file, "rb") as raw:
            return decode(raw, form)
    except OSError as error:
        report.skip("unreadable image", f"{where}, {cell!s:.80}: {error.strerror or error}")
    except (DataError, ValueError) as error:
        report.skip(str(error), where)
    return None
