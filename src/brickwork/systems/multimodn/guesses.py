"""Which columns of a table are what: types, groups that come and go together, and what is to be learnt."""

import fnmatch
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from brickwork.core.config import nearest_column
from brickwork.core.errors import DataError
from brickwork.core.framing import Framing
from brickwork.data.readers import cells as table_cells
from brickwork.data.readers.images import DEFAULT_SIDE
from brickwork.systems.multimodn.column_notes import (
    odd_cells,
    odd_note,
    short,
    target_words,
    type_note,
)
from brickwork.systems.multimodn.data import Data, TableConfig
from brickwork.systems.multimodn.layout import LabelType, ModalityLayout, TableLayout, TargetLayout
from brickwork.systems.multimodn.row_names import names_groups, names_rows

MAX_CATEGORIES = 50
MAX_CLASSES = 20  # a column of more different whole numbers than this is a number
_SAMPLE = 5000  # rows that types are guessed from
_COMMAS = (
    0.75  # a column of which at least this share are numbers, some with decimal commas, was meant to be one
)
_SINGLES = 8  # up to so many columns without groups are modalities of their own
_TARGET_NAMES = ("target", "targets", "label", "labels", "class", "y", "outcome", "diagnosis")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?")  # 007 and 1e3 are names
_SEPARATORS = re.compile(r"[.:/|]|__")


def plan_table(
    raw: Mapping[str, Any], config: Data, where: str, *, typed: bool = True
) -> tuple[TableLayout, list[str]]:
    """The layout of a table as the user chose it, guessed elsewhere; and notes on what was guessed.

    ``typed``: whether the file has types; in one without (CSV), labels that read as numbers are numbers.

    Raises:
        DataError: unknown column names, nothing to learn or to learn from.
    """
    table = config.table
    for name in (*table.ignore, *table.keep, *([table.time] if table.time else [])):
        _check_column(name, raw, "data.table", where)
    learnt = [_target(text, raw, where, typed) for text in _target_names(raw, config, where)]
    targets = [target for target, _ in learnt]
    taken = {t.name for t in targets} | set(table.ignore)
    free = [name for name in raw if name not in taken]
    kinds = {name: column_kind(raw[name]) for name in free if name != table.time or table.modalities}
    for name, kind in kinds.items():
        if kind == "decimal commas":
            _refuse_commas(name, raw[name], where)
    kinds, row_names = without_row_names(kinds, raw, table.keep)
    group = config.columns.group
    if group is not None and group in kinds and group not in table.keep:
        row_names.setdefault(group, "names the groups of the split")
    nothing = ("empty", "constant", "identifier", "nested")
    useless = {name: kind for name, kind in kinds.items() if kind in nothing and name not in table.keep}
    useless |= row_names
    if table.modalities:
        groups = chosen_groups(table.modalities, free, where, unless_named=row_names)
    else:
        groups = guess_groups({name: kind for name, kind in kinds.items() if name not in useless})
    size = config.framing or config.image_size or DEFAULT_SIDE
    modalities = tuple(
        layout_of(name, {column: kinds[column] for column in columns}, size, where)
        for name, columns in groups.items()
    )
    if not modalities:
        gone = "".join(f"; '{name}' is left out ({reason})" for name, reason in useless.items())
        raise DataError(
            f"{where} has no column to learn from beside {', '.join(t.name for t in targets)}{gone}"
        )
    notes = [
        "modalities: " + "; ".join(f"{m.name} = {short(m.columns)}" for m in modalities) + _advice(table),
        type_note({name: kinds[name] for m in modalities for name in m.columns}, raw),
        "targets: " + "; ".join(words for _, words in learnt),
    ]
    used = {column for m in modalities for column in m.columns}
    left_out = [n for n in free if n not in used and n != table.time]
    left = [f"{n} ({useless[n]})" if n in useless else n for n in left_out]
    if left:
        notes.append(f"columns left out: {', '.join(left)}")
    if named := [name for name in row_names if name not in used]:
        notes.append(
            f"{short(named)} would tell the rows apart and say nothing of new ones; learn from such a column all the same "
            f"with --set data.table.keep={named[0]}"
        )
    for name in (*(t.name for t in targets if t.is_class), *free):
        kind = kinds.get(name, "")
        if (
            name not in row_names
            and kind in ("", "category", "text", "identifier")
            and (odd := odd_cells(raw[name]))
        ):
            becomes = "is left out as an" if name in left_out else "is read as a"
            notes.append(odd_note(name, f"{becomes} {kind or 'class'}", odd))
    na_values = tuple(table.na_values)
    return TableLayout(modalities=modalities, targets=tuple(targets), na_values=na_values), notes


