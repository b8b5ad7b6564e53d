"""A vector for each word, in the files that tools for words exchange.

``text``: word2vec's and fastText's ``.vec``, a line "words dimensions", then a word and its numbers on each; GloVe's files
are the same without the first line. ``binary``: word2vec's, the same first line, then each word, a space and its numbers as
32-bit floats. Models of fastText with parts of words are in :mod:`brickwork.representation.subwords`.

Shape legend: V words, D dimensions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from brickwork.core.config import nearest
from brickwork.core.errors import ConfigError, DataError
from brickwork.core.files import atomic_path, os_errors
from brickwork.representation.nearest import top_k

_FORMATS = ("text", "binary")
_BINARY_SUFFIXES = (".bin", ".w2v.bin")
_MOST_BYTES_OF_A_WORD = 10_000


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Words, each once, and their vectors, in the order of the file: mostly from frequent to rare.

    Raises:
        DataError: a word twice, an empty word or one with a line break, more or fewer vectors than words, or numbers that
            are not finite.
    """

    words: tuple[str, ...]
    matrix: Float32[np.ndarray, "words dimensions"]

    def __post_init__(self) -> None:
        if len(self.words) != len(self.matrix):
            raise DataError(f"{len(self.words)} words and {len(self.matrix)} vectors")
        if len(self.places) != len(self.words):
            twice = next(word for place, word in enumerate(self.words) if self.places[word] != place)
            raise DataError(f"the word '{twice}' is there twice")
        wrong = [word for word in self.words if not word or "\n" in word]
        if wrong:
            raise DataError(
                f"the word {wrong[0]!r} cannot be kept: words are not empty and have no line breaks"
            )
        rows = np.flatnonzero(~np.isfinite(self.matrix).all(1))
        if len(rows):
            raise DataError(f"the vector of '{self.words[rows[0]]}' has a number that is not finite")

    @cached_property
    def places(self) -> dict[str, int]:
        """Word → row of its vector."""
        return {word: place for place, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.places

    def __getitem__(self, word: str) -> Float32[np.ndarray, " dimensions"]:
        """The vector of a word.

        Raises:
            DataError: there is no such word.
        """
        if word not in self.places:
            raise DataError(f"there is no vector of '{word}': {nearest(word, self.words[:50_000])}")
        vector: np.ndarray = self.matrix[self.places[word]]
        return vector

    def neighbours(
        self, what: str | Float32[np.ndarray, " dimensions"], k: int = 10
    ) -> list[tuple[str, float]]:
        """The ``k`` nearest words by cosine, without the word itself, nearest first.

        Raises:
            DataError: there is no such word.
        """
        vector = self[what] if isinstance(what, str) else what
        query = _unit(vector[None])
        scores, rows = top_k(query, self._units, k + 1)
        found = [(self.words[row], float(score)) for score, row in zip(scores[0], rows[0])]
        return [hit for hit in found if not isinstance(what, str) or hit[0] != what][:k]

    @cached_property
    def _units(self) -> Float32[np.ndarray, "words dimensions"]:
        return _unit(self.matrix)

    @classmethod
    def read(cls, path: Path | str, format: str | None = None, limit: int | None = None) -> "WordVectors":
        """The vectors of a file, or the first ``limit`` of them. Without a ``format`` names that end in ``.bin`` are binary.

        Raises:
            ConfigError: no such format, or a limit below 1.
            DataError: the file is not there, is of another format, or is damaged; names the line or word.
        """
        path = Path(path)
        format = format or ("binary" if path.name.endswith(_BINARY_SUFFIXES) else "text")
        _check(format, limit)
        try:
            with path.open("rb") as file:
                return (
                    _read_binary(file, path, limit) if format == "binary" else _read_text(file, path, limit)
                )
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None

    def write(self, path: Path | str, format: str = "text") -> None:
        """Writes a file that word2vec, gensim and fastText read; a file that is there is replaced at the end.

        Raises:
            ConfigError: no such format.
            DataError: a word with a space, which these files cannot tell from two.
            ResourceError: the file cannot be written.
        """
        _check(format, None)
        if spaced := next((word for word in self.words if " " in word), None):
            raise DataError(
                f"the word '{spaced}' has a space, which files of word vectors cannot hold; join it with '_'"
            )
        path = Path(path)
        head = f"{self.matrix.shape[0]} {self.matrix.shape[1]}\n".encode()
        with os_errors(path), atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(head)
            for word, row in zip(self.words, np.ascontiguousarray(self.matrix, "<f4")):
                # The shortest numbers that are read as the same 32 bits.
                numbers = row.tobytes() if format == "binary" else " ".join(map(str, row)).encode()
                file.write(word.encode() + b" " + numbers + b"\n")


def _unit(x: Float32[np.ndarray, "n dimensions"]) -> Float32[np.ndarray, "n dimensions"]:
    unit: np.ndarray = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return unit


def _check(format: str, limit: int | None) -> None:
    if format not in _FORMATS:
        raise ConfigError(f"unknown format '{format}': {nearest(format, _FORMATS)}")
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}; it must be at least 1")


