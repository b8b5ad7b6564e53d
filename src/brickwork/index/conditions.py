"""What filters are made of: a field, an operator, and the value that it is compared with."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

Operator = Literal["eq", "ne", "lt", "lte", "gt", "gte", "in"]
Kind = Literal["text", "number", "truth"]

_NUMERALS = frozenset("0123456789.+-eE")


@dataclass(frozen=True)
class Word:
    """A value that was written without quotes: a text that may also be read as a number, a truth value or a date."""

    text: str

    def number(self) -> int | float | None:
        """The number that it reads as, if it does; ``1_000``, ``nan`` and digits of other scripts are none."""
        if not _NUMERALS.issuperset(self.text):
            return None
        for kind in (int, float):
            try:
                return kind(self.text)
            except ValueError:
                continue
        return None

    def truth(self) -> bool | None:
        """The truth value that it reads as, if it does."""
        return {"true": True, "false": False}.get(self.text.lower())


Value = str | int | float | bool | date | Word
"""What a condition compares with. Backends get filters that :func:`resolve` has made: texts, numbers and truth values."""


@dataclass(frozen=True)
class Condition:
    """``field operator value``; for ``in``, and for ``ne`` where none of several may be there, the value is a tuple."""

    field: str
    operator: Operator
    value: Value | tuple[Value, ...]

    @property
    def values(self) -> tuple[Value, ...]:
        """The value, or each of them."""
        return self.value if isinstance(self.value, tuple) else (self.value,)
