"""Which words stand in which rows of a segment, and how often, or how much a model makes of them: what lexical search reads.

Written beside the documents when a segment is, as an Arrow file: a row for each distinct word, in the order of code
points, with the rows that have it and how often each does. Nothing in it depends on other segments: what BM25 needs to
know of the whole index is counted when a state of it is opened (index/lexical.py).
"""

import bisect
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int, UInt

from brickwork.core.errors import ArtifactError
from brickwork.core.files import os_errors
from brickwork.core.words import words

ANALYZER = "words-1"
"""Names how texts become words; an index says which it was written with, as counts of two ways do not mix."""

MODEL_WORDS = "model-words-1"
"""The words and their weights are read off vectors (:class:`brickwork.core.types.ReadsWords`); a count is a weight, in
units of 1 / :data:`WEIGHT_UNITS`."""

WITH_WORDS = (ANALYZER, MODEL_WORDS)
WEIGHT_UNITS = 1_000

MOST_COUNTED = 2**16 - 1
_SPILL = np.dtype([("word", "<u4"), ("row", "<u4"), ("count", "<u2")])
_IN_MEMORY = 2**25  # bytes of counts that are kept in memory; more wait in a file without a name
_READ = 2**20  # counts that are read again at once
_BATCH = 2**22  # counts that are put in order at once
_SCHEMA = pa.schema(
    [
        ("word", pa.large_string()),
        ("found", pa.large_list(pa.struct([("row", pa.uint32()), ("count", pa.uint16())]))),
    ]
)


class PostingsWriter:
    """Counts words of rows as they come and writes them by word.

    Memory holds each distinct word once; the counts wait on the disk where there are many.
    """

    def __init__(self, path: Path):
        self.path = path
        self.rows = 0
        self._words: dict[str, int] = {}
        self._rows_with = array("q")  # for each word
        with os_errors(path):
            self._spill = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(path.parent))  # noqa: SIM115

    def add(self, texts: Iterable[str]) -> None:
        """Appends rows: what is encoded of each document."""
        self.add_counts(Counter(words(text)) for text in texts)

    def add_counts(self, rows: Iterable[Mapping[str, int]]) -> None:
        """Appends rows by the counts of their words."""
        found: list[tuple[int, int, int]] = []
        for counts in rows:
            for word, count in counts.items():
                found.append((self._number(word), self.rows, min(count, MOST_COUNTED)))
            self.rows += 1
        records = np.array(found, dtype=_SPILL)
        self._keep(records)

    def copy(self, postings: "Postings", rows: Int[np.ndarray, " rows"]) -> None:
        """Appends rows of another segment, in rising order."""
        places = np.full(postings.rows, -1, dtype=np.int64)
        places[rows] = np.arange(self.rows, self.rows + len(rows))
        for names, starts, at, counts in postings.batches:
            kept = np.flatnonzero(places[at] >= 0)
            word_of = np.searchsorted(starts, kept, side="right") - 1
            numbers = np.zeros(len(names), dtype=np.int64)
            used = np.unique(word_of)
            for place, name in zip(used.tolist(), names.take(pa.array(used)).to_pylist()):
                numbers[place] = self._number(name)
            records = np.empty(len(kept), dtype=_SPILL)
            records["word"], records["row"] = numbers[word_of], places[at[kept]]
            records["count"] = counts[kept]
            self._keep(records)
        self.rows += len(rows)

    def _number(self, word: str) -> int:
        number = self._words.setdefault(word, len(self._words))
        if number == len(self._rows_with):
            self._rows_with.append(0)
        return number

    def _keep(self, records: np.ndarray) -> None:
        numbers, times = np.unique(records["word"], return_counts=True)
        for number, count in zip(numbers.tolist(), times.tolist()):
            self._rows_with[number] += count
        with os_errors(self.path):
            self._spill.write(records.tobytes())

    def close(self) -> None:
        """Finishes the file; harmless when called again."""
        if self._spill.closed:
            return
        names = sorted(self._words)
        order = np.array([self._words[name] for name in names], dtype=np.int64)
        rank = np.empty(len(names), dtype=np.int64)
        rank[order] = np.arange(len(names))
        sizes = np.frombuffer(self._rows_with, dtype=np.int64)[order] if names else np.zeros(0, np.int64)
        with (
            self._spill,
            os_errors(self.path),
            pa.OSFile(str(self.path), "wb") as file,
            pa.ipc.new_file(file, _SCHEMA) as writer,
        ):
            for first, end in _groups(sizes):
                writer.write_batch(self._batch(names[first:end], sizes[first:end], rank, first))

    def _batch(self, names: list[str], sizes: np.ndarray, rank: np.ndarray, first: int) -> "pa.RecordBatch":
        """The counts of the words from the ``first`` on, in order."""
        parts = []
        self._spill.seek(0)
        while data := self._spill.read(_READ * _SPILL.itemsize):
            records = np.frombuffer(data, dtype=_SPILL)
            ranks = rank[records["word"]]
            inside = (ranks >= first) & (ranks < first + len(names))
            parts.append(np.stack([ranks[inside], records["row"][inside], records["count"][inside]]))
        ranks, rows, counts = np.concatenate(parts, axis=1)
        by_word = np.lexsort((rows, ranks))
        found = pa.StructArray.from_arrays(
            [
                pa.array(rows[by_word].astype(np.uint32)),
                pa.array(counts[by_word].astype(np.uint16)),
            ],
            fields=list(_SCHEMA.field("found").type.value_type),
        )
        ends = np.concatenate([[0], np.cumsum(sizes)])
        lists = pa.LargeListArray.from_arrays(pa.array(ends), found, type=_SCHEMA.field("found").type)
        return pa.record_batch([pa.array(names, pa.large_string()), lists], schema=_SCHEMA)