def _sizes(line: bytes) -> tuple[int, int] | None:
    """Words and dimensions, if this is a first line that says so."""
    parts = line.split()
    if len(parts) == 2 and all(part.isdigit() for part in parts):
        return int(parts[0]), int(parts[1])
    return None


def _decode(word: bytes) -> str:
    return word.decode("utf-8", errors="replace")


def _read_text(file: BufferedReader, path: Path, limit: int | None) -> WordVectors:
    first = file.readline()
    sizes = _sizes(first)
    width = sizes[1] if sizes else len(first.split()) - 1
    if width < 1:
        raise DataError(
            f"{path}: line 1 is neither 'words dimensions' nor a word with numbers: {_decode(first[:60])!r}"
        )
    words, rows = [], []
    for number, line in _lines(first if not sizes else b"", file, 1 if not sizes else 2):
        parts = line.rstrip(b" \r\n").rsplit(b" ", width)
        if len(parts) != width + 1:
            raise DataError(f"{path}: line {number} has no word and {width} numbers; {_hint(sizes)}")
        try:
            rows.append(np.array(parts[1:], dtype=np.float32))
        except ValueError:
            raise DataError(
                f"{path}: line {number} has something that is no number; {_hint(sizes)}"
            ) from None
        words.append(_decode(parts[0]))
        if len(words) == limit:
            break
    if sizes and limit is None and len(words) != sizes[0]:
        raise DataError(
            f"{path}: the first line says {sizes[0]:,} words, and there are {len(words):,}: the file is cut or damaged"
        )
    return _made(words, rows, width, path)


def _hint(sizes: tuple[int, int] | None) -> str:
    return (
        "a binary file is read with format='binary'"
        if sizes
        else "this is no file of word vectors, or line 1 is damaged"
    )


def _lines(first: bytes, file: BufferedReader, number: int) -> Iterator[tuple[int, bytes]]:
    if first.strip():
        yield number, first
        number += 1
    for line in file:
        if line.strip():
            yield number, line
        number += 1


def _read_binary(file: BufferedReader, path: Path, limit: int | None) -> WordVectors:
    sizes = _sizes(file.readline(100))
    if sizes is None:
        raise DataError(
            f"{path}: the first line does not say 'words dimensions': this is no binary file of word2vec"
        )
    count, width = sizes
    words, rows = [], []
    for number in range(1, min(count, limit or count) + 1):
        word = read_until(file, b" ")
        data = file.read(4 * width)
        if word is None or len(data) < 4 * width:
            raise DataError(f"{path}: it ends, or is damaged, at word {number:,} of {count:,}")
        words.append(
            _decode(word.lstrip(b"\n"))
        )  # some writers end each vector with a line break, some do not
        rows.append(np.frombuffer(data, "<f4"))
    return _made(words, rows, width, path)


def read_until(file: BufferedReader, mark: bytes) -> bytes | None:
    """The bytes before the next ``mark``, which is read as well; none if there is no mark, or no word is that long."""
    found = b""
    while len(found) < _MOST_BYTES_OF_A_WORD and (ahead := file.peek(1)):
        end = ahead.find(mark)
        found += file.read(len(ahead) if end < 0 else end + 1)
        if end >= 0:
            return found[:-1]
    return None


def _made(words: list[str], rows: Sequence[np.ndarray], width: int, path: Path) -> WordVectors:
    matrix = np.stack(rows).astype(np.float32) if rows else np.zeros((0, width), np.float32)
    try:
        return WordVectors(tuple(words), matrix)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
