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

Flow: data.load (+ rehearsal.py) → encoders.text | encoders.image → modules.simplex → objectives.classification +
objective.py → training.loop → representation.model → evaluation.compatibility, index.

Differences from the paper: see README.md.
Shape legend: B rows, D dimensions, K slots.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from brickwork.core.config import above, at_least, at_most, idle
from brickwork.core.distributed import rank
from brickwork.core.seeding import generator_for
from brickwork.core.types import Batch, LossOutput, TokenBatch
from brickwork.data.config import ImageDataConfig
from brickwork.data.types import Examples, TaskData
from brickwork.encoders.config import (
    ImageEncoderConfig,
    PretrainedImageConfig,
    TextEncoderConfig,
    modality_of,
)
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.text import TextEncoder, join_tokens
from brickwork.modules.simplex import End, SimplexHead, SlotRegistry
from brickwork.objectives.classification import cross_entropy
from brickwork.representation.contract import build_encoder, encodes
from brickwork.representation.contract import collate as collate_texts
from brickwork.systems.stationary_compat import ancestors
from brickwork.systems.stationary_compat.objective import Mask, higher_order

Encoder = TextEncoder | ImageEncoder
Data = ImageDataConfig
_OF_SUCCESSORS = ("base", "warm_start", "ce_weight", "hoc_scale", "mask", "rehearsal")


@dataclass(frozen=True, kw_only=True)
class Config:
    """``base`` and all after it go with ``previous``.

    ``encoder``: text or image, pretrained or from scratch; its vectors have K − 1 dimensions, so it decides how many
    classes (K) there is room for (texts: ``encoder.projection``, images: ``encoder.embedding_dim``).
    ``logit_scale``: s of the logits s·z·Wᵀ.
    ``slots_from``: the end of the simplex from which new classes get their corners.
    ``previous``: folder of the model that this one replaces; its classes keep their corners.
    ``base``: folder of the model to start from and to stay near to (HOC), where that is another one.
    ``warm_start``: start from the weights of ``base`` (``encoder`` is then not used), or fresh; None = yes.
    ``ce_weight``: λ, None = 0.1; 1 is without HOC. ``hoc_scale``: μ, None = 10. ``mask``: of HOC, None = ``zero``.
    ``rehearsal``: examples of each old class that the new data lacks, mixed in; None = 20; 0 = none.
    """

    encoder: TextEncoderConfig | ImageEncoderConfig | PretrainedImageConfig = TextEncoderConfig(
        projection=127
    )
    logit_scale: Annotated[float, above(0)] = 1.0
    slots_from: End = "front"
    previous: str = ""
    base: str | None = None
    warm_start: bool | None = None
    ce_weight: Annotated[float, at_least(0), at_most(1)] | None = None
    hoc_scale: Annotated[float, above(0)] | None = None
    mask: Mask | None = None
    rehearsal: Annotated[int, at_least(0)] | None = None

    def validate(self) -> list[str]:
        if not self.previous:
            return idle(
                self, _OF_SUCCESSORS, "a first model: it goes with previous, the model that is replaced"
            )
        return idle(self, ("hoc_scale", "mask"), "ce_weight=1") if self.ce_weight == 1 else []

    @property
    def share(self) -> float:
        """λ."""
        return 0.1 if self.ce_weight is None else self.ce_weight


@encodes
class System(nn.Module):
    """An encoder, a fixed classifier, and the frozen model that it is to stay comparable with.

    ``slots``: which class has which corner (:meth:`SlotRegistry.to_dict`); ``classes``: the names of the data's labels;
    ``replaces``: fingerprints of the models whose vectors this one's can be compared with.
    """

    reads = ("labelled",)
    transient = ("anchor",)

    def __init__(
        self,
        config: Config,
        encoder: Encoder,
        *,
        seed: int,
        slots: Mapping[str, Any],
        classes: Sequence[str],
        replaces: Sequence[str] = (),
        anchor: Encoder | None = None,
        memory: Examples | None = None,
    ):
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.registry = SlotRegistry.from_dict(slots)
        self.classifier: nn.Module = SimplexHead(self.registry.slots, scale=config.logit_scale)
        self.anchor = anchor.requires_grad_(False) if anchor is not None else None
        self.memory = memory
        self.seed = seed
        self.facts = {"slots": dict(slots), "classes": list(classes), "replaces": list(replaces)}
        self.lineage = {"slots": dict(slots), "replaces": list(replaces)}
        self.slot_of: Tensor
        self.register_buffer("slot_of", torch.tensor([self.registry.taken[name] for name in classes]))
        self.train()

    @classmethod
    def build(cls, config: Config, data: TaskData, assets: Path | None, seed: int) -> "System":
        """The untrained system, with what it takes over from its ancestors.

        Raises:
            DataError: data of another modality than the encoder or the previous model.
            ConfigError: no room for a class, or vectors of another length than the previous model's.
            ArtifactError: ``previous`` or ``base`` is no model of this system.
        """
        previous = ancestors.ancestor(config.previous, "previous") if config.previous else None
        base = ancestors.ancestor(config.base, "base") if config.base else previous
        warm = base is not None and config.warm_start is not False
        kind = base.representation.encoder.kind if base and warm else modality_of(config.encoder)
        ancestors.check_inputs(data, kind, base)
        if base is not None and warm:
            encoder = copy.deepcopy(base.representation.encoder).requires_grad_(True)
        else:
            encoder = build_encoder(config, data, assets)
        models = [one for one in (previous, base) if one is not None]
        registry = ancestors.inherited(encoder.embedding_dim + 1, models, kind)
        registry = registry.assign(ancestors.class_names(data), config.slots_from)
        near = base is not None and config.share < 1
        return cls(
            config,
            encoder,
            seed=seed,
            slots=registry.to_dict(),
            classes=ancestors.class_names(data),
            replaces=ancestors.replaced(models),
            anchor=copy.deepcopy(base.representation.encoder) if base is not None and near else None,
            memory=ancestors.memory(previous, data, registry, config.rehearsal) if previous else None,
        )

    def train(self, mode: bool = True) -> "System":
        """As always, but for the anchor, which stays as it is."""
        super().train(mode)
        if self.anchor is not None:
            self.anchor.eval()
        return self

    def collate(self, columns: Mapping[str, Any]) -> Batch:
        """Columns of examples as a batch; texts also as the anchor reads them, which may have another tokenizer."""
        batch = collate_texts(self, columns)
        if isinstance(self.anchor, TextEncoder) and len(columns) > 1:
            batch["anchor_input"] = self.anchor.collate({"input": columns["input"]})["input"]
        return batch

    def loss(self, batch: Batch) -> LossOutput:
        """L = λ·CE + (1 − λ)·HOC  (eq. 3); for the first model of a series, CE alone."""
        config = self.config
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
        scale, mask = config.hoc_scale or 10.0, config.mask or "zero"
        terms["higher_order"] = higher_order(old, z, slot, scale=scale, mask=mask)  # eq. 4
        weights = {"cross_entropy": config.share, "higher_order": 1 - config.share}
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
