"""Images with texts: a folder with captions beside its images, or a table that names images and says what they show.

What is read, in a folder: its captions table (``captions``, ``metadata`` or ``labels`` with the ending of a table, else
the only table there), or a ``.txt`` beside each image, one text a line. In a table: a column of paths (relative to the
table), or in Parquet of image files, and a column of texts; a list in it is several texts of one image.
"""

import hashlib
import io
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from brickwork.core.errors import DataError, warn
from brickwork.core.framing import Framing
from brickwork.data.config import ColumnNames
from brickwork.data.readers.columns import match
from brickwork.data.readers.files import TABLES, ReadReport, clean, column_names, open_text, row_of, rows
from brickwork.data.readers.images import (
    Shape,
    decode,
    decode_with_thumbnail,
    image_files,
    image_size,
    read_images,
    shape_of,
)
from brickwork.data.readers.inside import OUTSIDE, inside
from brickwork.data.readers.values import number_columns, plain_value, text_value
from brickwork.data.types import Document

_NAMED = ("captions", "metadata", "labels")
_CALLED = {"image": "an image", "text": "a text"}
_LISTED = 5
_OUTSIDE = f"the text beside an image {OUTSIDE}"


@dataclass
class Captioned:
    """Images, each once, and texts, each with the number of its image; ``sizes`` are widths and heights before any
    scaling, where they are known."""

    names: list[str]
    images: UInt8[np.ndarray, "images height width channels"]
    texts: list[str]
    image_of: list[int]
    notes: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)


