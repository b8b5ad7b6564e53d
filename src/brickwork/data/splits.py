"""Equal texts found, and examples split into parts that share no group: what keeps a test set honest."""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from brickwork.data.types import Examples


def normalised(text: str) -> str:
    """The text as it is compared: compatibility forms, lower case, single spaces."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def stable_hash(*parts: object) -> int:
    """64 bits that depend on the parts alone, in every process and on every machine."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode("utf-8", "replace"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def connect(*columns: Sequence[str]) -> list[int]:
    """A group number for each row; rows with an equal value in one of the columns are in one group.

    Equality is that of :func:`normalised` text, and it passes on: if row 1 shares its anchor with row 2 and
    row 2 its positive with row 3, all three are one group. Groups are numbered in order of appearance.
    """
    count = len(columns[0])
    parent = list(range(count))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for column in columns:
        first: dict[str, int] = {}
        for row, text in enumerate(column):
            other = first.setdefault(normalised(text), row)
            a, b = root(row), root(other)
            parent[max(a, b)] = min(a, b)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(row), len(numbers)) for row in range(count)]


@dataclass(frozen=True)
class Parts:
    """Row numbers of the three parts, each in rising order."""

    train: list[int]
    validation: list[int]
    test: list[int]


def split(
    keys: Sequence[str],
    *,
    validation_share: float,
    test_share: float,
    max_held_out: int,
    seed: int,
) -> Parts:
    """Rows split by key: rows of one key stay together.

    Keys are taken in the order of a hash of key and seed: test is filled up to its share (at most
    ``max_held_out`` rows), then validation, the rest is training. A key with more rows than a whole held-out
    part stays in training.
    """
    rows_of: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        rows_of.setdefault(key, []).append(row)
    waiting = sorted(rows_of, key=lambda key: (stable_hash(seed, key), key))
    held_out: list[list[int]] = []
    for share in (test_share, validation_share):
        budget = min(round(share * len(keys)), max_held_out)
        part: list[int] = []
        left = []
        full = budget == 0
        for key in waiting:
            rows = rows_of[key]
            if full or len(rows) > budget:
                left.append(key)
            elif len(part) + len(rows) > budget:
                full = True
                left.append(key)
            else:
                part.extend(rows)
        held_out.append(sorted(part))
        waiting = left
    return Parts(sorted(row for key in waiting for row in rows_of[key]), held_out[1], held_out[0])


def select(examples: Examples, parts: Parts) -> tuple[Examples, Examples, Examples]:
    """Training, validation and test examples."""
    return examples.select(parts.train), examples.select(parts.validation), examples.select(parts.test)


def first_of_each(*columns: Sequence[str]) -> list[int]:
    """The rows that are not a repetition (of all columns together, as normalised text) of an earlier row."""
    seen: set[int] = set()
    rows = []
    for row, texts in enumerate(zip(*columns, strict=True)):
        key = stable_hash(*map(normalised, texts))
        if key not in seen:
            seen.add(key)
            rows.append(row)
    return rows


def pick(count: int, limit: int | None) -> list[int]:
    """``limit`` of ``count`` rows, always the same ones, in random order; without one, all in order."""
    if limit is None or limit >= count:
        return list(range(count))
    return np.random.default_rng(0).permutation(count)[:limit].tolist()


def group_numbers(keys: Iterable[object]) -> list[int]:
    """Keys numbered in order of appearance."""
    numbers: dict[object, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]
