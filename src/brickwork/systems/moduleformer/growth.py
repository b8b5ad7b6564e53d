"""Modules added to a trained ModuleFormer: new models, the given one stays as it is."""

import copy
from dataclasses import replace
from typing import Any

from brickwork.core.errors import ConfigError
from brickwork.systems.moduleformer.architecture import ModuleFormerConfig, router_losses
from brickwork.systems.moduleformer.surgery import Trained, freeze_old, grow, remember


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
