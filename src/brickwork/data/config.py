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
    """The text itself, where there are no pairs; what a picture shows."""
    image: str | None = None
    """The picture: its path, or in Parquet the file itself."""
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
class CaptionFilter:
    """Rules for the texts of pictures (:mod:`brickwork.systems.align.caption_filters`); the limits are those of ALIGN.

    ``rare_below``: a word (or pair of neighbouring words, with ``ngrams`` 2) that occurs fewer times
    in the corpus is rare; 0 keeps all. The paper keeps the 100 million most frequent uni- and bigrams of 1.8 billion
    texts; on a small corpus that rule deletes what is worth learning, hence a count and single words by default."""

    enabled: bool = False
    max_images_per_text: int = 10
    max_texts_per_image: int = 1000
    min_words: int = 3
    max_words: int = 20
    rare_below: int = 3
    ngrams: int = 1
    min_side: int = 0
    max_aspect: float = 3.0

    def validate(self) -> list[str]:
        problems = [
            f"{name} is {getattr(self, name)}; use at least 1"
            for name in ("max_images_per_text", "max_texts_per_image", "min_words")
            if getattr(self, name) < 1
        ]
        if self.max_words < self.min_words:
            problems.append(f"max_words is {self.max_words}, below min_words={self.min_words}")
        if self.ngrams not in (1, 2):
            problems.append(f"ngrams is {self.ngrams}; use 1 or 2")
        if self.rare_below < 0 or self.min_side < 0 or self.max_aspect < 1:
            problems.append("rare_below and min_side must not be negative, and max_aspect not below 1")
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
    missing: MissingConfig = field(default_factory=MissingConfig)
    """Missing values to simulate."""


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
    image_size: int | None = None
    """The side of the squares that the user's own pictures become (none: their own size where a system can take it,
    else 32)."""
    captions: CaptionFilter = field(default_factory=CaptionFilter)
    """Which texts of pictures are worth learning from; the training part alone is filtered."""
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
        if self.image_size is not None and self.image_size < 1:
            problems.append(f"image_size is {self.image_size}; use a positive number, or none")
        if self.max_held_out < 1:
            problems.append(f"max_held_out is {self.max_held_out}; use a positive number")
        if self.max_passage_words < 10:
            problems.append(f"max_passage_words is {self.max_passage_words}; use 10 or more")
        return problems
