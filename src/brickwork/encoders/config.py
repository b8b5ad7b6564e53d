"""The options of an encoder. Data only: importing this does not import torch."""

from dataclasses import dataclass
from typing import Literal

Adapt = Literal["full", "lora", "frozen"]
FRESH = ("scratch", "static")
"""Backbones that begin with fresh weights."""
_OWN_SHAPE = ("width", "num_heads", "mlp_width", "vocab_size", "norm", "exit_norm")


@dataclass(frozen=True, kw_only=True)
class TextEncoderConfig:
    """How to build a text encoder.

    ``backbone``: ``minilm`` (MiniLM-L6, read from the installed package), ``scratch`` (a small transformer
    with a tokenizer trained on the data), ``static`` (the mean of token vectors, for speed), a folder
    (Hugging Face or SentenceTransformer), or the id of a model on the hub.
    ``revision``: branch, tag or commit of a hub model.
    ``num_layers``: None = all of the backbone's; fewer keeps the first ones. From scratch: 4.
    ``max_tokens``: longer texts are cut; ``train_tokens``: the same while it trains, where short texts save time (None =
    ``max_tokens``, and never more).
    ``pooling``: None = what the backbone's folder says, else ``mean``. ``last``: the last token, for models that read
    from left to right; ``weighted_mean``: later tokens count more.
    ``prompts``: whether what a pretrained model wants before its texts is put there in training, and by what is trained.
    ``adapt``: of a pretrained model: train all of it, or low-rank adapters (``lora``) of ``lora_rank`` (None = 16), which
    are added into its weights when the training has ended, or nothing but what comes after it (``frozen``).
    ``feature_folder``: where vectors of a frozen model are kept for other runs; None = in memory, for this one.
    ``dropout``: on hidden states, not on attention weights (that would rule out the fused kernels).
    ``projection``: a matrix after the pooling, to vectors of this many dimensions; None = the backbone's own width.
    The rest shapes an encoder of our own; None = the default for ``scratch`` and ``static``:
    ``width`` 128, ``num_heads`` width / 32, ``mlp_width`` 4 × width, ``vocab_size`` 8000, ``norm`` ``post``
    (as BERT), ``exit_norm`` (what every exit passes) ``none`` for post-norm and ``shared`` for pre-norm.
    """

    kind: Literal["text"] = "text"
    backbone: str = "minilm"
    revision: str | None = None
    num_layers: int | None = None
    max_tokens: int = 256
    train_tokens: int | None = None
    pooling: Literal["mean", "cls", "max", "last", "weighted_mean", "mean_sqrt_len"] | None = None
    prompts: bool = True
    adapt: Adapt = "full"
    lora_rank: int | None = None
    feature_folder: str | None = None
    dropout: float = 0.0
    projection: int | None = None
    width: int | None = None
    num_heads: int | None = None
    mlp_width: int | None = None
    vocab_size: int | None = None
    norm: Literal["post", "pre"] | None = None
    exit_norm: Literal["none", "shared", "per_layer"] | None = None

    def validate(self) -> list[str]:
        errors = []
        for name in ("num_layers", "max_tokens", "projection", "width", "num_heads", "mlp_width"):
            value = getattr(self, name)
            if value is not None and value < 1:
                errors.append(f"{name} is {value}; it must be at least 1")
        for name in ("max_tokens", "train_tokens"):
            value = getattr(self, name)
            if value is not None and value < 3:
                errors.append(f"{name} is {value}; it must be at least 3: two mark start and end")
        if not 0 <= self.dropout < 1:
            errors.append(f"dropout is {self.dropout}; it must be in [0, 1)")
        if self.vocab_size is not None and self.vocab_size < 300:
            errors.append(
                f"vocab_size is {self.vocab_size}; it must be at least 300: 256 bytes and the marks"
            )
        if self.width and self.num_heads and self.width % self.num_heads:
            errors.append(f"width {self.width} is not a multiple of num_heads {self.num_heads}")
        if self.norm == "pre" and self.exit_norm == "none":
            errors.append(
                "norm 'pre' leaves hidden states without a norm: set exit_norm to shared or per_layer"
            )
        if not self.prompts and self.backbone in (*FRESH, "minilm"):
            errors.append(
                f"prompts has no effect with backbone '{self.backbone}', which has none; leave it out"
            )
        errors += adapt_problems(
            self.adapt, self.lora_rank, self.feature_folder, fresh=self.backbone in FRESH
        )
        without_effect = {
            "scratch": ("revision",),
            "static": ("revision", "num_layers", "num_heads", "mlp_width", "norm", "exit_norm", "pooling"),
            "minilm": ("revision", *_OWN_SHAPE),
        }.get(self.backbone, _OWN_SHAPE)
        for name in without_effect:
            if getattr(self, name) is not None:
                errors.append(f"{name} has no effect with backbone '{self.backbone}'; leave it out")
        return errors


