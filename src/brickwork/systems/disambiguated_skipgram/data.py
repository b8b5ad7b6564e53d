"""Texts to learn senses from: the user's, known sets, and words whose senses are known, to be measured by.

Every row has a text (``input``), and where something can be measured a ``word`` of it and its ``sense``; else both are
empty.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np

from brickwork.core.config import nearest
from brickwork.core.errors import ConfigError, DataError
from brickwork.core.words import plain_words
from brickwork.data.load import is_known, load_task, read_documents
from brickwork.data.readers.files import ReadReport
from brickwork.data.sets.language import SETS
from brickwork.data.sets.sources import locate
from brickwork.data.splits import normalised, select, split
from brickwork.data.types import Examples, TaskData
from brickwork.data.vocabulary import Vocabulary
from brickwork.representation.export_parquet import document_text
from brickwork.systems.disambiguated_skipgram.config import Data
from brickwork.systems.disambiguated_skipgram.homonyms import homonyms

_HOMONYMS = 2000  # texts
_WORD = re.compile(r"\w+")
_FREQUENT, _OFTEN = (
    0.02,
    20,
)  # of pseudo-words: the share of words that are too frequent, and how often one is there
_CHOICE = 6  # words for each pair

Row = tuple[str, str, str]
"""Text, word, sense."""


def load_data(config: Data, seed: int) -> TaskData:
    """The texts in three parts, equal ones in one of them. Of tests of word senses, all texts are learnt from and
    measured on: their senses are not read in training.

    Raises:
        DataError: the source does not exist or holds no text.
        ConfigError: ``also`` names no known set.
    """
    report = ReadReport()
    rows, transductive = _rows(config, report)
    rows = [row for row in rows if row[0].strip()]
    if not rows:
        raise DataError(f"{config.source} holds no text; give texts with words in them")
    more = [(text, "", "") for name in config.also for text in _also(name)]
    notes = list(report.notes())
    if config.pseudowords:
        rows, more = _with_pseudowords(rows, more, config.pseudowords, seed)
        notes.append(f"{config.pseudowords} pairs of words are one word each, whose senses are known")
    examples = _examples(rows)
    if transductive:
        notes.append("senses are not learnt from: all texts are, and all are measured on")
        train, validation, test = examples, examples.select([]), examples
    else:
        parts = split(
            [normalised(text) for text, _, _ in rows],
            validation_share=config.validation_share,
            test_share=config.test_share,
            max_held_out=config.max_held_out,
            seed=seed,
        )
        train, validation, test = select(examples, parts)
    if more:
        train = _examples([*zip(*train.columns.values(), strict=True), *more])
    return TaskData(
        name=" and ".join([config.source, *config.also]), kind="texts", modality="text", train=train,
        validation=validation, test=test, notes=tuple(notes),
    )  # fmt: skip


def _examples(rows: Sequence[Row]) -> Examples:
    texts, words, senses = zip(*rows) if rows else ((), (), ())
    return Examples({"input": list(texts), "word": list(words), "sense": list(senses)})


def _rows(config: Data, report: ReadReport) -> tuple[list[Row], bool]:
    """What is to be learnt from and measured on, and whether all of it is both."""
    if config.source == "homonyms":
        return homonyms(config.limit or _HOMONYMS, 0), False
    if config.source in _SENSE_TESTS:
        return list(islice(_SENSE_TESTS[config.source](), config.limit)), True
    if config.source in _KNOWN:
        texts = islice(_KNOWN[config.source](), config.limit)
        return [(text, "", "") for text in texts], False
    if is_known(config.source):
        task = load_task(config, 0)
        if task.modality != "text":
            raise DataError(f"{config.source} holds {task.modality}s; senses of words are learnt from texts")
        return [(text, "", "") for text in _texts_of(task)], False
    documents = read_documents(
        config.source, config.columns, config.limit, report, config.max_passage_words,
        max_passage_tokens=config.max_passage_tokens, allow_outside=config.allow_outside,
    )  # fmt: skip
    return [
        (document_text(d), str(d.meta.get("word") or ""), str(d.meta.get("sense") or "")) for d in documents
    ], False


def _also(name: str) -> Iterable[str]:
    if name in _KNOWN:
        return _KNOWN[name]()
    if is_known(name):
        from brickwork.data.config import DataConfig

        task = load_task(DataConfig(source=name), 0)
        if task.modality == "text":
            return _texts_of(task)
    raise ConfigError(f"data.also has '{name}', which is no known set of texts: {nearest(name, _KNOWN)}")


def _texts_of(task: TaskData) -> list[str]:
    """Every text of all parts of a known set."""
    columns = [
        column for part in (task.train, task.validation, task.test) for column in part.columns.values()
    ]
    return [text for column in columns if len(column) and isinstance(column[0], str) for text in column]


# ---- known sets of texts ----------------------------------------------------------------------------------------


def _wikitext2() -> Iterable[str]:
    """WikiText-2 small, a paragraph at a time."""
    return (line for text in SETS["wikitext2"]() for line in text.text.splitlines() if line.strip())


def _domain_corpora() -> Iterable[str]:
    """The Brown corpus, ABC news, speeches of presidents and texts of the web, a line at a time."""
    import pyarrow.parquet as pq

    table = pq.read_table(locate("language_modelling") / "language_modelling" / "domain_corpora.parquet")
    return (line for text in table["text"].to_pylist() for line in text.splitlines() if line.strip())


_KNOWN = {"wikitext2": _wikitext2, "domain_corpora": _domain_corpora}


# ---- tests of word senses ---------------------------------------------------------------------------------------


def _semeval2010() -> Iterable[Row]:
    """SemEval-2010 task 14: 100 nouns and verbs; the word stands between its contexts."""
    for row in _table("semeval2010_wsi"):
        word = row["target"].split(".")[0]
        yield f"{row['left_context']} {word} {row['right_context']}", word, row["sense"] or ""


def _semeval2013() -> Iterable[Row]:
    """SemEval-2013 task 13: 50 words, also adjectives; instances with several senses are not measured on."""
    for row in _table("semeval2013_wsi"):
        word, senses = row["target"].split(".")[0], row["gold_senses"] or []
        sense = senses[0].split("/")[0] if len(senses) == 1 else ""
        yield f"{row['left_context']} {word} {row['right_context']}", word, sense


def _table(name: str) -> Iterable[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(
        locate("word_tasks") / "word_tasks" / f"{name}.parquet"
    ).to_pylist()
    return rows


_SENSE_TESTS = {"semeval2010-wsi": _semeval2010, "semeval2013-wsi": _semeval2013}


# ---- pseudo-words -----------------------------------------------------------------------------------------------


def _with_pseudowords(
    rows: Sequence[Row], more: Sequence[Row], count: int, seed: int
) -> tuple[list[Row], list[Row]]:
    """The texts with pairs of words made one, and of each text with one the first such word and which it was.

    Raises:
        ConfigError: too few words that are there often enough.
    """
    pairs = pseudowords([text for text, _, _ in (*rows, *more)], count, seed)
    joined = {word: "_".join(pair) for pair in pairs for word in pair}

    def changed(text: str) -> Row:
        first = next((word for word in plain_words(text) if word in joined), "")
        merged = _WORD.sub(lambda word: joined.get(word[0].lower(), word[0]), text)
        return merged, joined.get(first, ""), first

    return [changed(row[0]) for row in rows], [changed(row[0]) for row in more]


def pseudowords(texts: Sequence[str], count: int, seed: int) -> list[tuple[str, str]]:
    """``count`` pairs of words of like frequency, neither the most frequent ones nor rare.

    Raises:
        ConfigError: too few of them.
    """
    vocabulary = Vocabulary.from_texts(texts, min_count=1)
    often = [word for word, times in zip(vocabulary.entries, vocabulary.counts) if times >= _OFTEN]
    first = round(_FREQUENT * len(often))
    chosen = [word for word in often[first:] if word.isalpha() and len(word) > 2][: _CHOICE * count]
    if len(chosen) < 2 * count:
        raise ConfigError(
            f"data.pseudowords={count} needs {2 * count} words that are there {_OFTEN} times or more, and there are "
            f"{len(chosen)}; use at most {len(chosen) // 2}, or more texts"
        )
    order = np.random.default_rng(seed).permutation(len(chosen))[: 2 * count]
    return [(chosen[a], chosen[b]) for a, b in order.reshape(-1, 2)]
