"""The metadata of a segment by field: for each row which of the field's distinct values it has.

Written beside the documents when a segment is, as an Arrow file with one record batch a field, so that a filter reads
the fields that it names and nothing else. What a condition means is decided before (:func:`filters.resolve`); here it is
looked up among the distinct values.
"""

import json
from array import array
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import os_errors
from brickwork.core.text import clean_text
from brickwork.index.conditions import Condition, Kind
from brickwork.index.filters import OWN_FIELDS, Filter, compare, kind_of
from brickwork.index.store import DocumentStore

MASKS_KEPT = 16
_SCHEMA = pa.schema(
    [
        ("name", pa.large_string()),
        ("codes", pa.large_binary()),
        ("numbers", pa.large_string()),
        ("texts", pa.large_list(pa.large_string())),
    ]
)


@runtime_checkable
class Column(Protocol):
    """A field of all rows of a segment."""

    def mask(self, condition: Condition) -> Bool[np.ndarray, " rows"]:
        """The rows that meet a condition of :func:`filters.resolve`."""
        ...

    def there(self) -> Bool[np.ndarray, " rows"]:
        """The rows that have the field, whatever its value."""
        ...

    def kinds(self, live: Bool[np.ndarray, " rows"] | None) -> set[Kind]:
        """The kinds of values that rows have; ``live`` leaves rows out."""
        ...

    def texts(self, live: Bool[np.ndarray, " rows"] | None) -> list[str]:
        """The distinct texts that rows have; ``live`` leaves rows out."""
        ...

    def some(self, kind: Kind, live: Bool[np.ndarray, " rows"] | None, count: int) -> list[Any]:
        """Up to ``count`` values of a kind that rows have; ``live`` leaves rows out."""
        ...


class TextColumn:
    """A field that every row has as text: id, title or source."""

    def __init__(self, values: "pa.ChunkedArray"):
        self.values = values

    def mask(self, condition: Condition) -> Bool[np.ndarray, " rows"]:
        return np.asarray(_text_mask(self.values, condition))

    def there(self) -> Bool[np.ndarray, " rows"]:
        return np.ones(len(self.values), dtype=bool)

    def kinds(self, live: Bool[np.ndarray, " rows"] | None) -> set[Kind]:
        return {"text"}

    def some(self, kind: Kind, live: Bool[np.ndarray, " rows"] | None, count: int) -> list[Any]:
        values = self.values if live is None else self.values.filter(pa.array(live))
        return values[:count].to_pylist() if kind == "text" else []

    def texts(self, live: Bool[np.ndarray, " rows"] | None) -> list[str]:
        values = self.values if live is None else self.values.filter(pa.array(live))
        return list(pc.unique(values).to_pylist())


