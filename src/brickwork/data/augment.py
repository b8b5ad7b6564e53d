"""Other views of images, with what was done to each: crops, flips, rotations, colours, blur.

x1, x2, g = two_views(images, Augmentation(rotate=30, hue=45), seed=0, step=7, rows=batch["indices"])

Parameters are drawn for each image by itself and are a pure function of (seed, step, row): the same in every batch, process
and resumed run. What is drawn is applied to the whole batch at once, on its device. Rotations turn as seen on the screen,
counter-clockwise. Images mixed in pairs, with their labels: :func:`mixed`.
Shape legend: B images, C channels (1 or 3), H × W pixels, values from 0 to 1.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from brickwork.core.config import above, at_least, at_most, below
from brickwork.core.errors import ConfigError
from brickwork.core.seeding import uniforms

Parameters = dict[str, Tensor]
"""Name → one number an image, (B,). ``top``, ``left``, ``height``, ``width``: what is cut out, in shares of the image;
``flip``: 0 or 1; ``angle`` and ``hue`` in degrees; ``brightness``, ``contrast``, ``saturation``: factors; ``grey``: 0 or 1;
``blur``: standard deviation in pixels."""
IDENTITY = {
    "top": 0.0, "left": 0.0, "height": 1.0, "width": 1.0, "flip": 0.0, "angle": 0.0, "hue": 0.0, "brightness": 1.0,
    "contrast": 1.0, "saturation": 1.0, "grey": 0.0, "blur": 0.0,
}  # fmt: skip
"""The parameters that change nothing, in the order in which they are drawn."""
_PLACES = ("top", "left", "height", "width", "flip", "angle")
_OF_COLOURS = ("hue", "saturation", "grey")
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_RATIO = 4 / 3  # of a crop's sides, at most


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What may be done to an image; as it stands, nothing. ``crop``: the smallest share of the area that is kept. ``flip``,
    ``grey``: how often. ``rotate``, ``hue``: up to so many degrees either way. ``brightness``, ``contrast``,
    ``saturation``: factors of 1 ± up to so much. ``blur``: a standard deviation of up to so many pixels."""

    crop: Annotated[float, above(0), at_most(1)] = 1.0
    flip: Annotated[float, at_least(0), at_most(1)] = 0.0
    rotate: Annotated[float, at_least(0), at_most(180)] = 0.0
    hue: Annotated[float, at_least(0), at_most(180)] = 0.0
    brightness: Annotated[float, at_least(0), at_most(1)] = 0.0
    contrast: Annotated[float, at_least(0), at_most(1)] = 0.0
    saturation: Annotated[float, at_least(0), at_most(1)] = 0.0
    grey: Annotated[float, at_least(0), at_most(1)] = 0.0
    blur: Annotated[float, at_least(0)] = 0.0


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """Images mixed in pairs, and their labels with them. ``mixup``, ``cutmix``: α of the Beta(α, α) that shares are drawn
    from (0: not done; with both, half of the batches have one and half the other); ``smoothing``: what is taken from the
    label and spread evenly over all classes."""

    mixup: Annotated[float, at_least(0)] = 0.0
    cutmix: Annotated[float, at_least(0)] = 0.0
    smoothing: Annotated[float, at_least(0), below(1)] = 0.0


def mixed(
    images: Float[Tensor, "batch channels height width"],
    label: Int64[Tensor, " batch"],
    num_classes: int,
    mixing: Mixing,
    *,
    seed: int,
    step: int,
    rows: Sequence[int],
) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch classes"]]:
    """Each image mixed with the one at its mirrored place in the batch, and the shares of the classes in it, which sum to 1.

    mixup (Zhang et al., arXiv 1710.09412): λ·x + (1−λ)·x'. CutMix (Yun et al., arXiv 1905.04899): a rectangle of about
    (1−λ) of the area comes from x', at a random place, and λ is then what is left of x. Shares are drawn for each image: a
    pure function of (seed, step, row).
    """
    spread = torch.full((len(label), num_classes), mixing.smoothing / num_classes, device=images.device)
    target = spread.scatter_add(1, label[:, None], torch.full_like(spread[:, :1], 1 - mixing.smoothing))
    (cuts,) = uniforms(f"{seed}/{step}/which", [0], 1)
    cutting = mixing.cutmix > 0 and (mixing.mixup == 0 or bool(cuts < 0.5))
    alpha = mixing.cutmix if cutting else mixing.mixup
    if not alpha:
        return images, target
    drawn = uniforms(f"{seed}/{step}/mix", rows, 3)
    kept = torch.from_numpy(_beta(alpha, drawn[0])).to(images)
    if cutting:
        seen, kept = _outside(images, kept, torch.from_numpy(drawn[1:]).to(images))
    else:
        seen = kept[:, None, None]
    seen = seen[:, None]
    images = images * seen + images.flip(0) * (1 - seen)
    return images, target * kept[:, None] + target.flip(0) * (1 - kept[:, None])


