"""What a pretrained model of images wants of its inputs, read from its own ``preprocessor_config.json``.

The same as transformers' image processors that work with Pillow, to the last bit of what is scaled and cut (uint8) and to
rounding of float32 in the numbers that pixels become. Two differences: what is transparent becomes white here, and DINOv3,
whose processor scales floating-point numbers with torchvision, is scaled by Pillow in 8 bits (at most one level of 256).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from brickwork.core.config import from_dict, to_dict
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import read_json
from brickwork.core.framing import Framing

FILE, PROCESSOR = "preprocessor_config.json", "processor_config.json"
_FULL_CONVNEXT = 384  # from this side on, ConvNeXt's processor presses the whole image into a square
_BILINEAR, _BICUBIC = 2, 3


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """``framing``, then pixels (0 … 255) as ``(factor · pixel − mean) / std`` for each channel."""

    framing: Framing
    factor: float = 1 / 255
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def normalised(
        self, images: UInt8[np.ndarray, "n height width channels"]
    ) -> Float32[Tensor, "n channels height width"]:
        """Framed images as numbers."""
        x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() * self.factor
        if self.mean:
            x = (x - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]
        return x.contiguous(memory_format=torch.channels_last)

    def for_transformers(self, processor: str) -> dict[str, Any]:
        """A ``preprocessor_config.json`` that says the same; ``processor`` is transformers' class, as CLIPImageProcessor."""
        framing = self.framing
        size: dict[str, Any] = {}
        if framing.scale:
            names = ("shortest_edge",) if len(framing.scale) == 1 else ("height", "width")
            size = {"size": dict(zip(names, framing.scale))}
        cut = framing.scale != (framing.height, framing.width)
        return {
            "image_processor_type": processor,
            "do_resize": bool(framing.scale),
            **size,
            "resample": framing.resample,
            "do_center_crop": cut,
            **({"crop_size": {"height": framing.height, "width": framing.width}} if cut else {}),
            "do_rescale": True,
            "rescale_factor": self.factor,
            "do_normalize": bool(self.mean),
            **({"image_mean": list(self.mean), "image_std": list(self.std)} if self.mean else {}),
            "do_convert_rgb": framing.channels == 3,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """What :meth:`to_dict` described.

        Raises:
            ArtifactError: the values do not fit this version.
        """
        try:
            return from_dict(cls, values)
        except ConfigError as error:
            raise ArtifactError(f"the preprocessing of images is damaged: {error}") from error

    def validate(self) -> list[str]:
        """Every problem with the values."""
        channels = self.framing.channels
        if any(len(given) not in (0, channels) for given in (self.mean, self.std)) or len(self.mean) != len(
            self.std
        ):
            return [f"mean and std have {len(self.mean)} and {len(self.std)} entries for {channels} channels"]
        return ["std must be above 0"] if any(value <= 0 for value in self.std) else []


def read_preprocessing(folder: Path, channels: int = 3) -> Preprocessing:
    """The preprocessing of the model in ``folder``.

    Raises:
        ArtifactError: the file is missing or damaged, or says what is not done here; names the file and the entry.
    """
    path, values = _values(folder)
    name = str(values.get("image_processor_type") or values.get("feature_extractor_type") or "")
    if values.get("do_pad") or values.get("pad_size"):
        raise ArtifactError(f"{path} pads images (do_pad), which is not done here; choose another model")
    try:
        framing = _framing(values, name, channels)
        factor = float(values.get("rescale_factor") or 1 / 255) if values.get("do_rescale", True) else 1.0
        mean, std = (_channels(values, key, channels) for key in ("image_mean", "image_std"))
        return Preprocessing.from_dict(
            {"framing": to_dict(framing), "factor": factor, "mean": mean, "std": std}
        )
    except (KeyError, TypeError, ValueError, ArtifactError) as error:
        reason = f"it has no '{error.args[0]}'" if isinstance(error, KeyError) else str(error)
        raise ArtifactError(f"{path} does not say how images are prepared: {reason}") from error


def _values(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The settings of the image processor: in a file of their own, or among those of the whole processor."""
    path = folder / FILE
    if not path.is_file() and (folder / PROCESSOR).is_file():
        path = folder / PROCESSOR
    if not path.is_file():
        raise ArtifactError(
            f"{path} is missing: it says how the model wants its images; copy it from where the model was published"
        )
    values = read_json(path)
    if path.name == PROCESSOR and isinstance(values, dict):
        values = values.get("image_processor")
    if not isinstance(values, dict):
        raise ArtifactError(f"{path} holds no settings of an image processor; use a good copy")
    return path, values


def _framing(values: Mapping[str, Any], name: str, channels: int) -> Framing:
    convnext = name.startswith("ConvNext")
    # Where a size is one number, ViT's processor means a square, all others the shorter side.
    scale = _size(values["size"], square=name.startswith("ViT"))
    resample = values.get("resample")
    resample = (
        (_BILINEAR if name.startswith(("ViT", "DINOv3")) else _BICUBIC) if resample is None else resample
    )
    cut = values.get("do_center_crop", name.startswith(("CLIP", "Bit")))
    crop = _size(values["crop_size"], square=True) if cut else ()
    if convnext:
        if len(scale) != 1:
            raise ValueError("its size has no 'shortest_edge'")
        side = scale[0]
        crop = crop or (side, side)
        if side < _FULL_CONVNEXT:
            part = values.get("crop_pct")
            scale = (int(side / (224 / 256 if part is None else float(part))),)
        else:
            scale = (side, side)
    if not values.get("do_resize", True):
        scale = ()
    if not crop and len(scale) != 2:
        raise ValueError(
            "it scales the shorter side and cuts nothing out, so that images would have different shapes"
        )
    height, width = crop or scale
    return Framing(height=height, width=width, channels=channels, scale=scale, resample=int(resample))


def _size(given: Any, *, square: bool) -> tuple[int, ...]:
    """One number: the shorter side; two: height and width."""
    if isinstance(given, int):
        return (given, given) if square else (given,)
    if isinstance(given, list | tuple) and len(given) == 2:
        return int(given[0]), int(given[1])
    if isinstance(given, Mapping):
        known = {key: int(value) for key, value in given.items() if value is not None}
        if set(known) == {"height", "width"}:
            return known["height"], known["width"]
        if set(known) == {"shortest_edge"}:
            return (known["shortest_edge"],)
    raise ValueError(f"the size {given!r} is neither height and width nor a shortest_edge")


def _channels(values: Mapping[str, Any], key: str, channels: int) -> list[float]:
    if not values.get("do_normalize", True):
        return []
    given = values[key]
    return [float(given)] * channels if isinstance(given, int | float) else [float(value) for value in given]