class FieldColumn:
    """A key of the metadata. ``codes`` count through the numbers, False, True, the texts, and one place for whatever
    compares with nothing; -1: the row does not have the field."""

    def __init__(self, codes: np.ndarray, numbers: list[int | float], texts: "pa.Array"):
        self.codes = codes
        self.numbers = numbers
        self._texts = texts
        self._first_text = len(numbers) + 2

    @property
    def size(self) -> int:
        """Distinct values, the place for the others among them."""
        return self._first_text + len(self._texts) + 1

    def mask(self, condition: Condition) -> Bool[np.ndarray, " rows"]:
        # The last place of the table answers for the code -1.
        table = np.zeros(self.size + 1, dtype=bool)
        numbers, truths = slice(0, len(self.numbers)), slice(len(self.numbers), self._first_text)
        texts = slice(self._first_text, self.size - 1)
        if condition.operator in ("eq", "in", "ne"):
            for one in condition.values:
                if kind_of(one) == "truth":
                    table[len(self.numbers) + int(one)] = True  # type: ignore[arg-type]
                elif kind_of(one) == "number" and one in self._places:
                    table[self._places[one]] = True  # type: ignore[index]
            table[texts] = _text_mask(self._texts, Condition(condition.field, "in", condition.value))
            if condition.operator == "ne":
                table = ~table
            return table[self.codes]
        (wanted,) = condition.values
        if kind_of(wanted) == "number" and self.numbers:
            with np.errstate(invalid="ignore"):  # nothing is less or more than NaN
                table[numbers] = compare(condition.operator, self._number_values, wanted).astype(bool)
        elif kind_of(wanted) == "truth":
            table[truths] = compare(condition.operator, np.array([False, True]), wanted)
        elif kind_of(wanted) == "text":
            table[texts] = _text_mask(self._texts, condition)
        return table[self.codes]

    @cached_property
    def _places(self) -> dict[int | float, int]:
        return {value: place for place, value in enumerate(self.numbers)}

    @cached_property
    def _number_values(self) -> np.ndarray:
        """As Python's numbers, which compare exactly: 2**60 + 1 is no float64."""
        values = np.empty(len(self.numbers), dtype=object)
        values[:] = self.numbers
        return values

    def there(self) -> Bool[np.ndarray, " rows"]:
        return self.codes >= 0

    def kinds(self, live: Bool[np.ndarray, " rows"] | None) -> set[Kind]:
        used = self._used(live)
        parts: dict[Kind, slice] = {
            "number": slice(0, len(self.numbers)),
            "truth": slice(len(self.numbers), self._first_text),
            "text": slice(self._first_text, self.size - 1),
        }
        return {kind for kind, part in parts.items() if used[part].any()}

    def some(self, kind: Kind, live: Bool[np.ndarray, " rows"] | None, count: int) -> list[Any]:
        used = np.flatnonzero(self._used(live)[:-1])
        if kind == "number":
            return [self.numbers[place] for place in used[used < len(self.numbers)][:count]]
        if kind == "text":
            places = used[used >= self._first_text][:count] - self._first_text
            return list(self._texts.take(pa.array(places)).to_pylist())
        return [bool(place - len(self.numbers)) for place in used if 0 <= place - len(self.numbers) < 2][
            :count
        ]

    def texts(self, live: Bool[np.ndarray, " rows"] | None) -> list[str]:
        return list(self._texts.filter(pa.array(self._used(live)[self._first_text : -1])).to_pylist())

    def _used(self, live: Bool[np.ndarray, " rows"] | None) -> Bool[np.ndarray, " values"]:
        codes = self.codes if live is None else self.codes[live]
        return np.bincount(codes[codes >= 0], minlength=self.size) > 0


def _text_mask(values: "pa.Array | pa.ChunkedArray", condition: Condition) -> np.ndarray:
    """Which texts meet a condition; Arrow orders them by their bytes in UTF-8, which is the order of code points."""
    wanted = [clean_text(one) for one in condition.values if isinstance(one, str)]
    if condition.operator in ("eq", "in", "ne"):
        mask = np.asarray(pc.is_in(values, value_set=pa.array(wanted, pa.large_string())))
        return ~mask if condition.operator == "ne" else mask
    if not wanted:
        return np.zeros(len(values), dtype=bool)
    test = {"lt": pc.less, "lte": pc.less_equal, "gt": pc.greater, "gte": pc.greater_equal}
    return np.asarray(test[condition.operator](values, pa.scalar(wanted[0], pa.large_string())))


