"""Shifted test images: what common corruptions do to an image (after CIFAR-10-C, made locally)."""

import numpy as np
from jaxtyping import UInt8

from brickwork.core.errors import naming_extras

Images = UInt8[np.ndarray, "n height width channels"]


@naming_extras("a blurred image")
def corruptions(images: Images, seed: int) -> dict[str, np.ndarray]:
    """``none``; Gaussian ``noise`` (sd 25 of 255); Gaussian ``blur`` (sd 1 pixel); ``shift`` by 1/16 of the side."""
    from scipy.ndimage import gaussian_filter, shift

    x = np.asarray(images, dtype=np.float32)
    step = max(1, x.shape[1] // 16)
    changed = {
        "none": x,
        "noise": x + np.random.default_rng(seed).normal(0, 25, x.shape),
        "blur": gaussian_filter(x, sigma=(0, 1, 1, 0)),
        "shift": shift(x, (0, step, step, 0), order=0, mode="nearest"),
    }
    return {name: np.clip(np.round(y), 0, 255).astype(np.uint8) for name, y in changed.items()}