def _beta(alpha: float, u: np.ndarray) -> np.ndarray:
    """Numbers of Beta(α, α) from even ones."""
    from scipy.special import betaincinv

    drawn: np.ndarray = betaincinv(alpha, alpha, u)
    return drawn


def _outside(images: Tensor, kept: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
    """A mask of what stays of each image, and which share of it that is. The rectangle is cut off at the edges."""
    height, width = images.shape[2:]
    side = (1 - kept).sqrt() / 2
    (top, bottom), (left, right) = (
        (((centre - side) * size).round().clamp(0, size), ((centre + side) * size).round().clamp(0, size))
        for centre, size in zip(middle, (height, width))
    )
    y, x = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    down = (y >= top[:, None]) & (y < bottom[:, None])
    across = (x >= left[:, None]) & (x < right[:, None])
    mask = ~(down[:, :, None] & across[:, None, :])
    seen = mask.to(images)
    return seen, seen.mean((1, 2))


def two_views(
    images: Float[Tensor, "batch channels height width"],
    augmentation: Augmentation,
    *,
    seed: int,
    step: int,
    rows: Sequence[int],
) -> tuple[
    Float[Tensor, "batch channels height width"], Float[Tensor, "batch channels height width"], Parameters
]:
    """Two views of each image, and for each parameter its value in both, (B, 2).

    Raises:
        ConfigError: changes of colour for images that have none.
    """
    drawn = [draw(augmentation, seed=seed, step=step, rows=rows, view=view) for view in (0, 1)]
    first, second = (augmented(images, parameters) for parameters in drawn)
    return first, second, {name: torch.stack([one[name] for one in drawn], dim=1) for name in IDENTITY}


def draw(
    augmentation: Augmentation, *, seed: int, step: int, rows: Sequence[int], view: int = 0
) -> Parameters:
    """Parameters for the images with the numbers ``rows``, one each, (B,); ``view`` tells several draws apart."""
    a = augmentation
    u = dict(zip(IDENTITY, torch.from_numpy(uniforms(f"{seed}/{step}/{view}", rows, len(IDENTITY)))))
    area = a.crop + (1 - a.crop) * u["height"]
    ratio = torch.exp((2 * u["width"] - 1) * math.log(_RATIO)) if a.crop < 1 else torch.ones_like(area)
    height, width = (area / ratio).sqrt().clamp(max=1), (area * ratio).sqrt().clamp(max=1)
    either = {name: 2 * u[name] - 1 for name in ("angle", "hue", "brightness", "contrast", "saturation")}
    return {
        "top": u["top"] * (1 - height),
        "left": u["left"] * (1 - width),
        "height": height,
        "width": width,
        "flip": (u["flip"] < a.flip).double(),
        "angle": a.rotate * either["angle"],
        "hue": a.hue * either["hue"],
        "brightness": 1 + a.brightness * either["brightness"],
        "contrast": 1 + a.contrast * either["contrast"],
        "saturation": 1 + a.saturation * either["saturation"],
        "grey": (u["grey"] < a.grey).double(),
        "blur": a.blur * u["blur"],
    }


def augmented(
    images: Float[Tensor, "batch channels height width"], parameters: Mapping[str, Tensor]
) -> Float[Tensor, "batch channels height width"]:
    """The images after what ``parameters`` say (those that are missing change nothing): turned about the middle, cut out and
    scaled back, flipped; then brightness, contrast, saturation, hue, grey, and at last blur.

    Raises:
        ConfigError: changes of colour for images that have none.
    """
    active = {
        name: parameters[name].to(images)
        for name in parameters
        if bool((parameters[name] != IDENTITY[name]).any())
    }
    if images.shape[1] != 3 and (wrong := [name for name in _OF_COLOURS if name in active]):
        raise ConfigError(
            f"images of {images.shape[1]} channels have no colours: {wrong[0]} has no effect; leave it out"
        )
    if any(name in active for name in _PLACES):
        images = _placed(images, active)
    images = _coloured(images, {name: value[:, None, None, None] for name, value in active.items()})
    return _blurred(images, active["blur"]) if "blur" in active else images


def _placed(images: Tensor, p: Mapping[str, Tensor]) -> Tensor:
    """Bilinear; beyond the edges, their own colours go on."""
    count, _, height, width = images.shape
    full = {name: p.get(name, images.new_full((count,), IDENTITY[name])) for name in _PLACES}
    y, x = torch.meshgrid(_centres(height, images), _centres(width, images), indexing="ij")
    x, y = x[None], y[None]  # −1 … 1 over the view, to the right and down
    # From a place in the view to one in the image: the way back through flip, crop and rotation.
    x = x * (1 - 2 * full["flip"][:, None, None])
    left, top, wide, high = (full[name][:, None, None] for name in ("left", "top", "width", "height"))
    x, y = 2 * left + wide * (x + 1) - 1, 2 * top + high * (y + 1) - 1
    turn = torch.deg2rad(full["angle"])[:, None, None]
    x, y = x * width, y * height  # in pixels, where a turn keeps lengths
    x, y = x * turn.cos() - y * turn.sin(), x * turn.sin() + y * turn.cos()
    grid = torch.stack([x / width, y / height], dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _centres(count: int, like: Tensor) -> Tensor:
    return (torch.arange(count, device=like.device, dtype=like.dtype) * 2 + 1) / count - 1


def _coloured(images: Tensor, p: Mapping[str, Tensor]) -> Tensor:
    if "brightness" in p:
        images = (images * p["brightness"]).clamp(0, 1)
    if "contrast" in p:
        mean = _luma(images).mean((2, 3), keepdim=True)
        images = (mean + p["contrast"] * (images - mean)).clamp(0, 1)
    if "saturation" in p:
        luma = _luma(images)
        images = (luma + p["saturation"] * (images - luma)).clamp(0, 1)
    if "hue" in p:
        images = hue_shifted(images, p["hue"])
    if "grey" in p:
        images = torch.where(p["grey"] > 0, _luma(images), images)
    return images


def _luma(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    weights = images.new_tensor(_LUMA)[:, None, None]
    return (images * weights).sum(1, keepdim=True)


def hue_shifted(
    images: Float[Tensor, "batch 3 height width"], degrees: Tensor
) -> Float[Tensor, "batch 3 height width"]:
    """Colours turned on the circle of hues; saturation and value (HSV) stay. ``degrees`` broadcasts, as (B, 1, 1, 1)."""
    value, lowest = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    chroma = value - lowest
    red, green, blue = images.split(1, dim=1)
    safe = torch.where(chroma > 0, chroma, 1.0)
    sector = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    k = (images.new_tensor([5.0, 3.0, 1.0])[:, None, None] + sector + degrees / 60) % 6
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


def _blurred(images: Tensor, sigma: Float[Tensor, " batch"]) -> Tensor:
    """A Gaussian over three deviations of the largest, rows after columns; edges are mirrored."""
    count, channels, height, width = images.shape
    reach = min(math.ceil(3 * float(sigma.max())), height - 1, width - 1)
    places = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-0.5 * (places / sigma.clamp(min=1e-3)[:, None]).square())
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = F.pad(images.reshape(1, count * channels, height, width), (reach,) * 4, mode="reflect")
    flat = F.conv2d(flat, weights[:, None, :, None], groups=count * channels)
    flat = F.conv2d(flat, weights[:, None, None, :], groups=count * channels)
    return flat.reshape(images.shape)
