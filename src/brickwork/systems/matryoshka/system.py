"""Matryoshka Representation Learning: one embedding whose prefixes are embeddings.

Kusupati, Bhatt, Rege, Wallingford, Sinha, Ramanujan, Howard-Snyder, Chen, Kakade, Jain, Farhadi: Matryoshka
Representation Learning. NeurIPS 2022, arXiv 2205.13147. Authors' code: RAIVNLab/MRL.

What is learnt: an encoder F whose first m numbers, for every m in a nested set M, do the task as well as a model of
that size would, because the task's loss is applied to every prefix at once.

| paper              | here                  | shape      | meaning                                            |
|--------------------|-----------------------|------------|----------------------------------------------------|
| F(x)               | encoder               | → (B, D)   | any text or image encoder                          |
| z                  | embeddings[column]    | (B, D)     | its output, not normalised                         |
| M                  | dims                  |            | nested sizes m_1 < … < m_k = D                     |
| z_{1:m}            | cut(z, m)             | (B, m)     | prefix                                             |
| W^(m), b^(m)       | head                  | (C, m), (C)| a classifier per prefix (MRL), or one shared (MRL-E)|
| c_m                | weights               | (k)        | importance of a prefix, 1                          |
| ℓ                  | base                  |            | cross-entropy, InfoNCE, CoSENT or AnglE            |

Flow: data.load → encoders.text | encoders.image → modules.heads.NestedLinear (labels) → objectives.nested →
training.loop → representation.model → index (shortlist, funnel), modules.cascade.

Differences from the paper: see README.md.
Shape legend: B rows, D width, m prefix, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.elastic import ElasticAxes, nested_sizes
from brickwork.core.errors import ConfigError, DataError
from brickwork.core.types import Batch, LossOutput
from brickwork.data.config import ImageDataConfig
from brickwork.data.types import TaskData
from brickwork.encoders.build import build_text_encoder
from brickwork.encoders.config import ImageEncoderConfig, TextEncoderConfig
from brickwork.encoders.image import ImageEncoder, collate_images
from brickwork.encoders.text import TextEncoder, collate_text, encode_columns
from brickwork.modules.heads import NestedLinear
from brickwork.objectives.classification import cross_entropy
from brickwork.objectives.nested import BaseLoss, nested_loss, nested_prefixes
from brickwork.objectives.pairwise import Objective, choose_objective, pair_loss
from brickwork.representation.model import Representation

_COLUMNS = ("anchor", "positive", "negative", "input")


@dataclass(frozen=True, kw_only=True)
class MatryoshkaConfig:
    """How to build a :class:`MatryoshkaSystem`.

    ``encoder``: text or image. ``dims``: nested sizes, ending at the encoder's full width; empty = the full width
    halved down to 8. ``weights``: c_m for each of ``dims``, empty = all 1; a prefix of weight 0 is not trained
    (a fixed-feature model is dims=(m, D), weights=(1, 0)). ``reduction``: ``sum`` over prefixes as in the paper, or
    ``mean``. ``objective``: ``auto`` = InfoNCE for pairs and triplets, CoSENT for scored pairs, cross-entropy for
    labels. ``temperature``: of the pair objectives, None = 0.05 (the scale of CoSENT and AnglE is its inverse).
    ``head``: with labels, None = ``separate`` (MRL), or ``tied`` (MRL-E). ``label_smoothing``: with labels.
    """

    encoder: TextEncoderConfig | ImageEncoderConfig = TextEncoderConfig()
    dims: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    reduction: Literal["sum", "mean"] = "sum"
    objective: Literal["auto", "info_nce", "cosent", "angle", "cross_entropy"] = "auto"
    temperature: float | None = None
    head: Literal["separate", "tied"] | None = None
    label_smoothing: float | None = None

    def validate(self) -> list[str]:
        errors = []
        if self.weights and len(self.weights) != len(self.dims):
            errors.append(
                f"weights has {len(self.weights)} entries for {len(self.dims)} dims; give dims, and one each"
            )
        if self.weights and (min(self.weights) < 0 or not any(self.weights)):
            errors.append(f"weights is {list(self.weights)}; they must not be negative, nor all zero")
        if self.temperature is not None and self.temperature <= 0:
            errors.append(f"temperature is {self.temperature}; it must be positive")
        if self.label_smoothing is not None and not 0 <= self.label_smoothing < 1:
            errors.append(f"label_smoothing is {self.label_smoothing}; it must be in [0, 1)")
        if self.objective != "auto":
            errors += self.without_effect(self.objective)
        return errors

    def without_effect(self, objective: Objective) -> list[str]:
        """Options that were set and mean nothing with ``objective``."""
        idle = ("temperature",) if objective == "cross_entropy" else ("head", "label_smoothing")
        return [
            f"{name} has no effect with objective '{objective}'; leave it out"
            for name in idle
            if getattr(self, name) is not None
        ]


Config = MatryoshkaConfig
Data = ImageDataConfig


class MatryoshkaSystem(nn.Module):
    """An encoder, for labels a nested classifier, and a loss on every prefix."""

    def __init__(
        self,
        encoder: TextEncoder | ImageEncoder,
        *,
        dims: Sequence[int],
        weights: Sequence[float],
        reduction: Literal["sum", "mean"],
        objective: Objective,
        temperature: float,
        head: NestedLinear | None,
        label_smoothing: float,
    ):
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.trained = {m: c for m, c in zip(dims, weights, strict=True) if c}
        self.reduction: Literal["sum", "mean"] = reduction
        self.objective: Objective = objective
        self.temperature = temperature
        self.label_smoothing = label_smoothing
        self.axes = ElasticAxes(dims=tuple(dims), layers=(encoder.num_layers,))

    def collate(self, columns: dict[str, Any]) -> Batch:
        """Columns of examples (or ``{"input": …}`` to encode) as a batch."""
        if isinstance(self.encoder, TextEncoder):
            return collate_text(self.encoder, columns)
        return collate_images(self.encoder, columns)

    def embed(self, batch: Batch) -> dict[str, Float[Tensor, "batch width"]]:
        """z of each column of inputs, (B, D)."""
        inputs = {name: batch[name] for name in _COLUMNS if name in batch}
        layer = self.encoder.num_layers
        if isinstance(self.encoder, TextEncoder):
            return {name: z[layer] for name, z in encode_columns(self.encoder, inputs, [layer]).items()}
        return {name: self.encoder(x)[layer] for name, x in inputs.items()}

    def loss_from(self, embeddings: dict[str, Tensor], batch: Batch) -> LossOutput:
        """L = Σ_{m∈M} c_m · (1/B) Σ_i ℓ(z_{i,1:m})  (eq. 1)."""
        z = [embeddings[name] for name in _COLUMNS if name in embeddings]
        dims, weights = list(self.trained), list(self.trained.values())
        return nested_loss(self._base(batch), *z, dims=dims, weights=weights, reduction=self.reduction)

    def loss(self, batch: Batch) -> LossOutput:
        """The loss of a batch; its terms are ``dim_<m>``."""
        return self.loss_from(self.embed(batch), batch)

    def _base(self, batch: Batch) -> BaseLoss:
        """ℓ as a function of prefixes."""
        if self.head is None:
            return pair_loss(self.objective, batch, self.temperature)
        head, label = self.head, batch["label"]
        # W^(m) z_{1:m} + b^(m); MRL-E: W[:, 1:m] z_{1:m} + b  (eq. 1 and section 3)
        return lambda prefix: cross_entropy(head.at(prefix), label, label_smoothing=self.label_smoothing)

    @torch.no_grad()
    def encode(
        self, inputs: Any, dim: int | None = None, layers: int | None = None
    ) -> Float[Tensor, "n dim"]:
        """Unit vectors of texts or images (N, H, W, C), cut to ``dim`` numbers, then normalised."""
        dim, layer, _ = self.axes.resolve(dim, layers)
        if not len(inputs):
            return torch.zeros(0, dim)
        x = self.collate({"input": inputs})["input"].to(next(self.parameters()).device)
        return nested_prefixes(self.encoder(x, [layer])[layer], [dim])[dim]

    def representation(self) -> Representation:
        """What the user keeps: the encoder and where it may be cut. The heads stay with the system."""
        return Representation(self.encoder, self.axes, lineage={"system": "matryoshka"}, card={})


def build(config: MatryoshkaConfig, data: TaskData, assets: Path | None = None) -> MatryoshkaSystem:
    """The untrained system for ``data``. ``assets``: a folder whose tokenizer is used instead of training one.

    Raises:
        DataError: the data is of a kind or modality that the configuration cannot use.
        ConfigError: an option that has no effect with this data, or dims that do not fit the encoder.
    """
    offered: tuple[Objective, ...] = ("info_nce", "cosent", "angle", "cross_entropy")
    objective = choose_objective(config.objective, data.kind, offered, "matryoshka")
    if problems := config.without_effect(objective):
        raise ConfigError("\n".join(problems))
    if data.modality != config.encoder.kind:
        kinds = {
            "text": "TextEncoderConfig (recipes small, scratch, static)",
            "image": "ImageEncoderConfig (recipe images)",
        }
        raise DataError(
            f"{data.name} holds {data.modality}s, and model.encoder is for {config.encoder.kind}s; "
            f"take a recipe with {kinds[data.modality]}, or other data"
        )
    encoder: TextEncoder | ImageEncoder
    if isinstance(config.encoder, TextEncoderConfig):
        encoder = build_text_encoder(config.encoder, data.texts(), assets)
    else:
        height, width, channels = np.asarray(data.train.columns["input"]).shape[1:]
        encoder = ImageEncoder(config.encoder, (height, width, channels))
    dims = nested_sizes(encoder.embedding_dim, config.dims)
    head = None
    if objective == "cross_entropy":
        assert data.num_classes is not None, "labelled data says how many classes it has"
        head = NestedLinear(dims, data.num_classes, tied=config.head == "tied")
    return MatryoshkaSystem(
        encoder,
        dims=dims,
        weights=config.weights or [1.0] * len(dims),
        reduction=config.reduction,
        objective=objective,
        temperature=0.05 if config.temperature is None else config.temperature,
        head=head,
        label_smoothing=config.label_smoothing or 0.0,
    )
