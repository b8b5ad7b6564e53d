"""Emergent bricks kept: as bricks of a library that take them out, or as a language model without them.

``found``: an :class:`~brickwork.systems.configurable_foundation_models.emergent.EmergentBricks`.
"""

from pathlib import Path
from typing import Any

import torch

from brickwork.core.errors import ConfigError
from brickwork.encoders.causal_lm import HubCausalLM
from brickwork.modules.bricks import Brick, save_bricks
from brickwork.systems.configurable_foundation_models.erasing import silence
from brickwork.systems.configurable_foundation_models.merged import write_merged
from brickwork.systems.configurable_foundation_models.neurons import neuron_places

WITHOUT = "without-"


def save_found(found: Any, folder: Path | str, domains: str, residents: bool) -> Path:
    """The bricks of domains joined by ``+``; nothing is written where one of them is not known."""
    bricks = [_as_brick(found, name, residents) for name in _names(found, domains)]
    return save_bricks(bricks, folder)


def _names(found: Any, domains: str) -> list[str]:
    names = [name.strip() for name in domains.split("+")]
    return [name if name in found.domains else name.removeprefix(WITHOUT) for name in names]


def _as_brick(found: Any, name: str, residents: bool) -> Brick:
    chosen = found.brick(name, residents=residents)
    row = found.domains.index(name) + (0 if residents else len(found.domains))
    rises = zip(found.domains, found.matrix()[row].tolist())
    return Brick(
        name=WITHOUT + name,
        kind="neurons",
        base=found.base,
        weights={place: numbers.cpu() for place, numbers in silence(chosen).items()},
        trained_on={"domain": name, "base": str(found.config.base), "share": found.find.share},
        scores={f"perplexity_percent/{other}": rise for other, rise in rises},
    )


@torch.no_grad()
def save_without(found: Any, folder: Path | str, domains: str, residents: bool) -> Path:
    """The language model with zeros as output weights of the neurons of domains joined by ``+``."""
    if not domains:
        raise ConfigError(
            f"say which domain is to be erased (--brick NAME); there are {', '.join(found.domains)}"
        )
    chosen = torch.stack([found.brick(name, residents=residents) for name in _names(found, domains)]).any(0)
    if not isinstance(found.lm, HubCausalLM):
        raise ConfigError("the base is a language model of ours, which transformers does not load")
    places = neuron_places(found.lm, str(found.config.base))
    weights: list[Any] = [place.module.weight for place in places]
    before = [weight.clone() for weight in weights]
    try:
        for place, row in zip(places, chosen):
            place.weight()[row] = 0.0
        names = ", ".join(_names(found, domains))
        return write_merged(found.lm, folder, f"without the neurons that serve {names}", found.config.base)
    finally:
        for weight, old in zip(weights, before):
            weight.copy_(old)