def read_captions(
    path: Path | str,
    shape: Shape | Framing,
    columns: ColumnNames | None = None,
    limit: int | None = None,
    *,
    thumbnails: list[bytes] | None = None,
    allow_outside: bool = False,
) -> Captioned:
    """The images of a folder or table with their texts, the first ``limit`` texts. What cannot be used is counted, named
    and left out: an image that is missing, damaged or too large, a text that is empty. To ``thumbnails``, where given, a
    small JPEG of each image is added. Names and links that lead out of the folder (of a table: the one that it lies in)
    are followed with ``allow_outside`` only.

    Raises:
        DataError: nothing of that kind is there, or no image of it can be used.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"{path} does not exist; give a folder of images with captions, or a table of both")
    report = ReadReport()
    table = _captions_table(path, allow_outside) if path.is_dir() else path
    captioned = (
        _from_table(table, columns or ColumnNames(), report, allow_outside)
        if table
        else _from_sidecars(path, report, allow_outside)
    )
    number_of: dict[str, int | None] = {}
    missing: list[str] = []
    images: list[np.ndarray] = []
    kept = Captioned([], np.zeros((0, *shape_of(shape)), np.uint8), [], [])
    seen = of_images = 0
    for name, source, text in captioned:
        if limit is not None and len(kept.texts) >= limit:
            break
        seen += 1
        if name not in number_of:
            before = report.skipped.total()
            read = _image(name, source, shape, report, missing, thumbnails)
            of_images += report.skipped.total() - before
            number_of[name] = None if read is None else len(images)
            if read is not None:
                images.append(read[0])
                kept.sizes.append(read[1])
                kept.names.append(name)
        number = number_of[name]
        if number is not None:
            kept.texts.append(text)
            kept.image_of.append(number)
    report.used(len(kept.texts), seen + report.skipped.total() - of_images)
    if missing:
        kept.notes.append(_missing(missing))
    kept.notes.extend(report.notes())
    if not kept.texts:
        reasons = "; ".join(kept.notes) or "there is nothing in it"
        raise DataError(f"{path} gives no image with a text: {reasons}")
    report.warn()
    if missing:
        warn(kept.notes[0])
    kept.images = np.stack(images)
    return kept


def read_image_documents(
    path: Path | str,
    shape: Shape | Framing,
    columns: ColumnNames | None = None,
    limit: int | None = None,
    *,
    allow_outside: bool = False,
) -> Iterator[Document]:
    """Images as documents to be found: the text is what is said of them, if anything is, else the name of the file. Of a
    table that says nothing in words, the other columns are ``meta``, which searches can filter by.

    ``meta["image"]`` is a fingerprint of the pixels, by which an index knows an image that has changed. With each goes
    its thumbnail.

    Raises:
        DataError: as :func:`read_captions` and :func:`read_images`.
    """
    path = Path(path).expanduser()
    thumbnails: list[bytes] = []
    table = _captions_table(path, allow_outside) if path.is_dir() else path
    if table is not None and table.suffix.lower() not in TABLES:
        table = None
    if table is not None and table.is_file() and _says_nothing(table, columns):
        yield from itertools.islice(_numbered(table, shape, columns, allow_outside), limit)
        return
    if table is not None:
        captioned = read_captions(path, shape, columns, thumbnails=thumbnails, allow_outside=allow_outside)
        texts: list[list[str]] = [[] for _ in captioned.names]
        for text, number in zip(captioned.texts, captioned.image_of):
            texts[number].append(text)
        items = zip(captioned.names, captioned.images, map(" / ".join, texts), thumbnails)
    else:
        names, images = read_images(
            path, shape, limit=limit, thumbnails=thumbnails, allow_outside=allow_outside
        )
        report = ReadReport()
        beside = [_beside(path, Path(name).with_suffix(".txt"), report, allow_outside) for name in names]
        report.warn()
        items = zip(names, images, beside, thumbnails)
    for name, image, text, small in itertools.islice(items, limit):
        yield Document(
            id=name,
            title=Path(name).name,
            text=text or name,
            source=name,
            meta={"picture": fingerprint(image)},
            image=image,
            thumbnail=small,
        )


def _says_nothing(table: Path, columns: ColumnNames | None) -> bool:
    """Whether a table has images and no texts."""
    roles = match(column_names(table), columns or ColumnNames(), str(table))
    return "image" in roles and "text" not in roles


def _numbered(
    table: Path, shape: Shape | Framing, columns: ColumnNames | None, allow_outside: bool
) -> Iterator[Document]:
    """Each image of a table with what its other columns say of it; one that comes twice is taken once."""
    names, report = column_names(table), ReadReport()
    roles = match(names, columns or ColumnNames(), str(table))
    numbered = list(rows(table, report, names))
    numeric = number_columns([row for _, row in numbered], table)
    seen: set[str] = set()
    missing: list[str] = []
    used = 0
    for number, row in numbered:
        found = _source(table, number, row, roles["image"], report, allow_outside)
        if found is None:
            continue
        name, source = found
        if name in seen:
            report.duplicates += 1
            continue
        seen.add(name)
        thumbnails: list[bytes] = []
        read = _image(name, source, shape, report, missing, thumbnails)
        if read is None:
            continue
        used, where = used + 1, row_of(table.name, number)
        values = {
            column: plain_value(row.get(column), table, report, where, number=column in numeric)
            for column in names
            if column != roles["image"]
        }
        yield Document(
            id=name,
            title=Path(name).name,
            text=name,
            source=name,
            meta={"picture": fingerprint(read[0]), **{k: v for k, v in values.items() if v is not None}},
            image=read[0],
            thumbnail=thumbnails[0],
        )
    report.used(used)
    notes = [*([_missing(missing)] if missing else []), *report.notes()]
    if not used:
        raise DataError(
            f"{table} gives no image that can be used: {'; '.join(notes) or 'there is nothing in it'}"
        )
    report.warn()
    if missing:
        warn(notes[0])


def _missing(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    what = "1 image is" if len(names) == 1 else f"{len(names)} images are"
    return f"{what} missing: {', '.join(names[:_LISTED])}{more}"


def fingerprint(image: UInt8[np.ndarray, "height width channels"]) -> str:
    """Sixteen hexadecimal digits of the pixels: equal images have equal ones."""
    return hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest()


def _beside(folder: Path, name: Path, report: ReadReport, allow_outside: bool) -> str:
    """The text beside an image, on one line; empty where there is none. One that is not read is counted."""
    file = inside(folder, name, allow_outside)
    if file is None:
        report.skip(_OUTSIDE, name.as_posix())
        return ""
    if not file.is_file():
        return ""
    with open_text(file) as opened:
        lines = [clean(line, report, name.as_posix()).strip() for line in opened]
    return " / ".join(filter(None, lines))


def _captions_table(folder: Path, allow_outside: bool) -> Path | None:
    called = sorted(p for p in folder.iterdir() if p.suffix.lower() in TABLES and p.is_file())
    tables = [p for p in called if inside(folder, p.name, allow_outside)]
    # One that is called captions is meant, whatever other tables there are.
    meant = [p for p in called if p.stem.lower() in _NAMED] or called
    if meant and not set(meant) & set(tables):
        raise DataError(f"{meant[0]} {OUTSIDE}")
    named = [p for p in tables if p.stem.lower() in _NAMED]
    if named or len(tables) == 1:
        return (named or tables)[0]
    if tables:
        raise DataError(
            f"{folder} has several tables ({', '.join(p.name for p in tables)}); call the one with the captions captions"
            f"{tables[0].suffix}, or give its path"
        )
    return None


def _from_table(
    path: Path, chosen: ColumnNames, report: ReadReport, allow_outside: bool
) -> Iterator[tuple[str, Path | bytes, str]]:
    """(name of the image, where it is, text) for each text of each row."""
    names = column_names(path)
    roles = match(names, chosen, str(path))
    for role in ("image", "text"):
        if role not in roles:
            raise DataError(
                f"{path} has the columns {', '.join(names)}: none is called like {_CALLED[role]}. "
                f"Say which it is: --column {role}=NAME"
            )
    for number, row in rows(path, report, [roles["image"], roles["text"]]):
        where = row_of(path.name, number)
        texts = row.get(roles["text"])
        listed = texts if isinstance(texts, list) else [texts]
        captions = [text for cell in listed if (text := text_value(cell, report, where))]
        if not captions:
            report.skip(f"'{roles['text']}' is empty", where)
        elif found := _source(path, number, row, roles["image"], report, allow_outside):
            yield from ((*found, text) for text in captions)


def _source(
    path: Path, number: int, row: dict, column: str, report: ReadReport, allow_outside: bool
) -> tuple[str, Path | bytes] | None:
    """The name of a row's image, and where it is; nothing, counted, where there is none."""
    where, value = row_of(path.name, number), row.get(column)
    if isinstance(value, dict):  # how the datasets library writes images
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return f"{path.name}:{number}", value
    if not isinstance(value, str) or not value.strip():
        report.skip(f"'{column}' is empty", where)
        return None
    source = inside(path.parent, value, allow_outside)
    if source is None:
        report.skip(OUTSIDE, f"{where}, {value}")
        return None
    return value, source


