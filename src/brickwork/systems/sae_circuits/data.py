"""Prompts with and without a behaviour: the user's file, or made up."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from brickwork.core.config import at_least, nearest
from brickwork.core.errors import DataError
from brickwork.data.config import DataConfig
from brickwork.data.readers.files import ReadReport, column_names, row_of, rows
from brickwork.data.splits import split
from brickwork.data.types import Examples, TaskData
from brickwork.systems.sae_circuits.prompts import MADE_UP, Prompt

KIND = "prompts"
_YES, _NO = ("yes", "true", "1", "1.0", "y"), ("no", "false", "0", "0.0", "n")


@dataclass(frozen=True, kw_only=True)
class Data(DataConfig):
    """The data of a run of ``sae-circuits``: a table, or a made-up set (``wired``, ``ioi``, ``greater-than``,
    ``docstring``)."""

    answer: str | None = None
    """The column with what follows a prompt, as it follows: with its leading space where there is one."""
    wrong: str | None = None
    """The column with what would be wrong there: the effect is then on the difference of both log-probabilities."""
    made_up: Annotated[int, at_least(4)] | None = None
    """How many pairs of prompts a made-up set has (none: 24)."""


def load_data(config: Data, seed: int) -> TaskData:
    """The prompts in three parts; those of a group stay together.

    Raises:
        DataError: a file that cannot be used, with row and column; or too few prompts of one kind.
    """
    if config.source in MADE_UP:
        rng = np.random.default_rng(seed)
        made = (p for group in range(config.made_up or 24) for p in MADE_UP[config.source](rng, group))
        prompts = [replace(prompt, row=number) for number, prompt in enumerate(made, 1)]
        return _task(config.source, prompts, config, seed, ())
    path = Path(config.source).expanduser()
    if not path.is_file():
        raise DataError(
            f"{config.source} is no file of prompts and no made-up set ({', '.join(MADE_UP)}): give a .jsonl, .csv or "
            ".parquet with the columns text, label (yes: the behaviour occurs) and, if there is one, answer"
        )
    report = ReadReport()
    every = list(_read(path, config, report))
    report.warn()
    _refuse_contradictions(config.source, every)
    prompts = _different(every)
    notes = [*report.notes(), *_notes(prompts)]
    if twice := len(every) - len(prompts):
        notes.append(f"left out: {twice} of {len(every)} prompts, which say again what others say")
    return _task(path.name, prompts, config, seed, tuple(notes))


def _read(path: Path, config: Data, report: ReadReport) -> Iterator[Prompt]:
    table = list(rows(path, report))
    # A key that only later lines of a JSONL have is a column as well.
    names = list(dict.fromkeys([*column_names(path), *(name for _, row in table for name in row)]))
    roles = {
        "text": _column(path, names, "text", config.columns.text, ("text", "prompt"), required=True),
        "label": _column(
            path, names, "label", config.columns.label, ("label", "behaviour", "behavior"), required=True
        ),
        "answer": _column(path, names, "answer", config.answer, ("answer",)),
        "wrong": _column(path, names, "wrong", config.wrong, ("wrong",)),
        "group": _column(path, names, "group", config.columns.group, ("group", "pair")),
    }
    groups: dict[str, int] = {}
    for count, (number, row) in enumerate(table):
        if config.limit is not None and count >= config.limit:
            return
        where = row_of(str(path), number).strip()
        cell = {role: row.get(name) for role, name in roles.items() if name}
        text = _plain(cell["text"], where, str(roles["text"]))
        if not text.strip():
            raise DataError(f"{where}: the column '{roles['text']}' is empty; give every prompt a text")
        answer, wrong = (_plain(cell.get(role), where, str(roles[role])) for role in ("answer", "wrong"))
        if wrong and not answer:
            raise DataError(
                f"{where}: '{roles['wrong']}' says what would be wrong, and no answer says what would be right; give both, "
                "or leave both out"
            )
        key = str(cell.get("group") if cell.get("group") not in (None, "") else f"row {number}")
        yield Prompt(
            text,
            _label(cell["label"], where, str(roles["label"])),
            groups.setdefault(key, len(groups)),
            answer,
            wrong,
            number + 1,
        )


def _column(
    path: Path,
    names: list[str],
    role: str,
    chosen: str | None,
    usual: tuple[str, ...],
    *,
    required: bool = False,
) -> str | None:
    if chosen is not None and chosen not in names:
        raise DataError(f"{path} has no column '{chosen}' for {role}: {nearest(chosen, names)}")
    found = chosen or next((name for name in names if name.lower() in usual), None)
    if found is None and required:
        raise DataError(
            f"{path} has no column for {role} ({' or '.join(usual)}); it has {', '.join(names)}. Name yours with "
            f"--column {role}=NAME"
        )
    return found


def _label(value: Any, where: str, column: str) -> bool:
    word = str(value).strip().lower()
    if word not in _YES + _NO:
        raise DataError(f"{where}: {column} is {value!r}; write yes (the behaviour occurs) or no")
    return word in _YES


def _plain(value: Any, where: str, column: str) -> str:
    if isinstance(value, (list, dict)):
        raise DataError(f"{where}: {column} is {str(value)[:40]}, a nested value; write one text")
    return "" if value is None else str(value)


def _refuse_contradictions(name: str, prompts: Sequence[Prompt]) -> None:
    """A text cannot be one with and one without the behaviour: whatever is measured on it is the same."""
    first: dict[str, Prompt] = {}
    for prompt in prompts:
        other = first.setdefault(prompt.text, prompt)
        if other.behaves != prompt.behaves:
            raise DataError(
                f"{name}: rows {other.row} and {prompt.row} have the same text ({prompt.text[:40]!r}), once with and once "
                "without the behaviour; correct one label, or leave both out"
            )


def _different(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Without groups in which every prompt stands in one group before: counted twice, chance would look like evidence."""
    groups: dict[int, list[Prompt]] = {}
    for prompt in prompts:
        own = groups.setdefault(prompt.group, [])
        if all(_said(prompt) != _said(other) for other in own):
            own.append(prompt)
    first = {frozenset(map(_said, own)): own for own in reversed(groups.values())}
    return sorted((prompt for own in first.values() for prompt in own), key=lambda prompt: prompt.row)


