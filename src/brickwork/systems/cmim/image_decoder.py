"""From a code to the distribution of an image: Bernoulli or Gaussian pixels.

Shape legend: B rows, D latent dimensions, C channels, H × W pixels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.config import from_dict, to_dict
from brickwork.core.errors import ArtifactError, ConfigError

_POOL = 4  # informative embeddings of a convolutional decoder: its last feature map, averaged to 4 × 4
_SMALLEST_LOG_SCALE = -4.0  # of a Gaussian pixel: about one grey value of 0 … 255


@dataclass(frozen=True, kw_only=True)
class ImageDecoderConfig:
    """How to build an image decoder.

    ``architecture``: ``mlp`` (hidden layers of ``width`` units) or ``conv`` (``depth`` stages, each after the first of twice
    the size and half of the channels, ``width`` in the last). ``likelihood``: ``bernoulli`` (a grey value is the probability
    of ink) or ``gaussian`` (one spread for all pixels, learned).
    """

    kind: Literal["image"] = "image"
    architecture: Literal["mlp", "conv"] = "mlp"
    width: int = 256
    depth: int = 2
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"

    def validate(self) -> list[str]:
        return [
            f"{name} is {getattr(self, name)}; it must be at least 1"
            for name in ("width", "depth")
            if getattr(self, name) < 1
        ]


class _Upsample(nn.Module):
    """Nearest neighbours, to a size."""

    def __init__(self, height: int, width: int):
        super().__init__()
        self.size = (height, width)

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h2 w2"]:
        """The same image, larger."""
        return F.interpolate(x, size=self.size)


class ImageDecoder(nn.Module):
    """p(x|z) for images of one shape (height, width, channels), in 0 … 1. ``output`` gives the parameters of the pixels."""

    def __init__(self, config: ImageDecoderConfig, latent_dim: int, image_shape: tuple[int, int, int]):
        super().__init__()
        self.config = config
        self.latent_dim = latent_dim
        self.image_shape = image_shape
        height, width, channels = image_shape
        self.output: nn.Module
        if config.architecture == "mlp":
            sizes = [latent_dim, *[config.width] * config.depth]
            self.body = nn.Sequential(
                *(part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU()))
            )
            self.output = nn.Linear(config.width, height * width * channels)
        else:
            self.body = _convolutions(config, latent_dim, height, width)
            self.output = nn.Conv2d(config.width, channels, 1)
        self.log_scale = nn.Parameter(torch.tensor(-1.0)) if config.likelihood == "gaussian" else None

    def forward(self, z: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch c h w"]:
        """The logit of each pixel (Bernoulli) or its mean (Gaussian)."""
        height, width, channels = self.image_shape
        return self.output(self.body(z)).view(len(z), channels, height, width)

    def log_prob(
        self, z: Float[Tensor, "batch dim"], images: Float[Tensor, "batch c h w"]
    ) -> Float[Tensor, " batch"]:
        """log p(x|z) in nats, summed over the pixels of each image.

        Maths: Bernoulli, Σ x log π + (1 − x) log (1 − π), for grey values x in 0 … 1 a cross-entropy and no density;
        Gaussian, Σ log N(x; m, s²).
        """
        with torch.autocast(z.device.type, enabled=False):
            output, x = self(z.float() if z.dtype is torch.bfloat16 else z), images.to(z.dtype)
            if self.log_scale is None:
                return -F.binary_cross_entropy_with_logits(output, x, reduction="none").flatten(1).sum(1)
            log_scale = self.log_scale.clamp(min=_SMALLEST_LOG_SCALE)
            error = 0.5 * ((x - output) * torch.exp(-log_scale)).square()
            return -(error + log_scale + 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)

    def mean(self, z: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch c h w"]:
        """The expected image, in 0 … 1."""
        output = self(z)
        return torch.sigmoid(output) if self.log_scale is None else output.clamp(0, 1)

    def hidden(self, z: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch width"]:
        """What is known just before the pixels: the last hidden layer, or the last feature map averaged to 4 × 4.

        A function of z alone: it can put what z says in another shape, and adds nothing to it.
        """
        features = self.body(z)
        return features if features.ndim == 2 else F.adaptive_avg_pool2d(features, _POOL).flatten(1)

    @property
    def hidden_dim(self) -> int:
        """Numbers of :meth:`hidden`."""
        return self.config.width * (1 if self.config.architecture == "mlp" else _POOL**2)

    def architecture(self) -> dict[str, Any]:
        """JSON values from which :meth:`from_architecture` rebuilds this decoder."""
        return {
            "kind": "image",
            "config": to_dict(self.config),
            "latent_dim": self.latent_dim,
            "image_shape": list(self.image_shape),
        }

    @classmethod
    def from_architecture(cls, architecture: Mapping[str, Any]) -> "ImageDecoder":
        """The decoder that ``architecture`` describes, with fresh weights.

        Raises:
            ArtifactError: the description does not fit this version.
        """
        try:
            height, width, channels = architecture["image_shape"]
            config = from_dict(ImageDecoderConfig, architecture["config"])
            return cls(config, architecture["latent_dim"], (height, width, channels))
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise ArtifactError(f"the description of the decoder is damaged: {error!r}") from error


def _convolutions(config: ImageDecoderConfig, latent_dim: int, height: int, width: int) -> nn.Sequential:
    sizes = [(math.ceil(height / 2**k), math.ceil(width / 2**k)) for k in reversed(range(config.depth))]
    channels = config.width * 2 ** (config.depth - 1)
    parts: list[nn.Module] = [
        nn.Linear(latent_dim, channels * sizes[0][0] * sizes[0][1]),
        nn.Unflatten(1, (channels, *sizes[0])),
        nn.ReLU(),
    ]
    for size in sizes[1:]:
        parts += [_Upsample(*size), nn.Conv2d(channels, channels // 2, 3, 1, 1), nn.ReLU()]
        channels //= 2
    return nn.Sequential(*parts, nn.Conv2d(channels, channels, 3, 1, 1), nn.ReLU())
