"""What to read and how to split it: the options of every source, and those of sources with images.

What only one system reads is in its own ``Data``, a dataclass on top of :class:`DataConfig`.
"""

from dataclasses import dataclass, field, fields
from typing import Annotated, Literal, TypeVar

from brickwork.core.config import above, at_least, at_most, idle
from brickwork.core.errors import ConfigError
from brickwork.core.framing import Framing


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
    """The text itself, where there are no pairs; what an image shows."""
    image: str | None = None
    """The image: its path, or in Parquet the file itself."""
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
class DataConfig:
    """A source and its split. Sets with official parts keep them; ``test_share`` then has no effect."""

    source: str = "python"
    """A known set (``brickwork data`` lists them), or a path: folder, .jsonl, .csv, .tsv, .parquet, .txt …"""
    columns: ColumnNames = field(default_factory=ColumnNames)
    """Names of the columns in the user's own file."""
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
    max_passage_tokens: int | None = None
    """Passages of documents are also split at about so many tokens (none: at what the model of the run reads)."""
    allow_outside: bool = False
    """Whether names and links in the data may lead out of the folder that was given (``source``, or that of the table)."""

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
        if self.max_passage_tokens is not None and self.max_passage_tokens < 10:
            problems.append(f"max_passage_tokens is {self.max_passage_tokens}; use 10 or more, or none")
        if self.max_passage_words < 10:
            problems.append(f"max_passage_words is {self.max_passage_words}; use 10 or more")
        return problems


@dataclass(frozen=True, kw_only=True)
class HardNegatives:
    """Whether the pairs that are trained on get negatives that are hard to tell from their positives
    (training/hard_negatives.py). ``by``: who finds them: ``bm25``, or the ``model`` as it is before the training; none: they
    get none. ``count``: at most so many for each pair, a row each (none: 1). ``skip``: so many of the best are left out
    (none: 0). ``margin``: so are those with at least this share of the positive's own score (none: 0.95).
    """

    by: Literal["bm25", "model"] | None = None
    count: Annotated[int, at_least(1)] | None = None
    skip: Annotated[int, at_least(0)] | None = None
    margin: Annotated[float, above(0), at_most(1)] | None = None

    def validate(self) -> list[str]:
        """Every problem with the values."""
        return idle(self, ("count", "skip", "margin"), "no hard_negatives.by") if self.by is None else []


@dataclass(frozen=True, kw_only=True)
class ImageDataConfig(DataConfig):
    """For systems that read images."""

    image_size: int | None = None
    """The side of the squares that the user's own images become (none: as a pretrained model takes them; else their own
    size where a system can take it, else 32)."""
    framing: Framing | None = None
    """How the user's own images are scaled and cut; a run takes it from its pretrained model."""

    def validate(self) -> list[str]:
        """Every problem with the values."""
        return [*super().validate(), *image_size_problems(self.image_size, self.framing)]


Options = TypeVar("Options", bound=DataConfig)


def watched(config: Options) -> tuple[Options, set[str]]:
    """A copy of ``config``, and the names of its options that have been looked at, a set that grows.

    Which options a source has a use for is decided where it is read (a set with official parts is not split, made-up
    examples have no columns): so it is seen there, and not written down a second time.
    """
    seen: set[str] = set()

    def look(copy: Options, name: str) -> object:
        seen.add(name)
        return object.__getattribute__(copy, name)

    kind = type(type(config).__name__, (type(config),), {"__getattribute__": look})
    copy: Options = object.__new__(kind)
    vars(copy).update(vars(config))
    return copy, seen


def idle_options(config: DataConfig, seen: set[str]) -> list[str]:
    """A note for each option that was set and not looked at: with this source it has no effect."""
    plain = type(config)()
    set_here = [f.name for f in fields(config) if getattr(config, f.name) != getattr(plain, f.name)]
    return [
        f"data.{name} was set and has no effect with {config.source}"
        for name in set_here
        if name not in seen
        # which a run sets by itself, or uses once its model is there
        and name not in ("source", "max_passage_tokens", "framing", "hard_negatives")
    ]


def refuse_image_size(config: DataConfig) -> None:
    """For sources whose images are not scaled.

    Raises:
        ConfigError: ``image_size`` was given nevertheless.
    """
    if isinstance(config, ImageDataConfig) and config.image_size is not None:
        raise ConfigError(
            f"data.image_size={config.image_size} has no effect with '{config.source}': only images in folders are scaled; "
            "leave it out"
        )


def image_size_problems(image_size: int | None, framing: Framing | None = None) -> list[str]:
    """What is wrong with a side of images, or with both it and a framing."""
    if image_size is not None and image_size < 1:
        return [f"image_size is {image_size}; use a positive number, or none"]
    if image_size is not None and framing is not None:
        return ["image_size has no effect with framing, which says the size; leave one of them out"]
    return []
