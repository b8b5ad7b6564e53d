"""What ``multimodn`` reads: tables whose columns are modalities and targets, and missing values to simulate."""

from dataclasses import dataclass, field
from typing import Literal

from brickwork.core.framing import Framing
from brickwork.data.config import DataConfig, image_size_problems


@dataclass(frozen=True, kw_only=True)
class MissingConfig:
    """Missing values simulated in training and validation; the test part stays as it is."""

    modality: str = ""
    """The modality that is deleted; empty: nothing is."""
    mechanism: Literal["mcar", "mar", "mnar"] = "mcar"
    """Completely at random; where another modality's number is high; or by the label."""
    rate: float = 0.5
    """Share of the eligible rows."""
    label: int = 1
    """With ``mnar``: the class whose rows lose the modality."""
    driver: str = ""
    """With ``mar``: the modality whose first number decides."""

    def validate(self) -> list[str]:
        """Every problem with the values."""
        problems = []
        if not 0 <= self.rate <= 1:
            problems.append(f"rate is {self.rate}; use a share from 0 to 1")
        if self.modality and self.mechanism == "mar" and not self.driver:
            problems.append("driver is empty; mechanism 'mar' needs the modality that decides")
        given = {name for name, value in vars(self).items() if value != getattr(MissingConfig, name)}
        used = {"mar": {"driver"}, "mnar": {"label"}}.get(self.mechanism, set()) | {
            "modality",
            "mechanism",
            "rate",
        }
        idle = sorted(given - used) if self.modality else sorted(given)
        why = f"mechanism '{self.mechanism}'" if self.modality else "no modality to delete"
        problems += [f"{name} has no effect with {why}; leave it out" for name in idle]
        return problems


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """Modalities and targets of a table; what is left out is guessed from names and values."""

    modalities: tuple[str, ...] = ()
    """Groups of columns, in the order in which they are read: ``NAME=COLUMN|PATTERN*|…``, one entry each."""
    targets: tuple[str, ...] = ()
    """Columns to learn: ``NAME``, or ``NAME:number`` or ``NAME:class`` where the guess is wrong."""
    ignore: tuple[str, ...] = ()
    """Columns to leave out."""
    keep: tuple[str, ...] = ()
    """Columns to learn from although they seem to name rows (as ``id`` does), which are otherwise left out."""
    na_values: tuple[str, ...] = ()
    """Cells that say one of these words (or are these numbers, such as -999) are missing, beside the usual NA, null, ? …;
    in the data that the model is asked about as well."""
    time: str | None = None
    """Rows are split in the order of this column, the newest are the test part; it is a modality only if named."""
    missing: MissingConfig = field(default_factory=MissingConfig)
    """Missing values to simulate."""


@dataclass(frozen=True, kw_only=True)
class Data(DataConfig):
    """The data of a run of ``multimodn``."""

    table: TableConfig = field(default_factory=TableConfig)
    """Modalities and targets of the table."""
    image_size: int | None = None
    """The side of the squares that images of the user's table become (none: as a pretrained encoder takes them, else 32)."""
    framing: Framing | None = None
    """How images of the user's table are scaled and cut; a run takes it from its pretrained encoder."""

    def validate(self) -> list[str]:
        """Every problem with the values."""
        return [*super().validate(), *image_size_problems(self.image_size, self.framing)]
