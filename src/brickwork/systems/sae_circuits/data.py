"""Prompts with and without a behaviour: the user's file, or made up."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from brickwork.core.config import at_least, nearest
from brickwork.core.errors import DataError
from brickwork.data.config import DataConfig
from brickwork.data.readers.files import ReadReport, column_names, row_of, rows
from brickwork.data.splits import split
from brickwork.data.types import Examples, TaskData
from brickwork.systems.sae_circuits.wired import LENGTH, TOKENS

KIND = "prompts"
_YES, _NO = ("yes", "true", "1", "1.0", "y"), ("no", "false", "0", "0.0", "n")


@dataclass(frozen=True, kw_only=True)
class Data(DataConfig):
    """The data of a run of ``sae-circuits``: a table, or a made-up set (``wired``, ``ioi``, ``greater-than``)."""

    answer: str | None = None
    """The column with what follows a prompt, as it follows: with its leading space where there is one."""
    wrong: str | None = None
    """The column with what would be wrong there: the effect is then on the difference of both log-probabilities."""
    made_up: Annotated[int, at_least(4)] | None = None
    """How many pairs of prompts a made-up set has (none: 24)."""


@dataclass(frozen=True)
class Prompt:
    """``group`` joins a prompt with the behaviour and the one without that is as like it as can be."""

    text: str
    behaves: bool
    group: int
    answer: str = ""
    wrong: str = ""


def load_data(config: Data, seed: int) -> TaskData:
    """The prompts in three parts; those of a group stay together.

    Raises:
        DataError: a file that cannot be used, with row and column; or too few prompts of one kind.
    """
    if config.source in MADE_UP:
        rng = np.random.default_rng(seed)
        prompts = [p for group in range(config.made_up or 24) for p in MADE_UP[config.source](rng, group)]
        return _task(config.source, prompts, config, seed, ())
    path = Path(config.source).expanduser()
    if not path.is_file():
        raise DataError(
            f"{config.source} is no file of prompts and no made-up set ({', '.join(MADE_UP)}): give a .jsonl, .csv or "
            ".parquet with the columns text, label (yes: the behaviour occurs) and, if there is one, answer"
        )
    report = ReadReport()
    prompts = list(_read(path, config, report))
    report.warn()
    return _task(path.name, prompts, config, seed, (*report.notes(), *_notes(prompts)))


def _read(path: Path, config: Data, report: ReadReport) -> Iterator[Prompt]:
    names = column_names(path)
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
    for count, (number, row) in enumerate(rows(path, report)):
        if config.limit is not None and count >= config.limit:
            return
        where = row_of(str(path), number).strip()
        cell = {role: row.get(name) for role, name in roles.items() if name}
        text = str(cell["text"] or "")
        if not text.strip():
            raise DataError(f"{where}: the column '{roles['text']}' is empty; give every prompt a text")
        key = str(cell.get("group") if cell.get("group") not in (None, "") else f"row {number}")
        yield Prompt(
            text,
            _label(cell["label"], where, str(roles["label"])),
            groups.setdefault(key, len(groups)),
            _plain(cell.get("answer")),
            _plain(cell.get("wrong")),
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


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


def _notes(prompts: list[Prompt]) -> list[str]:
    glued = [p for p in prompts if p.answer and not p.answer[0].isspace() and not p.text[-1].isspace()]
    if glued and all(p.text[-1].isalnum() and p.answer[0].isalpha() for p in glued):
        return [
            f"{len(glued)} answers follow their prompt without a space (first: {glued[0].text[-12:]!r} + "
            f"{glued[0].answer!r}); if a space belongs there, put it before the answer"
        ]
    return []


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
        }
    )


# ---- made-up prompts ---------------------------------------------------------------------------------------------


def _wired(rng: np.random.Generator, group: int) -> Iterator[Prompt]:
    """16 different tokens, then one of the first 13 again: its successor follows. Without: it was another token before."""
    order = rng.permutation(TOKENS)
    sequence, unused = order[: LENGTH - 2].tolist(), int(order[LENGTH - 2])
    at = int(rng.integers(0, LENGTH - 5))
    answer = f" t{sequence[at + 1]}"
    for behaves in (True, False):
        shown = list(sequence)
        if not behaves:
            shown[at] = unused
        words = " ".join(f"t{token}" for token in [*shown, sequence[at]])
        yield Prompt(f"<start> {words}", behaves, group, answer)


_NAMES = (
    "Mary",
    "John",
    "Tom",
    "Anna",
    "Sarah",
    "James",
    "Alice",
    "David",
    "Emma",
    "Peter",
    "Laura",
    "Mark",
    "Susan",
)
_PLACES = ("store", "garden", "restaurant", "school", "hospital", "office", "house", "station")
_THINGS = ("ring", "kiss", "bone", "basketball", "computer", "necklace", "drink", "snack")
_FRAMES = (
    "Then, {0} and {1} went to the {place}. {2} gave a {thing} to",
    "When {0} and {1} got a {thing} at the {place}, {2} decided to give it to",
    "After {0} and {1} went to the {place}, {2} gave a {thing} to",
    "While {0} and {1} were working at the {place}, {2} gave a {thing} to",
)


def _ioi(rng: np.random.Generator, group: int) -> Iterator[Prompt]:
    """Indirect object identification (Wang et al. 2022): the name that comes once. Without: three different names."""
    a, b, c = rng.choice(_NAMES, 3, replace=False).tolist()
    frame, place, thing = (str(rng.choice(words)) for words in (_FRAMES, _PLACES, _THINGS))
    first, second = (a, b) if rng.random() < 0.5 else (b, a)  # ABBA or BABA
    for subject in (b, c):
        text = frame.format(first, second, subject, place=place, thing=thing)
        yield Prompt(text, subject == b, group, f" {a}", f" {b}")


_NOUNS = ("war", "trip", "study", "project", "reign", "strike", "voyage", "siege", "exhibition", "tour")


def _greater_than(rng: np.random.Generator, group: int) -> Iterator[Prompt]:
    """Greater-than (Hanna et al. 2023), a digit at a time: the year that follows is later. Without: it starts with 01."""
    noun, century, decade = str(rng.choice(_NOUNS)), int(rng.integers(11, 18)), int(rng.integers(3, 8))
    for behaves in (True, False):
        start = f"{century}{decade}{rng.integers(2, 9)}" if behaves else f"{century}01"
        text = f"The {noun} lasted from the year {start} to the year {century}"
        yield Prompt(text, behaves, group, str(decade + 1), str(decade - 2))


MADE_UP: dict[str, Callable[[np.random.Generator, int], Iterator[Prompt]]] = {
    "wired": _wired,
    "ioi": _ioi,
    "greater-than": _greater_than,
}