def _refuse_commas(name: str, values: Any, where: str) -> None:
    ignore = ", or leave the column out with data.table.ignore"
    for row, cell in enumerate(table_cells.as_list(values)):
        table_cells.refuse_decimal_comma(name, cell, f"{where} row {row + 1}", ignore)


def _advice(config: TableConfig) -> str:
    advice = "; choose otherwise with --set 'data.table.modalities=NAME=COLUMN|PATTERN*,NAME=…'"
    return "" if config.modalities else advice


def _check_column(name: str, raw: Mapping[str, Any], option: str, where: str) -> None:
    if name not in raw:
        raise DataError(f"{where} has no column '{name}' ({option}): {nearest_column(name, raw)}")


# ---- what is to be learnt --------------------------------------------------------------------------------------


def _target_names(raw: Mapping[str, Any], config: Data, where: str) -> list[str]:
    if config.table.targets:
        return list(config.table.targets)
    if config.columns.label is not None:
        return [config.columns.label]
    by_lower = {name.lower(): name for name in raw}
    names = [by_lower[name] for name in _TARGET_NAMES if name in by_lower][:1]
    names = names or [n for n in raw if re.match(r"(target|label|y|task)[_.]", n.lower())]
    if not names:
        raise DataError(
            f"{where} has the columns {', '.join(raw)}: none is called like a target. Say what is to be learnt: "
            "--set data.table.targets=NAME (several: NAME,NAME)"
        )
    return names


def _target(text: str, raw: Mapping[str, Any], where: str, typed: bool) -> tuple[TargetLayout, str]:
    """``name``, ``name:number`` or ``name:class``; and in words what it is learnt as."""
    name, _, kind = (text, "", "") if text in raw else text.rpartition(":")
    name = name or text
    _check_column(name, raw, "data.table.targets", where)
    if kind not in ("", "number", "class"):
        raise DataError(f"data.table.targets has '{text}'; write {name}:number or {name}:class")
    cells = [value for value in table_cells.as_list(raw[name]) if not table_cells.is_missing(value)]
    if not cells:
        raise DataError(f"{where}: the target '{name}' is missing from every row")
    values = [table_cells.number_of(value) for value in cells]
    is_number = all(value is not None for value in values)
    whole = is_number and all(value == int(value) for value in values if value is not None)
    if kind == "number" and not is_number:
        bad = next(cell for cell, value in zip(cells, values) if value is None)
        raise DataError(f"{where}: the target '{name}' is no number in some rows, for example {bad!r:.40}")
    distinct = len(set(values if is_number else map(table_cells.text_of, cells)))
    if kind == "number" or (kind == "" and is_number and not (whole and distinct <= MAX_CLASSES)):
        target = TargetLayout(name=name)
        return target, target_words(target, kind, cells)
    if not is_number and _with_commas(cells, values):
        _refuse_commas(name, raw[name], where)
    labels = _label_type(cells, f"{where}: the target '{name}'", typed)
    if labels in ("number", "whole number"):
        cells = [float(cell) for cell in cells]
    classes = sorted({table_cells.text_of(cell) for cell in cells}, key=natural)
    if len(classes) < 2:
        raise DataError(
            f"{where}: the target '{name}' has only the class '{classes[0]}'; it takes two to learn"
        )
    if len(classes) > len(cells) // 2:
        odd = odd_cells(cells)
        hint = "is it an identifier? Name another with data.table.targets"
        raise DataError(
            f"{where}: the target '{name}' has {len(classes)} classes in {len(cells)} rows; "
            f"{odd_note(name, 'would be read as a class', odd) if odd else hint}"
        )
    target = TargetLayout(name=name, classes=tuple(classes), labels=labels)
    return target, target_words(target, kind, cells)


