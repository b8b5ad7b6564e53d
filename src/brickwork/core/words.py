"""The words of a text: what lexical search and the baselines without vectors compare, and what vocabularies are made of.

For search, identifiers are also split into their parts (``read_csv``, ``readCSV`` → read, csv), so that plain words find
code; scripts that put no spaces between words (Chinese, Japanese, Thai) are read as pairs of neighbouring characters.
"""

import re
from functools import lru_cache

_WORD = re.compile(r"\w\w+")
_ANY_WORD = re.compile(r"\w+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_PART_OF_OTHERS = re.compile(
    r"[^\W\d_]+|\d+"
)  # words that are not of ASCII letters are not cut between cases
_NO_SPACES = re.compile(
    "[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
)

_USUAL = 64  # letters; the forms of longer words are not remembered
_LONGEST = 200  # letters; what is longer is no word of a language, and stores have limits


def plain_words(text: str) -> list[str]:
    """The lower-cased words in the order of the text, each as it stands: for counts, windows and vectors of words."""
    found = _ANY_WORD.findall(text.lower())
    if text.isascii() or not _NO_SPACES.search(text):
        return found
    return [part for word in found for part in (_pairs(word) if _NO_SPACES.search(word) else (word,))]


def words(text: str) -> list[str]:
    """Lower-cased words of two to 200 characters (longer ones are cut), each identifier followed by its parts."""
    result: list[str] = []
    for word in _WORD.findall(text):
        result.extend(_known_forms(word) if len(word) <= _USUAL else _forms(word))
    return result


@lru_cache(maxsize=65_536)
def _known_forms(word: str) -> tuple[str, ...]:
    return _forms(word)


def _forms(word: str) -> tuple[str, ...]:
    """A word as it is compared, and its parts where it has several."""
    if _NO_SPACES.search(word):
        return tuple(part[:_LONGEST] for part in _pairs(word.lower()))
    parts = [part.lower() for part in (_PART if word.isascii() else _PART_OF_OTHERS).findall(word)]
    whole = word.lower()[:_LONGEST]
    return (whole, *(part[:_LONGEST] for part in parts if len(part) > 1)) if len(parts) > 1 else (whole,)


def _pairs(word: str) -> list[str]:
    """Neighbouring characters of stretches without spaces, and the words between such stretches."""
    result, end = [], 0
    for stretch in _NO_SPACES.finditer(word):
        result.append(word[end : stretch.start()])
        run, end = stretch[0], stretch.end()
        result += [run[i : i + 2] for i in range(max(1, len(run) - 1))]
    return [part for part in (*result, word[end:]) if part]


def query_words(text: str) -> list[str]:
    """The words of a question without those that only hold English together, unless it has no others."""
    every = words(text)
    return [word for word in every if word not in _FUNCTION_WORDS] or every


# Measured on NFCorpus, whose queries are titles and questions: BM25 has nDCG@10 .253 with them and .275 without; leaving
# out whatever many documents have, in place of a list, gained nothing. Documents keep all words.
_FUNCTION_WORDS = frozenset(
    words(
        "about above after again against all am an and any are aren as at be because been before being below "
        "between both but by can couldn did didn do does doesn doing don down during each few for from "
        "further had hadn has hasn have haven having he her here hers herself him himself his how if in into "
        "is isn it its itself just ll me more most mustn my myself needn no nor not now of off on once only "
        "or other our ours ourselves out over own re same shan she should shouldn so some such than that the "
        "their theirs them themselves then there these they this those through to too under until up ve very "
        "was wasn we were weren what when where which while who whom why will with won wouldn you your yours "
        "yourself yourselves"
    )
)
