"""What a person is told of the types that the columns of a table got, and of the choices that were made for them."""

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np

from brickwork.data.readers import cells as table_cells
from brickwork.systems.multimodn.layout import TargetLayout

MOSTLY = 0.5  # a column of whose filled cells at least this share are numbers was perhaps meant to be one
_SAMPLE = 5000  # rows that are looked at, as for the guess of the type itself
_OF_A_TYPE = 50  # filled cells that tell a date from a number
_SHOWN = 4
_MOST_WORDS = 20  # different odd cells: words that mean "missing" come again


def short(columns: Sequence[str]) -> str:
    """The names of columns, the first six of them."""
    return ", ".join(columns[:6]) + (f" … ({len(columns)})" if len(columns) > 6 else "")


def type_note(kinds: Mapping[str, str], raw: Mapping[str, Any]) -> str:
    """One line with the type that each column is read as."""
    groups: dict[str, list[str]] = {}
    for name, kind in kinds.items():
        groups.setdefault(_type(kind, raw[name]), []).append(name)
    return "types: " + "; ".join(f"{kind} = {short(names)}" for kind, names in groups.items())


def _type(kind: str, values: Any) -> str:
    if kind != "number":
        return {"constant": "category", "identifier": "text"}.get(kind, kind)
    cells = _filled(values)[:_OF_A_TYPE]
    if cells and all(isinstance(cell, bool | np.bool_) for cell in cells):
        return "truth value"
    if any(map(_is_time, cells)):
        lasting = all(isinstance(cell, timedelta | np.timedelta64) or _is_duration(cell) for cell in cells)
        return "duration" if lasting else "date"
    return "number"


def _is_time(cell: Any) -> bool:
    if isinstance(cell, date | timedelta | np.datetime64 | np.timedelta64):
        return True
    try:
        float(cell)
    except (TypeError, ValueError):
        return True  # of a column in which all cells are numbers of some kind
    return False


def _is_duration(cell: Any) -> bool:
    return isinstance(cell, str) and table_cells.is_duration(cell)


def odd_cells(values: Any) -> Counter[str]:
    """The cells of a column that are no numbers, counted, where most of its filled cells are; else none."""
    cells = _filled(values)
    if any(isinstance(cell, list | tuple | dict | bytes) or hasattr(cell, "shape") for cell in cells):
        return Counter()
    odd = Counter(table_cells.text_of(cell) for cell in cells if table_cells.number_of(cell) is None)
    count = sum(odd.values())
    return odd if 0 < count <= (1 - MOSTLY) * len(cells) and len(odd) <= _MOST_WORDS else Counter()


def odd_note(name: str, becomes: str, odd: Counter[str]) -> str:
    """The advice for a column that is a number but for its odd cells. ``becomes``: what it is read as."""
    shown = ", ".join(f"{word!r:.40} ({count})" for word, count in odd.most_common(_SHOWN))
    more = f" and {len(odd) - _SHOWN} other words" if len(odd) > _SHOWN else ""
    words = [word for word, _ in odd.most_common(_SHOWN)]
    plain = not any(set(word) & set(',["') for word in words)  # else a list of JSON
    option = f"data.table.na_values={','.join(words) if plain else json.dumps(words, ensure_ascii=False)}"
    return (
        f"'{name}' {becomes}, although most of its filled cells are numbers; the others say {shown}{more}. "
        f"If these mean that a value is missing: --set {shlex.quote(option)}"
    )


def target_words(target: TargetLayout, chosen: str, cells: Sequence[Any]) -> str:
    """A target with what it is learnt as, and how to choose otherwise where whole numbers could be either."""
    if target.is_class:
        listed = f": {', '.join(target.classes)}" if len(target.classes) <= 10 else ""
        words, other = f"{len(target.classes)} classes{listed}", "number"
    else:
        words, other = "a number", "class"
    numbers = [table_cells.number_of(cell) for cell in cells]
    whole = all(number is not None and number == int(number) for number in numbers)
    if not chosen and whole and not any(isinstance(cell, bool | np.bool_) for cell in cells):
        kind = "a number" if other == "number" else "classes"
        words += f"; whole numbers, learnt as {kind} with --set data.table.targets={target.name}:{other}"
    return f"{target.name} ({words})"


def _filled(values: Any) -> list[Any]:
    return [cell for cell in table_cells.as_list(values[:_SAMPLE]) if not table_cells.is_missing(cell)]
