"""What to read and how to split it."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ColumnNames:
    """Which column of the user's file plays which role; ``None`` means: guess from the usual names."""

    anchor: str | None = None
    """The query, question or first sentence."""
    positive: str | None = None
    """The text that answers the anchor or means the same."""
    negative: str | None = None
    """A text that looks like the positive and is wrong."""
    text: str | None = None
    """The text itself, where there are no pairs."""
    label: str | None = None
    """The class of the text."""
    score: str | None = None
    """How similar anchor and positive are; any range of numbers, brought to 0 … 1."""
    title: str | None = None
    """The title of a document."""
    id: str | None = None
    """The name of a document."""
    group: str | None = None
    """Rows of one group stay in one part of the split and are never each other's negatives."""


@dataclass(frozen=True, kw_only=True)
class MissingConfig:
    """Missing values simulated in training and validation; the test part stays as it is."""

    modality: str = ""
    """The modality that is deleted; empty: nothing is."""
    mechanism: Literal["mcar", "mar", "mnar"] = "mcar"
    """Completely at random; where another modality's number is high; or by the label."""
    rate: float = 0.5
    """Share of the eligible rows."""
    label: int = 1
    """With ``mnar``: the class whose rows lose the modality."""
    driver: str = ""
    """With ``mar``: the modality whose first number decides."""

    def validate(self) -> list[str]:
        """Every problem with the values."""
        problems = []
        if not 0 <= self.rate <= 1:
            problems.append(f"rate is {self.rate}; use a share from 0 to 1")
        if self.modality and self.mechanism == "mar" and not self.driver:
            problems.append("driver is empty; mechanism 'mar' needs the modality that decides")
        return problems


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """For systems that read tables with modalities; what is not said is guessed from names and values."""

    modalities: tuple[str, ...] = ()
    """Groups of columns, in the order in which they are read: ``NAME=COLUMN|PATTERN*|…``, one entry each."""
    targets: tuple[str, ...] = ()
    """Columns to learn: ``NAME``, or ``NAME:number`` or ``NAME:class`` where the guess is wrong."""
    ignore: tuple[str, ...] = ()
    """Columns to leave out."""
    time: str | None = None
    """Rows are split in the order of this column, the newest are the test part; it is no modality unless said."""
    image_size: int = 32
    """Height and width that pictures are brought to."""
    missing: MissingConfig = field(default_factory=MissingConfig)
    """Missing values to simulate."""

    def validate(self) -> list[str]:
        """Every problem with the values."""
        return [] if self.image_size >= 4 else [f"image_size is {self.image_size}; use 4 or more"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A source and its split. Sets with official parts keep them; ``test_share`` then has no effect."""

    source: str = "python"
    """A known set (``brickwork data`` lists them), or a path: folder, .jsonl, .csv, .tsv, .parquet, .txt …"""
    columns: ColumnNames = field(default_factory=ColumnNames)
    """Names of the columns in the user's own file."""
    table: TableConfig = field(default_factory=TableConfig)
    """Modalities and targets of a table, for the systems that read them."""
    limit: int | None = None
    """At most this many rows, passages or functions are read; of sets with official parts, from each part."""
    validation_share: float = 0.05
    """Share of the examples that quality is watched on while training."""
    test_share: float = 0.1
    """Share of the examples that nothing is chosen by."""
    max_held_out: int = 2000
    """At most this many examples go to validation, and as many to test."""
    max_passage_words: int = 200
    """Longer passages of documents are split here, longer texts of the Python corpus are cut here."""

    def validate(self) -> list[str]:
        """Every problem with the values."""
        problems = []
        if not self.source.strip():
            problems.append("source is empty; name a set (see: brickwork data) or a path")
        if self.limit is not None and self.limit < 1:
            problems.append(f"limit is {self.limit}; use a positive number, or none for everything")
        for name in ("validation_share", "test_share"):
            if not 0 <= getattr(self, name) < 1:
                problems.append(f"{name} is {getattr(self, name)}; use a share from 0 to below 1")
        if self.validation_share + self.test_share >= 1:
            problems.append("validation_share and test_share together leave nothing to train on")
        if self.max_held_out < 1:
            problems.append(f"max_held_out is {self.max_held_out}; use a positive number")
        if self.max_passage_words < 10:
            problems.append(f"max_passage_words is {self.max_passage_words}; use 10 or more")
        return problems
