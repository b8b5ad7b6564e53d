"""The options of ``matryoshka-2d``."""

from dataclasses import dataclass, field, fields
from typing import Annotated, Literal

from brickwork.core.config import above, at_least, idle
from brickwork.data.config import DataConfig, HardNegatives
from brickwork.encoders.config import TextEncoderConfig
from brickwork.systems.matryoshka_2d.objective import LayerWeighting, Variant

# What steps of training read, and a closed form does not.
_OF_STEPS = (
    "objective",
    "temperature",
    "student_weight",
    "kl_weight",
    "kl_temperature",
    "detach_teacher",
    "layer_weighting",
    "compression_dim",
)
# What a training of early exits reads.
_OF_DEPTHS = (
    "student_weight",
    "kl_weight",
    "kl_temperature",
    "detach_teacher",
    "layer_weighting",
    "compression_dim",
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """``variant``: which of the five published losses; or ``closed_form``, which takes no steps: principal axes and ridge
    regressions (closed_form.py); or ``mapped``, which trains the full depth and learns such maps afterwards (mapped.py).
    ``dims``: prefix sizes to draw from, ending at the full width; empty = the full width halved down to 8 (the paper's).
    ``layers``: depths to train, ending at the last; empty = all (``starbucks``: the depth divided evenly among the dims;
    ``closed_form`` and ``mapped``: from 0 on). ``objective``: ``auto`` = InfoNCE for pairs and triplets, CoSENT for scored
    pairs; ``angle`` is the paper's for scored pairs. ``temperature``: of the objective (the scale of CoSENT and AnglE is its
    inverse). ``student_weight``: on the losses of layers below the last. ``kl_weight``: on the alignment, 0 = none;
    ``kl_temperature``: its T, None = the variant's own; ``detach_teacher``: no gradient from it into the last layer.
    ``layer_weighting``: of the drawn layer, in ``adaptive_layer`` only (None = uniform). ``compression_dim``: k of ``ese``
    only (None = D/6). ``max_texts``: how many texts ``closed_form`` and ``mapped`` read for their maps (None = 5,000 and
    6,000).
    """

    encoder: TextEncoderConfig = TextEncoderConfig()
    variant: Literal[Variant, "closed_form"] = "2dmse"
    dims: tuple[int, ...] = ()
    layers: tuple[int, ...] = ()
    objective: Literal["auto", "info_nce", "cosent", "angle"] = "auto"
    temperature: Annotated[float, above(0)] = 0.05
    student_weight: Annotated[float, at_least(0)] = 1.0
    kl_weight: Annotated[float, at_least(0)] = 1.0
    kl_temperature: Annotated[float, above(0)] | None = None
    detach_teacher: bool = True
    layer_weighting: LayerWeighting | None = None
    compression_dim: int | None = None
    max_texts: Annotated[int, at_least(20)] | None = None

    def validate(self) -> list[str]:
        variant = f"variant '{self.variant}'"
        set_here = [f.name for f in fields(self) if getattr(self, f.name) != f.default]
        if self.variant == "closed_form":
            return [
                f"{name} has no effect with {variant}, which takes no steps; leave it out"
                for name in set_here
                if name in _OF_STEPS
            ]
        if self.variant == "mapped":
            frozen = [
                "encoder.adapt=frozen leaves the steps of 'mapped' nothing to train; use variant=closed_form"
            ]
            return (frozen if self.encoder.adapt == "frozen" and self.encoder.projection is None else []) + [
                f"{name} has no effect with {variant}, whose steps train the full depth alone; leave it out"
                for name in set_here
                if name in _OF_DEPTHS
            ]
        errors = idle(self, ["max_texts"], variant)
        if self.variant != "adaptive_layer":
            errors += idle(self, ["layer_weighting"], variant)
        if self.variant != "ese":
            errors += idle(self, ["compression_dim"], variant)
        elif self.dims:
            errors.append(f"dims has no effect with {variant}, which trains one prefix: set compression_dim")
        if not self.detach_teacher and self.variant == "ese":
            errors.append(
                f"detach_teacher=false has no effect with {variant}: its target never has a gradient"
            )
        if self.kl_weight == 0:
            errors += idle(self, ["kl_temperature"], "kl_weight=0")
            if not self.detach_teacher:
                errors.append("detach_teacher has no effect with kl_weight=0; leave it out")
        return errors


@dataclass(frozen=True, kw_only=True)
class Data(DataConfig):
    """The data of a run of ``matryoshka-2d``."""

    hard_negatives: HardNegatives = field(default_factory=HardNegatives)
    """Negatives that are hard to tell from the positives, for pairs of texts."""
