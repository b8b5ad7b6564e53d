"""What users hand to the estimators (data frames, arrays, dictionaries of modalities) as typed examples."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from brickwork.core.config import nearest
from brickwork.core.errors import DataError, warn
from brickwork.core.framing import Framing
from brickwork.data.readers.arrays import check_images
from brickwork.data.types import Examples
from brickwork.systems.multimodn.column_notes import odd_cells
from brickwork.systems.multimodn.guesses import (
    chosen_groups,
    column_kind,
    guess_groups,
    image_layout,
    layout_of,
    without_row_names,
)
from brickwork.systems.multimodn.layout import ModalityLayout, TableLayout
from brickwork.systems.multimodn.tables import nothing, typed_examples

Groups = Mapping[str, Sequence[str | int]] | None


@dataclass(frozen=True)
class Given:
    """What X is: columns by their names, or (``named``) the user's dictionary of modalities."""

    columns: Mapping[str, Any]
    named: bool = False


def is_frame(X: Any) -> bool:
    """Whether this is a data frame (pandas, or another with ``columns`` and ``__getitem__``) whose columns have names;
    one with numbers for names is an array."""
    if isinstance(X, Mapping) or not (hasattr(X, "columns") and hasattr(X, "__getitem__")):
        return False
    return any(isinstance(name, str) for name in X.columns)


def is_named(X: Any) -> bool:
    """Whether this is a dictionary of modalities. One kind of sparse matrix is a dictionary too."""
    from scipy.sparse import issparse

    return isinstance(X, Mapping) and not issparse(X)


def frame_columns(X: Any) -> dict[str, Any]:
    """The columns of a data frame by name.

    Raises:
        DataError: two columns of one name.
    """
    names = [str(name) for name in X.columns]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(
            f"two columns have the name '{doubled[0]}'; a column is known by its name: rename one of them, or leave it out"
        )
    return {str(name): X[name] for name in X.columns}


def check_columns(columns: Collection[str], layout: TableLayout, known: Collection[str]) -> None:
    """Refuses a data frame in which columns of the model are not there while others are that ``fit`` did not see: they may
    have been renamed. Without such others, the columns of a whole modality may be left out.

    Raises:
        DataError: in scikit-learn's words.
    """
    absent = [column for m in layout.modalities for column in m.columns if column not in columns]
    unseen = [column for column in columns if column not in known]
    if absent and unseen:
        raise DataError(
            "The feature names should match those that were passed during fit.\nFeature names unseen at fit time:\n- "
            + "\n- ".join(unseen[:5])
            + "\nFeature names seen at fit time, yet now missing:\n- "
            + "\n- ".join(absent[:5])
        )


def array_columns(X: np.ndarray) -> dict[str, Any]:
    """The columns of an array, called ``x0``, ``x1`` …"""
    return {f"x{place}": X[:, place] for place in range(X.shape[1])}


def flat_modalities(
    columns: Mapping[str, Any], groups: Groups, image_size: int | Framing
) -> tuple[ModalityLayout, ...]:
    """The modalities of columns by the user's groups (names, patterns, or column numbers), or guessed.

    Columns that name rows are left out, with a warning, unless a group has them by their own name.

    Raises:
        DataError: a name that fits no column, or no column that is of use.
    """
    kinds = {name: column_kind(values) for name, values in columns.items()}
    kinds, row_names = without_row_names(kinds, columns)
    if groups is None:
        useless = ("empty", "constant", "identifier", "nested")
        members_of = guess_groups(
            {name: kind for name, kind in kinds.items() if kind not in useless and name not in row_names}
        )
    else:
        entries = [
            f"{name}=" + "|".join(f"x{c}" if isinstance(c, int) else c for c in members)
            for name, members in groups.items()
        ]
        members_of = chosen_groups(entries, list(columns), "X", unless_named=row_names)
    used = {column for members in members_of.values() for column in members}
    _warn_of_row_names({name: reason for name, reason in row_names.items() if name not in used})
    words = {name: kind for name, kind in kinds.items() if kind in ("category", "text", "identifier")}
    _warn_of_odd_cells(
        {n: odd for n in words if n not in row_names and (odd := odd_cells(columns[n]))}, kinds
    )
    if not members_of:
        raise DataError("X has no column that something can be learnt from: all are empty or constant")
    return tuple(
        layout_of(name, {c: kinds[c] for c in members}, image_size, "X")
        for name, members in members_of.items()
    )


def _warn_of_row_names(left: Mapping[str, str]) -> None:
    if left:
        warn(
            f"columns that name rows are not learnt from: {', '.join(f'{n} ({why})' for n, why in left.items())}; to learn "
            "from one all the same, give it by its own name in modalities"
        )


