"""Small images with smooth edges."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

Colour = tuple[int, int, int]


def smooth_image(
    side: int, paint: "Callable[[ImageDraw], None]", *, scale: int, ground: Colour = (0, 0, 0)
) -> UInt8[np.ndarray, "side side 3"]:
    """What ``paint`` draws on a square of ``scale`` × ``side`` pixels, averaged down to ``side``."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (side * scale, side * scale), ground)
    paint(ImageDraw.Draw(image))
    return np.asarray(image.resize((side, side), Image.Resampling.BOX))
