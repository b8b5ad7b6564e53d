"""What users hand to the estimators as y: columns of labels or numbers, as scikit-learn takes them."""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import check_array, column_or_1d

from brickwork.core.errors import DataError
from brickwork.data.readers.cells import check_one_kind, is_missing
from brickwork.systems.multimodn.inputs import frame_columns, is_frame


class InputError(DataError, ValueError):
    """Wrong input or parameter, as scikit-learn's callers expect it."""


def target_columns(estimator: Any, y: Any) -> tuple[dict[str, np.ndarray], bool]:
    """The columns of y by name (of a data frame or series their own, else ``y`` or ``y0``, ``y1`` …), and whether y is
    one column. A table of one column is one column, with scikit-learn's warning.

    Raises:
        InputError: y is ``None``, labels of one list are of mixed types.
        DataError: a data frame with two columns of one name.
    """
    if y is None:
        raise InputError(f"{type(estimator).__name__} requires y to be passed, but the target y is None")
    if is_frame(y):
        columns = {name: _column(values) for name, values in frame_columns(y).items()}
        if len(columns) == 1:
            warnings.warn(
                "A column-vector y was passed when a 1d array was expected. Please change the shape of y to (n_samples,), "
                "for example using ravel().",
                DataConversionWarning,
                stacklevel=4,
            )
        return columns, len(columns) == 1
    if isinstance(y, list | tuple) and y and not any(isinstance(row, list | tuple | np.ndarray) for row in y):
        check_one_kind(y, "y")  # NumPy would make one type of them
    array = _column(y)
    if array.ndim == 1 or array.shape[1] == 1:
        name = getattr(y, "name", None)
        return {"y" if name is None else str(name): column_or_1d(array, warn=array.ndim > 1)}, True
    return {f"y{place}": array[:, place] for place in range(array.shape[1])}, False


def _column(values: Any) -> np.ndarray:
    if not isinstance(getattr(values, "dtype", np.dtype(object)), np.dtype):
        # pandas's own types (category, boolean, Int64): scikit-learn would make floats of truth values
        cells = values.tolist()
        values = np.array(cells, dtype=object if any(map(is_missing, cells)) else None)
    array = check_array(values, ensure_2d=False, dtype=None, ensure_all_finite=False, input_name="y")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        check_array(array, ensure_2d=False, input_name="y")  # raises, in scikit-learn's words
    return array


def check_labels(labels: np.ndarray) -> None:
    """Refuses labels of which some are missing, and labels of mixed types.

    Raises:
        InputError: with the first row that has none, or two labels of different types.
    """
    if labels.dtype.kind == "O":
        missing = [
            row for row, label in enumerate(labels) if not isinstance(label, str) and is_missing(label)
        ]
        if missing:
            raise InputError(f"y has no label in row {missing[0]}; leave out rows without one")
        check_one_kind(labels, "y")


def target_numbers(name: str, values: np.ndarray) -> np.ndarray:
    """The numbers (rows,) of one column of y.

    Raises:
        InputError: a cell that is none, with its row.
        ValueError: a missing or infinite one, in scikit-learn's words.
    """
    for row, value in enumerate(values if values.dtype.kind in "OUS" else ()):
        try:
            float(value)
        except (TypeError, ValueError):
            raise InputError(
                f"'{name}' is {str(value)!r} in row {row}, which is no number; classes are for MultiModNClassifier"
            ) from None
    return check_array(values, ensure_2d=False, dtype=np.float64, input_name="y")
