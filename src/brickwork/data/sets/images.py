"""Labelled image sets as uint8 arrays."""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from brickwork.core.errors import DataError, naming_extras
from brickwork.data import splits
from brickwork.data.config import DataConfig, ImageDataConfig
from brickwork.data.readers.files import ReadReport
from brickwork.data.readers.images import DEFAULT_SIDE, FORMATS, read_images
from brickwork.data.sets.sources import locate
from brickwork.data.types import Examples, TaskData

Images = UInt8[np.ndarray, "rows height width channels"]

# The official parts of each set, first the one to train on; sets without parts are split like the user's own.
PARTS = {
    "digits": ("all",),
    "mnist": ("train", "test"),
    "cifar10": ("train", "test"),
    "tiny_imagenet100": ("train", "val", "novel"),
    "omniglot_small": ("train", "test", "novel"),
}
# Omniglot: all characters of two alphabets are novel; of the others, the last drawers are the test part.
_NOVEL_ALPHABETS = ("Sanskrit", "Tagalog")
_FIRST_TEST_DRAWER = 15


def load_images(name: str, part: str, limit: int | None = None) -> Examples:
    """The images (``input``) and class numbers (``label``) of one part of a set.

    Shapes: ``input`` is uint8 (rows, height, width, channels), ``label`` int64 (rows,). ``limit`` takes that
    many rows, always the same ones. ``novel`` has other classes than the other parts, numbered from 0 on
    their own.

    Raises:
        DataError: unknown set or part, or the set is not on this machine.
    """
    images, labels, _ = _read(name, part, limit)
    return Examples({"input": images, "label": labels})


def class_names(name: str, part: str = "train") -> tuple[str, ...]:
    """What the class numbers of a set stand for."""
    return _read(name, PARTS[name][0] if name == "digits" else part, 1)[2]


def image_task(config: DataConfig, seed: int, name: str = "") -> TaskData:
    """A known set of labelled images as a task: ``name``, or the source itself. Official test parts stay whole; validation
    is taken from training."""
    name = name or config.source
    parts = PARTS[name]
    images, labels, names = _read(name, parts[0], config.limit)
    everything = Examples({"input": images, "label": labels})
    rows = splits.split(
        [str(row) for row in range(len(everything))],
        validation_share=config.validation_share,
        test_share=config.test_share if len(parts) == 1 else 0.0,
        max_held_out=config.max_held_out,
        seed=seed,
    )
    train, validation, test = splits.select(everything, rows)
    if len(parts) > 1:
        test = load_images(name, parts[1], config.limit)
    return TaskData(
        name=name,
        kind="labelled",
        modality="image",
        train=train,
        validation=validation,
        test=test,
        num_classes=len(names),
        class_names=names,
        notes=()
        if name != "cifar10"
        else ("a local copy may be CIFAR-10 (JPEG), not the official binaries",),
    )


def own_images(path: Path, config: ImageDataConfig, seed: int) -> TaskData:
    """The user's own images to learn from: an .npy or .npz of uint8, or a folder of images.

    An array is N × H × W (grey) or N × H × W × C; an .npz holds it as ``images`` (or alone), and classes as ``labels`` where
    there are any. The images of a folder are cut and scaled to ``config.image_size`` (RGB). Equal images stay in one part.

    Raises:
        DataError: nothing there, or arrays of another kind; names the file and what was expected.
    """
    labels = None
    notes: tuple[str, ...] = ()
    if path.is_dir():
        report = ReadReport()
        size = config.image_size or DEFAULT_SIDE
        images = read_images(
            path,
            config.framing or (size, size, 3),
            limit=config.limit,
            report=report,
            allow_outside=config.allow_outside,
        )[1]
        how = config.framing.describe() if config.framing else f"cut and scaled to {size} × {size}"
        notes = (f"images {how}", *report.notes())
    else:
        images, labels = _array(path)
    kept = splits.pick(len(images), config.limit)
    images = images[kept]
    if len(images) < 2:
        raise DataError(
            f"{path} holds {len(images)} image{'s'[: len(images) != 1]}; training needs 2 or more"
        )
    columns: dict[str, np.ndarray] = {"input": images}
    names: tuple[str, ...] = ()
    if labels is not None:
        classes, columns["label"] = np.unique(labels[kept], return_inverse=True)
        names = tuple(map(str, classes))
    rows = splits.split(
        [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images],
        validation_share=config.validation_share,
        test_share=config.test_share,
        max_held_out=config.max_held_out,
        seed=seed,
    )
    train, validation, test = splits.select(Examples(columns), rows)
    return TaskData(
        name=path.name,
        kind="inputs" if labels is None else "labelled",
        modality="image",
        train=train,
        validation=validation,
        test=test,
        num_classes=len(names) or None,
        class_names=names,
        notes=notes,
    )


