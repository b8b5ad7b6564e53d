"""The options of a run of ``feature-bias``, and its data: random bits."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from brickwork.core.config import above, at_least, at_most, idle
from brickwork.core.errors import ConfigError
from brickwork.data.config import DataConfig
from brickwork.data.types import Examples, TaskData
from brickwork.systems.feature_bias.features import KINDS, places

KIND = "bits"
SOURCE = "bits"
_MEASURED = 4096
FEATURES = ("majority5", "xor2")
WIDTHS, WIDTH, DEPTH = (256, 128, 64, 64), 32, 2
"""Where none are given: hidden layers of an mlp; width and blocks of a transformer."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which features are learnt, by which networks, and what differs between the features.

    ``features``: among copy, majority5 (easy: linear), xor2, parity3, parity4; each reads bits of its own (none: majority5
    and xor2).
    ``network``: an ``mlp``, or a ``transformer`` that reads the bits as a prefix and writes the features one by one, in this
    order. ``widths``: of the hidden layers of an mlp (none: 256, 128, 64, 64), ``dropout`` behind each. ``width``,
    ``depth``: of a transformer (none: 32, 2).
    ``replicas``: so many networks with weights and bits of their own, trained together, in one pass.
    ``control``: as many beside them with the last feature twice: what two equal features differ by is chance.
    ``prevalence``: how often each feature counts (none: always): in the loss (``prevalence_of="label"``, or none), or its
    bits are 0 as well when it does not (``"input"``).
    ``first``: the place of the feature that alone counts in a stage called first.
    ``watch``: measure shares every so many steps (0: only at the end).
    """

    features: tuple[str, ...] = ()
    network: Literal["mlp", "transformer"] = "mlp"
    widths: tuple[int, ...] | None = None
    width: Annotated[int, at_least(4)] | None = None
    depth: Annotated[int, at_least(1)] | None = None
    dropout: Annotated[float, at_least(0), at_most(0.9)] | None = None
    replicas: Annotated[int, at_least(1)] = 4
    control: bool = True
    prevalence: tuple[Annotated[float, above(0), at_most(1)], ...] = ()
    prevalence_of: Literal["label", "input"] | None = None
    first: Annotated[int, at_least(0)] = 0
    watch: Annotated[int, at_least(0)] = 0

    @property
    def learnt(self) -> tuple[str, ...]:
        """The features, given or not."""
        return self.features or FEATURES

    def validate(self) -> list[str]:
        """Every problem with the values."""
        problems = []
        if len(self.learnt) < 2:
            problems.append("features needs two or more, to compare them")
        if unknown := [name for name in self.features if name not in KINDS]:
            problems.append(f"features: '{unknown[0]}' is none; choose among {', '.join(KINDS)}")
        if self.prevalence and len(self.prevalence) != len(self.learnt):
            problems.append(f"prevalence has {len(self.prevalence)} numbers for {len(self.learnt)} features")
        if any(not 0 < p <= 1 for p in self.prevalence):
            problems.append("prevalence must be above 0 and at most 1")
        if self.first >= len(self.learnt):
            problems.append(f"first={self.first} names no feature: they are 0 to {len(self.learnt) - 1}")
        if self.widths is not None and (not self.widths or min(self.widths) < 1):
            problems.append(f"widths={self.widths} must be one or more positive numbers")
        if self.width is not None and self.width % 2:
            problems.append(f"width={self.width} must be even: attention has two heads")
        if self.network == "mlp":
            problems += idle(self, ("width", "depth"), "network='mlp'")
        else:
            problems += idle(self, ("widths", "dropout"), "network='transformer'")
        if not self.prevalence:
            problems += idle(self, ("prevalence_of",), "no prevalence")
        return problems


@dataclass(frozen=True, kw_only=True)
class Data(DataConfig):
    """Random bits: ``source`` is ``bits``, ``limit`` the rows to train on (none: 65,536)."""

    source: str = SOURCE
    bits: Annotated[int, at_least(2)] = 32
    """Bits of an input; those that no feature reads are there to be ignored."""


def load_data(config: Data, seed: int) -> TaskData:
    """Rows of independent bits, and 4,096 more to measure on.

    Raises:
        ConfigError: another source.
    """
    if config.source != SOURCE:
        raise ConfigError(
            f"data.source={config.source!r}: feature-bias makes its own data, random bits; leave it out. What the vectors "
            "of your own model hold: brickwork inspect MODEL TABLE"
        )
    rng = np.random.default_rng(seed)
    train, validation, test = (
        Examples({"bits": rng.integers(0, 2, (rows, config.bits), dtype=np.uint8)})
        for rows in (config.limit or 65_536, 256, _MEASURED)
    )
    return TaskData(
        name="random bits", kind=KIND, modality="table", train=train, validation=validation, test=test
    )


def check_bits(config: Config, bits: int) -> None:
    """Raises ConfigError where the features, or those of the control, read more bits than there are."""
    places(config.learnt, bits)
    if config.control:
        places((config.learnt[-1],) * 2, bits)
