"""Arrays in NumPy's own files: images in an .npy, columns of equal length in an .npz."""

import zipfile
from pathlib import Path

import numpy as np

from brickwork.core.errors import DataError


def read_images(path: Path) -> np.ndarray:
    """Images of an .npy file: uint8, images × height × width × channels.

    Raises:
        DataError: it is damaged, or holds something else.
    """
    try:
        images = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise DataError(f"{path} is not an .npy array of images: {error}") from None
    if not isinstance(images, np.ndarray):
        raise DataError(f"{path} must hold one array of uint8, images × height × width × channels")
    return check_images(images, str(path))


def check_images(images: np.ndarray, where: str) -> np.ndarray:
    """The images as they are, if they are uint8, images × height × width × channels.

    Raises:
        DataError: another type of numbers, or another rank; says how to make them right.
    """
    if images.dtype != np.uint8:
        advice = "make them so"
        if images.dtype.kind == "f" and images.size and np.nanmin(images) >= 0:
            scaled = "images.round()" if np.nanmax(images) > 1 else "(255 * images).round()"
            advice += f": {scaled}.astype(np.uint8)"
        raise DataError(
            f"{where}: images are {images.dtype}; they must be one array of uint8, from 0 to 255; {advice}"
        )
    if images.ndim != 4:
        advice = ""
        if images.ndim == 3:
            colours = images.shape[-1] in (1, 3, 4)
            advice = "; one image is images[None]" if colours else "; grey images are images[..., None]"
        raise DataError(
            f"{where}: images have the shape {images.shape}; it must be images × height × width × channels{advice}"
        )
    return images


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, all with as many rows.

    Raises:
        DataError: it is damaged, holds Python objects, or arrays of different lengths.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not an .npz file of plain arrays: {error}") from None
    lengths = {name: len(values) if values.ndim else 0 for name, values in arrays.items()}
    if len(set(lengths.values())) != 1 or not next(iter(lengths.values())):
        raise DataError(
            f"{path}: all arrays must have the same number of rows, at least one; they have {lengths}"
        )
    return arrays
