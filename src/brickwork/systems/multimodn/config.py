"""The options of MultiModN and of the parallel fusion that it is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from brickwork.core.config import at_least, nearest
from brickwork.core.errors import ConfigError
from brickwork.encoders.config import FRESH, ImageEncoderConfig
from brickwork.modules.heads import HeadKind


@dataclass(frozen=True, kw_only=True)
class SequentialFusion:
    """MultiModN. ``state_dim``: S. ``change_weight``: λ_chg. ``order``: names of all modalities in the order in which they
    are read, empty = as in the data. ``shuffle``: another order for each training batch. ``skip``: what a missing
    modality skips, the ``sample``, or as in the authors' code the whole ``batch``."""

    kind: Literal["sequential"] = "sequential"
    state_dim: int = 50
    change_weight: float = 0.0
    order: tuple[str, ...] = ()
    shuffle: bool = False
    skip: Literal["sample", "batch"] = "sample"


@dataclass(frozen=True, kw_only=True)
class ParallelFusionConfig:
    """P-Fusion, the paper's baseline: all features side by side, one network a task. ``fill``: for what is missing, the
    ``mean`` (0 after standardisation) or a ``learned`` vector a modality."""

    kind: Literal["parallel"] = "parallel"
    fill: Literal["mean", "learned"] = "mean"


@dataclass(frozen=True, kw_only=True)
class FrozenText:
    """The pretrained encoder that columns of texts are read with; its weights stay. ``backbone``: ``minilm``, a folder, or
    the id of a model on the hub (``revision``: branch, tag or commit of that); None: words are hashed. ``max_tokens``:
    longer texts are cut; None: as the encoder reads. ``feature_folder``: where vectors are kept for other runs; None: in
    memory, for this one."""

    kind: Literal["text"] = "text"
    backbone: str | None = None
    revision: str | None = None
    max_tokens: Annotated[int, at_least(3)] | None = None
    feature_folder: str | None = None

    def validate(self) -> list[str]:
        return _without_backbone(self)


@dataclass(frozen=True, kw_only=True)
class FrozenImage:
    """The pretrained encoder that images are read with, scaled and cut as it wants them; its weights stay. ``backbone``: a
    folder or a hub id; None: the network ``image``, which learns. The rest as of :class:`FrozenText`."""

    kind: Literal["image"] = "image"
    backbone: str | None = None
    revision: str | None = None
    feature_folder: str | None = None

    def validate(self) -> list[str]:
        return _without_backbone(self)


def _without_backbone(config: FrozenText | FrozenImage) -> list[str]:
    if config.backbone in FRESH:
        return [
            f"backbone '{config.backbone}' has fresh weights, and what is frozen never learns; leave it out"
        ]
    if config.backbone is not None:
        return []
    plain = type(config)()
    return [
        f"{name} has no effect without backbone; leave it out"
        for name in vars(plain)
        if getattr(config, name) != getattr(plain, name)
    ]


@dataclass(frozen=True, kw_only=True)
class MultiModNConfig:
    """How to build a :class:`MultiModNSystem`.

    ``hidden``: widths of the hidden layers of encoders and decoders. ``dropout``: on the input of each encoder (of each
    decoder, with parallel fusion). ``modality_dropout``: share of (row, modality) pairs taken for missing while
    training, the remedy where missingness depends on a label. ``outputs``: what the loss reads, ``logits``, or as in the
    authors' code ``sigmoid``. ``classifier``: at the end of each decoder of classes. ``error_weight``: λ_err.
    ``series_width``: of the recurrent network of series. ``image``: the image network. ``bins``: number of bins between
    quantiles that each number of a table is coded in beside its standardised value (0: none, as in the paper).
    ``frozen_text``, ``frozen_image``: pretrained encoders in place of hashed words and of the image network.
    """

    fusion: SequentialFusion | ParallelFusionConfig = SequentialFusion()
    hidden: tuple[int, ...] = (32, 32)
    dropout: float = 0.2
    modality_dropout: float = 0.0
    outputs: Literal["logits", "sigmoid"] = "logits"
    classifier: HeadKind = "linear"
    error_weight: float = 1.0
    series_width: int = 32
    bins: int = 0
    image: ImageEncoderConfig = field(
        default_factory=lambda: ImageEncoderConfig(embedding_dim=64, width=16, depth=2)
    )
    frozen_text: FrozenText = FrozenText()
    frozen_image: FrozenImage = FrozenImage()

    def validate(self) -> list[str]:
        errors = []
        for name in ("dropout", "modality_dropout"):
            if not 0 <= getattr(self, name) < 1:
                errors.append(f"{name} is {getattr(self, name)}; use a share from 0 to below 1")
        if min(self.hidden, default=1) < 1:
            errors.append(f"hidden is {list(self.hidden)}; widths must be positive")
        if self.series_width < 1:
            errors.append(f"series_width is {self.series_width}; it must be positive")
        if self.bins < 0:
            errors.append(f"bins is {self.bins}; it must not be negative")
        if self.error_weight <= 0:
            errors.append(f"error_weight is {self.error_weight}; it must be positive")
        if isinstance(self.fusion, SequentialFusion):
            if self.fusion.state_dim < 1:
                errors.append(f"fusion.state_dim is {self.fusion.state_dim}; it must be positive")
            if self.fusion.change_weight < 0:
                errors.append(f"fusion.change_weight is {self.fusion.change_weight}; it must not be negative")
        return errors

    def reading_order(self, names: Sequence[str]) -> tuple[str, ...]:
        """The names of all modalities in the order in which they are read.

        Raises:
            ConfigError: ``order`` does not name each once.
        """
        order = self.fusion.order if isinstance(self.fusion, SequentialFusion) else ()
        if not order:
            return tuple(names)
        for name in order:
            if name not in names:
                raise ConfigError(
                    f"model.fusion.order: there is no modality '{name}': {nearest(name, names)}"
                )
        if sorted(order) != sorted(names):
            raise ConfigError(f"model.fusion.order must name each modality once: {', '.join(names)}")
        return tuple(order)
