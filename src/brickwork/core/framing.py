"""How an image of any size becomes pixels of one shape: scaled, then its middle cut out.

What pretrained models of images want of their inputs, apart from the numbers that pixels become. Readers of files and
encoders of arrays do the same with it, so that an image gives the same vector whichever way it comes.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from PIL.Image import Image

_RESAMPLINGS = {0: "nearest", 1: "Lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "Hamming"}
_LONGEST = 32  # times the side that is cut out, before the middle of an image is taken first


@dataclass(frozen=True, kw_only=True)
class Framing:
    """Images of ``height`` × ``width`` pixels and ``channels`` (3: RGB, 1: grey).

    ``scale``: first, the shorter side becomes so many pixels (one number) and the proportions stay, or the whole image is
    pressed into a height and a width (two numbers); empty: it is not scaled. ``resample``: Pillow's number of the filter.
    Then the middle is cut out, and what is missing on the sides is black.
    """

    height: int
    width: int
    channels: int = 3
    scale: tuple[int, ...] = ()
    resample: int = 3

    def validate(self) -> list[str]:
        """Every problem with the values."""
        problems = [
            f"{name} is {getattr(self, name)}; it must be at least 1"
            for name in ("height", "width")
            if getattr(self, name) < 1
        ]
        if self.channels not in (1, 3):
            problems.append(f"channels is {self.channels}; use 3 (RGB) or 1 (grey)")
        if len(self.scale) > 2 or any(side < 1 for side in self.scale):
            problems.append(
                f"scale is {list(self.scale)}; give one side, height and width, or nothing, from 1 pixel on"
            )
        if self.resample not in _RESAMPLINGS:
            problems.append(
                f"resample is {self.resample}; use a number of Pillow's filters, 0 to {max(_RESAMPLINGS)}"
            )
        return problems

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the result."""
        return self.height, self.width, self.channels

    def describe(self) -> str:
        """In words, for cards and notes."""
        name = _RESAMPLINGS.get(self.resample, "")
        scaled = {
            0: "",
            1: f"shorter side scaled to {self.scale[0] if self.scale else 0} ({name}), ",
            2: f"scaled to {' × '.join(map(str, self.scale))} ({name}), ",
        }[len(self.scale)]
        cut = "" if self.scale == (self.height, self.width) else ", middle cut out"
        return f"{scaled}{self.height} × {self.width} pixels{cut}"

    def apply(self, image: "Image") -> UInt8[np.ndarray, "height width channels"]:
        """The image in this shape. It has 8 bits a channel and is grey ("L") or RGB already."""
        from PIL import Image as pillow

        if len(self.scale) == 1:
            image = self._without_far_ends(image)
        width, height = image.size
        if self.scale:
            new_height, new_width = self._scaled(height, width)
            image = image.resize((new_width, new_height), resample=pillow.Resampling(self.resample))
        pixels = np.asarray(image).reshape(image.height, image.width, -1)
        return _middle(pixels, self.height, self.width)

    def of_arrays(self, images: Any) -> UInt8[np.ndarray, "images height width channels"]:
        """Arrays of uint8 (height, width, channels), each of its own size, in this shape. Images that have it already are
        left as they are; grey ones become RGB where that is asked for."""
        from PIL import Image as pillow

        framed = np.empty((len(images), *self.shape), dtype=np.uint8)
        for row, pixels in enumerate(images):
            if pixels.shape == self.shape:
                framed[row] = pixels
                continue
            grey = pixels.shape[2] == 1
            image = pillow.fromarray(pixels[:, :, 0] if grey else pixels)
            framed[row] = self.apply(image.convert("L" if self.channels == 1 else "RGB"))
        return framed

    def _without_far_ends(self, image: "Image") -> "Image":
        """An image of extreme proportions without the ends that are cut away in any case: scaled, it would fill memory."""
        width, height = image.size
        most = math.ceil(_LONGEST * min(width, height) * max(self.height, self.width) / self.scale[0])
        left, top = max(0, (width - most) // 2), max(0, (height - most) // 2)
        if max(width, height) <= most:
            return image
        return image.crop((left, top, width - left, height - top))

    def _scaled(self, height: int, width: int) -> tuple[int, int]:
        if len(self.scale) == 2:
            return self.scale[0], self.scale[1]
        # As transformers and torchvision do: the longer side is rounded down.
        short, long = min(height, width), max(height, width)
        longer = int(self.scale[0] * long / short)
        return (longer, self.scale[0]) if width <= height else (self.scale[0], longer)


def _middle(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of an image, with black where it is too small."""
    have_height, have_width, channels = pixels.shape
    top, left = (have_height - height) // 2, (have_width - width) // 2
    if top >= 0 and left >= 0:
        return pixels[top : top + height, left : left + width]
    result = np.zeros((height, width, channels), dtype=pixels.dtype)
    inner = pixels[max(top, 0) : max(top, 0) + height, max(left, 0) : max(left, 0) + width]
    # Half of what is missing goes before it, and the odd pixel with it, as in transformers.
    down, right = -min(top, 0), -min(left, 0)
    result[down : down + inner.shape[0], right : right + inner.shape[1]] = inner
    return result
