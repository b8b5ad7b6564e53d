"""Filters as text: ``source=guide.md, year>=2020, tag in a|b``, read from left to right in one pass.

A condition is a field, a sign and a value; conditions are separated by commas, the values of ``in`` by ``|``. A field or a
value that holds spaces at its ends, commas, quotes, ``|`` or signs stands in quotes (``"`` or ``'``), within which
``\\"`` is a quote and ``\\\\`` a backslash: ``"pub year" >= 2000, place = "Bern, CH"``. A value in quotes is text; one
without is a :class:`~brickwork.index.conditions.Word`.
"""

from brickwork.core.errors import ConfigError
from brickwork.index.conditions import Condition, Operator, Word

MAX_LENGTH = 10_000
"""Characters that the text of a filter may have."""

# The longer signs first: each is looked for where the reading stands.
_SIGNS: tuple[tuple[str, Operator], ...] = (
    ("==", "eq"),
    ("!=", "ne"),
    ("<=", "lte"),
    (">=", "gte"),
    ("=", "eq"),
    ("<", "lt"),
    (">", "gt"),
)
_HELP = (
    "write it as source=guide.md, year>=2020, tag in a|b, and put what holds spaces, commas or | in quotes"
)


def read_conditions(text: str) -> list[Condition]:
    """The conditions of a filter that was written as text; time grows with its length and no faster.

    Raises:
        ConfigError: a text that is too long, or a part that was not understood; shows the part.
    """
    if len(text) > MAX_LENGTH:
        raise ConfigError(
            f"the filter has {len(text):,} characters, more than the {MAX_LENGTH:,} that one may have; give a list of "
            "values as a mapping: {'id': {'in': [...]}}"
        )
    return _Reader(text).conditions()


class _Reader:
    """A text and the place up to which it was read."""

    def __init__(self, text: str):
        self.text = text
        self.place = 0

    def conditions(self) -> list[Condition]:
        found: list[Condition] = []
        while True:
            self.skip_spaces()
            if self.at_end():
                return found
            if self.here() == ",":
                self.place += 1
                continue
            found.append(self.condition())
            self.skip_spaces()
            if not self.at_end() and self.here() != ",":
                raise self.error("more follows the value in quotes")

    def condition(self) -> Condition:
        start = self.place
        field = self.field()
        self.skip_spaces()
        operator = self.operator(start)
        self.skip_spaces()
        if operator != "in":
            return Condition(field, operator, self.value(","))
        values = [self.value(",|")]
        while not self.at_end() and self.here() == "|":
            self.place += 1
            self.skip_spaces()
            values.append(self.value(",|"))
        return Condition(field, "in", tuple(values))

    def field(self) -> str:
        if self.here() in "\"'":
            return self.quoted()
        start = self.place
        while not self.at_end() and not (self.here().isspace() or self.here() in ",|=!<>\"'"):
            self.place += 1
        if start == self.place:
            raise self.error("a field is missing")
        return self.text[start : self.place]

    def operator(self, start: int) -> Operator:
        for sign, operator in _SIGNS:
            if self.text.startswith(sign, self.place):
                self.place += len(sign)
                return operator
        after = self.text[self.place + 2 : self.place + 3]
        if self.text[self.place : self.place + 2].lower() == "in" and (
            after.isspace() or after in ("'", '"')
        ):
            self.place += 2
            return "in"
        self.place = start
        raise self.error("a field is followed by one of =, !=, <, <=, >, >=, in")

    def value(self, ends: str) -> str | Word:
        """A value up to one of ``ends``, and the spaces behind it."""
        if not self.at_end() and self.here() in "\"'":
            value = self.quoted()
            self.skip_spaces()
            return value
        start = self.place
        while not self.at_end() and self.here() not in ends:
            self.place += 1
        value = self.text[start : self.place].rstrip()
        if not value:
            raise self.error('a value is missing; an empty text is ""')
        if value[0] in "=<>!~" or (any(c in value for c in "=<>") and any(c.isspace() for c in value)):
            self.place = start
            raise self.error(f"{_short(value)!r} is no value; a comma separates conditions")
        return Word(value)

    def quoted(self) -> str:
        start, quote = self.place, self.here()
        self.place += 1
        parts: list[str] = []
        while not self.at_end():
            here = self.here()
            self.place += 1
            if here == quote:
                return "".join(parts)
            if here == "\\" and not self.at_end() and self.here() in "\\\"'":
                here = self.here()
                self.place += 1
            parts.append(here)
        self.place = start
        raise self.error(f"the quote {quote} is not closed")

    def skip_spaces(self) -> None:
        while not self.at_end() and self.here().isspace():
            self.place += 1

    def at_end(self) -> bool:
        return self.place >= len(self.text)

    def here(self) -> str:
        return self.text[self.place]

    def error(self, reason: str) -> ConfigError:
        place = _short(self.text[self.place :].strip()) or _short(self.text.strip())
        return ConfigError(f"the filter was not understood at '{place}': {reason}; {_HELP}")


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"
