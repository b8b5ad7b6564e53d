"""Inputs to predict for: texts, images, or rows of columns as they are called in the file."""

from pathlib import Path
from typing import Any, Literal

from brickwork.core.errors import DataError
from brickwork.core.framing import Framing
from brickwork.data.config import ColumnNames
from brickwork.data.load import read_documents
from brickwork.data.readers.arrays import read_images, read_npz
from brickwork.data.readers.cells import as_list, located
from brickwork.data.readers.columns import match
from brickwork.data.readers.files import ReadReport
from brickwork.data.readers.ids import RowIds
from brickwork.data.readers.images import Shape
from brickwork.data.readers.images import read_images as images_of_files
from brickwork.data.readers.inside import need_file
from brickwork.data.readers.typed import read_columns
from brickwork.data.types import TextFormat

Reads = Literal["texts", "images", "columns"]


def read_inputs(
    source: Path | str,
    reads: Reads,
    *,
    columns: ColumnNames | None = None,
    limit: int | None = None,
    allow_outside: bool = False,
    texts: TextFormat | None = None,
    form: Shape | Framing | None = None,
) -> tuple[list[str], dict[str, Any]]:
    """The name of each row and the columns of inputs.

    ``reads``: ``texts``: the documents of a file, folder or known set, as ``input``; of the language ``texts``, if given.
    ``images``: an .npy array of uint8, N × H × W × C, or an image or a folder of images brought into ``form``, if there is
    one, as ``input``. ``columns``: every column of a table by its own name, a
    missing value as ``None``; paths of images are looked for beside the table, outside its folder with ``allow_outside``
    only. The arrays of an .npz file are columns too.

    Raises:
        DataError: the source does not exist, is of another kind or holds nothing.
    """
    if reads == "texts":
        documents = list(
            read_documents(source, columns=columns, limit=limit, allow_outside=allow_outside, texts=texts)
        )
        return [d.id for d in documents], {"input": [d.text for d in documents]}
    path = Path(source).expanduser()
    if reads == "images" and form is not None and path.exists() and path.suffix.lower() != ".npy":
        ids, images = images_of_files(path, form, limit=limit, allow_outside=allow_outside)
        return ids, {"input": images}
    need_file(
        path, f"{'a table' if reads == 'columns' else 'an .npy file of images'}, which this model reads"
    )
    if reads == "images":
        images = read_images(path)[:limit]
        return [str(number) for number in range(len(images))], {"input": images}
    if path.suffix.lower() == ".npz":
        arrays = {name: values[:limit] for name, values in read_npz(path).items()}
        return [str(number) for number in range(len(next(iter(arrays.values()))))], arrays
    return _table(path, columns or ColumnNames(), limit, allow_outside)


def _table(
    path: Path, chosen: ColumnNames, limit: int | None, allow_outside: bool
) -> tuple[list[str], dict[str, Any]]:
    report = ReadReport()
    numbers, cells = read_columns(path, report, limit)
    if not numbers:
        raise DataError(f"{path} holds no row; give a table with at least one")
    held = {name: as_list(column) for name, column in cells.items()}
    roles = match(list(held), chosen, str(path))
    ids = RowIds(path, roles.get("id"), report)
    given = held[roles["id"]] if "id" in roles else numbers
    known = [ids.of(number, {roles.get("id", ""): value}) for number, value in zip(numbers, given)]
    report.used(len(numbers))
    report.warn()
    return known, {
        name: located(column, path.parent, allow_outside=allow_outside) for name, column in held.items()
    }
