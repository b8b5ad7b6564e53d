"""What vectors hold: shares of their variance that known properties explain, as results that are measured and drawn."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of variance and its interval at 95 %; ``None`` where it is not defined."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Property:
    """What is known of N inputs. ``columns`` (N, K): numbers as they are, categories one-hot. ``classes`` (N,): what a probe
    has to tell from the vectors, −1 where it is not known; a number is above its middle, or not."""

    name: str
    kind: Literal["category", "number", "truth value"]
    columns: Float[np.ndarray, "rows columns"]
    classes: Int[np.ndarray, " rows"]
    note: str = ""

    @property
    def num_classes(self) -> int:
        return len(np.unique(self.classes[self.classes >= 0]))


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Shares of the variance of vectors that properties explain, by name; NaN where all vectors are equal.

    ``alone``: by the property and nothing else. ``added``: R² of all properties minus R² of all but this one; the two agree
    where properties are independent. ``shuffled``: ``alone`` with the rows of the property in random order, the largest of
    several draws by size. ``together``: R² of all. ``variance``: per row, of all dimensions.
    """

    alone: Mapping[str, Share]
    added: Mapping[str, Share]
    shuffled: Mapping[str, float]
    together: Share
    variance: float

    @property
    def rest(self) -> float:
        """The share that no property explains."""
        return 1.0 - self.together.value

    @property
    def joint(self) -> float:
        """What properties explain that cannot be told to be one's or the other's: R² of all minus the sum of what each adds;
        below zero where one property shows only what another hides."""
        return self.together.value - sum(one.value for one in self.added.values())


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How well a linear probe tells a property: its accuracy as the mean over classes, what guessing gives, and whether the
    one is above the other by more than chance (one-sided, 0.1 %)."""

    accuracy: float
    chance: float
    above_chance: bool


@dataclass(frozen=True, kw_only=True)
class LayerShares:
    """What the vectors of one layer hold of each property. ``dim``: D."""

    layer: str
    dim: int
    shares: Explained
    decoded: Mapping[str, Decoding]
