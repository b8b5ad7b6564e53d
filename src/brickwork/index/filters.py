"""Filters over the metadata of documents: read from a mapping or a line of text, the same for every backend.

As a mapping: ``{"source": "guide.md", "year": {"gte": 2020}, "tag": {"in": ["a", "b"]}}``; as text, whose grammar is
in :mod:`~brickwork.index.filter_text`: ``source=guide.md, year>=2020, tag in a|b``. All conditions must hold. ``id``,
``title`` and ``source`` are fields of every document, all others are keys of its ``meta``.

Numbers compare with numbers, text with text, dates with texts that are ISO 8601 dates. :func:`resolve` is the one place
that decides it, for all backends: a value without quotes equals what it reads as *and* the text as it stands, so that
``zip=01234``, ``title=1984`` and ``year=2020`` find what they say; in an order it is a number or date where the field
holds any, else text. A number compares as text where a field holds no numbers, a text as what it reads as where a field
holds no text.
"""

import enum
import math
import operator
import uuid
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol, get_args, runtime_checkable

from brickwork.core.errors import ConfigError
from brickwork.core.values import as_moment, json_value, read_date
from brickwork.index.conditions import Condition, Kind, Operator, Value, Word
from brickwork.index.filter_text import read_conditions

if TYPE_CHECKING:
    from brickwork.data.types import Document

OWN_FIELDS = ("id", "title", "source")
_MOST_BITS = 14_000  # Python writes integers of up to 4,300 digits
_OPERATORS: tuple[Operator, ...] = get_args(Operator)
ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


