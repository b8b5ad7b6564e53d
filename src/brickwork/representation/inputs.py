"""What users hand to ``encode`` and ``search``: sequences of texts, or arrays of images; all else is refused by name."""

from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import PurePath
from typing import Any

import numpy as np

from brickwork.core.errors import DataError
from brickwork.core.text import clean_text
from brickwork.data.readers.arrays import check_images


def items_of(inputs: Any, what: str = "texts") -> list[Any]:
    """The entries of a list, tuple, series, array of one dimension, or of an iterator, which is used up.

    Raises:
        DataError: what does not give its entries in order when it is iterated over: a data frame (its column names), a
            mapping (its keys), a set (no order), bytes (numbers), an array of more dimensions; or a single value.
    """
    kind = type(inputs).__name__
    columns = getattr(inputs, "column_names", getattr(inputs, "columns", None))  # Arrow; pandas and Polars
    if columns is not None:
        first = f", for example x[{next(iter(columns))!r}]" if len(columns) else ""
        raise DataError(f"a table ({kind}) is no list of {what}; give one of its columns{first}")
    if isinstance(inputs, str | bytes | bytearray | memoryview | PurePath) or not isinstance(
        inputs, Iterable
    ):
        raise DataError(f"{inputs!r:.60} ({kind}) is no list of {what}; put {what} into a list")
    if isinstance(inputs, Mapping):
        raise DataError(f"a mapping ({kind}) is no list of {what}; give list(x.values()) to take its values")
    if isinstance(inputs, Set):
        raise DataError(f"a set ({kind}) has no order, so it is not clear which result is whose; give a list")
    shape = getattr(inputs, "shape", (0,))
    if len(shape) != 1:
        raise DataError(f"an array of the shape {tuple(shape)} is no list of {what}; give one dimension")
    for plain in ("tolist", "to_pylist", "to_list"):  # NumPy and pandas; Arrow; Polars
        if hasattr(inputs, plain):
            return list(getattr(inputs, plain)())
    return list(inputs)


def texts_of(inputs: Any) -> list[str]:
    """The texts of :func:`items_of`, with lone surrogates, which no tokenizer takes, replaced.

    Raises:
        DataError: as there, or an entry that is no text, with its row.
    """
    texts = items_of(inputs)
    check_texts(texts)
    return [text if text.isascii() else clean_text(text) for text in texts]


def check_texts(texts: Sequence[Any]) -> None:
    """Refuses what is not a text, naming the row.

    Raises:
        DataError: with the first wrong row.
    """
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                f"input {row} is {text!r:.80} ({type(text).__name__}), not a text; "
                "leave it out or make it a string"
            )


def images_of(inputs: Any) -> np.ndarray:
    """Images as one array of uint8, images × height × width × channels.

    Raises:
        DataError: texts, images of several shapes, other numbers than uint8, or another rank.
    """
    if isinstance(inputs, Mapping | Set) or hasattr(inputs, "columns"):
        raise DataError(
            f"a {type(inputs).__name__} is no array of images; give images × height × width × channels"
        )
    entries = [] if isinstance(inputs, np.ndarray) or not isinstance(inputs, Sequence) else inputs
    if isinstance(inputs, str) or any(isinstance(entry, str) for entry in entries):
        raise DataError(
            "this model encodes images, and this is a text; give images × height × width × channels of uint8"
        )
    try:
        images = np.asarray(inputs)
    except ValueError as error:
        raise DataError(f"the images have different shapes; make them all of one shape ({error})") from error
    if images.size == 0 and images.ndim == 1:
        return images.astype(np.uint8)
    return check_images(images, "encode")
