"""Images to vectors: a small residual network, a vision transformer, or an MLP on the pixels.

Group norm, not batch norm: an image's vector never depends on what else is in the batch, not in training.
Shape legend: N images, C channels, H × W pixels, D embedding_dim.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.config import from_dict, to_dict
from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.core.flops import count_flops
from brickwork.core.types import Batch
from brickwork.encoders.config import ImageEncoderConfig
from brickwork.encoders.features import Features
from brickwork.encoders.vit import ViT

__all__ = ["ImageEncoder", "ImageEncoderConfig"]

_PATCH = 4  # pixels a side, where the configuration is silent
_HEAD_WIDTH = 32


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(next(groups for groups in (8, 4, 2, 1) if channels % groups == 0), channels)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm1 = _group_norm(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.norm2 = _group_norm(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels_in != channels_out:
            self.shortcut = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        """The block's output; halved in height and width where the stride is 2."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


def _shrink(config: ImageEncoderConfig) -> list[nn.Module]:
    return [nn.AvgPool2d(config.shrink)] if config.shrink > 1 else []


def _conv(config: ImageEncoderConfig, channels: int) -> nn.Sequential:
    parts: list[nn.Module] = [
        *_shrink(config),
        nn.Conv2d(channels, config.width, 3, 1, 1, bias=False),
        _group_norm(config.width),
        nn.ReLU(),
    ]
    before = config.width
    for stage in range(config.depth):
        after = config.width * 2**stage
        parts.append(ResidualBlock(before, after, stride=1 if stage == 0 else 2))
        before = after
    return nn.Sequential(
        *parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, config.embedding_dim)
    )


