"""Modules taken away from a trained ModuleFormer: new models, the given one stays as it is."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import ConfigError
from brickwork.data.types import Examples
from brickwork.systems.moduleformer.surgery import least_used, prune
from brickwork.systems.moduleformer.system import module_use


@dataclass(frozen=True)
class Pruned:
    """A pruned copy; the modules that stayed in each mixture; parameters and held-out numbers before and after."""

    system: Any
    kept: dict[str, tuple[int, ...]]
    parameters: tuple[int, int]
    before: dict[str, float]
    after: dict[str, float]


def pruned_copy(
    system: Any, shares: Mapping[str, Float[np.ndarray, " _"]], share: float
) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """A copy without ``share`` of all modules, those of the smallest ``shares`` of each mixture; and which stayed.

    Each layer keeps at least ``top_k``.

    Raises:
        ConfigError: ``share`` is not between 0 and 1, or nothing is routed.
    """
    if not 0 <= share < 1:
        raise ConfigError(f"share={share} of the modules cannot be pruned; use 0 to below 1")
    if not shares:
        raise ConfigError("this model is dense: it has no modules to prune")
    smaller = copy.deepcopy(system)
    mixtures = smaller.decoder.mixtures()
    kept = least_used(
        [shares[name] for name in mixtures], share, [half.router.top_k for half in mixtures.values()]
    )
    for half, rows in zip(mixtures.values(), kept):
        prune(half, rows)
    return smaller, dict(zip(mixtures, map(tuple, kept)))


def shares_of_use(system: Any, examples: Examples) -> dict[str, Float[np.ndarray, " _"]]:
    """f_m of each mixture: the share of (token, slot) assignments that each module got on ``examples``."""
    use, _ = module_use(system, examples)
    return {name: table.sum(0) / max(table.sum(), 1) for name, table in use.items()}


def prune_modules(system: Any, examples: Examples, share: float) -> Pruned:
    """A copy without ``share`` of all modules, those that ``examples`` use least; there is no training.

    The numbers are those of ``system.evaluate`` on ``examples``.

    Raises:
        ConfigError: as :func:`pruned_copy`.
    """
    smaller, kept = pruned_copy(system, shares_of_use(system, examples), share)
    count = [sum(p.numel() for p in model.parameters()) for model in (system, smaller)]
    before, after = (model.eval().evaluate(examples) for model in (system, smaller))
    return Pruned(smaller, kept, (count[0], count[1]), before, after)
