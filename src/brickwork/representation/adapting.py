"""How much of a pretrained encoder a training changes: all of it, low-rank adapters (LoRA), or nothing.

Adapters are there while a run trains. When it has ended they are added into the weights that they belong to
(:func:`merge_adapters`), so that what is saved, encoded with and exported is the plain model.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

from brickwork.core.errors import ConfigError
from brickwork.encoders.config import Adapt
from brickwork.encoders.hub_images import HubImageEncoder
from brickwork.encoders.image_text import ImageTextEncoder
from brickwork.encoders.text import TextEncoder
from brickwork.modules.adapters import inject_lora

RANK = 16


@dataclass(frozen=True)
class Adaptation:
    """``how`` an encoder learns; ``rank`` of adapters; ``fresh_end``: whether the matrix at its end is new, so that it
    learns in any case."""

    encoder: nn.Module
    how: Adapt
    rank: int | None
    fresh_end: bool


def adapt_system(system: Any, config: Any) -> None:
    """Does with the encoders of an untrained system what its configuration asks for: ``config.encoder.adapt``, or what the
    system's own ``adaptations()`` are.

    Raises:
        ConfigError: a rank that a layer does not have, or an encoder that cannot be adapted.
    """
    described: Any = getattr(config, "encoder", None)
    if hasattr(system, "adaptations"):
        for wanted in system.adaptations():
            adapt(wanted)
    elif hasattr(described, "adapt"):
        end = getattr(described, "projection", None) or getattr(described, "embedding_dim", None)
        adapt(Adaptation(system.encoder, described.adapt, described.lora_rank, fresh_end=end is not None))


def adapt(wanted: Adaptation) -> None:
    """``frozen``: the pretrained weights stay, and it stays in evaluation mode. ``lora``: adapters learn in their place, of
    a rank (None = 16), with α = 2·rank, on the projections to queries and values or, where there are none, on all layers.

    Raises:
        ConfigError: no encoder of texts or pretrained encoder of images, or a rank that is too large for a layer.
    """
    encoder, how = wanted.encoder, wanted.how
    if how == "full":
        return
    if not isinstance(encoder, TextEncoder | HubImageEncoder):
        raise ConfigError(f"adapt={how} is for pretrained encoders, and this is none; leave it out")
    if isinstance(encoder, HubImageEncoder):
        body, ends = encoder.model, []
    else:
        body, ends = getattr(encoder.body, "model", encoder.body), [encoder.dense]
    if encoder.projection is not None and not wanted.fresh_end:
        ends.append(encoder.projection)
    for part in (body, *ends):
        part.requires_grad_(False)
    encoder.frozen = how == "frozen"
    if how == "lora":
        rank = wanted.rank or RANK
        encoder.adapters = inject_lora(body, rank=rank, alpha=2.0 * rank, scaling="alpha/r", sizes=(rank,))
    encoder.train(encoder.training)


def merge_adapters(system: Any) -> None:
    """Adds the adapters of a system's encoders into their weights and takes them away; without any, does nothing."""
    encoder = getattr(system, "encoder", None)
    for part in (encoder, encoder.image if isinstance(encoder, ImageTextEncoder) else None):
        adapters = getattr(part, "adapters", None)
        if adapters is not None and part is not None:
            adapters.merge_().unload_()
            part.adapters = None
            part.requires_grad_(True)