def _said(prompt: Prompt) -> tuple[str, bool, str, str]:
    return prompt.text, prompt.behaves, prompt.answer, prompt.wrong


def _notes(prompts: Sequence[Prompt]) -> Iterator[str]:
    """What a reader of the file would ask whoever wrote it."""
    glued = [p for p in prompts if p.answer and not p.answer[0].isspace() and not p.text[-1].isspace()]
    if glued and all(p.text[-1].isalnum() and p.answer[0].isalpha() for p in glued):
        yield (
            f"{len(glued)} answers follow their prompt without a space (first: {glued[0].text[-12:]!r} + "
            f"{glued[0].answer!r}); if a space belongs there, put it before the answer"
        )
    if spaced := [p for p in prompts if p.text[-1] == " "]:
        yield (
            f"{len(spaced)} of {len(prompts)} prompts end with a space (first: row {spaced[0].row}), which most models read "
            "as part of the next word; put it before the answer"
        )
    behaving = [p for p in prompts if p.behaves]
    silent = [p for p in behaving if not p.answer]
    if 0 < len(silent) < len(behaving):
        yield (
            f"{len(silent)} of {len(behaving)} prompts with the behaviour have no answer (first: row {silent[0].row}), so "
            "for all of them the effect is how much the next token changes (KL); give each an answer, or none"
        )


def _task(name: str, prompts: list[Prompt], config: Data, seed: int, notes: tuple[str, ...]) -> TaskData:
    parts = split(
        [str(p.group) for p in prompts],
        validation_share=config.validation_share,
        test_share=config.test_share,
        max_held_out=config.max_held_out,
        seed=seed,
    )
    train, validation, test = (
        _examples([prompts[row] for row in part]) for part in (parts.train, parts.validation, parts.test)
    )
    for behaves, word in ((True, "yes"), (False, "no")):
        count = int((np.asarray(train.columns["behaves"]) == behaves).sum()) if len(train) else 0
        if count < 4:
            raise DataError(
                f"{name} has {count} prompts with label {word} to learn from, too few for a p-value: give at least 4 of "
                "each label, better 16"
            )
    return TaskData(
        name=name, kind=KIND, modality="text", train=train, validation=validation, test=test, notes=notes
    )


def _examples(prompts: list[Prompt]) -> Examples:
    return Examples(
        {
            "text": [p.text for p in prompts],
            "behaves": np.array([p.behaves for p in prompts], dtype=bool),
            "group": np.array([p.group for p in prompts], dtype=np.int64),
            "answer": [p.answer for p in prompts],
            "wrong": [p.wrong for p in prompts],
            "row": np.array([p.row for p in prompts], dtype=np.int64),
        }
    )
