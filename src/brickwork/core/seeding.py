"""Random numbers: one seed, every generator's state saved and restored, draws that need no state."""

import hashlib
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Integer

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def seed_everything(seed: int) -> None:
    """Seeds python, numpy and torch (all devices).

    Training does so at every step. Where there is no accelerator, ``torch.manual_seed`` takes a hundred times as long as
    the generator, most of it to write down stack traces for devices that are not there.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the global generator is seeded for other people's code
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def generator_for(seed: int, step: int, name: str) -> torch.Generator:
    """A fresh generator that is a pure function of its arguments.

    Choices made with it (which layer, which prefix) are the same in every process and after every resume,
    without any state to keep.
    """
    digest = hashlib.sha256(f"{seed}/{step}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def uniforms(
    key: str, rows: Sequence[int] | Integer[np.ndarray, " batch"], count: int
) -> Float64[np.ndarray, "count batch"]:
    """Numbers from 0 to below 1, ``count`` for each row: a pure function of the key, the row and their place (splitmix64,
    Steele et al. 2014)."""
    start = np.frombuffer(hashlib.sha256(key.encode()).digest()[:8], dtype=np.uint64)
    own = _mixed(_mixed(np.asarray(rows, dtype=np.uint64)[None] * _GOLDEN) ^ start)
    places = np.arange(1, count + 1, dtype=np.uint64)[:, None]
    return (_mixed(own + places * _GOLDEN) >> np.uint64(11)) * 2.0**-53


def _mixed(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed


def rng_state() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The state of every global generator: JSON values and tensors."""
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    values = {
        "python": [version, list(numbers), gauss],
        "numpy": [str(kind), [int(k) for k in keys], int(position), int(has_gauss), float(cached)],
    }
    tensors = {"torch": torch.get_rng_state()}
    for device in range(torch.cuda.device_count()):
        tensors[f"cuda.{device}"] = torch.cuda.get_rng_state(device)
    return values, tensors


def set_rng_state(values: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Restores what :func:`rng_state` returned."""
    version, numbers, gauss = values["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, position, has_gauss, cached = values["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(tensors["torch"])
    for device in range(torch.cuda.device_count()):
        if f"cuda.{device}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda.{device}"], device)