def _array(path: Path) -> tuple[Images, np.ndarray | None]:
    """The images of a file (N, H, W, C) and their labels, if it has some."""
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = (
            {"images": loaded} if isinstance(loaded, np.ndarray) else {k: loaded[k] for k in loaded.files}
        )
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as an array of images (.npy, .npz): {error}") from None
    if "images" not in arrays and len(arrays) == 1:
        arrays = {"images": next(iter(arrays.values()))}
    if "images" not in arrays:
        raise DataError(f"{path} holds {', '.join(arrays) or 'nothing'}; call the array of images 'images'")
    images, labels = arrays["images"], arrays.get("labels")
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
        raise DataError(
            f"{path} holds {images.dtype} of shape {images.shape}; images are uint8 (0 … 255), number × height × width "
            "or number × height × width × channels"
        )
    if labels is not None and (labels.ndim != 1 or len(labels) != len(images)):
        raise DataError(f"{path} has labels of shape {labels.shape} for {len(images)} images; give one each")
    return images, labels


@naming_extras("the set of digits")
def _read(name: str, part: str, limit: int | None) -> tuple[Images, np.ndarray, tuple[str, ...]]:
    if name not in PARTS:
        raise DataError(f"'{name}' is no set of labelled images; there are: {', '.join(PARTS)}")
    if part not in PARTS[name]:
        raise DataError(f"{name} has no part '{part}'; its parts are: {', '.join(PARTS[name])}")
    if name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        kept = splits.pick(len(digits.target), limit)
        images = np.round(digits.images[kept] * (255 / 16)).astype(np.uint8)
        return images[..., None], digits.target[kept].astype(np.int64), tuple(map(str, range(10)))
    if name == "mnist":
        with np.load(locate(name) / "mnist" / "mnist.npz", allow_pickle=False) as file:
            images, labels = file[f"{part}_images"], file[f"{part}_labels"]
        kept = splits.pick(len(labels), limit)
        return images[kept][..., None], labels[kept].astype(np.int64), tuple(map(str, range(10)))
    if name == "omniglot_small":
        return _read_omniglot(locate(name) / name / f"{name}.npz", part, limit)
    column = "name" if name == "cifar10" else "class_words"
    return _read_parquet(locate(name) / name / f"{part}.parquet", column, limit)


def _read_omniglot(path: Path, part: str, limit: int | None) -> tuple[Images, np.ndarray, tuple[str, ...]]:
    """Characters of eight alphabets by twenty drawers each; a class is one character of one alphabet."""
    with np.load(path, allow_pickle=False) as file:
        images, alphabet, character, drawer = (
            file[key] for key in ("images", "alphabet_id", "character", "drawer")
        )
        alphabets = [str(name) for name in file["alphabet_names"]]
    novel = np.isin(alphabet, [alphabets.index(name) for name in _NOVEL_ALPHABETS])
    last = drawer - drawer.min() >= _FIRST_TEST_DRAWER
    rows = np.flatnonzero({"train": ~novel & ~last, "test": ~novel & last, "novel": novel}[part])
    names = [f"{alphabets[a]} {c}" for a, c in zip(alphabet[rows], character[rows])]
    classes = sorted(set(names))
    labels = np.searchsorted(classes, names).astype(np.int64)
    kept = splits.pick(len(rows), limit)
    return images[rows[kept]][..., None], labels[kept], tuple(classes)


def _read_parquet(path: Path, names: str, limit: int | None) -> tuple[Images, np.ndarray, tuple[str, ...]]:
    """Compressed images of one size. Rows were shuffled by whoever made the file: the first are a sample."""
    import pyarrow.parquet
    from PIL import Image

    table = pyarrow.parquet.read_table(path, columns=["image", "label", names])
    by_number = dict(zip(table["label"].to_pylist(), table[names].to_pylist()))
    table = table.slice(0, limit)
    images = [
        np.asarray(Image.open(io.BytesIO(raw), formats=FORMATS).convert("RGB"))
        for raw in table["image"].to_pylist()
    ]
    labels = np.asarray(table["label"].to_pylist(), dtype=np.int64)
    return np.stack(images), labels, tuple(by_number[number] for number in sorted(by_number))
