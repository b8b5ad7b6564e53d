"""The user's images in a folder for each class, as a learning task: ``photos/cat/1.jpg``, ``photos/dog/7.png`` …"""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np

from brickwork.core.errors import DataError, warn
from brickwork.core.framing import Framing
from brickwork.data import splits
from brickwork.data.classes import warn_of_case
from brickwork.data.config import DataConfig
from brickwork.data.readers.files import ReadReport
from brickwork.data.readers.images import ENDINGS, FORMATS, Shape, image_files, read_images, shown_size
from brickwork.data.readers.inside import files_below
from brickwork.data.types import Examples, TaskData

_SIDE = 64  # of images that differ in size, where nothing else is asked for
_GREY = ("1", "L", "LA", "I;16")
_NOTES = 3  # documents that may lie in a folder of images,
_IMAGES = 50  # if there are so many images for each


def is_class_folder(folder: Path, texts: tuple[str, ...], *, allow_outside: bool = False) -> bool:
    """Whether a folder holds images in subfolders, and next to no documents, whose names end in one of ``texts``: a few
    notes beside fifty times as many images in several subfolders are told and left out."""
    images = documents = 0
    classes = set()
    for path in files_below(folder, (*texts, *ENDINGS), ReadReport(), allow_outside=allow_outside):
        if path.suffix.lower() in texts:
            documents += 1
            if documents > _NOTES:
                return False
        else:
            images += 1
            classes.add(path.relative_to(folder).parts[0] if path.parent != folder else "")
    classes.discard("")
    if documents and len(classes) > 1 and _IMAGES * documents <= images:
        warn(
            f"{folder}: documents ({documents}) beside images ({images}) are left out; move either to read the other"
        )
        return True
    return bool(classes) and not documents


def image_class_task(
    folder: Path, config: DataConfig, seed: int, side: int | None = None, framing: Framing | None = None
) -> TaskData:
    """A task of labelled images: the class of an image is the subfolder of ``folder`` that it lies in.

    ``side`` is that of the squares that images become; without it, images that all have one
    size keep it, others become 64 × 64. They are grey where all of them are. ``framing``, of a pretrained model, says all
    this in place of ``side``. Equal images stay in one part.

    Raises:
        DataError: fewer than two classes, or nothing that can be used.
    """
    report = ReadReport()
    shape, sizes = _shape(folder, side, config.allow_outside)
    if framing is not None:
        shape = framing.shape
    names, images = read_images(folder, framing or shape, report=report, allow_outside=config.allow_outside)
    inside = [row for row, name in enumerate(names) if "/" in name]
    classes = sorted({names[row].split("/")[0] for row in inside})
    if len(classes) < 2:
        raise DataError(
            f"{folder} has images of {len(classes)} class; classes are the folders in it, and can be learnt from two on"
        )
    warn_of_case(classes, str(folder))
    kept = [inside[place] for place in splits.pick(len(inside), config.limit)]
    labels = np.array([classes.index(names[row].split("/")[0]) for row in kept], dtype=np.int64)
    examples = Examples({"input": images[kept], "label": labels})
    parts = splits.split(
        [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images[kept]],
        validation_share=config.validation_share,
        test_share=config.test_share,
        max_held_out=config.max_held_out,
        seed=seed,
    )
    train, validation, test = splits.select(examples, parts)
    height, width, channels = shape
    notes = [f"images as {width} × {height} {'RGB' if channels == 3 else 'grey'}"]
    if framing is not None:
        notes = [f"images as the model takes them: {framing.describe()}"]
    elif sizes > 1:
        notes[0] += f" ({sizes:,} different sizes; another side: data.image_size)"
    if len(inside) < len(names):
        notes.append(f"{len(names) - len(inside):,} images beside the folders of the classes were left out")
    return TaskData(
        name=folder.name,
        kind="labelled",
        modality="image",
        train=train,
        validation=validation,
        test=test,
        num_classes=len(classes),
        class_names=tuple(classes),
        notes=(*notes, *report.notes()),
    )


def _shape(folder: Path, side: int | None, allow_outside: bool) -> tuple[Shape, int]:
    """The shape that images are brought to, from their headers, and how many different sizes they have."""
    from PIL import Image

    sizes: Counter[tuple[int, int]] = Counter()
    grey = True
    for path in image_files(folder, ReadReport(), allow_outside=allow_outside):
        try:
            with Image.open(path, formats=FORMATS) as opened:
                sizes[shown_size(opened)] += 1
                grey = grey and opened.mode in _GREY
        except Exception:  # whatever a broken file leads a decoder to; it is counted when it is read
            continue
    if side is not None:
        width = height = side
    else:
        width, height = next(iter(sizes)) if len(sizes) == 1 else (_SIDE, _SIDE)
    return (height, width, 1 if grey and sizes else 3), len(sizes)
