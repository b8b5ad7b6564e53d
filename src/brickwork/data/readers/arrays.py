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
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4:
        raise DataError(f"{path} must hold one array of uint8, images × height × width × channels")
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
