"""2D Matryoshka Sentence Embeddings: any depth and any prefix of one sentence encoder.

Li, Li, Li, Xie, Li: 2D Matryoshka Sentence Embeddings. arXiv 2402.14776, versions 1 and 3 (version 2 is another method,
ESE: Espresso Sentence Embeddings, ICLR 2025; here variant="ese"). Authors' code: SeanLee97/AnglE at 74e5ba2.

What is learnt: a transformer whose pooled hidden states after any layer n, cut to any prefix d, are a sentence embedding,
because each step also trains one random layer and one random prefix and aligns that layer with the last.

| paper        | here                        | shape    | meaning                                             |
|--------------|-----------------------------|----------|-----------------------------------------------------|
| N, D         | encoder.num_layers, dims[-1]|          | full depth and width                                |
| X_n          | embeddings["column/n"]      | (B, D)   | pooled hidden states after layer n, not normalised  |
| X_n^d        | cut(X_n, d)                 | (B, d)   | prefix; normalised inside the similarity only       |
| n ~ U{1,N−1} | plan.layers                 |          | the layer drawn for a step                          |
| d ~ U(sizes) | plan.pairs                  |          | the prefix drawn for a step                         |
| ℓ            | base                        |          | InfoNCE, CoSENT or AnglE                            |
| T            | kl_temperature              |          | of the softmax over the D coordinates in L3         |

The step (2dmse):
  L1 = ℓ(X_N) + ℓ(X_n);  L2 = ℓ(X_N^d) + ℓ(X_n^d);  L3 = T²·KL(softmax(X_N/T) ‖ softmax(X_n/T));  L = L1 + L2 + L3

Flow: data.load → encoders.text (an exit after every layer) → objectives.depth_width over objectives.contrastive and
objectives.distillation → training.loop → representation.model → index.

Differences from the paper: see README.md.
Shape legend: B rows, D width, N layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.elastic import ElasticAxes, check_nested, nested_sizes
from brickwork.core.errors import ConfigError, DataError
from brickwork.core.types import Batch, LossOutput
from brickwork.data.types import TaskData
from brickwork.encoders.build import build_text_encoder
from brickwork.encoders.config import TextEncoderConfig
from brickwork.encoders.text import TextEncoder, collate_text, encode_columns
from brickwork.objectives.nested import nested_prefixes
from brickwork.objectives.pairwise import Objective, choose_objective, pair_loss
from brickwork.representation.model import Representation
from brickwork.systems.matryoshka_2d.objective import (
    DepthWidthPlan,
    LayerWeighting,
    Variant,
    depth_width_loss,
    plan_step,
)

_COLUMNS = ("anchor", "positive", "negative")


@dataclass(frozen=True, kw_only=True)
class Matryoshka2dConfig:
    """How to build a :class:`Matryoshka2dSystem`.

    ``variant``: which of the five published losses. ``dims``: prefix sizes to draw from, ending at the full width;
    empty = the full width halved down to 8 (the paper's). ``layers``: depths to train, ending at the last; empty = all
    (``starbucks``: the depth divided evenly among the dims). ``objective``: ``auto`` = InfoNCE for pairs and triplets,
    CoSENT for scored pairs; ``angle`` is the paper's for scored pairs. ``temperature``: of the objective (the scale of
    CoSENT and AnglE is its inverse). ``student_weight``: on the losses of layers below the last. ``kl_weight``: on the
    alignment, 0 = none; ``kl_temperature``: its T, None = the variant's own; ``detach_teacher``: no gradient from it
    into the last layer. ``layer_weighting``: of the drawn layer, in ``adaptive_layer`` only (None = uniform).
    ``compression_dim``: k of ``ese`` only (None = D/6).
    """

    encoder: TextEncoderConfig = TextEncoderConfig()
    variant: Variant = "2dmse"
    dims: tuple[int, ...] = ()
    layers: tuple[int, ...] = ()
    objective: Literal["auto", "info_nce", "cosent", "angle"] = "auto"
    temperature: float = 0.05
    student_weight: float = 1.0
    kl_weight: float = 1.0
    kl_temperature: float | None = None
    detach_teacher: bool = True
    layer_weighting: LayerWeighting | None = None
    compression_dim: int | None = None

    def validate(self) -> list[str]:
        errors = []
        for name in ("temperature", "kl_temperature"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                errors.append(f"{name} is {getattr(self, name)}; it must be positive")
        for name in ("student_weight", "kl_weight"):
            if getattr(self, name) < 0:
                errors.append(f"{name} is {getattr(self, name)}; it must not be negative")
        for name, variant in (("layer_weighting", "adaptive_layer"), ("compression_dim", "ese")):
            if getattr(self, name) is not None and self.variant != variant:
                errors.append(f"{name} has no effect with variant '{self.variant}'; leave it out")
        if self.dims and self.variant == "ese":
            errors.append(
                "dims has no effect with variant 'ese', which trains one prefix: set compression_dim"
            )
        if not self.detach_teacher and self.variant == "ese":
            errors.append(
                "detach_teacher=false has no effect with variant 'ese': its target never has a gradient"
            )
        if self.kl_weight == 0:
            for name, default in (("kl_temperature", None), ("detach_teacher", True)):
                if getattr(self, name) != default:
                    errors.append(f"{name} has no effect with kl_weight=0; leave it out")
        return errors


Config = Matryoshka2dConfig


class Matryoshka2dSystem(nn.Module):
    """A text encoder and a loss on several of its depths and widths."""

    def __init__(
        self,
        encoder: TextEncoder,
        *,
        variant: Variant,
        dims: Sequence[int],
        layers: Sequence[int],
        objective: Objective,
        temperature: float,
        student_weight: float,
        kl_weight: float,
        kl_temperature: float | None,
        detach_teacher: bool,
        layer_weighting: LayerWeighting,
        seed: int,
    ):
        super().__init__()
        self.encoder = encoder
        self.variant: Variant = variant
        self.dims = tuple(dims)
        self.layers = tuple(layers)
        self.objective: Objective = objective
        self.temperature = temperature
        self.student_weight = student_weight
        self.kl_weight = kl_weight
        self.kl_temperature = kl_temperature
        self.detach_teacher = detach_teacher
        self.layer_weighting: LayerWeighting = layer_weighting
        self.seed = seed
        self.axes = ElasticAxes(dims=self.dims, layers=self._exits())

    def _exits(self) -> tuple[int, ...]:
        """Depths that training reaches: for the variants with a fixed plan those in it, else all."""
        if self.variant in ("ese", "starbucks"):
            return tuple(layer for layer in self.plan(0).layers if layer > 0)
        return self.layers or tuple(range(1, self.encoder.num_layers + 1))

    def plan(self, step: int) -> DepthWidthPlan:
        """The layers and prefixes of a step: n and d."""
        size = self.dims[0] if self.variant == "ese" else None
        return plan_step(
            self.variant,
            num_layers=self.encoder.num_layers,
            dims=self.dims,
            layers=self.layers,
            seed=self.seed,
            step=step,
            compression_dim=size,
        )

    def collate(self, columns: dict[str, Any]) -> Batch:
        """Columns of examples (or ``{"input": …}`` to encode) as a batch."""
        return collate_text(self.encoder, columns)

    def embed(self, batch: Batch) -> dict[str, Float[Tensor, "batch width"]]:
        """X_n of each column at each layer of the step's plan, named ``column/n``, from one forward pass."""
        inputs = {name: batch[name] for name in _COLUMNS if name in batch}
        exits = encode_columns(self.encoder, inputs, self.plan(batch["step"]).layers)
        return {f"{name}/{layer}": x for name, layers in exits.items() for layer, x in layers.items()}

    def loss_from(self, embeddings: dict[str, Tensor], batch: Batch) -> LossOutput:
        """L = L1 + L2 + L3, or what the variant has in their place (objectives.depth_width)."""
        plan = self.plan(batch["step"])
        columns = [name for name in _COLUMNS if name in batch]
        return depth_width_loss(
            pair_loss(self.objective, batch, self.temperature),  # ℓ
            {layer: [embeddings[f"{name}/{layer}"] for name in columns] for layer in plan.layers},  # X_n, X_N
            plan,
            student_weight=self.student_weight,
            kl_weight=self.kl_weight,
            kl_temperature=self.kl_temperature,
            detach_teacher=self.detach_teacher,
            layer_weighting=self.layer_weighting,
        )

    def loss(self, batch: Batch) -> LossOutput:
        """The loss of a batch at ``batch["step"]``; its terms are ``layer_<n>_dim_<d>`` and ``kl_layer_<n>``."""
        return self.loss_from(self.embed(batch), batch)

    @torch.no_grad()
    def encode(
        self, inputs: Any, dim: int | None = None, layers: int | None = None
    ) -> Float[Tensor, "n dim"]:
        """Unit vectors after ``layers`` blocks (deeper ones do not run), cut to ``dim`` numbers, then normalised."""
        dim, layer, _ = self.axes.resolve(dim, layers)
        if not len(inputs):
            return torch.zeros(0, dim)
        tokens = self.collate({"input": inputs})["input"].to(next(self.parameters()).device)
        return nested_prefixes(self.encoder(tokens, [layer])[layer], [dim])[dim]

    def representation(self) -> Representation:
        """What the user keeps: the encoder and where it may be cut."""
        return Representation(self.encoder, self.axes, lineage={"system": "matryoshka-2d"}, card={})