@dataclass(frozen=True, kw_only=True)
class ImageEncoderConfig:
    """How to build an image encoder.

    ``architecture``: ``conv`` (a small residual network), ``vit`` (a vision transformer) or ``mlp`` (on the pixels).
    ``width``: channels of the first stage, width of the tokens, or units of the hidden layers. ``depth``: residual
    stages (each after the first halves the image and doubles the channels), blocks, or hidden layers.
    ``shrink``: squares of this many pixels a side are averaged first, to save time.
    ``patch``: pixels a side of the patches of ``vit`` (None = 4), ``num_heads``: heads in its blocks (None = width / 32).
    """

    kind: Literal["image"] = "image"
    architecture: Literal["conv", "vit", "mlp"] = "conv"
    embedding_dim: int = 128
    width: int = 32
    depth: int = 3
    shrink: int = 1
    patch: int | None = None
    num_heads: int | None = None

    def validate(self) -> list[str]:
        errors = [
            f"{name} is {value}; it must be at least 1"
            for name in ("embedding_dim", "width", "depth", "shrink", "patch", "num_heads")
            if (value := getattr(self, name)) is not None and value < 1
        ]
        if self.architecture != "vit":
            errors += [
                f"{name} has no effect with architecture '{self.architecture}'; leave it out"
                for name in ("patch", "num_heads")
                if getattr(self, name) is not None
            ]
        else:
            if self.width % (heads := self.num_heads or max(1, self.width // 32)):
                errors.append(f"width {self.width} is not a multiple of num_heads {heads}")
            if self.shrink > 1:
                errors.append("shrink has no effect with architecture 'vit'; choose a larger patch")
        return errors


@dataclass(frozen=True, kw_only=True)
class PretrainedImageConfig:
    """How to load a pretrained encoder of images: ViT, DINOv2, DINOv3, ConvNeXt, ResNet, Swin, or the image tower of CLIP or
    SigLIP, with its own preprocessing.

    ``backbone``: a folder of transformers or the id of a model on the hub, ``revision``: branch, tag or commit of that.
    ``num_layers``: None = all; fewer keeps the first ones (not of ConvNeXt, ResNet and Swin).
    ``embedding_dim``: None = as many dimensions as it has; another number ends in a fresh matrix.
    ``adapt``, ``lora_rank``, ``feature_folder``: as of :class:`TextEncoderConfig`.
    """

    kind: Literal["pretrained-image"] = "pretrained-image"
    backbone: str
    revision: str | None = None
    num_layers: int | None = None
    embedding_dim: int | None = None
    adapt: Adapt = "full"
    lora_rank: int | None = None
    feature_folder: str | None = None

    def validate(self) -> list[str]:
        return [
            f"{name} is {value}; it must be at least 1"
            for name in ("num_layers", "embedding_dim")
            if (value := getattr(self, name)) is not None and value < 1
        ] + adapt_problems(self.adapt, self.lora_rank, self.feature_folder)


def adapt_problems(
    adapt: str, lora_rank: int | None, feature_folder: str | None = None, *, fresh: bool = False
) -> list[str]:
    """What is wrong with ``adapt`` and what goes with it, of an encoder with ``fresh`` weights or a pretrained one."""
    if feature_folder is not None and adapt != "frozen":
        return [f"feature_folder has no effect with adapt={adapt}; leave it out"]
    if fresh and adapt != "full":
        return [f"adapt={adapt} keeps weights that were never trained; use full, or a pretrained backbone"]
    if lora_rank is not None and adapt != "lora":
        return [f"lora_rank has no effect with adapt={adapt}; leave it out"]
    return (
        [f"lora_rank is {lora_rank}; it must be at least 1"]
        if lora_rank is not None and lora_rank < 1
        else []
    )


def modality_of(config: TextEncoderConfig | ImageEncoderConfig | PretrainedImageConfig) -> str:
    """What an encoder is for: ``text`` or ``image``."""
    return "text" if isinstance(config, TextEncoderConfig) else "image"
