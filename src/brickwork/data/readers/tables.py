"""The user's table as a learning task: which columns, which rows, in which parts."""

import math
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from brickwork.core.errors import DataError
from brickwork.data import splits
from brickwork.data.config import DataConfig
from brickwork.data.readers.cells import check_one_kind, label_kind, refuse_decimal_comma, text_of
from brickwork.data.readers.columns import describe, task_of
from brickwork.data.readers.files import ReadReport, column_names, row_of, rows
from brickwork.data.readers.judged import by_label
from brickwork.data.readers.outline import Section
from brickwork.data.readers.pairs import PlainPairs, plain_pairs
from brickwork.data.readers.passages import Passage, passages
from brickwork.data.readers.values import name_value, text_value
from brickwork.data.retrieval import retrieval_from_pairs
from brickwork.data.types import Examples, Kind, TaskData

_NAMES = ("label", "score", "group")  # roles in which the word "nan" is no value


def table_task(path: Path, config: DataConfig, seed: int) -> TaskData:
    """A task from a JSONL, CSV, TSV or Parquet file.

    Raises:
        DataError: wrong column, nothing readable, fewer than two different examples, only one class.
    """
    report = ReadReport()
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; give a file with at least two rows")
    kind, roles = task_of(column_names(path), config.columns, str(path))
    notes = [describe(kind, roles)]
    numbered_rows = islice(rows(path, report, sorted(set(roles.values()))), config.limit)
    if kind is None:
        pairs = plain_pairs(_row_passages(numbered_rows, roles, path.name, report, config))
        report.duplicates += pairs.duplicates
        report.used(report.rows + report.unreadable - report.skipped.total())
        report.warn()
        return plain_task(path, pairs, config, seed, [*notes, *report.notes()])
    # A label of pairs may be empty: it can be a category.
    optional = ("group", "label") if kind == "pairs" else ("group",)
    columns = _read(numbered_rows, roles, path.name, report, optional)
    if kind == "pairs" and "label" in columns:
        kind, columns, said = by_label(columns, roles["label"], str(path))
        notes += said
    if kind == "labelled":
        task = _labelled(path, columns, config, seed, report)
    else:
        notes += _few_answers(kind, columns, roles)
        task = _pairs(path, kind, columns, config, seed, report)
    report.warn()
    return TaskData(**{**vars(task), "notes": (*notes, *report.notes(), *task.notes)})


def _read(
    numbered_rows: Iterator[tuple[int, dict]],
    roles: dict[str, str],
    name: str,
    report: ReadReport,
    optional: tuple[str, ...],
) -> dict[str, list[Any]]:
    """The columns of complete rows; a row with an empty text is counted and left out.

    Raises:
        DataError: labels of mixed types, as 1 and "1".
    """
    columns: dict[str, list[Any]] = {role: [] for role in roles}
    labels: list[Any] = []
    for number, row in numbered_rows:
        where = row_of(name, number)
        values: dict[str, Any] = {
            role: (name_value if role in _NAMES else text_value)(row.get(column), report, where)
            for role, column in roles.items()
        }
        if values.get("label"):
            labels.append(row[roles["label"]])
            if label_kind(labels[-1]) == "number":  # 1 and 1.0 are one class
                values["label"] = text_of(labels[-1])
        empty = [roles[role] for role, value in values.items() if not value and role not in optional]
        if empty:
            report.skip(f"'{empty[0]}' is empty", where)
            continue
        if "score" in values:
            score = _score(values["score"])
            refuse_decimal_comma(roles["score"], values["score"], where)
            if score is None:
                report.skip(f"'{roles['score']}' is not a number", where)
                continue
            values["score"] = score
        for role, value in values.items():
            columns[role].append(value)
    report.used(len(next(iter(columns.values()))))
    if labels:
        check_one_kind(labels, f"{name}: '{roles['label']}'")
    return columns


