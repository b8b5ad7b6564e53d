"""Conditions of a filter that do not fit what their field holds: they match nothing, or not what was meant.

Nothing is refused, as documents that come later may have such values; whoever searches is told what would fit.
"""

import re
from datetime import date
from typing import Any

from brickwork.core.values import json_value, read_date
from brickwork.index.conditions import Condition, Kind, Value, Word
from brickwork.index.filters import ORDERS, OWN_FIELDS, FieldValues, Filter

_SAMPLE = 20  # values of a field that are looked at
_KINDS: dict[Kind, str] = {"number": "numbers", "truth": "true or false", "text": "texts"}
_YEAR_OR_MONTH = re.compile(
    r"\d{4}(-\d{2})?"
)  # the beginning of a date, which letters put before all that begin so


def misfits(where: Filter, fields: FieldValues, *, found: bool) -> tuple[str, ...]:
    """A note for each condition that does not fit what its field holds.

    ``found``: whether any document meets the filter. Where one does, single texts are not looked up among all others.
    """
    notes = (_misfit(condition, fields, found) for condition in where.conditions)
    return tuple(note for note in notes if note)


def _misfit(condition: Condition, fields: FieldValues, found: bool) -> str:
    for wanted in condition.values:
        own = condition.field in OWN_FIELDS  # texts, all of them
        if not own and _fits_without_texts(condition.field, wanted, fields):
            continue
        if not own and not fields.has(condition.field, "text"):
            held: Kind = "number" if fields.has(condition.field, "number") else "truth"
            return _note(condition, wanted, _KINDS[held], fields.some(condition.field, held, 1))
        if note := _misfit_of_texts(condition, wanted, fields, found):
            return note
    return ""


def _fits_without_texts(field: str, wanted: Value, fields: FieldValues) -> bool:
    word = Word(_written(wanted))
    if word.number() is not None and fields.has(field, "number"):
        return True
    return word.truth() is not None and fields.has(field, "truth")


def _misfit_of_texts(condition: Condition, wanted: Value, fields: FieldValues, found: bool) -> str:
    """The note for a value that can only be compared with texts."""
    field, written, ordered = condition.field, _written(wanted), condition.operator in ORDERS
    if read_date(written) is not None and not isinstance(wanted, date):
        return ""  # as a text it may be anything
    looked_up = ordered or (written[:1].isdigit() and (not found or condition.operator == "ne"))
    if (field in OWN_FIELDS and not ordered) or not (looked_up or isinstance(wanted, date)):
        return ""
    some = fields.some(field, "text", _SAMPLE)
    dates = bool(some) and all(read_date(text) is not None for text in some)
    if isinstance(wanted, date):
        return "" if dates else _note(condition, wanted, _KINDS["text"], some)
    if dates:
        begins = ordered and _YEAR_OR_MONTH.fullmatch(written)
        return "" if begins else _note(condition, wanted, "dates", some)
    if not ordered or Word(written).number() is None or all(_as_long(text, written) for text in some):
        return ""
    return (
        f"filter on '{field}': its values are texts{_such_as(some)}, so {written} is compared with them letter by letter: "
        '"10" comes before "9"'
    )


def _as_long(text: str, written: str) -> bool:
    """Whether letters and numbers have the same order."""
    return text.isdigit() and written.isdigit() and len(text) == len(written)


def _written(value: Value) -> str:
    if isinstance(value, Word):
        return value.text
    return str(value).lower() if isinstance(value, bool) else str(json_value(value))


def _note(condition: Condition, wanted: Value, held: str, some: list[Any]) -> str:
    effect = "lets everything through" if condition.operator == "ne" else "matches nothing"
    if held == "dates" and condition.operator in ORDERS:
        effect = "is compared with them letter by letter"
    return (
        f"filter on '{condition.field}': its values are {held}{_such_as(some)}; '{_written(wanted):.60}' is of another kind "
        f"and {effect}"
    )


def _such_as(some: list[Any]) -> str:
    if not some or isinstance(some[0], bool):
        return ""
    return f", for example {some[0]!s:.40}"
