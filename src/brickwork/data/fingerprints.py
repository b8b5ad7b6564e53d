"""What a task was made of, in a few digits a column: a resumed training compares the data's content, not its length.

Everything that was read counts, in its order, wherever it is from: a file, a folder, a known set, made-up examples.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brickwork.core.errors import DataError
from brickwork.data.types import TaskData

_TOGETHER = 1000  # cells hashed at a time


def fingerprint(data: TaskData) -> dict[str, dict[str, str]]:
    """Part of the task → column → sixteen hexadecimal digits of its values and their order; texts of searches too."""
    parts: dict[str, Mapping[str, Any]] = {
        "train": data.train.columns,
        "validation": data.validation.columns,
        "test": data.test.columns,
        **{f"variants.{name}": variant.columns for name, variant in data.variants.items()},
        **{
            # By their place: a file that was renamed has the same content.
            f"search {place}": {"queries": search.queries, "documents": search.documents}
            for place, search in enumerate(data.retrieval.values(), 1)
        },
    }
    return {part: fingerprint_columns(columns) for part, columns in parts.items()}


def fingerprint_columns(columns: Mapping[str, Any]) -> dict[str, str]:
    """Each column's number of rows and the digits of its content."""
    return {name: f"{len(values)}:{_digest(values)}" for name, values in columns.items()}


def changed(then: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]) -> list[str]:
    """In words, what differs between two fingerprints, a part of the task each."""
    words = []
    for part in dict.fromkeys([*then, *now]):
        before, after = then.get(part, {}), now.get(part, {})
        names = [n for n in dict.fromkeys([*before, *after]) if before.get(n) != after.get(n)]
        if names:
            rows = [next((v.split(":")[0] for v in columns.values()), "no") for columns in (before, after)]
            words.append(f"{part} ({', '.join(names)}; {rows[0]} rows then, {rows[1]} now)")
    return words


def refuse_other_data(
    what: str, then: Mapping[str, Mapping[str, str]] | None, now: Mapping[str, Mapping[str, str]]
) -> None:
    """Compares the content of the data of a run with what it is now; without a record of it, does nothing.

    Raises:
        DataError: names the parts and columns that differ, and says what to do.
    """
    if then is not None and (words := changed(then, now)):
        raise DataError(
            f"the data has changed since {what} was written: {'; '.join(words)}. A run goes on with the data that it began "
            "with: bring that back, or train in another folder"
        )


def _digest(values: Sequence[Any] | np.ndarray) -> str:
    digest = hashlib.sha256()
    if isinstance(values, np.ndarray):
        _add(digest, values)
        return digest.hexdigest()[:16]
    for start in range(0, len(values), _TOGETHER):
        cells = values[start : start + _TOGETHER]
        if all(type(cell) is str for cell in cells):
            lengths = ",".join(map(str, map(len, cells)))  # so that "a", "bc" is not "ab", "c"
            digest.update(f"texts {lengths} ".encode())
            digest.update("".join(cells).encode("utf-8", "surrogatepass"))
        else:
            _add(digest, list(cells))
    return digest.hexdigest()[:16]


def _add(digest: Any, value: Any) -> None:
    """One value, with its type and size before what is in it."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"array {value.dtype.str} {value.shape} ".encode())
        digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    elif isinstance(value, np.ndarray | list | tuple):
        digest.update(f"list {len(value)} ".encode())
        for part in value:
            _add(digest, part)
    elif isinstance(value, Mapping):
        _add(digest, [*value, *value.values()])
    else:
        digest.update(f"{type(value).__name__} {value!r} ".encode("utf-8", "surrogatepass"))
