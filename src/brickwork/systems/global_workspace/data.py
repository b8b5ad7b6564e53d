"""What ``global-workspace`` reads: sums of digits, or vectors of several domains."""

from dataclasses import dataclass, field
from typing import Literal

from brickwork.data.config import DataConfig

HeldOut = Literal["interp", "corner", "sum", "bigA", "bigB"]
NUM_VALUES = 10  # of a digit
MADE_UP = ("digit-halves", "simple-shapes")


@dataclass(frozen=True, kw_only=True)
class Addition:
    """Which sums: ``digits``: where images of digits come from, none: plain numbers. ``modulo``: 0 for none.
    ``held_out``: the pairs that training never shows (table in ``arithmetic.py``)."""

    digits: Literal["digits", "mnist"] | None = None
    modulo: Literal[0, 10] = 0
    held_out: HeldOut = "corner"

    def name(self) -> str:
        """As tables call it: ``mnist, modulo 10, corner``."""
        parts = (self.digits, f"modulo {self.modulo}" if self.modulo else None, self.held_out)
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class Data(DataConfig):
    """The data of a run: ``source`` is ``addition``, ``digit-halves``, ``simple-shapes`` or a file."""

    addition: Addition = field(default_factory=Addition)
    """Of ``addition``: which sums."""
    paired: int | None = None
    """Of ``digit-halves`` and ``simple-shapes``: so many training rows have all domains (none: all rows)."""
    unpaired: bool = True
    """With ``paired``: whether the other rows stay, with one domain each."""

    def validate(self) -> list[str]:
        """Every problem with the values."""
        problems = super().validate()
        if self.source != "addition" and self.addition != Addition():
            problems.append(f"addition has no effect with source '{self.source}'; leave it out")
        if self.source not in MADE_UP and self.paired is not None:
            problems.append(
                f"paired has no effect with source '{self.source}', only with {' and '.join(MADE_UP)}; leave it out"
            )
        if self.paired is not None and self.paired < 1:
            problems.append(f"paired is {self.paired}; use a positive number, or none for all rows")
        if not self.unpaired and self.paired is None:
            problems.append("unpaired has no effect without paired; leave it out")
        return problems
