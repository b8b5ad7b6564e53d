"""Texts of seven domains from public sets, as many documents each: for what is said of the domains of a language model.

Of a long document its beginning is taken, so that a few pieces of a domain come from many documents.

| domain      | texts                                                  | source                          |
|-------------|--------------------------------------------------------|---------------------------------|
| code        | source of the standard library                         | Python                          |
| data        | attributes of a restaurant, then a sentence with them  | E2E small                       |
| drama       | plays                                                  | TinyShakespeare                 |
| math        | word problems with their solutions                     | GSM8K                           |
| news        | items, title and description                           | AG News                         |
| prose       | encyclopedia articles                                  | WikiText-2 small                |
| translation | sentences in French, German or Spanish, then in English | Tatoeba                         |
"""

import json
from collections.abc import Iterable, Iterator, Sequence

from brickwork.data.readers.files import open_text
from brickwork.data.sets.sources import locate
from brickwork.data.splits import stable_hash

DOMAINS = ("code", "data", "drama", "math", "news", "prose", "translation")
_TOGETHER = 12  # short texts in one document
_LONGEST = 1200  # characters
_LANGUAGES = {"fra": "French", "deu": "German", "spa": "Spanish"}


def documents(domain: str, *, code: Iterable[str], prose: Iterable[str]) -> Iterator[str]:
    """The documents of one of :data:`DOMAINS`; those of ``code`` and ``prose`` are given.

    Raises:
        DataError: a set is not on this machine; says where to get it.
    """
    short = {"data": _restaurants, "drama": _plays, "math": _problems, "news": _news, "translation": _pairs}
    whole = {"code": code, "prose": prose}
    for document in whole[domain] if domain in whole else _joined(list(short[domain]())):
        yield document[:_LONGEST]


def _joined(texts: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(texts), _TOGETHER):
        yield "\n\n".join(texts[start : start + _TOGETHER]) + "\n"


def _table(set_name: str, file: str) -> list[dict[str, str]]:
    import pyarrow.parquet

    return pyarrow.parquet.read_table(locate(set_name) / file).to_pylist()


def _restaurants() -> Iterator[str]:
    rows = _table("data_to_text", "data_to_text/e2e_dev_test.parquet")
    for row in sorted(rows, key=lambda row: stable_hash(row["reference"])):
        yield f"{row['meaning_representation']}\n{row['reference']}"


def _plays() -> Iterator[str]:
    with open_text(locate("language_modelling") / "language_modelling" / "tinyshakespeare.txt.gz") as file:
        yield from (speech for speech in file.read().split("\n\n") if speech.strip())


def _problems() -> Iterator[str]:
    with open_text(locate("reasoning") / "reasoning" / "gsm8k_test.jsonl.gz") as file:
        for line in file:
            row = json.loads(line)
            yield f"Question: {row['question']}\nAnswer: {row['answer']}"


def _news() -> Iterator[str]:
    for row in _table("ag_news", "text_classification/ag_news_7600.parquet"):
        yield f"{row['title']}\n{row['description']}"


def _pairs() -> Iterator[str]:
    rows = [row for row in _table("tatoeba", "tatoeba/tatoeba20.parquet") if row["lang"] in _LANGUAGES]
    for row in sorted(rows, key=lambda row: stable_hash(row["text"])):
        yield f"{_LANGUAGES[row['lang']]}: {row['text']}\nEnglish: {row['english']}"
