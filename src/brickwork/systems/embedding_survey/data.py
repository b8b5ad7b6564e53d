"""Texts as a task, with labels, pairs or scores where the table has them; and lists of words for a test of bias."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from brickwork.core.errors import DataError
from brickwork.data.config import DataConfig
from brickwork.data.load import is_known, load_task, read_documents
from brickwork.data.readers.columns import task_of
from brickwork.data.readers.files import ReadReport, column_names, row_of, rows, table_kind
from brickwork.data.readers.tables import table_task
from brickwork.data.readers.values import text_value
from brickwork.data.splits import normalised, select, split
from brickwork.data.types import Examples, TaskData
from brickwork.data.vocabulary import Tokenizer, Vocabulary
from brickwork.representation.export_parquet import document_text
from brickwork.systems.embedding_survey.bias import DEFINE, ROLES
from brickwork.systems.embedding_survey.config import Config, Data

LISTS = "word-lists"
TEXT_COLUMNS = ("input", "anchor", "positive", "negative")
_COLUMNS = ("test", "set", "word")


def load_data(config: Data, seed: int) -> TaskData:
    """The task; its ``details`` are the pairs of ``word_lists`` and ``dictionary``.

    Raises:
        DataError: no texts, or a table that cannot be read; names row and column.
    """
    pairs = _definitions(word_lists(Path(config.word_lists).expanduser())) if config.word_lists else []
    known = _pairs(Path(config.dictionary).expanduser()) if config.dictionary else []
    return replace(_task(config, seed), details={"pairs": pairs, "dictionary": known})


def _task(config: Data, seed: int) -> TaskData:
    path = Path(config.source).expanduser()
    if is_known(config.source):
        return load_task(config, seed)
    if path.is_file() and _is_table(path):
        names = column_names(path) if path.stat().st_size else []
        if set(_COLUMNS) <= set(names):
            return _lists_task(path, config)
        if names and task_of(names, config.columns, str(path))[0] is not None:
            return table_task(path, config, seed)
    return _texts(config, seed)


def _is_table(path: Path) -> bool:
    try:
        table_kind(path)
    except DataError:
        return False
    return True


def _texts(config: DataConfig, seed: int) -> TaskData:
    """Documents in three parts, equal ones in one of them."""
    report = ReadReport()
    documents = read_documents(
        config.source,
        config.columns,
        config.limit,
        report,
        config.max_passage_words,
        max_passage_tokens=config.max_passage_tokens,
        allow_outside=config.allow_outside,
    )
    texts = [document_text(document) for document in documents]
    if not any(text.strip() for text in texts):
        raise DataError(f"{config.source} holds no text; give documents with words in them")
    parts = split(
        [normalised(text) for text in texts],
        validation_share=config.validation_share,
        test_share=config.test_share,
        max_held_out=config.max_held_out,
        seed=seed,
    )
    train, validation, test = select(Examples({"input": texts}), parts)
    return TaskData(
        name=config.source,
        kind="texts",
        modality="text",
        train=train,
        validation=validation,
        test=test,
        notes=tuple(report.notes()),
    )


def _lists_task(path: Path, config: DataConfig) -> TaskData:
    lists = word_lists(path)
    columns: dict[str, list[str]] = {name: [] for name in _COLUMNS}
    for (test, role), words in lists.items():
        for word in words:
            for name, value in zip(_COLUMNS, (test, role, word)):
                columns[name].append(value)
    everything, nothing = Examples(columns), Examples({name: [] for name in _COLUMNS})
    return TaskData(
        name=path.name, kind=LISTS, modality="text", train=nothing, validation=nothing, test=everything
    )


def word_lists(path: Path) -> dict[tuple[str, str], list[str]]:
    """(test, set) → its words, lower case, in the order of the file; sets are target x, target y, attribute a, attribute b,
    and define a, define b.

    Raises:
        DataError: a column is missing, a set of another name, an empty word, names the row; no rows.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; give a table with the columns {', '.join(_COLUMNS)}")
    names = column_names(path)
    if missing := [name for name in _COLUMNS if name not in names]:
        raise DataError(
            f"{path} has no column '{missing[0]}'; a table of word lists has the columns {', '.join(_COLUMNS)}"
        )
    report = ReadReport()
    lists: dict[tuple[str, str], list[str]] = {}
    for number, row in rows(path, report, list(_COLUMNS)):
        where = row_of(path.name, number)
        test, role, word = (text_value(row.get(name), report, where).strip() for name in _COLUMNS)
        if role not in (*ROLES, *DEFINE):
            raise DataError(
                f"{where}: the set '{role}' is none of {', '.join((*ROLES, *DEFINE))}; correct the column 'set'"
            )
        if not word:
            raise DataError(f"{where}: the column 'word' is empty; give a word, or leave the row out")
        lists.setdefault((test, role), []).append(word.lower())
    return lists


def _definitions(lists: dict[tuple[str, str], list[str]]) -> list[list[str]]:
    """Pairs of words whose difference is the direction of a bias."""
    from brickwork.systems.embedding_survey.bias import defining_pairs

    return [list(pair) for pair in dict.fromkeys(defining_pairs(lists))]


def _pairs(path: Path) -> list[list[str]]:
    """The first two columns of a table.

    Raises:
        DataError: there are fewer.
    """
    if not path.is_file():
        raise DataError(
            f"{path} does not exist; give a table of two columns, a word and its word in the other language"
        )
    names = column_names(path)
    if len(names) < 2:
        raise DataError(
            f"{path} has one column; a dictionary has two: a word and its word in the other language"
        )
    report = ReadReport()
    found = [
        [text_value(row.get(name), report, row_of(path.name, number)).strip().lower() for name in names[:2]]
        for number, row in rows(path, report, names[:2])
    ]
    return [pair for pair in found if all(pair)]


def vocabulary_of(texts: Sequence[str], config: Config, tokenize: Tokenizer) -> Vocabulary:
    """The words of texts that are frequent enough, and not in too many of the texts.

    Raises:
        DataError: none is left.
    """
    whole = Vocabulary.from_texts(texts, min_count=config.min_count, tokenize=tokenize)
    kept = np.flatnonzero(whole.documents <= config.most_texts * whole.num_texts)[: config.vocabulary]
    if not len(kept):
        raise DataError(
            f"every word that is there {config.min_count} times is in more than {config.most_texts:.0%} of the texts; set a "
            "larger model.max_share"
        )
    entries = tuple(whole.entries[place] for place in kept)
    return replace(whole, entries=entries, counts=whole.counts[kept], documents=whole.documents[kept])


def texts_of(examples: Examples) -> list[str]:
    """All texts of examples, column by column."""
    return [text for name in TEXT_COLUMNS for text in examples.columns.get(name, ())]
