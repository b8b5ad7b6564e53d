"""The words and word sequences of texts, and how often texts have them.

A vocabulary is made from a stream of texts in one pass and holds what is distinct in it, not the texts. Counting works on
blocks of texts, as arrays.

Shape legend: N texts, V entries.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, islice
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from brickwork.core.errors import ConfigError, DataError
from brickwork.core.words import plain_words

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Tokenizer = Callable[[str], list[str]]
_TEXTS = 2048  # of a block
_PENDING = 2**22  # counts that wait to be added up
_BITS = 62  # of the number that a sequence of words is


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """``entries``: most frequent first, equally frequent ones in the order of code points; of a sequence its words with a
    space between. ``counts``: how often each was there, ``documents``: in how many of the ``num_texts`` texts.

    ``ngrams``: sequences of up to so many words are entries; ``skip``: words that may be left out inside one, all together
    (k-skip-n-grams, Guthrie et al. 2006). ``tokenize`` must be the one that it was made with.
    """

    entries: tuple[str, ...]
    counts: Int[np.ndarray, " entries"]
    documents: Int[np.ndarray, " entries"]
    num_texts: int
    ngrams: int = 1
    skip: int = 0
    tokenize: Tokenizer = plain_words

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        ngrams: int = 1,
        skip: int = 0,
        tokenize: Tokenizer = plain_words,
    ) -> "Vocabulary":
        """What is there at least ``min_count`` times, at most the ``max_size`` most frequent.

        Raises:
            ConfigError: an option that makes no sense, or too many words for sequences of that length.
            DataError: nothing is left.
        """
        if min_count < 1 or ngrams < 1 or skip < 0 or (max_size is not None and max_size < 1):
            raise ConfigError("min_count, max_size and ngrams begin at 1, skip at 0")
        if skip and ngrams == 1:
            raise ConfigError("skip needs ngrams of 2 or more: single words have nothing inside to leave out")
        bits = _BITS // ngrams
        numbers: dict[str, int] = {}
        total = _Sums(2)
        num_texts = 0
        for block in _blocks(texts):
            num_texts += len(block)
            lists = [tokenize(text) for text in block]
            ids = [numbers.setdefault(word, len(numbers)) for words in lists for word in words]
            if len(numbers) >= 2**bits:
                raise ConfigError(
                    f"there are more than {2**bits:,} different words: too many for ngrams={ngrams}"
                )
            ends = np.cumsum([len(words) for words in lists])
            _, codes, times = _counted(*_sequences(np.array(ids, np.int64), ends, ngrams, skip, bits))
            total.add(codes, np.stack([times, np.ones_like(times)]))
        if not numbers:
            raise DataError(
                f"there is no word (of letters or digits) in {num_texts:,} texts; bring other texts"
            )
        codes, (counts, documents) = total.finish()
        often = np.flatnonzero(counts >= min_count)
        if not len(often):
            raise DataError(
                f"no word is there {min_count} times in {num_texts:,} texts; use a lower min_count, or more texts"
            )
        if max_size is not None and len(often) > max_size:
            # Of those that are as frequent as the last one the names decide, so all of them are still there.
            least = np.partition(counts[often], len(often) - max_size)[len(often) - max_size]
            often = often[counts[often] >= least]
        names = list(numbers)
        spelt = [" ".join(names[number] for number in _decoded(int(code), bits)) for code in codes[often]]
        order = sorted(range(len(often)), key=lambda i: (-counts[often[i]], spelt[i]))[:max_size]
        chosen = often[order]
        return cls(
            tuple(spelt[i] for i in order), counts[chosen], documents[chosen], num_texts, ngrams, skip, tokenize
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """Entry → its place."""
        return {entry: place for place, entry in enumerate(self.entries)}

    def bags(self, texts: Iterable[str]) -> "csr_matrix":
        """How often each text has each entry: (N, V) in 32-bit numbers, places of a row in rising order."""
        from scipy.sparse import csr_matrix

        rows, places, times = [], [], []
        done = 0
        for block in _blocks(texts):
            ids, ends = self._word_ids(block)
            text_of, codes = _sequences(ids, ends, self.ngrams, self.skip, _BITS // self.ngrams)
            at = self._places(codes)
            row, place, count = _counted(text_of[at >= 0], at[at >= 0])
            rows.append(row + done)
            places.append(place)
            times.append(count)
            done += len(block)
        row = np.concatenate([np.zeros(0, np.int64), *rows])
        starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=done))])
        return csr_matrix(
            (
                np.concatenate([np.zeros(0, np.int64), *times]).astype(np.float32),
                np.concatenate([np.zeros(0, np.int64), *places]),
                starts,
            ),
            shape=(done, len(self)),
        )

    def sequences_of(
        self, texts: Iterable[str]
    ) -> Iterator[tuple[Int[np.ndarray, " tokens"], Int[np.ndarray, " texts"]]]:
        """Blocks of texts as places of words in the vocabulary, −1 for others, with the end of each text.

        Raises:
            ConfigError: a vocabulary of sequences.
        """
        if self.ngrams > 1:
            raise ConfigError("texts are sequences of words: use a vocabulary of ngrams=1")
        for block in _blocks(texts):
            yield self._word_ids(block)

    def idf(self, *, smooth: bool = True) -> Float[np.ndarray, " entries"]:
        """ln((1 + N)/(1 + n)) + 1, as scikit-learn has it, or without ``smooth`` ln(N/n); n texts of N have the entry."""
        if smooth:
            return np.log((1 + self.num_texts) / (1 + self.documents)) + 1
        return np.log(self.num_texts / self.documents)

    def state(self) -> dict[str, Any]:
        """Plain values from which :meth:`from_state` makes the same vocabulary."""
        return {
            "entries": list(self.entries),
            "counts": self.counts.tolist(),
            "documents": self.documents.tolist(),
            "num_texts": self.num_texts,
            "ngrams": self.ngrams,
            "skip": self.skip,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], tokenize: Tokenizer = plain_words) -> "Vocabulary":
        """The vocabulary whose :meth:`state` this is."""
        return cls(
            tuple(state["entries"]),
            np.array(state["counts"], np.int64),
            np.array(state["documents"], np.int64),
            state["num_texts"],
            state["ngrams"],
            state["skip"],
            tokenize,
        )

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        """The words of entries, numbered; of a vocabulary of single words their places."""
        if self.ngrams == 1:
            return self.ids
        numbers: dict[str, int] = {}
        for entry in self.entries:
            for word in entry.split(" "):
                numbers.setdefault(word, len(numbers))
        return numbers

    @cached_property
    def _codes(self) -> tuple[Int[np.ndarray, " entries"], Int[np.ndarray, " entries"]]:
        """The codes of all entries in rising order, and their places."""
        numbers, bits = self._numbers, _BITS // self.ngrams
        codes = [_code([numbers[word] for word in entry.split(" ")], bits) for entry in self.entries]
        order = np.argsort(codes)
        return np.array(codes)[order], order

    def _word_ids(self, block: Sequence[str]) -> tuple[Int[np.ndarray, " tokens"], Int[np.ndarray, " texts"]]:
        known = self._numbers.get
        lists = [self.tokenize(text) for text in block]
        ids = [known(word, -1) for words in lists for word in words]
        return np.array(ids, np.int64), np.cumsum([len(words) for words in lists])

    def _places(self, codes: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """The entry of each code, −1 for none."""
        if self.ngrams == 1:
            return codes - 1
        ordered, places = self._codes
        at = np.minimum(np.searchsorted(ordered, codes), len(ordered) - 1)
        found: np.ndarray = np.where(ordered[at] == codes, places[at], -1)
        return found


def text_of_each(ends: Int[np.ndarray, " texts"]) -> Int[np.ndarray, " tokens"]:
    """The text that each token stands in, where texts end at ``ends``."""
    return np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    stream = iter(texts)
    while block := list(islice(stream, _TEXTS)):
        yield block


def _code(numbers: Sequence[int], bits: int) -> int:
    """A sequence of numbers as one number, never 0, the first word lowest."""
    return sum((number + 1) << (bits * place) for place, number in enumerate(numbers))


def _decoded(code: int, bits: int) -> Iterator[int]:
    while code:
        yield (code & ((1 << bits) - 1)) - 1
        code >>= bits


def _sequences(
    ids: Int[np.ndarray, " tokens"], ends: Int[np.ndarray, " texts"], ngrams: int, skip: int, bits: int
) -> tuple[Int[np.ndarray, " found"], Int[np.ndarray, " found"]]:
    """The text and the code of every sequence of up to ``ngrams`` known words with at most ``skip`` others inside."""
    text_of = text_of_each(ends)
    texts, codes = [], []
    for length in range(1, ngrams + 1):
        # Where the later words stand, counted from the first.
        for later in combinations(range(1, length + skip if length > 1 else 1), length - 1):
            reach = max(later, default=0)
            first = np.arange(max(len(ids) - reach, 0))
            inside = (text_of[first] == text_of[first + reach]) & (ids[first] >= 0)
            for offset in later:
                inside &= ids[first + offset] >= 0
            first = first[inside]
            texts.append(text_of[first])
            codes.append(
                sum((ids[first + offset] + 1) << (bits * place) for place, offset in enumerate((0, *later)))
            )
    return np.concatenate(texts), np.concatenate(codes)


def _counted(
    rows: Int[np.ndarray, " n"], codes: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Each different pair of row and code once, in rising order, and how often it is there."""
    if codes.max(initial=0) < 2**32:  # both in one number: one sort
        pairs, times = np.unique((rows << 32) | codes, return_counts=True)
        return pairs >> 32, pairs & (2**32 - 1), times
    names, codes = np.unique(codes, return_inverse=True)
    rows, codes, times = _counted(rows, codes)
    return rows, names[codes], times


class _Sums:
    """Vectors added up by code, as blocks of them come."""

    def __init__(self, width: int):
        self._codes = [np.zeros(0, np.int64)]
        self._values = [np.zeros((width, 0), np.int64)]
        self._pending = 0

    def add(self, codes: Int[np.ndarray, " n"], values: Int[np.ndarray, "width n"]) -> None:
        self._codes.append(codes)
        self._values.append(values)
        self._pending += len(codes)
        if self._pending > max(_PENDING, len(self._codes[0])):
            self.finish()

    def finish(self) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, "width m"]]:
        """The codes in rising order and their sums so far."""
        codes, values = np.concatenate(self._codes), np.concatenate(self._values, axis=1)
        order = np.argsort(codes, kind="stable")
        codes, values = codes[order], values[:, order]
        starts = np.flatnonzero(np.diff(codes, prepend=-1))
        self._codes, self._pending = [codes[starts]], 0
        self._values = [np.add.reduceat(values, starts, axis=1) if len(starts) else values]
        return self._codes[0], self._values[0]