class FieldsBuilder:
    """Collects the metadata of rows, four bytes a row and field and each distinct value once."""

    def __init__(self) -> None:
        self.rows = 0
        self._fields: dict[str, tuple[array[int], dict[Any, int]]] = {}

    def add(self, metas: Iterable[Mapping[str, Any]]) -> None:
        """Appends rows: metadata as it is stored."""
        for meta in metas:
            for name, value in meta.items():
                if name not in self._fields:
                    self._fields[name] = (array("i"), {})
                codes, values = self._fields[name]
                if len(codes) < self.rows:
                    codes.extend([-1] * (self.rows - len(codes)))
                kind = kind_of(value)
                code = values.setdefault((kind, None if kind is None else value), len(values))
                codes.append(code)
            self.rows += 1

    def columns(self) -> dict[str, FieldColumn]:
        """The columns of all rows."""
        return {name: self._column(*field) for name, field in self._fields.items()}

    def _column(self, codes: "array[int]", values: dict[Any, int]) -> FieldColumn:
        numbers = [value for kind, value in values if kind == "number"]
        texts = [value for kind, value in values if kind == "text"]
        places = {("number", value): place for place, value in enumerate(numbers)}
        places |= {("truth", value): len(numbers) + int(value) for value in (False, True)}
        places |= {("text", value): len(numbers) + 2 + place for place, value in enumerate(texts)}
        last = len(numbers) + 2 + len(texts)
        # The last place of the table answers for the code -1.
        table = np.array([*(places.get(value, last) for value in values), -1], dtype=np.int32)
        padded = np.full(self.rows, -1, dtype=np.int32)
        padded[: len(codes)] = codes
        return FieldColumn(table[padded], numbers, pa.array(texts, pa.large_string()))

    def write(self, path: Path) -> None:
        """Writes the columns to a file."""
        with os_errors(path), pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, _SCHEMA) as writer:
            for name, column in self.columns().items():
                codes = column.codes.astype("<i4").tobytes()
                row = [[name], [codes], [json.dumps(column.numbers)], [column.texts(None)]]
                writer.write_batch(pa.record_batch(row, schema=_SCHEMA))


def read_columns(path: Path, data: Any, rows: int) -> dict[str, "FieldColumn"]:
    """The columns in a file whose bytes are mapped.

    Raises:
        ArtifactError: it is not what :meth:`FieldsBuilder.write` writes, or of another number of rows.
    """
    try:
        reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(data)))
        columns = {}
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            batch.validate(full=True)
            codes = np.frombuffer(batch["codes"][0].as_buffer(), dtype="<i4")
            column = FieldColumn(codes, json.loads(batch["numbers"][0].as_py()), batch["texts"].flatten())
            if len(codes) != rows or (rows and not -1 <= codes.min() <= codes.max() < column.size):
                raise ValueError("codes that do not fit the documents")
            columns[batch["name"][0].as_py()] = column
        return columns
    except (pa.ArrowException, OSError, ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); build the index again") from error


class Columns:
    """The fields of the documents of a segment; ``data`` are the mapped bytes of the file of its metadata."""

    def __init__(self, documents: DocumentStore, path: Path, data: Any):
        self.documents = documents
        self.path = path
        self._data = data
        self._masks: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> Column:
        """The column of a field; one without values where no row has it."""
        if name in OWN_FIELDS:
            return TextColumn(self.documents.table[name])
        missing = FieldColumn(np.full(len(self.documents), -1, np.int32), [], pa.array([], pa.large_string()))
        return self.meta.get(name) or missing

    @cached_property
    def meta(self) -> dict[str, FieldColumn]:
        """The columns of the metadata."""
        return read_columns(self.path, self._data, len(self.documents))

    def mask(self, where: Filter) -> Bool[np.ndarray, " rows"]:
        """The rows that meet all conditions."""
        key = repr(where)  # not the filter: True and 1 make equal filters that mean different things
        mask = self._masks.get(key)
        if mask is None:
            mask = np.ones(len(self.documents), dtype=bool)
            for condition in where.conditions:
                mask &= self[condition.field].mask(condition)
            while len(self._masks) >= MASKS_KEPT:
                self._masks.pop(next(iter(self._masks)), None)
            self._masks[key] = mask
        return mask


def check_fields(where: Filter, known: set[str]) -> None:
    """Refuses a filter on a field that no document has.

    Raises:
        ConfigError: names the field and lists those that exist.
    """
    for name in where.fields:
        if name not in known:
            fields = ", ".join((*OWN_FIELDS, *sorted(known - set(OWN_FIELDS))))
            raise ConfigError(f"filter on '{name}': no document has this field; there are {fields}")
