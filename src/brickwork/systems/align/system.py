"""ALIGN: two encoders, of pictures and of texts, learn from noisy pairs to meet in one space.

Jia, Yang, Xia, Chen, Parekh, Pham, Le, Sung, Li, Duerig: Scaling Up Visual and Vision-Language Representation Learning
With Noisy Text Supervision. ICML 2021, arXiv 2102.05918.

What is learnt: an image encoder, a text encoder and a temperature, so that the vectors of a picture and of its text are
near each other and far from all others of the batch. Scale is to make up for pairs that do not fit.

| paper | here                   | shape  | meaning                                               |
|-------|------------------------|--------|-------------------------------------------------------|
| x_i   | embeddings["image"]    | (B, D) | vector of picture i, normalised in the loss           |
| y_i   | embeddings["text"]     | (B, D) | vector of text i, normalised in the loss              |
| σ     | temperature            |        | temperature, learned                                  |
| N     | the batch, all devices |        | in-batch negatives                                    |
| ε     | label_smoothing        |        | share of the target that is spread over all candidates |

Flow: data.captions → data.caption_filters → data.image_text → encoders.image_text → objectives.contrastive →
training.loop → representation.model → evaluation.cross_modal, index.encoding (queries of text, picture or both).

Differences from the paper: see README.md.
Shape legend: B pairs, D numbers.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import DataError
from brickwork.core.types import Batch, LossOutput
from brickwork.data.types import TaskData
from brickwork.encoders.build import build_text_encoder
from brickwork.encoders.config import ImageEncoderConfig, TextEncoderConfig
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.image_text import ImageTextEncoder
from brickwork.objectives.contrastive import LearnedTemperature, hinge, info_nce, siglip
from brickwork.objectives.nested import nested_prefixes
from brickwork.representation.model import Representation
from brickwork.systems.align.data import Data as Data
from brickwork.systems.align.data import load_data as load_data

Objective = Literal["info_nce", "siglip", "hinge"]


@dataclass(frozen=True, kw_only=True)
class AlignConfig:
    """How to build an :class:`AlignSystem`.

    ``image``, ``text``: the encoders; both end in ``image.embedding_dim`` numbers, the text encoder through a matrix.
    ``objective``: ``info_nce`` (the paper's), or to compare ``siglip`` and ``hinge``. With ``info_nce``:
    ``temperature``, where it starts, None = 0.07 (SigLIP starts at 0.1, its paper's); ``learn_temperature``, None = yes;
    ``label_smoothing``, None = 0.1. ``margin``: of ``hinge``, None = 0.2. ``duplicates``: pairs with the same text or the
    same picture are each other's ``positives`` (with ``hinge``: no negatives), or ``negatives`` as in the paper.
    ``negatives``: the batch is split into parts of so many pairs, each with negatives of its own; None = one part, and
    those of all processes.
    """

    image: ImageEncoderConfig = field(default_factory=lambda: ImageEncoderConfig(embedding_dim=128, width=16))
    text: TextEncoderConfig = field(
        default_factory=lambda: TextEncoderConfig(backbone="scratch", num_layers=2, max_tokens=32)
    )
    objective: Objective = "info_nce"
    temperature: float | None = None
    learn_temperature: bool | None = None
    label_smoothing: float | None = None
    margin: float | None = None
    duplicates: Literal["positives", "negatives"] = "positives"
    negatives: int | None = None

    def validate(self) -> list[str]:
        errors = []
        if self.temperature is not None and self.temperature < 0.01:
            errors.append(f"temperature is {self.temperature}; it must be at least 0.01")
        if self.label_smoothing is not None and not 0 <= self.label_smoothing < 1:
            errors.append(f"label_smoothing is {self.label_smoothing}; it must be in [0, 1)")
        if self.margin is not None and self.margin <= 0:
            errors.append(f"margin is {self.margin}; it must be positive")
        if self.negatives is not None and self.negatives < 2:
            errors.append(f"negatives is {self.negatives}; it must be at least 2")
        if self.text.projection is not None:
            errors.append("text.projection is set by image.embedding_dim; leave it out")
        idle = {
            "info_nce": ("margin",),
            "siglip": ("margin", "label_smoothing"),
            "hinge": ("temperature", "learn_temperature", "label_smoothing"),
        }[self.objective]
        errors += [
            f"{name} has no effect with objective '{self.objective}'; leave it out"
            for name in idle
            if getattr(self, name) is not None
        ]
        return errors


Config = AlignConfig


class AlignSystem(nn.Module):
    """An encoder of pictures and texts, and a loss on the pairs of a batch."""

    def __init__(
        self,
        encoder: ImageTextEncoder,
        *,
        objective: Objective,
        temperature: float,
        learn_temperature: bool,
        label_smoothing: float,
        margin: float,
        duplicates: Literal["positives", "negatives"],
        negatives: int | None,
    ):
        super().__init__()
        self.encoder = encoder
        self.objective: Objective = objective
        self.label_smoothing = label_smoothing
        self.margin = margin
        self.duplicates = duplicates
        self.negatives = negatives
        if objective != "hinge":
            self.temperature = LearnedTemperature(temperature)
            self.temperature.requires_grad_(learn_temperature)
        if objective == "siglip":
            self.bias = nn.Parameter(torch.tensor(-10.0))
        self.axes = ElasticAxes(dims=(encoder.embedding_dim,), layers=(encoder.num_layers,))

    def collate(self, columns: dict[str, Any]) -> Batch:
        """Columns of examples as a batch."""
        return self.encoder.collate(columns)

    def embed(self, batch: Batch) -> dict[str, Float[Tensor, "batch dim"]]:
        """x and y, (B, D) each."""
        layer = self.encoder.num_layers
        return {
            "image": self.encoder.image(batch["image"])[1],
            "text": self.encoder(batch["text"], [layer])[layer],
        }

    def loss_from(self, embeddings: dict[str, Tensor], batch: Batch) -> LossOutput:
        """L = L_i2t + L_t2i, each −(1/N) Σ_i Σ_j q_ij log softmax_j(x_i·y_j/σ)  (eq. 1 and 2)."""
        sides = [
            embeddings["image"],
            embeddings["text"],
            torch.stack([batch["text_group"], batch["picture"]], 1),
        ]
        size = self.negatives or len(sides[0])
        parts = list(zip(*(side.split(size) for side in sides)))
        means = [len(x) / len(sides[0]) * self._contrast(x, y, group) for x, y, group in parts]
        stats = {} if self.objective == "hinge" else {"temperature": self.temperature().detach()}
        # The sum of both ways, not the mean.
        weights = {"info_nce": 2.0} if self.objective == "info_nce" else None
        return LossOutput.of({self.objective: torch.stack(means).sum()}, weights, stats)

    def _contrast(
        self, x: Float[Tensor, "pairs dim"], y: Float[Tensor, "pairs dim"], equal: Int64[Tensor, "pairs 2"]
    ) -> Float[Tensor, ""]:
        group = equal if self.duplicates == "positives" else None
        if self.objective == "hinge":
            return hinge(x, y, margin=self.margin, group=group)
        if self.objective == "siglip":
            return siglip(x, y, temperature=self.temperature(), bias=self.bias, group=group)
        return info_nce(
            x,
            y,
            temperature=self.temperature(),
            label_smoothing=self.label_smoothing,
            group=group,
            group_positives=group is not None,
            symmetric=True,
        )

    def loss(self, batch: Batch) -> LossOutput:
        """The loss of a batch of pairs."""
        return self.loss_from(self.embed(batch), batch)

    @torch.no_grad()
    def encode(
        self, inputs: Any, dim: int | None = None, layers: int | None = None
    ) -> Float[Tensor, "n dim"]:
        """Unit vectors of texts, or of pictures (uint8, N × H × W × C)."""
        dim, layer, _ = self.axes.resolve(dim, layers)
        if not len(inputs):
            return torch.zeros(0, dim)
        device = next(self.parameters()).device
        if isinstance(inputs, np.ndarray) and inputs.ndim == 4:
            vectors = self.encoder.image(self.encoder.image.prepare(inputs).to(device))[1]
        else:
            vectors = self.encoder(self.encoder.tokenize(list(inputs)).to(device), [layer])[layer]
        return nested_prefixes(vectors, [dim])[dim]

    def representation(self) -> Representation:
        """What the user keeps: both encoders. The temperature stays with the system."""
        return Representation(self.encoder, self.axes, lineage={"system": "align"}, card={})


def build(config: AlignConfig, data: TaskData, assets: Path | None = None) -> AlignSystem:
    """The untrained system for ``data``. ``assets``: a folder whose tokenizer is used instead of training one.

    Raises:
        DataError: the data is not of pictures with texts.
        ConfigError: encoders that do not fit the data.
    """
    if data.modality != "image-text":
        raise DataError(
            f"{data.name} holds {data.modality}s; align needs pictures with texts: a folder of pictures with "
            "captions.csv or a .txt beside each, a table with a column of pictures and one of texts, emoji or scenes"
        )
    height, width, channels = data.train.columns["image"].shape[1:]  # type: ignore[union-attr]
    shaped = replace(config.text, projection=config.image.embedding_dim)
    text = build_text_encoder(shaped, data.train.columns["text"], assets)
    encoder = ImageTextEncoder.of(ImageEncoder(config.image, (height, width, channels)), text)
    return AlignSystem(
        encoder,
        objective=config.objective,
        temperature=config.temperature or (0.1 if config.objective == "siglip" else 0.07),
        learn_temperature=config.learn_temperature is not False,
        label_smoothing=0.1 if config.label_smoothing is None else config.label_smoothing,
        margin=config.margin or 0.2,
        duplicates=config.duplicates,
        negatives=config.negatives,
    )
