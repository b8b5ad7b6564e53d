"""Filters evaluated on columns: each distinct value is judged once, by the rule that defines what filters mean."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from brickwork.core.errors import ConfigError
from brickwork.index.filters import OWN_FIELDS, Condition, Filter, holds
from brickwork.index.store import DocumentStore, read_meta

if TYPE_CHECKING:
    import pyarrow as pa

MASKS_KEPT = 16


class Column:
    """A field of all rows: the distinct values, and for each row which of them it has (-1: none)."""

    def __init__(self, codes: np.ndarray, values: list[Any]):
        self.codes = codes
        self.values = values

    def mask(self, condition: Condition) -> Bool[np.ndarray, " rows"]:
        """The rows that meet a condition."""
        # The last place of the table answers for the code -1.
        table = np.array([holds(value, condition) for value in (*self.values, None)])
        return table[self.codes]


class Columns:
    """The fields of the documents of a segment, read when a filter first names one."""

    def __init__(self, documents: DocumentStore):
        self.documents = documents
        self._own: dict[str, Column] = {}
        self._masks: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> Column:
        """The column of a field; one without values where no row has it."""
        if name in OWN_FIELDS:
            if name not in self._own:
                self._own[name] = _encoded(self.documents.table[name])
            return self._own[name]
        return self.meta.get(name) or Column(np.full(len(self.documents), -1), [])

    @cached_property
    def meta(self) -> dict[str, Column]:
        """The columns of the metadata. Rows with equal metadata share one reading of it."""
        texts = _encoded(self.documents.table["meta"])
        fields: dict[str, tuple[np.ndarray, dict[Any, int]]] = {}
        for number, text in enumerate(texts.values):
            for name, value in read_meta(text, self.documents.path).items():
                if not isinstance(value, str | int | float):
                    value = None  # known as a field, but with a value that meets no condition
                if name not in fields:
                    fields[name] = (np.full(len(texts.values), -1), {})
                codes, values = fields[name]
                codes[number] = values.setdefault((type(value), value), len(values))
        return {
            name: Column(codes[texts.codes], [value for _, value in values])
            for name, (codes, values) in fields.items()
        }

    def mask(self, where: Filter) -> Bool[np.ndarray, " rows"]:
        """The rows that meet all conditions."""
        key = repr(where)  # not the filter: True and 1 make equal filters that mean different things
        if key not in self._masks:
            mask = np.ones(len(self.documents), dtype=bool)
            for condition in where.conditions:
                mask &= self[condition.field].mask(condition)
            if len(self._masks) >= MASKS_KEPT:
                self._masks.pop(next(iter(self._masks)), None)
            self._masks[key] = mask
            return mask
        return self._masks[key]


def _encoded(column: "pa.ChunkedArray") -> Column:
    encoded = column.combine_chunks().dictionary_encode()
    if hasattr(encoded, "combine_chunks"):
        encoded = encoded.combine_chunks()
    return Column(np.asarray(encoded.indices), encoded.dictionary.to_pylist())


def check_fields(where: Filter, known: set[str]) -> None:
    """Refuses a filter on a field that no document has.

    Raises:
        ConfigError: names the field and lists those that exist.
    """
    for name in where.fields:
        if name not in known:
            fields = ", ".join((*OWN_FIELDS, *sorted(known - set(OWN_FIELDS))))
            raise ConfigError(f"filter on '{name}': no document has this field; there are {fields}")
