"""The options of ``erw``."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from brickwork.core.config import above, at_least, below
from brickwork.core.errors import ConfigError
from brickwork.data.augment import Augmentation
from brickwork.data.config import ImageDataConfig
from brickwork.encoders.config import ImageEncoderConfig, PretrainedImageConfig
from brickwork.training.config import Stage

VIEWS = Augmentation(crop=0.4, brightness=0.4, contrast=0.4)
Teacher = Literal["pretrained", "simclr", "labels", "random", "pixels"]
TRAINED: tuple[Teacher, ...] = ("simclr", "labels")
"""Teachers that a stage of the run trains."""
TRAINS = {
    "teacher": ("encoder.*", "teacher_head.*"),
    "judge": ("judge.*",),
    "warm-up": ("generator.*", "projector.*"),
    "full": ("generator.*", "projector.*"),
}
"""What each stage trains."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """``encoder``: whose patches are the target, frozen. ``teacher``: how it came by its weights: ``pretrained``; trained in
    the stage ``teacher`` without labels (``simclr``) or on the classes (``labels``); ``random``, as it was made; or no
    encoder at all, the ``pixels`` of the patches themselves (None: pretrained, or simclr for an encoder from scratch).
    ``views``: what ``simclr`` makes of an image (None: crops and other light).
    ``patch``, ``width``, ``depth``, ``num_heads``: of the generator.
    ``warm_from``, ``warm_to``: the blocks that the stage ``warm-up`` trains, the first and the one after the last, with
    nothing between them and the patches. ``align_at``: after so many blocks hidden states are compared with the target
    while all of it trains. ``alignment``: ``cosine`` (the authors' code), or ``nt_xent`` with the other patches of the
    batch as negatives (their text). ``align``: λ at the beginning, 0 for none; ``half_life``: λ halves in so many batches
    (None: it stays). ``class_dropout``: how often the class is not told, for guidance. ``average``: the weights that draw
    are an average over the last so many updates (half-life). ``judge``: a classifier that the stage ``judge`` trains,
    apart from the rest, to say how near samples are to images.
    """

    encoder: ImageEncoderConfig | PretrainedImageConfig = field(
        default_factory=lambda: ImageEncoderConfig(width=32, depth=3, embedding_dim=64)
    )
    teacher: Teacher | None = None
    views: Augmentation | None = None
    patch: Annotated[int, at_least(1)] = 4
    width: Annotated[int, at_least(4)] = 96
    depth: Annotated[int, at_least(1)] = 6
    num_heads: Annotated[int, at_least(1)] = 4
    warm_from: Annotated[int, at_least(0)] = 0
    warm_to: Annotated[int, at_least(1)] = 2
    align_at: Annotated[int, at_least(1)] = 3
    alignment: Literal["cosine", "nt_xent"] = "cosine"
    align: Annotated[float, at_least(0)] = 0.5
    half_life: Annotated[float, above(0)] | None = None
    class_dropout: Annotated[float, at_least(0), below(1)] = 0.1
    average: Annotated[float, above(0)] = 100.0
    judge: ImageEncoderConfig = field(
        default_factory=lambda: ImageEncoderConfig(width=16, depth=3, embedding_dim=64)
    )

    def validate(self) -> list[str]:
        errors = []
        if not self.warm_from < self.warm_to <= self.depth:
            errors.append(
                f"warm_from={self.warm_from}, warm_to={self.warm_to}: from a block to a later one, at most "
                f"depth={self.depth}"
            )
        if self.align_at > self.depth:
            errors.append(f"align_at={self.align_at} is more than depth={self.depth}")
        if self.width % self.num_heads:
            errors.append(f"width={self.width} is not a multiple of num_heads={self.num_heads}")
        if self.width % 4:
            errors.append(f"width={self.width} is no multiple of 4, which positions in two dimensions need")
        if self.half_life is not None and not self.align:
            errors.append("half_life has no effect with align=0; leave it out")
        if (self.teacher == "pretrained") != isinstance(self.encoder, PretrainedImageConfig) and self.teacher:
            errors.append(
                f"teacher={self.teacher} does not go with an encoder that is "
                f"{self.encoder.kind}: name a pretrained one with --backbone, or leave teacher out"
            )
        if self.chosen != "simclr" and self.views is not None:
            errors.append(f"views has no effect with teacher={self.chosen}; leave it out")
        return errors

    @property
    def chosen(self) -> Teacher:
        """The teacher, where the configuration is silent too."""
        if self.teacher is not None:
            return self.teacher
        return "pretrained" if isinstance(self.encoder, PretrainedImageConfig) else "simclr"


def stages_of(config: Config, steps: int) -> tuple[Stage, ...]:
    """``steps`` in all: an encoder from scratch has a seventh of them, the judge as many, the warm-up a fifth of the
    others, and the whole network what is left.

    Raises:
        ConfigError: fewer steps than stages.
    """
    learns = config.chosen in TRAINED
    apart = max(1, round(steps / 7))
    warm = max(1, round(0.2 * (steps - (1 + learns) * apart)))
    full = steps - (1 + learns) * apart - warm
    if full < 1:
        raise ConfigError(f"train.steps={steps} is too few for {3 + learns} stages; use more")
    stages = {"teacher": apart, "judge": apart, "warm-up": warm, "full": full}
    return tuple(
        Stage(name=name, steps=count, trains=TRAINS[name])
        for name, count in stages.items()
        if learns or name != "teacher"
    )


@dataclass(frozen=True, kw_only=True)
class Data(ImageDataConfig):
    """The data of a run of ``erw``: images with classes."""
