"""The options of a run of ``binary-paragraph-vector``."""

from dataclasses import dataclass
from typing import Annotated, Literal

from brickwork.core.config import above, at_least, at_most, idle
from brickwork.core.elastic import nested_sizes
from brickwork.data.config import DataConfig

Kind = Literal["straight-through", "stochastic", "noise", "none"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """``bits``: b, those of the longest code. ``sizes``: prefixes that are codes too, ending at ``bits``; empty = ``bits``
    halved down to 32. ``real``: D, dimensions of a real vector from which the code is made and which is kept beside it
    (Real-Binary); none = the code alone.

    ``words``: a word is predicted from the code alone (``dbow``), or beside the words around it (``dm``). Of ``dm`` alone:
    ``window``, words to each side, None = 5; ``width``, e, of their vectors, None = 64; ``positions`` of a document in a
    step, None = 16; ``negatives``, words drawn in a step, None = 256.

    ``vocabulary``: words at most; ``min_count``: how often a word must be there. ``binariser``: how gradients pass the bits
    (:class:`.binariser.Binariser`); with ``none`` vectors are real and nothing is a bit; ``noise``: of the
    binariser of that name, None = 4. ``rate``: learning rate of the documents' numbers over that of the words.
    ``inference_steps``: by which the numbers of a document that is not in the training are found.
    """

    bits: Annotated[int, at_least(8), at_most(1024)] = 128
    sizes: tuple[int, ...] = ()
    real: Annotated[int, at_least(8)] | None = None
    words: Literal["dbow", "dm"] = "dbow"
    window: Annotated[int, at_least(1)] | None = None
    width: Annotated[int, at_least(1)] | None = None
    positions: Annotated[int, at_least(1)] | None = None
    negatives: Annotated[int, at_least(1)] | None = None
    vocabulary: Annotated[int, at_least(10)] = 10_000
    min_count: Annotated[int, at_least(1)] = 5
    binariser: Kind = "straight-through"
    noise: Annotated[float, above(0)] | None = None
    rate: Annotated[float, above(0)] = 10.0
    inference_steps: Annotated[int, at_least(1)] = 15

    def validate(self) -> list[str]:
        errors = []
        if self.sizes and (list(self.sizes) != sorted(set(self.sizes)) or self.sizes[-1] != self.bits):
            errors.append(f"sizes={list(self.sizes)}: they must ascend and end at bits={self.bits}")
        if self.sizes and self.sizes[0] < 1:
            errors.append(f"sizes={list(self.sizes)}: a code has at least 1 bit")
        errors += [] if self.binariser == "noise" else idle(self, ("noise",), f"binariser={self.binariser}")
        if self.words == "dbow":
            errors += idle(self, ("window", "width", "positions", "negatives"), "words=dbow")
        if self.binariser == "none":
            errors += idle(self, ("real",), "binariser=none, where vectors are real already")
        return errors

    @property
    def reach(self) -> int:
        """``window``, or its default."""
        return 5 if self.window is None else self.window

    @property
    def context_width(self) -> int:
        """``width``, or its default."""
        return 64 if self.width is None else self.width

    @property
    def places(self) -> int:
        """``positions``, or its default."""
        return 16 if self.positions is None else self.positions

    @property
    def rivals(self) -> int:
        """``negatives``, or its default."""
        return 256 if self.negatives is None else self.negatives

    @property
    def nested(self) -> tuple[int, ...]:
        """The sizes of codes, ascending."""
        return nested_sizes(self.bits, self.sizes, smallest=min(32, self.bits))


@dataclass(frozen=True, kw_only=True)
class Data(DataConfig):
    """The data of a run of ``binary-paragraph-vector``: texts, and labels where there are, which nothing is learnt from."""
