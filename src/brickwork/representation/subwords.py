"""Word vectors made of parts of words, in fastText's model files: a vector for any word, also one that was never there.

The vector of a word is the mean of its own row and the rows of its character n-grams, which are found by a hash
(Bojanowski et al. 2017). Of a word that was never there it is the mean of its n-grams alone.

Shape legend: V words, B rows of n-grams, D dimensions.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int

from brickwork.core.errors import DataError
from brickwork.core.files import atomic_path, os_errors
from brickwork.representation.vectors import WordVectors, read_until

_MAGIC, _VERSION = 793712314, 12
# dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn, lrUpdateRate, t
_ARGUMENTS = struct.Struct("<12id")
_SIZES = struct.Struct("<3i2q")  # entries, words, labels, tokens, pruned
_MATRIX = struct.Struct("<2q")
_HIERARCHICAL, _NEGATIVE, _SKIPGRAM = 1, 2, 2
_END = "</s>"


@dataclass(frozen=True, eq=False)
class SubwordVectors:
    """``rows``: those of the words, then those of the n-grams. N-grams have ``shortest`` to ``longest`` letters, the word's
    ends marked by < and >; ``longest`` 0: none.

    Raises:
        DataError: sizes that do not fit each other.
    """

    words: tuple[str, ...]
    counts: Int[np.ndarray, " words"]
    rows: Float32[np.ndarray, "rows dimensions"]
    shortest: int
    longest: int

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.words) or len(self.rows) < len(self.words):
            raise DataError(f"{len(self.words)} words, {len(self.counts)} counts and {len(self.rows)} rows")
        if self.longest and not 0 < self.shortest <= self.longest:
            raise DataError(f"n-grams of {self.shortest} to {self.longest} letters")

    @property
    def buckets(self) -> int:
        """Rows of n-grams."""
        return len(self.rows) - len(self.words)

    @cached_property
    def places(self) -> dict[str, int]:
        """Word → its row."""
        return {word: place for place, word in enumerate(self.words)}

    def rows_of(self, word: str) -> list[int]:
        """The rows whose mean is the word's vector: its own, if it has one, and those of its n-grams."""
        own = [self.places[word]] if word in self.places else []
        if not self.longest or not self.buckets or word == _END:
            return own
        grams = character_ngrams(word, self.shortest, self.longest)
        return own + [len(self.words) + fnv1a(gram.encode()) % self.buckets for gram in grams]

    def __getitem__(self, word: str) -> Float32[np.ndarray, " dimensions"]:
        """The vector of any word; zeros where nothing of it is known."""
        rows = self.rows_of(word)
        if not rows:
            return np.zeros(self.rows.shape[1], np.float32)
        vector: np.ndarray = self.rows[rows].mean(0, dtype=np.float64).astype(np.float32)
        return vector

    def vectors(self) -> WordVectors:
        """The table of the known words."""
        return WordVectors(self.words, np.stack([self[word] for word in self.words]))

    @classmethod
    def read(cls, path: Path | str) -> "SubwordVectors":
        """A model file of fastText 0.9.

        Raises:
            DataError: the file is not there, of another kind or version, compressed, or damaged.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                return _read(file, path)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None
        except struct.error:
            raise DataError(f"{path}: it ends too early: the file is cut") from None

    def write(self, path: Path | str) -> None:
        """Writes a model file that fastText and gensim read. Its output vectors, which only more training would need, are 0.

        Raises:
            DataError: a word that holds a zero byte.
            ResourceError: the file cannot be written.
        """
        if wrong := next((word for word in self.words if "\0" in word), None):
            raise DataError(f"the word {wrong!r} holds a zero byte, which ends a word in this file")
        path, width = Path(path), self.rows.shape[1]
        longest = self.longest if self.buckets else 0
        arguments = (
            width,
            5,
            5,
            1,
            5,
            1,
            _NEGATIVE,
            _SKIPGRAM,
            self.buckets,
            self.shortest,
            longest,
            100,
            1e-4,
        )
        with os_errors(path), atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(struct.pack("<2i", _MAGIC, _VERSION) + _ARGUMENTS.pack(*arguments))
            file.write(_SIZES.pack(len(self.words), len(self.words), 0, int(self.counts.sum()), -1))
            for word, count in zip(self.words, self.counts.tolist()):
                file.write(word.encode() + b"\0" + struct.pack("<qb", count, 0))
            file.write(b"\0" + _MATRIX.pack(*self.rows.shape))
            file.write(np.ascontiguousarray(self.rows, "<f4").tobytes())
            file.write(b"\0" + _MATRIX.pack(len(self.words), width))
            file.write(bytes(4 * width * len(self.words)))


def character_ngrams(word: str, shortest: int, longest: int) -> Iterator[str]:
    """The n-grams of ``<word>``, by their beginning; the marks alone are none."""
    marked = f"<{word}>"
    for start in range(len(marked)):
        for length in range(shortest, longest + 1):
            end = start + length
            if end > len(marked):
                break
            if length > 1 or 0 < start < len(marked) - 1:
                yield marked[start:end]


def fnv1a(data: bytes) -> int:
    """The 32-bit hash by which fastText finds rows: FNV-1a on bytes that are taken as signed."""
    value = 2166136261
    for byte in data:
        value = ((value ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
    return value


def _read(file: BufferedReader, path: Path) -> SubwordVectors:
    if struct.unpack("<2i", file.read(8)) != (_MAGIC, _VERSION):
        raise DataError(
            f"{path}: this is no model file of fastText 0.2 or later; tables of vectors are WordVectors.read"
        )
    width, *_, buckets, shortest, longest, _rate, _thinning = _ARGUMENTS.unpack(file.read(_ARGUMENTS.size))
    entries, num_words, _labels, _tokens, pruned = _SIZES.unpack(file.read(_SIZES.size))
    if pruned >= 0:
        raise DataError(f"{path}: a compressed model (.ftz), whose rows are not there; use the .bin file")
    words, counts = [], []
    for _ in range(entries):
        word = read_until(file, b"\0")
        if word is None:
            raise DataError(f"{path}: a word has no end: the file is cut or damaged")
        count, kind = struct.unpack("<qb", file.read(9))
        if kind == 0:
            words.append(word.decode("utf-8", errors="replace"))
            counts.append(count)
    if struct.unpack("<?", file.read(1))[0]:
        raise DataError(f"{path}: a compressed model (.ftz), whose rows are not there; use the .bin file")
    rows, columns = _MATRIX.unpack(file.read(_MATRIX.size))
    if columns != width or len(words) != num_words or rows != num_words + buckets:
        raise DataError(
            f"{path}: {rows} rows of {columns} numbers do not fit {num_words} words and {buckets} n-grams"
        )
    data = file.read(4 * rows * columns)
    if len(data) < 4 * rows * columns:
        raise DataError(f"{path}: it ends too early: the file is cut")
    matrix = np.frombuffer(data, "<f4").reshape(rows, columns).astype(np.float32)
    return SubwordVectors(tuple(words), np.array(counts, np.int64), matrix, shortest, longest)
