"""What can be asked of a generator: classes that it learnt, and numbers within bounds."""

import math
from collections.abc import Sequence
from typing import get_args

from brickwork.core.config import nearest
from brickwork.core.errors import ConfigError
from brickwork.modules.flow import Sampler

_NUMBERS, _STEPS = (
    2**29,
    10_000,
)  # of all images that are drawn at once: 2 GiB of noise; and steps of a sampler
_LARGEST_SEED = 2**63 - 1


def check_request(
    classes: Sequence[str],
    image_shape: Sequence[int],
    names: Sequence[str],
    *,
    count: int,
    seed: int,
    steps: int,
    guidance: float,
    sampler: str,
) -> None:
    """Refuses what cannot be drawn, before anything is.

    Raises:
        ConfigError: a class that was not learnt, a number out of range, or an unknown sampler.
    """
    if unknown := [name for name in names if name not in classes]:
        raise ConfigError(f"the model has no class '{unknown[0]}': {nearest(unknown[0], classes)}")
    if count < 1 or steps < 1 or guidance < 0:
        raise ConfigError(
            f"count={count}, steps={steps}, guidance={guidance:g}: the first two must be at least 1, guidance not negative"
        )
    if (most := _NUMBERS // math.prod(image_shape)) < len(names) * count:
        raise ConfigError(
            f"{len(names) * count:,} images are too many at once; ask for {most:,} at most, and for more with another seed"
        )
    if steps > _STEPS:
        raise ConfigError(f"steps={steps:,}: at most {_STEPS:,}; 25 are enough for most models")
    if not 0 <= seed <= _LARGEST_SEED:
        raise ConfigError(f"seed={seed}: it must be from 0 to {_LARGEST_SEED}")
    if sampler not in get_args(Sampler):
        raise ConfigError(f"there is no sampler '{sampler}': {nearest(sampler, get_args(Sampler))}")
