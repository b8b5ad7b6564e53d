"""Words that belong together, as one: ``new york`` becomes ``new_york``."""

from collections.abc import Callable, Iterable, Sequence

from brickwork.core.errors import DataError
from brickwork.core.words import plain_words
from brickwork.data.vocabulary import Vocabulary

Pair = tuple[str, str]
Tokenizer = Callable[[str], list[str]]
DISCOUNT, THRESHOLD, PASSES = 5, 100.0, 2


def pairs_of(texts: Iterable[str], tokenize: Tokenizer = plain_words) -> list[Pair]:
    """Pairs that stand together more often than by chance: (n_ab − δ) N / (n_a n_b) > 100, δ = 5, N words in all (Mikolov et
    al. 2013, eq. 6, with the factor N of their code)."""
    try:
        both = Vocabulary.from_texts(texts, min_count=DISCOUNT + 1, ngrams=2, tokenize=tokenize)
    except DataError:  # nothing is there so often
        return []
    counts = dict(zip(both.entries, both.counts.tolist()))
    # Words that are rarer than the discount are in no pair that counts, and hardly change N.
    total = sum(count for entry, count in counts.items() if " " not in entry)
    found = []
    for entry, count in counts.items():
        if " " not in entry:
            continue
        a, b = entry.split(" ")
        if (count - DISCOUNT) * total / (counts[a] * counts[b]) > THRESHOLD:
            found.append((a, b))
    return found


def joined(passes: Sequence[Sequence[Pair]]) -> Tokenizer:
    """Words of a text, from left to right two of a pair made one, pass after pass, so that a phrase may have up to 2^passes
    words."""
    sets = [frozenset(map(tuple, pairs)) for pairs in passes]

    def tokenize(text: str) -> list[str]:
        words = plain_words(text)
        for pairs in sets:
            words = _merged(words, pairs)
        return words

    return tokenize


def _merged(words: Sequence[str], pairs: "frozenset[tuple[str, ...]]") -> list[str]:
    found: list[str] = []
    place = 0
    while place < len(words):
        if place + 1 < len(words) and (words[place], words[place + 1]) in pairs:
            found.append(f"{words[place]}_{words[place + 1]}")
            place += 2
        else:
            found.append(words[place])
            place += 1
    return found


def learn(texts: Sequence[str]) -> list[list[Pair]]:
    """The pairs of each pass; the second is of words and of pairs that the first has joined."""
    passes: list[list[Pair]] = []
    for _ in range(PASSES):
        passes.append(pairs_of(texts, joined(passes)))
    return passes
