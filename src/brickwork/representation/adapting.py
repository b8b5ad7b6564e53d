"""How much of a pretrained encoder a training changes: all of it, low-rank adapters (LoRA), or nothing.

Adapters are there while a run trains. When it has ended they are added into the weights that they belong to
(:func:`finish_adapting`), so that what is saved, encoded with and exported is the plain model.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from brickwork.core.errors import ConfigError
from brickwork.encoders.config import Adapt
from brickwork.encoders.feature_cache import FeatureCache
from brickwork.encoders.hub_images import HubImageEncoder
from brickwork.encoders.text import TextEncoder
from brickwork.modules.adapters import inject_lora
from brickwork.representation.folder import fingerprint, tokenizer_json

RANK = 16


@dataclass(frozen=True)
class Adaptation:
    """``how`` an encoder learns; ``rank`` of adapters; ``fresh_end``: whether the matrix at its end is new, so that it
    learns in any case. ``feature_folder``: where vectors of a frozen one are kept."""

    encoder: nn.Module
    how: Adapt
    rank: int | None
    fresh_end: bool
    feature_folder: str | None = None


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
        adapt(
            Adaptation(
                system.encoder,
                described.adapt,
                described.lora_rank,
                end is not None,
                described.feature_folder,
            )
        )


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
    if encoder.frozen and wanted.feature_folder is not None:
        folder = Path(wanted.feature_folder).expanduser() / _fingerprint(encoder)
        encoder.cache = FeatureCache(folder)
    if how == "lora":
        rank = wanted.rank or RANK
        encoder.adapters = inject_lora(body, rank=rank, alpha=2.0 * rank, scaling="alpha/r", sizes=(rank,))
    encoder.train(encoder.training)


def finish_adapting(system: Any) -> None:
    """At the end of a training: adapters are added into the weights that they belong to and taken away, and new vectors of
    frozen encoders are written to their folder. Does nothing without any."""
    encoder = getattr(system, "encoder", None)
    for part in (encoder, getattr(encoder, "image", None)):
        if not isinstance(part, TextEncoder | HubImageEncoder):
            continue
        if part.adapters is not None:
            part.adapters.merge_().unload_()
            part.adapters = None
        part.cache.flush()
        part.cache, part.frozen = FeatureCache(), False
        part.requires_grad_(True)


def _fingerprint(encoder: TextEncoder | HubImageEncoder) -> str:
    """Of all that the vectors before the last matrix follow from."""
    tokenizer = tokenizer_json(encoder.tokenizer) if isinstance(encoder, TextEncoder) else None
    state = {
        n: t for n, t in encoder.state_dict().items() if n.partition(".")[0] in ("body", "model", "dense")
    }
    architecture = {k: v for k, v in encoder.architecture().items() if k not in ("projection", "image")}
    return fingerprint(architecture, tokenizer, state)