def _vit(config: ImageEncoderConfig, image_shape: tuple[int, int, int]) -> ViT:
    height, width, channels = image_shape
    return ViT(
        image_shape=(height, width, channels),
        patch=config.patch or _PATCH,
        width=config.width,
        num_layers=config.depth,
        num_heads=config.num_heads or max(1, config.width // _HEAD_WIDTH),
    )


def _mlp(config: ImageEncoderConfig, num_inputs: int) -> nn.Sequential:
    parts: list[nn.Module] = [*_shrink(config), nn.Flatten()]
    for _ in range(config.depth):
        parts += [nn.Linear(num_inputs, config.width), nn.ReLU()]
        num_inputs = config.width
    return nn.Sequential(*parts, nn.Linear(num_inputs, config.embedding_dim))


class ImageEncoder(nn.Module):
    """A network on images of one shape (height, width, channels). Each block of a vision transformer is an exit, at its
    class token; of the others the end is the only one: layer 1."""

    kind = "image"
    num_layers = 1
    inside: Mapping[str, Any] | None = None
    """What the feed-forward halves of a vision transformer were replaced by (modules/expert_blocks.py)."""

    def __init__(self, config: ImageEncoderConfig, image_shape: tuple[int, int, int]):
        super().__init__()
        self.config = config
        self.image_shape = image_shape
        height, width, channels = image_shape
        self.network: nn.Sequential | ViT
        if config.architecture == "conv":
            self.network = _conv(config, channels)
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        elif config.architecture == "vit":
            self.num_layers = config.depth
            self.network = _vit(config, image_shape)
            self.head = nn.Linear(config.width, config.embedding_dim)
        else:
            self.network = _mlp(config, (height // config.shrink) * (width // config.shrink) * channels)

    @property
    def embedding_dim(self) -> int:
        return self.config.embedding_dim

    @property
    def token_width(self) -> int:
        """Dimensions of a patch token of :meth:`features`.

        Raises:
            ConfigError: an MLP on pixels, which has no patches.
        """
        if self.config.architecture == "mlp":
            raise ConfigError("an MLP on pixels has no patches; use architecture 'conv' or 'vit'")
        stages = self.config.depth - 1 if self.config.architecture == "conv" else 0
        return self.config.width * 2**stages

    def prepare(self, images: np.ndarray) -> Float[Tensor, "n c h w"]:
        """Images (N, H, W, C) of 0 … 255 as numbers in −1 … 1.

        Raises:
            DataError: not uint8 images of this encoder's shape.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != self.image_shape:
            raise DataError(
                f"images are {images.dtype} of shape {images.shape}; this model takes uint8 of shape "
                f"(number, {', '.join(map(str, self.image_shape))})"
            )
        x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
        return (x.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)

    def forward(self, images: Float[Tensor, "n c h w"], layers: Sequence[int] = ()) -> dict[int, Tensor]:
        """Layer → vectors (N, D), in float32 or better, not normalised; none: after the last layer. Deeper ones do not run.

        Raises:
            ConfigError: a layer that this encoder does not have.
        """
        layers = layers or (self.num_layers,)
        if wrong := [layer for layer in layers if not 1 <= layer <= self.num_layers]:
            there = "one exit, layer 1" if self.num_layers == 1 else f"layers 1 … {self.num_layers}"
            raise ConfigError(f"layers {wrong}: this image encoder has {there}")
        x = self._typed(images)
        if isinstance(self.network, ViT):
            vectors = {layer: self.head(z) for layer, z in self.network.exits(x, layers).items()}
        else:
            vectors = {1: self.network(x)}
        return {layer: z.to(torch.promote_types(z.dtype, torch.float32)) for layer, z in vectors.items()}

    def features(self, images: Float[Tensor, "n c h w"]) -> Features:
        """Vectors, patch tokens and hidden states of prepared images; of a residual network the places of its last feature
        map are the tokens, and hidden states are after each stage.

        Raises:
            ConfigError: an MLP on pixels, which has no patches.
        """
        self.token_width  # noqa: B018 - raises where there are none
        x = self._typed(images)
        if isinstance(self.network, ViT):
            found = self.network(x)
            return replace(found, vector=self.head(found.vector))
        hidden = []
        for part in self.network:
            if isinstance(part, nn.AdaptiveAvgPool2d):
                grid = (x.shape[2], x.shape[3])
            x = part(x)
            if isinstance(part, ResidualBlock):
                hidden.append(x.flatten(2).transpose(1, 2))
        return Features(x, hidden[-1], grid, tuple(hidden))

    def _typed(self, images: Tensor) -> Tensor:
        # A copy whose layers are packed for inference keeps its weights as buffers.
        return images.to(next(chain(self.parameters(), self.buffers())).dtype)

    def collate(self, columns: Mapping[str, Any]) -> Batch:
        """Columns of a batch as tensors: images prepared, numbers as int64 or float32."""
        batch: Batch = {}
        for name, values in columns.items():
            array = np.asarray(values)
            if array.ndim > 1:
                batch[name] = self.prepare(array)
                continue
            dtype = np.int64 if array.dtype.kind in "iub" else np.float32
            batch[name] = torch.from_numpy(array.astype(dtype))
        return batch

    def embed(self, batch: Batch, names: Sequence[str]) -> dict[str, Float[Tensor, "batch width"]]:
        """The vectors of those of the columns ``names`` that the batch has."""
        last = self.num_layers
        return {name: self(batch[name], [last])[last] for name in names if name in batch}

    def flops(self, num_images: int = 1) -> int:
        """Floating-point operations of convolutions and matrices (multiply and add counted apart)."""
        config = self.config
        height, width, channels = self.image_shape
        height, width = height // config.shrink, width // config.shrink
        if self.inside is not None:
            weight = next(self.parameters())
            return num_images * count_flops(lambda: self(weight.new_zeros(1, channels, height, width)))
        if isinstance(self.network, ViT):
            return num_images * (
                self.network.flops(self.num_layers) + 2 * config.width * config.embedding_dim
            )
        if config.architecture == "mlp":
            sizes = [height * width * channels, *[config.width] * config.depth, config.embedding_dim]
            return num_images * sum(2 * a * b for a, b in pairwise(sizes))
        total = 2 * height * width * 9 * channels * config.width
        before = config.width
        for stage in range(config.depth):
            after = config.width * 2**stage
            if stage:
                height, width = (height + 1) // 2, (width + 1) // 2
            shortcut = before if stage else 0
            total += 2 * height * width * after * (9 * before + 9 * after + shortcut)
            before = after
        return num_images * (total + 2 * before * config.embedding_dim)

    def architecture(self) -> dict[str, Any]:
        """JSON values from which :meth:`from_architecture` rebuilds this encoder, without its weights."""
        inside = {} if self.inside is None else {"inside": dict(self.inside)}
        return {
            "kind": self.kind,
            "config": to_dict(self.config),
            "image_shape": list(self.image_shape),
            **inside,
        }

    @classmethod
    def from_architecture(cls, architecture: Mapping[str, Any]) -> "ImageEncoder":
        """The encoder that ``architecture`` describes, with fresh weights.

        Raises:
            ArtifactError: the description does not fit this version.
        """
        try:
            height, width, channels = architecture["image_shape"]
            config = from_dict(ImageEncoderConfig, architecture["config"])
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise ArtifactError(f"the description of the encoder is damaged: {error!r}") from error
        return cls(config, (height, width, channels))
