"""Modules added to a trained ModuleFormer, and taken away: new models, the given one stays as it is."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import ConfigError
from brickwork.data.types import Examples
from brickwork.modules.surgery import Trained, freeze_old, grow, least_used, prune, remember
from brickwork.systems.moduleformer.architecture import ModuleFormerConfig, router_losses
from brickwork.systems.moduleformer.watching import evaluate_texts, module_use


def load_started(folder: str) -> Any:
    """The finished ModuleFormer run in ``folder``.

    Raises:
        ConfigError: what is there is another system.
    """
    from brickwork.representation.load import load

    system = load(Path(folder).expanduser())
    if getattr(system, "slug", "") != "moduleformer":
        raise ConfigError(f"growth.start={folder} is no moduleformer run; name the folder of one")
    return system


def add_modules(
    system: Any,
    *,
    attention: int = 0,
    feed_forward: int = 0,
    train: Trained = "new",
    route_reg: float = 0.0,
) -> Any:
    """A copy with more modules in each layer, of which only the new ones are trained (or ``router``, or ``all``).

    Old modules keep their weights and logits to the bit; while only new ones are trained, so does everything else.
    ``route_reg`` weighs, in its loss from now on, how far each router moves from what it was before.

    Raises:
        ConfigError: modules for a half that is dense.
    """
    grown = copy.deepcopy(system)
    grown.route_reg = route_reg
    for number, block in enumerate(grown.decoder.blocks, start=1):
        halves = block.mixtures()
        for name, count in (("attention", attention), ("feed-forward", feed_forward)):
            if count and name not in halves:
                raise ConfigError(f"layer {number} has a dense {name}: there are no modules to add to")
    grown.requires_grad_(train == "all")
    for name, half in grown.decoder.mixtures().items():
        old = half.router.num_modules
        half.router.remembered = None
        if route_reg:
            remember(half)
        count = attention if name.endswith("attention") else feed_forward
        if count:
            grow(half, count)
        half.requires_grad_(train == "all")
        if train == "all":
            continue
        freeze_old(half, old, train)
        for part in half.expert_maps():
            part.weight.requires_grad_(count > 0)
        half.router.scorer.modules_embedding.requires_grad_(count > 0 or train == "router")
    return grown


def trained_as(system: Any, config: ModuleFormerConfig) -> Any:
    """The system, trained from now on with the losses, exploration and computation of ``config``; in place.

    Raises:
        ConfigError: more modules are to be explored than its tokens choose.
    """
    if config.explore > system.config.top_k:
        raise ConfigError(
            f"explore={config.explore} must be at most top_k={system.config.top_k} of the model that training starts from"
        )
    names = ("balance", "balance_weight", "z_weight", "explore", "computation")
    system.config = replace(system.config, **{name: getattr(config, name) for name in names})
    for half in system.decoder.mixtures().values():
        half.router.losses = router_losses(system.config)
        half.router.explore = config.explore
        for part in half.expert_maps():
            part.computation = config.computation
    return system


def unfreeze(system: Any) -> Any:
    """The system, all of it trainable again; in place."""
    system.requires_grad_(True)
    for half in system.decoder.mixtures().values():
        half.router.scorer.frozen = 0
        for part in half.expert_maps():
            part.frozen = 0
    return system


def concentrating(system: Any, weight: float) -> Any:
    """A copy whose routers are trained to concentrate the load (H(m) + H(m|x), times ``weight``), before pruning."""
    changed = copy.deepcopy(system)
    changed.config = replace(changed.config, balance="concentration", balance_weight=weight)
    for half in changed.decoder.mixtures().values():
        half.router.losses = ("concentration",)
    return changed


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
    before, after = (evaluate_texts(model.eval(), examples) for model in (system, smaller))
    return Pruned(smaller, kept, (count[0], count[1]), before, after)
