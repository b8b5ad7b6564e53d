"""The user's own images as arrays of one shape: whatever a folder holds, bounded before anything is decoded.

What an image gets, everywhere: it is recognised by its bytes and not by its ending; turned as its camera says; the
first frame of an animation is taken; palettes, CMYK and 16 bits become 8 bits of grey or RGB; what is transparent
becomes white; the middle is cut out to the proportions that are asked for, and scaled (for a pretrained model: as its own
preprocessing does it). A file that cannot be used is left out with the reason, counted in a :class:`ReadReport`. A
thumbnail shows the whole image and holds none of what the camera wrote beside it.
"""

import contextlib
import io
import math
import warnings
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import numpy as np
from jaxtyping import UInt8

from brickwork.core.errors import DataError
from brickwork.core.framing import Framing
from brickwork.data.readers.files import ReadReport
from brickwork.data.readers.inside import files_below

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 50_000_000
"""Pixels of one image; a decoder may need eight bytes for each."""
DEFAULT_SIDE = 32
"""Height and width of an image where nothing else is asked for."""
THUMBNAIL_SIDE = 128
"""Pixels of the longer side of a thumbnail."""
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)  # of Exif
# Formats that are pixels and nothing else: no PostScript, no plug-in that starts a program.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm"),
)

Shape = tuple[int, int, int]
"""Height, width and channels: 1 (grey) or 3 (RGB)."""


def shape_of(shape: Shape | Framing) -> Shape:
    """The shape that images get."""
    return shape.shape if isinstance(shape, Framing) else shape


def read_images(
    path: Path | str,
    shape: Shape | Framing,
    *,
    limit: int | None = None,
    report: ReadReport | None = None,
    thumbnails: list[bytes] | None = None,
    allow_outside: bool = False,
) -> tuple[list[str], UInt8[np.ndarray, "images height width channels"]]:
    """The images of a folder and of those below it (or of one file), with their names, in the order of these.

    ``limit`` stops after that many. What was left out is counted in ``report`` and warned of, once for each reason. To
    ``thumbnails``, where given, a small JPEG of each is added. Links that lead out of the folder are followed with
    ``allow_outside`` only.

    Raises:
        DataError: ``path`` does not exist, or nothing in it can be used; says why.
    """
    path = Path(path).expanduser()
    report = report if report is not None else ReadReport()
    if not path.exists():
        raise DataError(f"{path} does not exist; give an image or a folder of images")
    if not path.is_dir() and not path.is_file():
        raise DataError(f"{path} is neither a file nor a folder; give an image or a folder of images")
    names: list[str] = []
    images: list[np.ndarray] = []
    files = image_files(path, report, allow_outside=allow_outside) if path.is_dir() else [path]
    for file in files:
        if limit is not None and len(names) >= limit:
            break
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        try:
            with open(file, "rb") as raw:
                image, small = (
                    decode_with_thumbnail(raw, shape) if thumbnails is not None else (decode(raw, shape), b"")
                )
        except OSError as error:
            report.skip("unreadable file", f"{name}: {error.strerror or error}")
        except DataError as error:
            report.skip(str(error), name)
        else:
            report.files += 1
            names.append(name)
            images.append(image)
            if thumbnails is not None:
                thumbnails.append(small)
    if not names:
        reasons = "; ".join(report.notes()) or "there are no files"
        raise DataError(f"{path} holds no image that can be used ({', '.join(ENDINGS)}): {reasons}")
    report.used(len(names), len(names) + report.skipped.total(), "images")
    report.warn()
    return names, np.stack(images)


def image_files(folder: Path, report: ReadReport, *, allow_outside: bool = False) -> Iterator[Path]:
    """The regular files below a folder that are called like images, in the order of their names."""
    return files_below(folder, ENDINGS, report, allow_outside=allow_outside)


def decode(raw: BufferedIOBase, shape: Shape | Framing) -> UInt8[np.ndarray, "height width channels"]:
    """One image, in the shape that is asked for.

    Raises:
        DataError: no image of a known format, damaged or cut off, or of more than :data:`MAX_PIXELS`.
        OSError: the file cannot be read.
    """
    return _decoded(raw, shape, thumbnail=False)[0]


