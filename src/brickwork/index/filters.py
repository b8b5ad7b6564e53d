"""Filters over the metadata of documents: read from a mapping or a line of text, the same for every backend.

As a mapping: ``{"source": "guide.md", "year": {"gte": 2020}, "tag": {"in": ["a", "b"]}}``; as text:
``"source=guide.md, year>=2020, tag in a|b"``. All conditions must hold. ``id``, ``title`` and ``source`` are
fields of every document, all others are keys of its ``meta``.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from brickwork.core.errors import ConfigError

if TYPE_CHECKING:
    from brickwork.data.types import Document

Operator = Literal["eq", "ne", "lt", "lte", "gt", "gte", "in"]
Value = str | int | float | bool
OWN_FIELDS = ("id", "title", "source")
_OPERATORS: tuple[Operator, ...] = get_args(Operator)
_SIGNS: dict[str, Operator] = {
    "=": "eq",
    "==": "eq",
    "!=": "ne",
    "<=": "lte",
    ">=": "gte",
    "<": "lt",
    ">": "gt",
}
_CONDITION = re.compile(r"\s*(?P<field>[\w.\-]+)\s*(?P<sign><=|>=|!=|==|=|<|>|\sin\s)\s*(?P<value>.+?)\s*$")
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


@dataclass(frozen=True)
class Condition:
    """``field operator value``; for ``in`` the value is a tuple. Numbers compare with numbers, text with text."""

    field: str
    operator: Operator
    value: Value | tuple[Value, ...]


@dataclass(frozen=True)
class Filter:
    """Conditions that must all hold."""

    conditions: tuple[Condition, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The names that the conditions use, each once."""
        return tuple(dict.fromkeys(condition.field for condition in self.conditions))

    def matches(self, document: "Document") -> bool:
        """The meaning of a filter, document by document: what every backend's own evaluation must agree with."""
        return all(holds(field_of(document, c.field), c) for c in self.conditions)


def field_of(document: "Document", name: str) -> Any:
    """A document's value of a field; ``None`` where it has none."""
    return getattr(document, name) if name in OWN_FIELDS else document.meta.get(name)


def holds(value: Any, condition: Condition) -> bool:
    """Whether a value meets a condition. A missing value meets none but ``ne``."""
    wanted = condition.value
    if condition.operator == "in":
        assert isinstance(wanted, tuple)
        return any(_same(value, one) for one in wanted)
    if condition.operator in ("eq", "ne"):
        return _same(value, wanted) == (condition.operator == "eq")
    if _class(value) is None or _class(value) != _class(wanted):
        return False
    return _ORDER[condition.operator](value, wanted)


def _same(value: Any, wanted: Any) -> bool:
    return _class(value) is not None and _class(value) == _class(wanted) and value == wanted


def _class(value: Any) -> str | None:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else None


def parse_filter(where: "str | Mapping[str, Any] | Filter | None") -> Filter | None:
    """A filter from what a user wrote; ``None`` and an empty one mean no filter.

    Raises:
        ConfigError: an operator or value that is not known; shows the part and what is possible.
    """
    if where is None or isinstance(where, Filter):
        return where
    conditions = _from_text(where) if isinstance(where, str) else _from_mapping(where)
    return Filter(tuple(conditions)) if conditions else None


def _from_mapping(where: Mapping[str, Any]) -> list[Condition]:
    conditions = []
    for name, wanted in where.items():
        tests = wanted if isinstance(wanted, Mapping) else {"eq": wanted}
        for name_of, value in tests.items():
            if name_of not in _OPERATORS:
                raise ConfigError(
                    f"filter on '{name}': '{name_of}' is no operator; use one of {', '.join(_OPERATORS)}"
                )
            if name_of == "in":
                if not isinstance(value, list | tuple) or not value:
                    raise ConfigError(f"filter on '{name}': 'in' takes a list of at least one value")
                value = tuple(value)
            for one in value if isinstance(value, tuple) else (value,):
                if _class(one) is None:
                    raise ConfigError(f"filter on '{name}': {one!r} is no text, number or truth value")
            conditions.append(Condition(str(name), name_of, value))
    return conditions


def _from_text(text: str) -> list[Condition]:
    conditions: list[Condition] = []
    for part in (p for p in text.split(",") if p.strip()):
        match = _CONDITION.match(part)
        if match is None:
            raise ConfigError(
                f"filter '{part.strip()}' was not understood; write it as source=guide.md, year>=2020 or tag in a|b"
            )
        sign = match["sign"].strip()
        if sign == "in":
            values = tuple(_value(one.strip()) for one in match["value"].split("|"))
            conditions.append(Condition(match["field"], "in", values))
        else:
            conditions.append(Condition(match["field"], _SIGNS[sign], _value(match["value"])))
    return conditions


def _value(text: str) -> Value:
    """Text as it stands in quotes; else a truth value or number where it reads as one."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
