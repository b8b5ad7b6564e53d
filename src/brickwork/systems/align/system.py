"""ALIGN: two encoders, of images and of texts, learn from noisy pairs to meet in one space.

Jia, Yang, Xia, Chen, Parekh, Pham, Le, Sung, Li, Duerig: Scaling Up Visual and Vision-Language Representation Learning
With Noisy Text Supervision. ICML 2021, arXiv 2102.05918.

What is learnt: an image encoder, a text encoder and a temperature, so that the vectors of an image and of its text are
near each other and far from all others of the batch. Scale is to make up for pairs that do not fit.

| paper | here                   | shape  | meaning                                               |
|-------|------------------------|--------|-------------------------------------------------------|
| x_i   | embeddings["image"]    | (B, D) | vector of image i, normalised in the loss             |
| y_i   | embeddings["text"]     | (B, D) | vector of text i, normalised in the loss              |
| σ     | temperature            |        | temperature, learned                                  |
| N     | the batch, all devices |        | in-batch negatives                                    |
| ε     | label_smoothing        |        | share of the target that is spread over all candidates |

Flow: data.readers.captions → caption_filters.py → data.image_text → encoders.image_text → objectives.contrastive →
training.loop → representation.model → evaluation.cross_modal, index.encoding (queries of text, image or both).

Differences from the paper: see README.md.
Shape legend: B pairs, D dimensions.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from brickwork.core.config import above, at_least, below, idle
from brickwork.core.types import Batch, LossOutput
from brickwork.data.types import TaskData
from brickwork.encoders.build import build_text_encoder
from brickwork.encoders.build_images import build_image_encoder, build_image_text_encoder
from brickwork.encoders.config import (
    FRESH,
    ImageEncoderConfig,
    PretrainedImageConfig,
    TextEncoderConfig,
    adapt_problems,
)
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.image_text import ImageTextEncoder
from brickwork.objectives.contrastive import LearnedTemperature, hinge, info_nce, siglip
from brickwork.representation.adapting import Adaptation
from brickwork.representation.contract import architecture as derived_architecture
from brickwork.representation.contract import encodes, image_shape
from brickwork.representation.contract import representation as derived_representation
from brickwork.representation.model import Representation
from brickwork.systems.align.data import Data as Data
from brickwork.systems.align.data import load_data as load_data

Objective = Literal["info_nce", "siglip", "hinge"]
_IDLE = {
    "info_nce": ("margin",),
    "siglip": ("margin", "label_smoothing"),
    "hinge": ("temperature", "learn_temperature", "label_smoothing"),
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """``image``, ``text``: the encoders; both end in as many dimensions as the image encoder has (``image.embedding_dim``,
    of a pretrained one its own where that is left out), the text encoder through a matrix.
    ``backbone``: in place of both, a pretrained dual encoder to train on (CLIP, SigLIP): a folder or a hub id, with
    ``revision``. Its temperature, and SigLIP's bias, are where training starts.
    ``locked``: the pretrained encoder whose weights stay (LiT, Zhai et al. 2022, locks the images); a fresh matrix at its
    end is learned.
    ``adapt``: how the pretrained encoders that are not locked learn: all of them, or low-rank adapters (``lora``) of
    ``lora_rank``, as with an encoder of another system; fresh encoders learn in any case.
    ``feature_folder``: where vectors of the locked encoder are kept for other runs; None = in memory.
    ``objective``: ``info_nce`` (the paper's), or to compare ``siglip`` and ``hinge``. With ``info_nce``:
    ``temperature``, where it starts, None = 0.07 (SigLIP starts at 0.1, its paper's); ``learn_temperature``, None = yes;
    ``label_smoothing``, None = 0.1. ``margin``: of ``hinge``, None = 0.2. ``duplicates``: pairs with the same text or the
    same image are each other's ``positives`` (with ``hinge``: no negatives), or ``negatives`` as in the paper.
    ``negatives``: the batch is split into parts of so many pairs, each with negatives of its own; None = one part, and
    those of all processes.
    """

    backbone: str | None = None
    revision: str | None = None
    image: ImageEncoderConfig | PretrainedImageConfig = field(
        default_factory=lambda: ImageEncoderConfig(embedding_dim=128, width=16)
    )
    text: TextEncoderConfig = field(
        default_factory=lambda: TextEncoderConfig(backbone="scratch", num_layers=2, max_tokens=32)
    )
    locked: Literal["image", "text"] | None = None
    adapt: Literal["full", "lora"] = "full"
    lora_rank: int | None = None
    feature_folder: str | None = None
    objective: Objective = "info_nce"
    temperature: Annotated[float, at_least(0.01)] | None = None
    learn_temperature: bool | None = None
    label_smoothing: Annotated[float, at_least(0), below(1)] | None = None
    margin: Annotated[float, above(0)] | None = None
    duplicates: Literal["positives", "negatives"] = "positives"
    negatives: Annotated[int, at_least(2)] | None = None

    def validate(self) -> list[str]:
        errors = idle(self, _IDLE[self.objective], f"objective '{self.objective}'")
        if self.text.projection is not None:
            errors.append("text.projection is set by image.embedding_dim; leave it out")
        errors += [
            f"{name}.adapt={part.adapt}: say it with locked={name}, or adapt and lora_rank of the model"
            for name, part in (("image", self.image), ("text", self.text))
            if not isinstance(part, ImageEncoderConfig) and part.adapt != "full"
        ]
        errors += adapt_problems(
            self.adapt, self.lora_rank, fresh=self.backbone is None and not self._pretrained()
        )
        if self.backbone is not None:
            plain = Config()
            errors += [
                f"{name} has no effect with backbone, which has both encoders; leave one of them out"
                for name in ("image", "text")
                if getattr(self, name) != getattr(plain, name)
            ]
            return errors
        errors += idle(
            self, ("revision",), "no backbone: of one encoder it is image.revision or text.revision"
        )
        if self.locked and self.locked not in self._pretrained():
            errors.append(
                f"locked={self.locked} keeps weights that were never trained; give {self.locked}.backbone"
            )
        return errors

    def _pretrained(self) -> set[str]:
        """Which of ``image`` and ``text`` starts from weights that were trained; of a dual ``backbone`` both."""
        fresh = {
            "image": isinstance(self.image, ImageEncoderConfig),
            "text": self.text.backbone in FRESH,
        }
        return {name for name, is_fresh in fresh.items() if self.backbone is not None or not is_fresh}


@encodes
class System(nn.Module):
    """An encoder of images and texts, and a loss on the pairs of a batch. The temperature stays with the system."""

    reads = ("image-text",)

    def __init__(self, config: Config, encoder: ImageTextEncoder, *, seed: int):
        super().__init__()
        self.config = config
        self.encoder = encoder
        if config.objective != "hinge":
            start = 0.1 if config.objective == "siglip" else 0.07
            start = config.temperature or (start if encoder.scale is None else 1 / encoder.scale)
            self.temperature = LearnedTemperature(start, smallest=min(0.01, start))
            self.temperature.requires_grad_(config.learn_temperature is not False)
        if config.objective == "siglip":
            self.bias = nn.Parameter(torch.tensor(-10.0 if encoder.bias is None else encoder.bias))

    @staticmethod
    def build_encoder(config: Config, data: TaskData, assets: Path | None) -> ImageTextEncoder:
        """Both encoders, of vectors of one length."""
        if config.backbone is not None:
            return build_image_text_encoder(config.backbone, config.revision)
        texts = data.train.columns["text"]
        if isinstance(config.image, PretrainedImageConfig):
            image = build_image_encoder(config.image)
            shaped = replace(config.text, projection=image.embedding_dim)
            return ImageTextEncoder.of(image, build_text_encoder(shaped, texts, assets))
        shaped = replace(config.text, projection=config.image.embedding_dim)
        text = build_text_encoder(shaped, texts, assets)
        return ImageTextEncoder.of(ImageEncoder(config.image, image_shape(data, "image")), text)

    def adaptations(self) -> list[Adaptation]:
        """How the pretrained encoders learn; what is fresh at their ends learns in any case."""
        config = self.config
        ends = {"image": getattr(config.image, "embedding_dim", None) is not None, "text": True}
        sides = {"image": self.encoder.image, "text": self.encoder}
        return [
            Adaptation(
                sides[name],
                "frozen" if name == config.locked else config.adapt,
                config.lora_rank,
                fresh_end=ends[name] and config.backbone is None,
                feature_folder=config.feature_folder,
            )
            for name in sorted(config._pretrained())
        ]

    def representation(self) -> Representation:
        """The encoder; where it came with a scale for its cosines, with that of the temperature now."""
        self._calibrate()
        return derived_representation(self)

    def architecture(self) -> dict[str, Any]:
        """JSON values from which this system is rebuilt, without its weights."""
        self._calibrate()
        return derived_architecture(self)

    def _calibrate(self) -> None:
        encoder = self.encoder
        if encoder.scale is None:
            return
        encoder.scale = None if self.config.objective == "hinge" else 1 / float(self.temperature().detach())
        encoder.bias = float(self.bias.detach()) if self.config.objective == "siglip" else None

    def embed(self, batch: Batch) -> dict[str, Float[Tensor, "batch dim"]]:
        """x and y, (B, D) each."""
        encoder, layer = self.encoder, self.encoder.num_layers
        last = encoder.image.num_layers
        return {
            "image": encoder.image(batch["image"], [last])[last],
            "text": encoder(batch["text"], [layer])[layer],
        }

    def loss_from(self, embeddings: dict[str, Tensor], batch: Batch) -> LossOutput:
        """L = L_i2t + L_t2i, each −(1/N) Σ_i Σ_j q_ij log softmax_j(x_i·y_j/σ)  (eq. 1 and 2)."""
        sides = [
            embeddings["image"],
            embeddings["text"],
            torch.stack([batch["text_group"], batch["image_group"]], 1),
        ]
        size = self.config.negatives or len(sides[0])
        parts = list(zip(*(side.split(size) for side in sides)))
        means = [len(x) / len(sides[0]) * self._contrast(x, y, group) for x, y, group in parts]
        stats = {} if self.config.objective == "hinge" else {"temperature": self.temperature().detach()}
        # The sum of both ways, not the mean.
        weights = {"info_nce": 2.0} if self.config.objective == "info_nce" else None
        return LossOutput.of({self.config.objective: torch.stack(means).sum()}, weights, stats)

    def _contrast(
        self, x: Float[Tensor, "pairs dim"], y: Float[Tensor, "pairs dim"], equal: Int64[Tensor, "pairs 2"]
    ) -> Float[Tensor, ""]:
        group = equal if self.config.duplicates == "positives" else None
        if self.config.objective == "hinge":
            return hinge(x, y, margin=self.config.margin or 0.2, group=group)
        if self.config.objective == "siglip":
            return siglip(x, y, temperature=self.temperature(), bias=self.bias, group=group)
        smoothing = self.config.label_smoothing
        return info_nce(
            x,
            y,
            temperature=self.temperature(),
            label_smoothing=0.1 if smoothing is None else smoothing,
            group=group,
            group_positives=group is not None,
            symmetric=True,
        )