def _groups(sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Stretches of words with about ``_BATCH`` counts each."""
    first = 0
    ends = np.cumsum(sizes)
    while first < len(sizes):
        before = ends[first - 1] if first else 0
        end = max(first + 1, int(np.searchsorted(ends, before + _BATCH, side="right")))
        yield first, end
        first = end


class Postings:
    """The words of a segment. The file is mapped: of a search only the pages of its words are read.

    Raises:
        ArtifactError: the file is not what :class:`PostingsWriter` writes.
    """

    def __init__(self, path: Path, data: Any, rows: int):
        self.path = path
        self.rows = rows
        try:
            reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(data)))
            if reader.schema != _SCHEMA:
                raise ValueError(f"it has columns {reader.schema.names}")
            parts = [reader.get_batch(number) for number in range(reader.num_record_batches)]
            for batch in parts:
                batch.validate(full=True)
                if any(column.null_count for column in (*batch.columns, batch["found"].values)):
                    raise ValueError("it has empty places")
            self.batches = [_opened(batch) for batch in parts if batch.num_rows]
            for _, _, at, counts in self.batches:
                if len(at) and (at.max() >= rows or not counts.min()):
                    raise ValueError("its counts do not fit the documents")
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ArtifactError(f"{path} cannot be read ({error}); build the index again") from error
        self._firsts = [names[0].as_py() for names, *_ in self.batches]

    def find(self, word: str) -> tuple[UInt[np.ndarray, " rows"], UInt[np.ndarray, " rows"]]:
        """The rows that have a word, in order, and how often each has it."""
        number = bisect.bisect_right(self._firsts, word) - 1
        if number >= 0:
            names, starts, at, counts = self.batches[number]
            place = bisect.bisect_left(range(len(names)), word, key=lambda i: names[i].as_py())
            if place < len(names) and names[place].as_py() == word:
                part = slice(int(starts[place]), int(starts[place + 1]))
                return at[part], counts[part]
        return np.zeros(0, np.uint32), np.zeros(0, np.uint16)

    @cached_property
    def lengths(self) -> Int[np.ndarray, " rows"]:
        """The number of words of each row."""
        total = np.zeros(self.rows, dtype=np.int64)
        for _, _, at, counts in self.batches:
            total += np.bincount(at, weights=counts, minlength=self.rows).astype(np.int64)
        return total


def _opened(batch: "pa.RecordBatch") -> tuple["pa.Array", np.ndarray, np.ndarray, np.ndarray]:
    """Words, where the counts of each begin, and all rows and counts, none of them copied."""
    found = batch["found"]
    values = found.values
    starts = np.asarray(found.offsets)
    if starts[0] != 0 or starts[-1] != len(values):
        raise ValueError("its counts are not those of its words")
    return batch["word"], starts, np.asarray(values.field("row")), np.asarray(values.field("count"))