def _with_commas(cells: Sequence[Any], numbers: Sequence[float | None]) -> bool:
    """Whether these are numbers of which some have decimal commas; some other words do not change that."""
    commas = sum(table_cells.has_decimal_comma(cell) for cell in cells)
    count = commas + sum(number is not None for number in numbers)
    return commas > 0 and count >= _COMMAS * len(cells)


def _label_type(cells: Sequence[Any], where: str, typed: bool) -> LabelType:
    kind = table_cells.check_one_kind(cells, where)
    if kind == "text" and not typed and all(_NUMBER.fullmatch(cell.strip()) for cell in cells):
        return "number" if any("." in cell for cell in cells) else "whole number"
    if kind == "number":
        whole = all(isinstance(cell, int | np.integer) for cell in cells)
        return "whole number" if whole else "number"
    return "truth value" if kind == "truth value" else "text"


def natural(name: str) -> tuple[bool, float, str]:
    """A key for sorting: numbers in their order, before words."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name


# ---- what it is learnt from ------------------------------------------------------------------------------------


def column_kind(values: Any) -> str:
    """``number`` (also dates and truth values), ``category``, ``text``, ``image``, ``series``; or why it is of no use:
    ``empty``, ``constant``, ``identifier``, ``nested``, ``decimal commas``."""
    cells = [v for v in table_cells.as_list(values[:_SAMPLE]) if not table_cells.is_missing(v)]
    if not cells:
        return "empty"
    if all(isinstance(v, bytes) or (isinstance(v, dict) and "bytes" in v) for v in cells):
        return "image"
    if all(isinstance(v, list | tuple) or hasattr(v, "shape") for v in cells):
        first = next((v for v in cells if len(v)), [0])
        return "series" if table_cells.number_of(first[0]) is not None else "nested"
    if any(isinstance(v, list | tuple | dict | bytes) for v in cells):
        return "nested"
    texts = [table_cells.text_of(v) for v in cells]
    if all(text.lower().endswith(table_cells.IMAGE_ENDINGS) for text in texts):
        return "image"
    distinct = len(set(texts))
    if distinct == 1 and len(cells) == len(values[:_SAMPLE]):
        return "constant"
    numbers = [table_cells.number_of(v) for v in cells]
    if all(number is not None for number in numbers):
        return "number"
    if _with_commas(cells, numbers):
        return "decimal commas"
    if distinct <= MAX_CATEGORIES and (distinct <= len(cells) / 2 or distinct <= 10):
        return "category"
    words = sum(len(text.split()) for text in texts) / len(texts)
    return "text" if words >= 2.5 else "identifier"


def without_row_names(
    kinds: Mapping[str, str], raw: Mapping[str, Any], keep: Sequence[str] = ()
) -> tuple[dict[str, str], dict[str, str]]:
    """The kinds of all columns, whole numbers that name groups being categories; and the columns that name rows, with the
    reason. ``keep``: columns that are taken for features whatever they look like."""
    kinds, reasons = dict(kinds), {}
    for name, kind in kinds.items():
        if kind not in ("number", "category", "text", "identifier") or name in keep:
            continue
        if reason := names_rows(name, raw[name][:_SAMPLE]):
            reasons[name] = reason
        elif kind == "number" and names_groups(name, raw[name][:_SAMPLE]):
            kinds[name] = "category"
    return kinds, reasons


def guess_groups(kinds: Mapping[str, str]) -> dict[str, list[str]]:
    """Columns by the part of their name before ``.``, ``:``, ``/``, ``|`` or ``__``, else before the first ``_``, space
    or ``-``, where at least two share it and so two groups come about.

    Without such names, up to eight columns are each a modality, and more are one called ``table``. Images and series
    are modalities of their own.
    """
    own = {name: [name] for name, kind in kinds.items() if kind in ("image", "series")}
    plain = [name for name in kinds if name not in own]
    for separator in (_SEPARATORS, re.compile(r"[_ \-]")):
        heads = {name: separator.split(name, maxsplit=1)[0] for name in plain if separator.search(name)}
        sizes = Counter(heads.values())
        shared = [head for head, size in sizes.items() if size > 1]
        if len(shared) > 1 and sum(sizes[head] for head in shared) >= len(plain) / 2:
            groups: dict[str, list[str]] = {head: [] for head in shared}
            rest = []
            for name in plain:
                groups[heads[name]].append(name) if heads.get(name) in groups else rest.append(name)
            return {**groups, **({"other": rest} if rest else {}), **own}
    if len(plain) <= _SINGLES:
        return {**{name: [name] for name in plain}, **own}
    return {"table": plain, **own}


def chosen_groups(
    chosen: Sequence[str], columns: Sequence[str], where: str, *, unless_named: Collection[str] = ()
) -> dict[str, list[str]]:
    """Groups as the user wrote them: ``name=column|pattern*|column``. ``unless_named``: columns that a pattern leaves out,
    and that only their own name takes; a group of nothing else is left out with them.

    Raises:
        DataError: a name or pattern that fits no column (the error has the nearest names), or a column in two groups.
    """
    groups: dict[str, list[str]] = {}
    taken: dict[str, str] = {}
    for entry in chosen:
        name, equals, patterns = entry.partition("=")
        name = name.strip()
        if not equals or not name or not patterns.strip() or name in groups:
            raise DataError(
                f"data.table.modalities has '{entry}'; write NAME=COLUMN|PATTERN* with each name once, for example "
                "weather=TEMP|PRES,gases=SO2|NO*"
            )
        groups[name] = []
        for pattern in filter(None, map(str.strip, patterns.split("|"))):
            fits = [c for c in columns if c == pattern] or [
                c for c in columns if fnmatch.fnmatchcase(c, pattern)
            ]
            if not fits:
                raise DataError(
                    f"{where} has no column '{pattern}' (modality '{name}'): {nearest_column(pattern, columns)}"
                )
            for column in fits:
                if column != pattern and column in unless_named:
                    continue
                if taken.setdefault(column, name) != name:
                    raise DataError(
                        f"column '{column}' is in the modalities '{taken[column]}' and '{name}'; it can be in one"
                    )
                if column not in groups[name]:
                    groups[name].append(column)
    return {name: members for name, members in groups.items() if members}


def layout_of(name: str, kinds: Mapping[str, str], image_size: int | Framing, where: str) -> ModalityLayout:
    """One modality of columns whose kinds are known. ``image_size``: the side of squares that images become, or how a
    pretrained encoder has them scaled and cut.

    Raises:
        DataError: a column without values or of no use, or images and series mixed with other columns.
    """
    reasons = {
        "empty": "is missing from every row",
        "nested": "holds lists of something other than numbers",
        "decimal commas": "has numbers with decimal commas (write them with points)",
    }
    bad = {column: kind for column, kind in kinds.items() if kind in reasons}
    if bad:
        column, kind = next(iter(bad.items()))
        reason = reasons[kind]
        raise DataError(
            f"{where}: column '{column}' of modality '{name}' {reason}; leave it out of data.table.modalities"
        )
    special = {kind for kind in kinds.values() if kind in ("image", "series")}
    if special and (len(set(kinds.values())) > 1 or ("image" in special and len(kinds) > 1)):
        raise DataError(
            f"{where}: modality '{name}' mixes {', '.join(f'{c} ({k})' for c, k in kinds.items())}; a column of images is "
            "a modality of its own, and columns of series can only be together with each other"
        )
    of = {
        wanted: tuple(c for c, kind in kinds.items() if kind in fits)
        for wanted, fits in (
            ("numbers", ("number", "series", "image")),
            ("categories", ("category", "constant")),
            ("texts", ("text", "identifier")),
        )
    }
    numbers = of["numbers"]
    if "image" in special:
        return image_layout(name, numbers[0], image_size)
    if "series" in special:
        return ModalityLayout(name=name, kind="series", numbers=numbers)
    return ModalityLayout(name=name, numbers=numbers, categories=of["categories"], texts=of["texts"])


def image_layout(name: str, column: str, size: int | Framing) -> ModalityLayout:
    """A modality of images, which become squares of a side or are framed."""
    if isinstance(size, Framing):
        return ModalityLayout(name=name, kind="image", numbers=(column,), shape=size.shape, framing=size)
    return ModalityLayout(name=name, kind="image", numbers=(column,), shape=(size, size, 3))