def build(config: Matryoshka2dConfig, data: TaskData, assets: Path | None = None) -> Matryoshka2dSystem:
    """The untrained system for ``data``. ``assets``: a folder whose tokenizer is used instead of training one.

    The seed of its draws is the one that torch was seeded with last.

    Raises:
        DataError: the data is not pairs, triplets or scored pairs of texts.
        ConfigError: dims that do not fit the encoder, or an encoder without depth.
    """
    if data.modality != "text":
        raise DataError(f"matryoshka-2d needs texts; {data.name} holds {data.modality}s: use matryoshka")
    objective = choose_objective(
        config.objective, data.kind, ("info_nce", "cosent", "angle"), "matryoshka-2d"
    )
    encoder = build_text_encoder(config.encoder, data.texts(), assets)
    if encoder.num_layers < 2:
        raise ConfigError(
            f"model.encoder '{config.encoder.backbone}' has one layer, so there is no depth to cut; "
            "use matryoshka, or an encoder with at least 2 layers"
        )
    if config.layers:
        check_nested("layers", config.layers, encoder.num_layers)
    width = encoder.embedding_dim
    dims = (config.compression_dim or max(1, width // 6), width) if config.variant == "ese" else config.dims
    return Matryoshka2dSystem(
        encoder,
        variant=config.variant,
        dims=nested_sizes(width, dims),
        layers=config.layers,
        objective=objective,
        temperature=config.temperature,
        student_weight=config.student_weight,
        kl_weight=config.kl_weight,
        kl_temperature=config.kl_temperature,
        detach_teacher=config.detach_teacher,
        layer_weighting=config.layer_weighting or "uniform",
        seed=torch.initial_seed(),
    )
