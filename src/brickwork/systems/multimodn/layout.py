"""How the columns of a table are grouped: into modalities that are read, and targets that are learnt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from brickwork.core.config import nearest
from brickwork.core.errors import DataError
from brickwork.core.framing import Framing

ModalityKind = Literal["table", "series", "image"]
LabelType = Literal["text", "whole number", "number", "truth value"]


@dataclass(frozen=True, kw_only=True)
class ModalityLayout:
    """Columns that come and go together.

    ``table``: single values: ``numbers`` (dates too), ``categories``, ``texts``. ``series``: ``numbers`` names the
    variables, each cell a list of numbers in time. ``image``: ``numbers`` names the one column of images, and
    ``shape`` is their (height, width, channels); ``framing``: how they are scaled and cut, where a pretrained encoder
    says it.
    """

    name: str
    kind: ModalityKind = "table"
    numbers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    framing: Framing | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The user's columns, in the order in which their values are kept."""
        return self.numbers + self.categories + self.texts


@dataclass(frozen=True, kw_only=True)
class TargetLayout:
    """A column that is learnt: one of ``classes``, or a number where there are none. ``labels``: what type the classes had,
    which predictions have as well."""

    name: str
    classes: tuple[str, ...] = ()
    labels: LabelType = "text"

    @property
    def is_class(self) -> bool:
        """Whether this is a classification."""
        return bool(self.classes)

    def label(self, place: int) -> str | int | float | bool:
        """The class at ``place`` in the type that it had in the data."""
        name = self.classes[place]
        if self.labels == "truth value":
            return name == "True"
        if self.labels == "text":
            return name
        return int(name) if self.labels == "whole number" else float(name)

    @property
    def column(self) -> str:
        """What the column of :class:`brickwork.data.types.Examples` is called."""
        return f"target.{self.name}"


@dataclass(frozen=True, kw_only=True)
class TableLayout:
    """The modalities of a table, in the order in which they are read, and its targets.

    Examples hold, for a modality ``m`` of kind table, ``m`` (numbers, float64, NaN where a cell is missing) and where
    it has them ``m.categories`` and ``m.texts`` (texts, ``None`` where missing), each (rows, columns); for series and
    images ``m`` is a list of float64 (time, variables) or uint8 (height, width, channels), ``None`` where missing.
    ``target.t`` is int64 (-1: unknown) or float64 (NaN: unknown).
    """

    modalities: tuple[ModalityLayout, ...]
    targets: tuple[TargetLayout, ...]
    na_values: tuple[str, ...] = ()
    """Words that mean in this table that a cell is missing, beside the usual ones."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the modalities."""
        return tuple(modality.name for modality in self.modalities)

    def modality(self, name: str) -> ModalityLayout:
        """The modality called ``name``.

        Raises:
            DataError: there is none; names the nearest.
        """
        return self.modalities[_place(name, self.names, "modality")]

    def target(self, name: str) -> TargetLayout:
        """The target called ``name``.

        Raises:
            DataError: there is none; names the nearest.
        """
        return self.targets[_place(name, [target.name for target in self.targets], "target")]


def _place(name: str, names: Sequence[str], what: str) -> int:
    if name not in names:
        raise DataError(f"there is no {what} '{name}': {nearest(name, names)}")
    return list(names).index(name)