@dataclass(frozen=True)
class Filter:
    """Conditions that must all hold."""

    conditions: tuple[Condition, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The names that the conditions use, each once."""
        return tuple(dict.fromkeys(condition.field for condition in self.conditions))

    def matches(self, document: "Document") -> bool:
        """Whether a document meets all conditions, taken alone: its own values are all that its fields hold."""
        alone = resolve(self, DocumentFields([document]))
        return all(holds(field_of(document, c.field), c) for c in alone.conditions)


@runtime_checkable
class FieldValues(Protocol):
    """What a backend tells of its fields to :func:`resolve`."""

    def has(self, field: str, kind: Kind) -> bool:
        """Whether any document has a value of this kind there."""
        ...

    def texts(self, field: str) -> Iterable[str]:
        """The distinct texts that documents have there."""
        ...

    def some(self, field: str, kind: Kind, count: int) -> list[Any]:
        """Up to ``count`` values of this kind, to look at; none where telling them takes long."""
        ...


class DocumentFields:
    """The fields of some documents: what :func:`resolve` needs to know, by looking at each."""

    def __init__(self, documents: Iterable["Document"]):
        self.documents = list(documents)

    def has(self, field: str, kind: Kind) -> bool:
        return any(kind_of(field_of(document, field)) == kind for document in self.documents)

    def texts(self, field: str) -> Iterable[str]:
        values = (field_of(document, field) for document in self.documents)
        return dict.fromkeys(value for value in values if isinstance(value, str))

    def some(self, field: str, kind: Kind, count: int) -> list[Any]:
        values = (field_of(document, field) for document in self.documents)
        return [value for value in values if kind_of(value) == kind][:count]


def field_of(document: "Document", name: str) -> Any:
    """A document's value of a field as it is stored; ``None`` where it has none."""
    return getattr(document, name) if name in OWN_FIELDS else json_value(document.meta.get(name))


def kind_of(value: Any) -> Kind | None:
    """What a stored value is compared as; ``None`` for what is compared with nothing."""
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else None


def holds(value: Any, condition: Condition) -> bool:
    """Whether a stored value meets a condition of :func:`resolve`. A missing value meets none but ``ne``."""
    if condition.operator in ("eq", "ne", "in"):
        same = any(kind_of(value) == kind_of(one) and value == one for one in condition.values)
        return (kind_of(value) is not None and same) == (condition.operator != "ne")
    (wanted,) = condition.values
    if kind_of(value) is None or kind_of(value) != kind_of(wanted):
        return False
    return bool(compare(condition.operator, value, wanted))


def compare(order: Operator, left: Any, right: Any) -> Any:
    """``left < right`` and its like, for single values and for arrays."""
    return ORDERS[order](left, right)


# --- what a value means for what a field holds ------------------------------------------------------------


def resolve(where: Filter, fields: FieldValues) -> Filter:
    """The filter in texts, numbers and truth values alone, by what the fields hold.

    Equality becomes ``in`` or ``ne`` over a tuple, which may be empty: then nothing, or everything, matches.
    """
    return Filter(tuple(_resolved(condition, fields) for condition in where.conditions))


@dataclass(frozen=True)
class _Readings:
    """What a value may mean for a field; ``None``: not that."""

    text: str | None = None
    number: int | float | None = None
    truth: bool | None = None
    moment: datetime | None = None


def _resolved(condition: Condition, fields: FieldValues) -> Condition:
    field, order = condition.field, condition.operator
    if field in OWN_FIELDS:  # texts, all of them
        texts = tuple(_as_text(wanted) for wanted in condition.values)
        return Condition(field, *((order, texts[0]) if order in ORDERS else (_equality(order), texts)))
    readings = [_readings(field, wanted, fields) for wanted in condition.values]
    if order in ORDERS:
        return _ordered(condition, readings[0], fields)
    values: list[str | int | float | bool] = []
    for one in readings:
        values += [value for value in (one.number, one.truth, one.text) if value is not None]
    moments = {one.moment for one in readings if one.moment is not None}
    if moments:
        values += [text for text in fields.texts(field) if read_date(text) in moments]
    unique = {(kind_of(value), value): value for value in values}
    return Condition(field, _equality(order), tuple(unique.values()))


def _equality(order: Operator) -> Operator:
    return "ne" if order == "ne" else "in"


def _ordered(condition: Condition, wanted: _Readings, fields: FieldValues) -> Condition:
    field, order = condition.field, condition.operator
    others = (wanted.text, wanted.truth, wanted.moment) != (None, None, None)
    if wanted.number is not None and (not others or fields.has(field, "number")):
        return Condition(field, order, wanted.number)
    if wanted.truth is not None and (wanted.text is None or fields.has(field, "truth")):
        return Condition(field, order, wanted.truth)
    if wanted.moment is not None:
        dates = [(text, date) for text in fields.texts(field) if (date := read_date(text)) is not None]
        if dates or wanted.text is None:
            good = [text for text, its in dates if compare(order, its, wanted.moment)]
            return Condition(field, "in", tuple(good))
    assert wanted.text is not None
    return Condition(field, order, wanted.text)


def _readings(field: str, wanted: Value, fields: FieldValues) -> _Readings:
    """A word is all that it reads as; another value is of its kind where the field holds that, else as a word."""
    if isinstance(wanted, date):
        return _Readings(moment=as_moment(wanted))
    word = wanted if isinstance(wanted, Word) else Word(_as_text(wanted))
    if isinstance(wanted, str):
        # Asked only where there is a choice: on a server, the answer takes a search of its own.
        if word.number() is word.truth() is None or fields.has(field, "text"):
            return _Readings(text=wanted, moment=read_date(wanted))
    elif isinstance(wanted, bool):
        if fields.has(field, "truth"):
            return _Readings(truth=wanted)
    elif not isinstance(wanted, Word) and (
        (isinstance(wanted, float) and not math.isfinite(wanted)) or fields.has(field, "number")
    ):
        return _Readings(number=wanted)
    return _Readings(word.text, word.number(), word.truth(), read_date(word.text))


def _as_text(value: Value) -> str:
    """How a value is written where texts are compared."""
    if isinstance(value, Word):
        return value.text
    return str(value).lower() if isinstance(value, bool) else str(json_value(value))


# --- reading ----------------------------------------------------------------------------------------------


def parse_filter(where: "str | Mapping[str, Any] | Filter | None") -> Filter | None:
    """A filter from what a user wrote; ``None`` and an empty one mean no filter.

    Raises:
        ConfigError: an operator or value that is not known; shows the part and what is possible.
    """
    if where is None or isinstance(where, Filter):
        return where
    if isinstance(where, str):
        conditions = read_conditions(where)
    elif isinstance(where, Mapping):
        conditions = _from_mapping(where)
    else:
        raise ConfigError(
            f"a filter is a text or a mapping, not {type(where).__name__}; write 'year>=2020' or "
            "{'year': {'gte': 2020}}"
        )
    return Filter(tuple(conditions)) if conditions else None


def _from_mapping(where: Mapping[str, Any]) -> list[Condition]:
    conditions = []
    for name, wanted in where.items():
        tests = wanted if isinstance(wanted, Mapping) else {"eq": wanted}
        if not tests:
            raise ConfigError(
                f"filter on '{name}': nothing is asked of it; write one of {', '.join(_OPERATORS)} with a value"
            )
        for name_of, value in tests.items():
            if name_of not in _OPERATORS:
                raise ConfigError(
                    f"filter on '{name}': '{name_of}' is no operator; use one of {', '.join(_OPERATORS)}"
                )
            if name_of == "in":
                if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
                    raise ConfigError(f"filter on '{name}': 'in' takes a list of at least one value")
                values = tuple(_value(name, one) for one in value)
                if not values:
                    raise ConfigError(f"filter on '{name}': 'in' takes a list of at least one value")
                conditions.append(Condition(str(name), "in", values))
            else:
                conditions.append(Condition(str(name), name_of, _value(name, value)))
    return conditions


def _value(field: str, value: Any) -> Value:
    """A value of a mapping: numbers of NumPy and ``decimal`` are numbers, dates stay dates."""
    if isinstance(value, date) and value == value:
        return value
    if isinstance(value, Word):
        return value
    if value is None:
        raise ConfigError(f"filter on '{field}': null is no value to compare with; leave the field out")
    if isinstance(value, Mapping | list | tuple | Set):  # of any depth: not looked into
        raise ConfigError(
            f"filter on '{field}': {type(value).__name__} is no text, number, truth value or date"
        )
    if getattr(getattr(value, "dtype", None), "kind", "") == "M":
        moment = read_date(str(json_value(value)))
        if moment is not None:
            return moment
    plain = value if type(value) is float else json_value(value)  # NaN is a value here, which nothing equals
    known = not isinstance(plain, str) or isinstance(value, str | enum.Enum | time | uuid.UUID | PurePath)
    if kind_of(plain) is None or not known:
        raise ConfigError(f"filter on '{field}': {value!r} is no text, number, truth value or date")
    if isinstance(plain, int) and plain.bit_length() > _MOST_BITS:
        raise ConfigError(f"filter on '{field}': a number of more digits than any that is stored")
    return plain