def _score(text: str) -> float | None:
    """The number that a text says; nothing for one that is not finite."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _enough(path: Path, count: int, report: ReadReport) -> None:
    if count < 2:
        notes = "; ".join(report.notes())
        raise DataError(
            f"{path} gives {count} different example{'' if count == 1 else 's'} out of {report.rows} "
            f"row{'' if report.rows == 1 else 's'}; training needs 2 or more{': ' + notes if notes else ''}"
        )


def _keep(columns: dict[str, list[Any]], kept: list[int], report: ReadReport) -> dict[str, list[Any]]:
    report.duplicates += len(next(iter(columns.values()))) - len(kept)
    return {role: [column[row] for row in kept] for role, column in columns.items()}


def _pairs(
    path: Path, kind: Kind, columns: dict[str, list[Any]], config: DataConfig, seed: int, report: ReadReport
) -> TaskData:
    kept = splits.first_of_each(columns["anchor"], columns["positive"], *_optional(columns, "negative"))
    columns = _keep(columns, kept, report)
    _enough(path, len(columns["anchor"]), report)
    given = columns.pop("group", None)
    # Rows without a group of their own are told apart by their number.
    extra = [[value or f"row {row}" for row, value in enumerate(given)]] if given else []
    group = splits.connect(columns["anchor"], columns["positive"], *extra)
    notes = []
    if kind == "scored":
        low, high = min(columns["score"]), max(columns["score"])
        if low == high and not 0 <= low <= 1:
            raise DataError(
                f"{path}: all scores are {low:g}, so their range is not known; give scores from 0 to 1, or some that "
                "differ"
            )
        if low < 0 or high > 1:
            columns["score"] = [(score - low) / (high - low) for score in columns["score"]]
            notes.append(f"scores from {low:g} to {high:g} were brought to 0 … 1")
    largest = max(Counter(group).values())
    if largest > len(group) // 2:
        notes.append(f"{largest} of {len(group)} rows share texts: they stay together in training")
    examples = Examples({**columns, "group": group})
    parts = _split([str(number) for number in group], config, seed)
    train, validation, test = splits.select(examples, parts)
    retrieval = {}
    if kind != "scored" and len(test):
        retrieval = {path.stem: retrieval_from_pairs(path.stem, test)}
    return TaskData(
        name=path.name,
        kind=kind,
        modality="text",
        train=train,
        validation=validation,
        test=test,
        retrieval=retrieval,
        notes=tuple(notes),
    )


def _few_answers(kind: Kind, columns: dict[str, list[Any]], roles: dict[str, str]) -> list[str]:
    """A note where the answers of pairs look like classes: each stands in twenty rows and more."""
    rows, different = len(columns["positive"]), len(set(columns["positive"]))
    if kind == "scored" or rows < 20 * different:
        return []
    positive, anchor = roles["positive"], roles["anchor"]
    return [
        f"'{positive}' has only {different:,} different text{'' if different == 1 else 's'} in {rows:,} rows; if these are "
        f"classes, take a system that learns classes, with --column text={anchor} --column label={positive}"
    ]


def _labelled(
    path: Path, columns: dict[str, list[Any]], config: DataConfig, seed: int, report: ReadReport
) -> TaskData:
    columns = _keep(columns, splits.first_of_each(columns["text"]), report)
    _enough(path, len(columns["text"]), report)
    names = sorted(set(columns["label"]), key=_natural)
    if len(names) < 2:
        raise DataError(f"{path} has only the class '{names[0]}'; classes can be learnt from two on")
    number = {name: place for place, name in enumerate(names)}
    examples = Examples({"input": columns["text"], "label": [number[name] for name in columns["label"]]})
    parts = _split([splits.normalised(text) for text in columns["text"]], config, seed)
    train, validation, test = splits.select(examples, parts)
    return TaskData(
        name=path.name,
        kind="labelled",
        modality="text",
        train=train,
        validation=validation,
        test=test,
        num_classes=len(names),
        class_names=tuple(names),
    )


def _natural(name: str) -> tuple[bool, float, str]:
    """Numbers in their order, before words."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name


def _optional(columns: dict[str, list[Any]], *names: str) -> list[list[Any]]:
    return [columns[name] for name in names if name in columns]


def _split(keys: list[str], config: DataConfig, seed: int) -> splits.Parts:
    return splits.split(
        keys,
        validation_share=config.validation_share,
        test_share=config.test_share,
        max_held_out=config.max_held_out,
        seed=seed,
    )


def _row_passages(
    numbered_rows: Iterator[tuple[int, dict]],
    roles: dict[str, str],
    name: str,
    report: ReadReport,
    config: DataConfig,
) -> Iterator[tuple[str, Passage]]:
    """The passages of each row's text; a row is a document."""
    for number, row in numbered_rows:
        where = row_of(name, number)
        text = text_value(row.get(roles["text"]), report, where)
        if not text:
            report.skip(f"'{roles['text']}' is empty", where)
            continue
        for passage in passages([Section((), text)], config.max_passage_words, config.max_passage_tokens):
            yield where, passage


def plain_task(path: Path, pairs: PlainPairs, config: DataConfig, seed: int, notes: list[str]) -> TaskData:
    """A task from pairs that were made out of documents.

    Raises:
        DataError: fewer than two pairs.
    """
    count = len(pairs.anchor)
    if count < 2:
        raise DataError(
            f"{path} gives {count} pair{'' if count == 1 else 's'} (heading and section, or neighbouring "
            "passages) and training needs 2 or more; give more text, or a file with two columns"
        )
    examples = Examples({"anchor": pairs.anchor, "positive": pairs.positive, "group": pairs.group})
    parts = _split(pairs.key, config, seed)
    train, validation, test = splits.select(examples, parts)
    retrieval = {}
    for task in sorted({pairs.task[row] for row in parts.test}):
        chosen = [row for row in parts.test if pairs.task[row] == task]
        retrieval[task] = retrieval_from_pairs(
            task, examples.select(chosen), [pairs.title[row] for row in chosen]
        )
    kinds = ", ".join(f"{pairs.task.count(task):,} {task}" for task in sorted(set(pairs.task)))
    return TaskData(
        name=path.name,
        kind="pairs",
        modality="text",
        train=train,
        validation=validation,
        test=test,
        retrieval=retrieval,
        notes=(*notes, f"pairs made from the documents: {kinds}"),
    )
