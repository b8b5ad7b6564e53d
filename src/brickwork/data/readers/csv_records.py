"""Records of CSV and TSV, in which a quote that is not closed costs one row and is told, and not all rows after it.

A cell that begins with a quote goes on over line ends until the quote is closed. So one stray quote takes every following
row into its cell, up to the next quote or to the end of the file. Where that shows, the rows are read again, one a line.
"""

import csv
import itertools
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

UNCLOSED = "a quote that is not closed, or not closed before a delimiter"
NOT_DOUBLED = "with a quote within a quoted cell that is not doubled, read as it stands"
LIKE_ROWS = "with a cell over several lines that look like rows of their own; look for a quote that is not closed there"
_QUOTED = re.compile(r'"[^"]*"')
_MANY_LINES = 3  # so many lines that have as many cells as the header are no accident
_ALIKE = 0.9  # the share of lines that have to: among many rows some have another number of cells


@dataclass(frozen=True)
class Record:
    """The cells that begin in a line (counted from 1); none where they cannot be read. ``problem``: what is wrong."""

    line: int
    cells: list[str] | None
    problem: str = ""


def records(
    lines: Iterator[tuple[int, str]], delimiter: str, *, tabbed: bool, max_size: int
) -> Iterator[Record]:
    """The records of numbered lines, blank ones left out, the header first.

    ``tabbed``: of a TSV file, where quotes are often no marks of cells but text: a cell with a quote that does not fit is
    taken as it stands. ``max_size``: of one record, in characters.
    """
    source = _Source(lines, max_size)
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    width = 0
    while True:
        source.begin()
        problem = ""
        cells: list[str] | None = None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, _TooLong):
            problem = UNCLOSED
        number, first = source.taken[0]
        more = [line for _, line in source.taken[1:]]
        if cells is not None and more and width and _like_rows(cells, more, width, delimiter, tabbed):
            problem = UNCLOSED if tabbed else LIKE_ROWS
        if problem == UNCLOSED:
            source.put_back()
            if tabbed:
                cells, problem = first.rstrip("\r\n").split(delimiter), ""
            elif more or not (cells := _as_it_stands(first, delimiter, width)):
                cells = None
            else:
                problem = NOT_DOUBLED
        if cells is None or cells:
            width = width or len(cells or ())
            yield Record(number, cells, problem)


def delimiter_of(header: str, candidates: str = ",;\t|") -> str:
    """The candidate that comes most often in a header outside of quotes."""
    return max(candidates, key=_QUOTED.sub("", header).count)


class _TooLong(Exception):
    """A record has more characters than any text may have."""


class _Source:
    """Lines one by one, those of the record that is being read kept so that they can be read again."""

    def __init__(self, lines: Iterator[tuple[int, str]], max_size: int) -> None:
        self._lines = lines
        self._again: deque[tuple[int, str]] = deque()
        self._max_size = max_size
        self._size = 0
        self.taken: list[tuple[int, str]] = []

    def begin(self) -> None:
        self.taken, self._size = [], 0

    def put_back(self) -> None:
        """All lines of this record but the first come again."""
        self._again.extendleft(reversed(self.taken[1:]))

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.taken and self._size > self._max_size:
            raise _TooLong
        numbered = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(numbered)
        self._size += len(numbered[1])
        return numbered[1]


def _like_rows(cells: list[str], more: Sequence[str], width: int, delimiter: str, tabbed: bool) -> bool:
    """Whether each further line of a record would be a row of its own: there are many, or each begins, as the record does,
    with a whole number."""
    if width < 2:
        return False
    rows = [line.rstrip("\r\n").split(delimiter) for line in itertools.islice(more, 1000)]
    if sum(len(row) == width for row in rows) < _ALIKE * len(rows):
        return False
    numbered = all(row[0].strip().isdecimal() for row in [cells, *rows])
    return tabbed or len(rows) >= _MANY_LINES or numbered


def _as_it_stands(line: str, delimiter: str, width: int) -> list[str] | None:
    """The cells of one line with quotes taken leniently, if there are as many as in the header."""
    cells = next(csv.reader([line], delimiter=delimiter), [])
    return cells if len(cells) == width and not cells[-1].endswith(("\n", "\r")) else None
