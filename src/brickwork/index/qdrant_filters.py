"""Filters as Qdrant evaluates them: what of a document is stored for that, and how conditions read.

Qdrant compares text for equality only, and has no one order over numbers and truth values. So a field's
value is stored below ``texts``, ``numbers`` or ``truths`` (as 0 and 1), by its kind, and an order of texts is
resolved to the texts that are there.
"""

import json
import math
import sys
from collections.abc import Callable, Iterable
from typing import Any

from brickwork.core.errors import DataError, MissingExtraError
from brickwork.core.text import clean_text
from brickwork.core.values import nearest_float
from brickwork.data.types import Document
from brickwork.index.conditions import Condition, Kind
from brickwork.index.filters import OWN_FIELDS, Filter, holds
from brickwork.index.store import meta_text

try:
    from qdrant_client import models
except ImportError as error:
    raise MissingExtraError("qdrant-client", "qdrant", "an index in Qdrant") from error

_ANY_NUMBER = models.Range(gte=-sys.float_info.max, lte=sys.float_info.max)


def key(group: str, name: str) -> str:
    """Where the values of a field are. The name is written in hexadecimal: Qdrant's paths give dots a meaning."""
    return f"{group}.{_plain(name)}"


def _plain(name: str) -> str:
    return "x" + clean_text(name).encode().hex()


def payload(document: Document) -> dict[str, Any]:
    """What is stored of a document beside its vectors.

    Raises:
        DataError: metadata that is not JSON, or a number beyond float64.
    """
    meta = meta_text(document, finite=True)
    groups: dict[str, dict[str, Any]] = {"texts": {}, "numbers": {}, "truths": {}}
    own = {name: clean_text(getattr(document, name)) for name in OWN_FIELDS}
    for name, value in (json.loads(meta) | own).items():
        if isinstance(value, bool):
            groups["truths"][_plain(name)] = int(value)
        elif isinstance(value, int | float):
            groups["numbers"][_plain(name)] = _as_float(value, document)
        elif isinstance(value, str):
            groups["texts"][_plain(name)] = value
    texts = {name: clean_text(getattr(document, name)) for name in ("id", "title", "text", "source")}
    fields = sorted(clean_text(name) for name in document.meta)
    return {**texts, "meta": meta, "fields": fields, **groups}


def _as_float(value: int | float, document: Document) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise DataError(
            f"the metadata of document '{document.id}' of {document.source} cannot be stored ({error}); leave such "
            "values out"
        ) from error


def conditions(
    where: Filter, texts_of: Callable[[str], Iterable[str]]
) -> tuple[list[models.Condition], list[models.Condition]] | None:
    """What must hold and what must not, for a filter of :func:`filters.resolve`; ``None``: nothing can match.

    ``texts_of`` gives the distinct texts of a field, for conditions on their order.
    """
    must: list[models.Condition] = []
    must_not: list[models.Condition] = []
    for condition in where.conditions:
        if condition.operator in ("eq", "in", "ne"):
            tests = _equal(condition)
        else:
            tests = _ordered(condition, texts_of)
        if condition.operator == "ne":
            must_not.extend(tests)
            continue
        if not tests:
            return None
        must.append(models.Filter(should=tests))
    return must, must_not


def _equal(condition: Condition) -> list[models.Condition]:
    """Conditions of which one must hold; none of them can where the list is empty."""
    tests: list[models.Condition] = []
    texts = [clean_text(one) for one in condition.values if isinstance(one, str)]
    if texts:
        tests.append(_match("texts", condition.field, models.MatchAny(any=texts)))
    for one in condition.values:
        if isinstance(one, bool):
            tests.append(_match("truths", condition.field, models.MatchValue(value=int(one))))
        elif isinstance(one, int | float):
            tests += _in_range(condition.field, "eq", nearest_float(one))
    return tests


def _ordered(condition: Condition, texts_of: Callable[[str], Iterable[str]]) -> list[models.Condition]:
    (one,) = condition.values
    if isinstance(one, bool):
        accepted = [value for value in (False, True) if holds(value, condition)]
        return [_match("truths", condition.field, models.MatchValue(value=int(value))) for value in accepted]
    if isinstance(one, int | float):
        return _in_range(condition.field, condition.operator, nearest_float(one))
    accepted_texts = [text for text in texts_of(condition.field) if holds(text, condition)]
    if not accepted_texts:
        return []
    return [_match("texts", condition.field, models.MatchAny(any=accepted_texts))]


def any_of(field: str, kind: Kind) -> models.Condition:
    """That a field holds a number, or a truth value."""
    if kind == "number":
        return models.FieldCondition(key=key("numbers", field), range=_ANY_NUMBER)
    return models.FieldCondition(key=key("truths", field), range=models.Range(gte=0, lte=1))


def _in_range(field: str, operator: str, wanted: float) -> list[models.Condition]:
    bounds = _range(operator, wanted)
    return [] if bounds is None else [models.FieldCondition(key=key("numbers", field), range=bounds)]


def _match(group: str, field: str, match: models.Match) -> models.FieldCondition:
    return models.FieldCondition(key=key(group, field), match=match)


def _range(operator: str, wanted: float) -> models.Range | None:
    """JSON has neither infinity nor NaN: every stored number is less than the one and unlike the other."""
    if math.isfinite(wanted):
        return (
            models.Range(gte=wanted, lte=wanted) if operator == "eq" else models.Range(**{operator: wanted})
        )
    below = operator in ("lt", "lte") and wanted > 0
    above = operator in ("gt", "gte") and wanted < 0
    return _ANY_NUMBER if below or above else None
