"""The options of a run of ``sie``."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from brickwork.core.config import above, at_least, below, idle
from brickwork.encoders.config import ImageEncoderConfig, PretrainedImageConfig

INVARIANCE, VARIANCE, COVARIANCE, TEMPERATURE, EQUIVARIANCE = 10.0, 10.0, 1.0, 0.1, 0.45
"""Where none are given: those of the authors' README."""
PROJECTOR = (256, 256)
"""Where none is given; the authors have 1024, 1024, 1024 for each half of their encoder's 512 dimensions."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """``encoder``: of images, from scratch or pretrained. ``split``: the share of its dimensions that is equivariant, the
    last ones; 0: both projectors read all of them, as in EquiMod. ``projector``: widths of each projector's layers
    (none: 256, 256). ``predictor``: what moves equivariant embeddings: a ``hypernetwork`` (SIE), an ``mlp`` on [g, z]
    (EquiMod), or ``none``: nothing is equivariant (VICReg, SimCLR), and ``split`` must be 0. ``criterion``: of both
    parts. ``invariance``, ``variance``, ``covariance``: weights of VICReg's terms (none: 10, 10, 1); ``temperature``:
    of SimCLR (none: 0.1). ``equivariance``: weight of the equivariant term, in units of that of invariance (none:
    0.45). ``regression``: how much the encoder itself learns from reading the change off both vectors (AugSelf; 0: it
    is read, and teaches the encoder nothing). ``readout``: width of what reads it.
    """

    encoder: ImageEncoderConfig | PretrainedImageConfig = field(
        default_factory=lambda: ImageEncoderConfig(width=16, shrink=2)
    )
    split: Annotated[float, at_least(0), below(1)] = 0.5
    projector: tuple[int, ...] = ()
    predictor: Literal["hypernetwork", "mlp", "none"] = "hypernetwork"
    criterion: Literal["vicreg", "simclr"] = "vicreg"
    invariance: Annotated[float, at_least(0)] | None = None
    variance: Annotated[float, at_least(0)] | None = None
    covariance: Annotated[float, at_least(0)] | None = None
    temperature: Annotated[float, above(0)] | None = None
    equivariance: Annotated[float, at_least(0)] | None = None
    regression: Annotated[float, at_least(0)] = 0.0
    readout: Annotated[int, at_least(1)] = 128

    @property
    def widths(self) -> tuple[int, ...]:
        """Of each projector's layers, given or not."""
        return self.projector or PROJECTOR

    def validate(self) -> list[str]:
        """Every problem with the values."""
        problems = []
        if self.projector and min(self.projector) < 1:
            problems.append(f"projector={list(self.projector)} must be positive widths")
        if self.criterion == "simclr":
            problems += idle(self, ("invariance", "variance", "covariance"), "criterion='simclr'")
        else:
            problems += idle(self, ("temperature",), "criterion='vicreg'")
        if self.predictor == "none":
            problems += idle(self, ("equivariance",), "predictor='none'")
            if self.split:
                problems.append(f"split={self.split} has no effect with predictor='none'; set it to 0")
        return problems
