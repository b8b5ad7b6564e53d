"""A classifier that looks at samples: which class it takes them for, and the features that distances are measured in.

Shape legend: B images, C channels, H × W pixels, D width of the features.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from brickwork.encoders.config import ImageEncoderConfig
from brickwork.encoders.image import ImageEncoder

_CHUNK = 64


class Judge(nn.Module):
    """An encoder of images and one linear map to the classes."""

    def __init__(self, config: ImageEncoderConfig, image_shape: Sequence[int], classes: int):
        super().__init__()
        height, width, channels = image_shape
        self.encoder = ImageEncoder(config, (height, width, channels))
        self.head = nn.Linear(config.embedding_dim, classes)

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch classes"]:
        """Logits."""
        logits: Tensor = self.head(self.encoder(x)[1])
        return logits

    @torch.no_grad()
    def reads(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch dim"]:
        """The features: what its last layer reads of images."""
        return self.encoder(x)[1].float()

    def features(self, images: UInt8[np.ndarray, "images h w c"]) -> Float[np.ndarray, "images dim"]:
        """The same of images as pixels, in parts."""
        parts = [
            self.reads(numbers(images[start : start + _CHUNK]).to(self.head.weight.device)).cpu().numpy()
            for start in range(0, len(images), _CHUNK)
        ]
        return np.concatenate(parts)

    @torch.no_grad()
    def right(self, features: Float[np.ndarray, "images dim"], label: Int64[Tensor, " images"]) -> float:
        """How often it gives images their class, by their features."""
        logits = self.head(torch.from_numpy(features).to(self.head.weight))
        return float((logits.argmax(1).cpu() == label).float().mean())


def numbers(images: UInt8[np.ndarray, "images h w c"]) -> Float[Tensor, "images c h w"]:
    """0 … 255 as −1 … 1."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def pixels(x: Float[Tensor, "images c h w"]) -> UInt8[np.ndarray, "images h w c"]:
    """−1 … 1, or what is nearest to it, as 0 … 255."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
