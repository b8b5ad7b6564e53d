"""Stationary representations: successive models of which each can search what all before it have indexed.

Biondi, Pernici, Ricci, Del Bimbo: Stationary Representations: Optimally Approximating Compatibility and Implications
for Improved Model Replacements. CVPR 2024, arXiv 2405.02581; sequel: A Stationary (and Therefore Compatible)
Representation is All You Need, arXiv 2606.12488. Authors' code: miccunifi/iamcl2r.

What is learnt: an encoder whose classes lie at the corners of a regular simplex that never changes. Every model of a
series learns towards the same corners, so vectors of different models can be compared; a contrastive loss towards the
previous model's vectors aligns what lies within the classes.

| paper     | here                  | shape    | meaning                                                          |
|-----------|-----------------------|----------|------------------------------------------------------------------|
| φ_t(x)    | encoder               | → (B, D) | the model that is trained; D = K − 1                             |
| z         | z                     | (B, D)   | its output, not normalised                                       |
| K         | registry.slots        |          | classes that there is room for, for the whole series: D + 1      |
| W         | classifier.corners    | (K, D)   | the simplex, frozen                                              |
| y         | slot                  | (B)      | the corner of a row's class                                      |
| φ_{t−1}   | anchor                | → (B, D) | the frozen model that HOC holds on to                            |
| λ         | ce_weight             |          | share of the cross-entropy, 0.1                                  |
| μ         | hoc_scale             |          | scale of cosines in HOC, 10                                      |
| M         | memory                |          | examples of old classes that the new data lacks                  |

Flow: data.load (+ data.rehearsal) → encoders.text | encoders.image → modules.simplex → objectives.classification +
objectives.compatibility → training.loop → representation.model → evaluation.compatibility, index.

Differences from the paper: see README.md.
Shape legend: B rows, D numbers, K slots.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from brickwork.core.distributed import rank
from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import DataError
from brickwork.core.seeding import generator_for
from brickwork.core.types import Batch, LossOutput, TokenBatch
from brickwork.data.config import ImageDataConfig
from brickwork.data.types import Examples, TaskData
from brickwork.encoders.build import build_text_encoder
from brickwork.encoders.config import ImageEncoderConfig, TextEncoderConfig
from brickwork.encoders.image import ImageEncoder, collate_images
from brickwork.encoders.text import TextEncoder, collate_text, join_tokens
from brickwork.modules.simplex import End, SimplexHead, SlotRegistry
from brickwork.objectives.classification import cross_entropy
from brickwork.objectives.nested import nested_prefixes
from brickwork.representation.model import Representation
from brickwork.systems.stationary_compat import ancestors as history
from brickwork.systems.stationary_compat.objective import Mask, higher_order

Encoder = TextEncoder | ImageEncoder


@dataclass(frozen=True, kw_only=True)
class StationaryCompatConfig:
    """How to build a :class:`StationaryCompatSystem`; ``base`` and all after it go with ``previous``.

    ``encoder``: text or image; its vectors have K − 1 numbers, so it decides how many classes (K) there is room for
    (texts: ``encoder.projection``, images: ``encoder.embedding_dim``). ``logit_scale``: s of the logits s·z·Wᵀ.
    ``slots_from``: the end of the simplex from which new classes get their corners.
    ``previous``: folder of the model that this one replaces; its classes keep their corners.
    ``base``: folder of the model to start from and to stay near to (HOC), where that is another one.
    ``warm_start``: start from the weights of ``base`` (``encoder`` is then not used), or fresh; None = yes.
    ``ce_weight``: λ, None = 0.1; 1 is without HOC. ``hoc_scale``: μ, None = 10. ``mask``: of HOC, None = ``zero``.
    ``rehearsal``: examples of each old class that the new data lacks, mixed in; None = 20; 0 = none.
    """

    encoder: TextEncoderConfig | ImageEncoderConfig = TextEncoderConfig(projection=127)
    logit_scale: float = 1.0
    slots_from: End = "front"
    previous: str = ""
    base: str = ""
    warm_start: bool | None = None
    ce_weight: float | None = None
    hoc_scale: float | None = None
    mask: Mask | None = None
    rehearsal: int | None = None

    def validate(self) -> list[str]:
        errors = []
        if self.logit_scale <= 0:
            errors.append(f"logit_scale is {self.logit_scale}; it must be positive")
        if self.hoc_scale is not None and self.hoc_scale <= 0:
            errors.append(f"hoc_scale is {self.hoc_scale}; it must be positive")
        if self.ce_weight is not None and not 0 <= self.ce_weight <= 1:
            errors.append(f"ce_weight is {self.ce_weight}; it must be in [0, 1]")
        if self.rehearsal is not None and self.rehearsal < 0:
            errors.append(f"rehearsal is {self.rehearsal}; it must not be negative")
        idle = (
            ["base", "warm_start", "ce_weight", "hoc_scale", "mask", "rehearsal"] if not self.previous else []
        )
        idle += ["hoc_scale", "mask"] if self.previous and self.ce_weight == 1 else []
        why = "with ce_weight=1" if self.previous else "without previous, the model that is replaced"
        for name in idle:
            if getattr(self, name) not in (None, ""):
                errors.append(f"{name} has no effect {why}; leave it out")
        return errors


Config = StationaryCompatConfig
Data = ImageDataConfig


class StationaryCompatSystem(nn.Module):
    """An encoder, a fixed classifier, and the frozen model that it is to stay comparable with."""

    def __init__(
        self,
        encoder: Encoder,
        classifier: nn.Module,
        registry: SlotRegistry,
        *,
        slot_of: Int64[np.ndarray, " classes"],
        anchor: Encoder | None = None,
        ce_weight: float = 0.1,
        hoc_scale: float = 10.0,
        mask: Mask = "zero",
        memory: Examples | None = None,
        replaces: list[str] | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.encoder = encoder
        self.classifier = classifier
        self.registry = registry
        self.anchor = anchor.requires_grad_(False) if anchor is not None else None
        self.ce_weight = ce_weight
        self.hoc_scale = hoc_scale
        self.mask: Mask = mask
        self.memory = memory
        self.replaces = replaces or []
        self.seed = seed
        self.axes = ElasticAxes(dims=(encoder.embedding_dim,), layers=(encoder.num_layers,))
        self.slot_of: Tensor
        self.register_buffer("slot_of", torch.from_numpy(slot_of))
        self.train()

    def train(self, mode: bool = True) -> "StationaryCompatSystem":
        """As always, but for the anchor, which stays as it is."""
        super().train(mode)
        if self.anchor is not None:
            self.anchor.eval()
        return self

    def collate(self, columns: dict[str, Any]) -> Batch:
        """Columns of examples (or ``{"input": …}`` to encode) as a batch."""
        if isinstance(self.encoder, ImageEncoder):
            return collate_images(self.encoder, columns)
        batch = collate_text(self.encoder, columns)
        if isinstance(self.anchor, TextEncoder) and len(columns) > 1:  # it may have another tokenizer
            batch["anchor_input"] = self.anchor.tokenize(columns["input"])
        return batch

    def loss(self, batch: Batch) -> LossOutput:
        """L = λ·CE + (1 − λ)·HOC  (eq. 3); for the first model of a series, CE alone."""
        batch = {**batch, "slot": self.slot_of[batch["label"]]}
        if self.training and self.memory is not None:
            batch = self._with_memory(batch, self.memory)
        slot = batch["slot"]
        z = self.encoder(batch["input"], [self.encoder.num_layers])[self.encoder.num_layers]
        logits = self.classifier(z)  # s·z Wᵀ, z not normalised
        terms = {"cross_entropy": cross_entropy(logits, slot)}
        stats: dict[str, float | Tensor] = {"accuracy": (logits.argmax(1) == slot).float().mean()}
        if self.anchor is None:
            return LossOutput.of(terms, stats=stats)
        with torch.no_grad():
            x = batch.get("anchor_input", batch["input"])
            old = self.anchor(x, [self.anchor.num_layers])[self.anchor.num_layers]
        stats["cosine_to_old"] = nn.functional.cosine_similarity(z.detach(), old).mean()
        terms["higher_order"] = higher_order(old, z, slot, scale=self.hoc_scale, mask=self.mask)  # eq. 4
        weights = {"cross_entropy": self.ce_weight, "higher_order": 1 - self.ce_weight}
        return LossOutput.of(terms, weights, stats)

    def _with_memory(self, batch: Batch, memory: Examples) -> Batch:
        """The batch and as many old examples, drawn with replacement: half new, half memory."""
        generator = generator_for(self.seed, batch["step"], f"memory {rank()}")
        rows = torch.randint(len(memory), (len(batch["slot"]),), generator=generator).tolist()
        drawn = self.collate(memory.take(rows))

        def join(name: str) -> Any:
            new, old = batch[name], drawn[name].to(batch["slot"].device)
            return join_tokens([new, old]) if isinstance(new, TokenBatch) else torch.cat([new, old])

        return {**batch, **{name: join(name) for name in drawn}}

    @torch.no_grad()
    def encode(
        self, inputs: Any, dim: int | None = None, layers: int | None = None
    ) -> Float[Tensor, "n dim"]:
        """Unit vectors of texts or images (N, H, W, C)."""
        dim, layer, _ = self.axes.resolve(dim, layers)
        if not len(inputs):
            return torch.zeros(0, dim)
        x = self.collate({"input": inputs})["input"].to(next(self.parameters()).device)
        return nested_prefixes(self.encoder(x, [layer])[layer], [dim])[dim]

    def representation(self) -> Representation:
        """What the user keeps: the encoder, which class has which corner, and the models that it can replace."""
        lineage = {"system": "stationary-compat", "slots": self.registry.to_dict(), "replaces": self.replaces}
        return Representation(self.encoder, self.axes, lineage=lineage, card={})


def build(
    config: StationaryCompatConfig, data: TaskData, assets: Path | None = None
) -> StationaryCompatSystem:
    """The untrained system for ``data``. ``assets``: a folder whose tokenizer is used instead of training one.

    Raises:
        DataError: the data has no labels, or is of another modality than the encoder or the previous model.
        ConfigError: no room for a class, or vectors of another length than the previous model's.
        ArtifactError: ``previous`` or ``base`` is no model of this system.
    """
    if data.kind != "labelled":
        raise DataError(f"stationary-compat needs labels (columns text, label); {data.name} is {data.kind}")
    previous = history.ancestor(config.previous, "previous") if config.previous else None
    base = history.ancestor(config.base, "base") if config.base else previous
    warm = base is not None and config.warm_start is not False
    kind = base.representation.encoder.kind if base and warm else config.encoder.kind
    history.check_inputs(data, kind, base)
    encoder: Encoder
    if base is not None and warm:
        encoder = copy.deepcopy(base.representation.encoder).requires_grad_(True)
    elif isinstance(config.encoder, TextEncoderConfig):
        encoder = build_text_encoder(config.encoder, data.texts(), assets)
    else:
        height, width, channels = np.asarray(data.train.columns["input"]).shape[1:]
        encoder = ImageEncoder(config.encoder, (height, width, channels))
    ancestors = [one for one in (previous, base) if one is not None]
    registry = history.inherited(encoder.embedding_dim + 1, ancestors, kind)
    registry = registry.assign(history.class_names(data), config.slots_from)
    ce_weight = 0.1 if config.ce_weight is None else config.ce_weight
    return StationaryCompatSystem(
        encoder,
        SimplexHead(registry.slots, scale=config.logit_scale),
        registry,
        slot_of=history.class_slots(data, registry),
        anchor=copy.deepcopy(base.representation.encoder) if base is not None and ce_weight < 1 else None,
        ce_weight=ce_weight,
        hoc_scale=10.0 if config.hoc_scale is None else config.hoc_scale,
        mask=config.mask or "zero",
        memory=history.memory(previous, data, registry, config.rehearsal) if previous is not None else None,
        replaces=history.replaced(ancestors),
        seed=torch.initial_seed(),
    )