def decode_with_thumbnail(
    raw: BufferedIOBase, shape: Shape | Framing
) -> tuple[UInt8[np.ndarray, "height width channels"], bytes]:
    """As :func:`decode`, and the whole image as a JPEG of at most :data:`THUMBNAIL_SIDE` pixels a side. Raises as that."""
    return _decoded(raw, shape, thumbnail=True)


def _decoded(
    raw: BufferedIOBase, shape: Shape | Framing, *, thumbnail: bool
) -> tuple[UInt8[np.ndarray, "height width channels"], bytes]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    framing = shape if isinstance(shape, Framing) else None
    height, width, channels = wanted = shape_of(shape)
    if min(wanted) < 1 or channels not in (1, 3):
        raise DataError(f"images of shape {wanted} cannot be made: (height, width, 1) or (height, width, 3)")
    raw.read(1)  # a folder or a broken disk is no damaged image
    raw.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own about metadata and sizes: the limit here is lower
            opened = Image.open(cast("IO[bytes]", raw), formats=FORMATS)
            if opened.width * opened.height > MAX_PIXELS:
                raise DataError(f"more than {MAX_PIXELS:,} pixels")
            if framing is None:  # a model's own preprocessing is kept to the pixel
                opened.draft(
                    None, _draft_size(opened.size, (height, width))
                )  # JPEG; other formats take no notice
            opened.load()
            turned: Image.Image = opened
            with contextlib.suppress(Exception):  # notes of the camera that are broken are no broken image
                turned = ImageOps.exif_transpose(opened)
            plain = _plain(turned, "L" if channels == 1 else "RGB")
            scaled = (
                framing.apply(plain) if framing else np.asarray(ImageOps.fit(plain, (width, height)))
            ).reshape(wanted)
            small = _thumbnail(plain) if thumbnail else b""
    except Image.DecompressionBombError:
        raise DataError(f"more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise DataError("no image, or of a format that is not read") from None
    except (DataError, MemoryError):
        raise
    except Exception:  # decoders raise whatever a broken file leads them to
        raise DataError("damaged or cut off") from None
    return scaled, small


def _draft_size(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
    """The least size that a JPEG is decoded to, which it can be at 1/2, 1/4 and 1/8 for a fraction of the time.

    What is left has, whichever way the camera was held, at least twice the pixels that are wanted on each side and twice
    the longer side of a thumbnail: the last step is always a smooth one, and an image does not depend on whether a
    thumbnail is made of it.
    """
    factor = max(2 * max(wanted) / min(size), 2 * THUMBNAIL_SIDE / max(size))
    return math.ceil(size[0] * factor), math.ceil(size[1] * factor)


def _thumbnail(image: "Image") -> bytes:
    """The JPEG of an image, which is made small in place."""
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    image.info.clear()  # comments would be written again
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()


def image_size(raw: BufferedIOBase) -> tuple[int, int]:
    """Width and height of an image that :func:`decode` takes, before any scaling; nothing is decoded."""
    from PIL import Image

    raw.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return shown_size(Image.open(cast("IO[bytes]", raw), formats=FORMATS))


def shown_size(image: "Image") -> tuple[int, int]:
    """Width and height of an image as it is seen: exchanged where it lies on its side and the camera says so."""
    with contextlib.suppress(Exception):  # notes of the camera that are broken are no broken image
        if image.getexif().get(_ORIENTATION, 1) in _LYING:
            return image.size[1], image.size[0]
    return image.size


def _plain(image: "Image", mode: str) -> "Image":
    """The image in 8 bits a channel, without transparency."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip and not scale
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(
                "numbers below 0 or of more than 16 bits, whose range is not known: save it with 8 or 16 bits"
            )
        clear = values == image.info.get("transparency", -1)
        image = Image.fromarray(np.where(clear, 255, values >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise DataError("floating-point numbers, whose range is not known: save it with 8 or 16 bits")
    if image.mode == "LAB":  # has no way to grey of its own
        image = image.convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)
