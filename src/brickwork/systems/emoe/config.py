"""The options of an EMoE run."""

from dataclasses import dataclass
from typing import Annotated, Literal

from brickwork.core.config import at_least, idle
from brickwork.encoders.config import PretrainedImageConfig, TextEncoderConfig

Choice = Literal["average", "learned", "lowest", "random", "all"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """How to build EMoE.

    ``encoder``: a pretrained transformer of texts or images, or one of texts from scratch, which the stage ``backbone``
    trains first; with ``adapt`` ``lora`` only adapters of the attention and the classifier learn.
    ``groups``: E, the groups of a feed-forward layer, of one size. ``used``: k of them for each token (None = half).
    ``layers``: which layers are grouped, counted from 0 (none named: the last two).
    ``grouping``: ``clusters`` of the neurons' keys, or ``random``, the control.
    ``choose``: the groups of highest mean key (``average``, avg-k: the paper's), a ``learned`` cosine router (EMoE-learn),
    the ``lowest`` ones, ``random`` ones while it trains (structured dropout), or ``all``: plain fine-tuning.
    """

    encoder: TextEncoderConfig | PretrainedImageConfig = TextEncoderConfig()
    groups: Annotated[int, at_least(2)] = 32
    used: Annotated[int, at_least(1)] | None = None
    layers: tuple[Annotated[int, at_least(0)], ...] = ()
    grouping: Literal["clusters", "random"] = "clusters"
    choose: Choice = "average"

    @property
    def active(self) -> int:
        """k, the groups that a token uses as the model was trained."""
        if self.choose == "all":
            return self.groups
        return self.groups // 2 if self.used is None else self.used

    def validate(self) -> list[str]:
        errors = idle(self, ("used",), "choose 'all'") if self.choose == "all" else []
        if self.active > self.groups:
            errors.append(f"used is {self.used}; there are groups={self.groups}: use at most so many")
        if len(set(self.layers)) < len(self.layers):
            errors.append(f"layers is {list(self.layers)}; name each layer once")
        if self.encoder.adapt == "frozen":
            errors.append(
                "encoder.adapt 'frozen' trains nothing that groups could change; use 'full' or 'lora'"
            )
        if self.encoder.backbone == "static":
            errors.append("encoder.backbone 'static' has no feed-forward layers; use a transformer")
        return errors