def _from_sidecars(
    folder: Path, report: ReadReport, allow_outside: bool
) -> Iterator[tuple[str, Path | bytes, str]]:
    for file in image_files(folder, report, allow_outside=allow_outside):
        name = file.relative_to(folder).as_posix()
        beside = inside(folder, file.relative_to(folder).with_suffix(".txt"), allow_outside)
        if beside is None:
            report.skip(_OUTSIDE, Path(name).with_suffix(".txt").as_posix())
            continue
        if not beside.is_file():
            report.skip("no text beside the image", name)
            continue
        with open_text(beside) as opened:
            lines = [clean(line, report, beside.name).strip() for line in opened]
        if not any(lines):
            report.skip("the text beside the image is empty", name)
        yield from ((name, file, text) for text in lines if text)


def _image(
    name: str,
    source: Path | bytes,
    shape: Shape | Framing,
    report: ReadReport,
    missing: list[str],
    thumbnails: list[bytes] | None,
) -> tuple[UInt8[np.ndarray, "height width channels"], tuple[int, int]] | None:
    """An image in the shape asked for, and its size before; what cannot be used is noted."""
    try:
        if isinstance(source, Path) and not os.path.isfile(source):  # a name may be none that a file can have
            missing.append(name)
            return None
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as raw:
            if thumbnails is None:
                return decode(raw, shape), image_size(raw)
            image, small = decode_with_thumbnail(raw, shape)
            size = image_size(raw)
            thumbnails.append(small)
            return image, size
    except OSError as error:
        report.skip("unreadable image", f"{name}: {error.strerror or error}")
    except DataError as error:
        report.skip(str(error), name)
    return None
