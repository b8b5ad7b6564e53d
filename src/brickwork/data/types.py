"""What the data folder hands on: documents, example columns, retrieval sets, and a task made of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Kind = Literal["pairs", "triplets", "labelled", "scored", "texts", "inputs"]


@dataclass(frozen=True, kw_only=True)
class Document:
    """One thing that can be found: ``source`` says where it comes from, ``id`` is unique and stable."""

    id: str
    title: str
    text: str
    source: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    image: np.ndarray | None = field(default=None, compare=False, repr=False)
    """The image (H, W, C) of uint8 that is encoded in place of the text; it is not stored."""
    thumbnail: bytes = field(default=b"", compare=False, repr=False)
    """A small JPEG of the image, to be shown; stored in folders, not in servers of other makers."""


@dataclass(frozen=True, kw_only=True)
class TextFormat:
    """Texts of a formal language that a system reads in place of prose; its module ``system`` has one as ``TEXTS``.

    Its documents have no title, which would be no such text; what a table or line has for one is metadata (``name``).
    """

    endings: tuple[str, ...]
    """Files that hold one text a line, and after white space its name."""
    column: Callable[[Sequence[str], str | None, str], str]
    """Which of the columns of a table holds the texts: the one that was chosen, else the usual one (columns, chosen, where).
    Raises DataError where there is none."""
    refuse: Callable[[str], tuple[str, str] | None]
    """Why a text is none of the language: the kind of trouble, by which rows are counted, and what it is here."""


class Examples:
    """Named columns of equal length: lists of strings or numbers, or arrays with the rows first.

    By kind: pairs ``anchor positive group``; triplets also ``negative``; labelled ``input label``; scored
    ``anchor positive score`` (0 … 1); texts ``input domain`` (its name); inputs ``input`` alone. Image inputs
    are uint8 arrays of shape (rows, height, width, channels). Examples of one ``group`` are never each other's negatives.
    """

    def __init__(self, columns: Mapping[str, Sequence[Any] | np.ndarray]):
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of different lengths: {lengths}")
        self.columns = dict(columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def take(self, indices: Sequence[int]) -> dict[str, Any]:
        """The given rows of every column: lists stay lists, arrays stay arrays (of a range, views: not to be written to)."""
        if isinstance(indices, range) and indices.step == 1:
            return {name: column[indices.start : indices.stop] for name, column in self.columns.items()}
        rows = list(indices)
        return {
            name: column[rows] if isinstance(column, np.ndarray) else [column[i] for i in rows]
            for name, column in self.columns.items()
        }

    def select(self, indices: Sequence[int]) -> "Examples":
        """The given rows as examples."""
        return Examples(self.take(indices))


@dataclass(frozen=True, kw_only=True)
class RetrievalSet:
    """Queries, documents, and for each query the gain of each relevant document row."""

    name: str
    queries: list[str]
    documents: list[str]
    relevant: list[dict[int, int]]
    titles: list[str] | None = None


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """A learning task: examples in three parts that share no group, and held-out retrieval sets by name.

    ``kind`` is one of :data:`Kind`, or a kind that one system has readers of its own for; ``modality`` what its inputs are:
    ``text``, ``image``, ``image-text``, ``table``, ``numbers`` or, again, a system's own. ``notes`` tell the user what was
    guessed, dropped or counted while reading.
    """

    name: str
    kind: str
    modality: str
    train: Examples
    validation: Examples
    test: Examples
    retrieval: dict[str, RetrievalSet] = field(default_factory=dict)
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    details: Any = None
    """What a system's own reader found out about the columns; only that system looks at it."""
    variants: Mapping[str, Examples] = field(default_factory=dict)
    """Examples of stages that train on other data than ``train``, by the name that the stage says."""
    mined: Mapping[str, Any] | None = None
    """Which pairs got which hard negatives, as JSON values: kept with the run, so that it goes on with the same ones."""

    def texts(self) -> Iterator[str]:
        """Every text of the training part, column by column: what a tokenizer is trained on."""
        for column in self.train.columns.values():
            if len(column) and isinstance(column[0], str):
                yield from column