def _warn_of_odd_cells(odd: Mapping[str, Mapping[str, int]], kinds: Mapping[str, str]) -> None:
    if odd:
        listed = "; ".join(f"'{n}' ({kinds[n]}; {', '.join(map(repr, list(o)[:4]))})" for n, o in odd.items())
        warn(
            f"columns of numbers but for a few cells are not read as numbers: {listed}. If these cells mean that a value is "
            "missing, make them NaN before fit"
        )


def named_modalities(X: Mapping[str, Any], image_size: int | Framing) -> tuple[ModalityLayout, ...]:
    """The modalities of a dictionary: arrays (rows, numbers), (rows, time, variables) or uint8 (rows, height, width,
    channels), lists of series or images, or data frames.

    Raises:
        DataError: a value is none of these, or nothing in it is there.
    """
    return tuple(_named(name, value, image_size) for name, value in X.items())


def _named(name: str, value: Any, image_size: int | Framing) -> ModalityLayout:
    if is_frame(value):
        columns = frame_columns(value)
        found, row_names = without_row_names({c: column_kind(held) for c, held in columns.items()}, columns)
        _warn_of_row_names(row_names)
        useless = ("empty", "constant", "nested")
        kinds = {
            f"{name}/{c}": kind for c, kind in found.items() if kind not in useless and c not in row_names
        }
        if not kinds:
            raise DataError(f"modality '{name}' has no column that something can be learnt from")
        return layout_of(name, kinds, image_size, "X")
    cells = [] if value is None else [cell for cell in value if cell is not None]
    if not cells:
        raise DataError(f"modality '{name}' is missing from every row; leave it out")
    first = np.asarray(cells[0])
    if isinstance(cells[0], str | bytes):
        kind = column_kind(cells)
        if kind == "image":
            return image_layout(name, name, image_size)
        return layout_of(name, {name: kind}, image_size, "X")
    if first.ndim == 3:
        check_images(first[None], f"modality '{name}'")
        return ModalityLayout(name=name, kind="image", numbers=(name,), shape=first.shape)
    if first.ndim == 2 or (first.ndim == 1 and not isinstance(value, np.ndarray)):
        variables = 1 if first.ndim == 1 else first.shape[1]
        return ModalityLayout(name=name, kind="series", numbers=_numbered(name, variables))
    if first.ndim > 3:
        raise DataError(
            f"modality '{name}' has {first.ndim + 1} dimensions; numbers have (rows, numbers), series (rows, time, "
            "variables), images (rows, height, width, channels)"
        )
    return ModalityLayout(name=name, numbers=_numbered(name, 1 if first.ndim == 0 else len(first)))


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}/{place}" for place in range(count))


def named_examples(X: Mapping[str, Any], layout: TableLayout) -> Examples:
    """A dictionary of modalities as examples; one that is left out or ``None`` is missing from every row.

    Raises:
        DataError: a name that the model does not know, or a value of another form than in ``fit``.
    """
    for name in X:
        if name not in layout.names:
            raise DataError(
                f"X has the modality '{name}', which the model does not know: {nearest(name, layout.names)}"
            )
    given = {name: value for name, value in X.items() if value is not None}
    if not given:
        raise DataError("X holds no modality at all; give at least one, with a value for each row")
    columns: dict[str, Any] = {}
    for name, value in given.items():
        columns |= _cells(layout.modality(name), value)
    here = replace(layout, modalities=tuple(m for m in layout.modalities if m.name in given))
    examples = typed_examples(here, columns, where="X", with_targets=False)
    gone = {
        part: held
        for m in layout.modalities
        if m.name not in given
        for part, held in nothing(m, len(examples)).items()
    }
    return Examples({**examples.columns, **gone})


def _cells(modality: ModalityLayout, value: Any) -> dict[str, Any]:
    if is_frame(value):
        return {f"{modality.name}/{c}": values for c, values in frame_columns(value).items()}
    if modality.kind == "image":
        for image in value:
            if isinstance(image, np.ndarray):
                check_images(image[None], f"modality '{modality.name}'")
        return {modality.name: value}
    if modality.kind == "series":
        rows = [None if cell is None else np.asarray(cell, dtype=np.float64) for cell in value]
        return {modality.name: [r[:, None] if r is not None and r.ndim == 1 else r for r in rows]}
    if modality.categories or modality.texts:
        return {modality.name: value}
    array = np.asarray(
        [[np.nan] if cell is None else cell for cell in value] if isinstance(value, list) else value
    )
    array = array.astype(np.float64)
    return {modality.name: array[:, None] if array.ndim == 1 else array}
