"""DyLoRA: low-rank adapters that work at every rank after one training.

Valipour, Rezagholizadeh, Kobyzev, Ghodsi: DyLoRA: Parameter-Efficient Tuning of Pretrained Models using Dynamic
Search-Free Low-Rank Adaptation. EACL 2023, arXiv 2210.07558. Authors' code: huawei-noah/Efficient-NLP (DyLoRA).

What is learnt: for each adapted layer of a frozen backbone one pair (A, B) of rank r whose first b rows and columns are,
for every b up to r, an adapter of rank b: each step trains one random b, for the whole model. And a classifier.

| paper       | here                  | shape   | meaning                                                    |
|-------------|-----------------------|---------|------------------------------------------------------------|
| W_0         | layer.base            | (m, d)  | frozen weight of an adapted layer                          |
| W_dw = A    | layer.down            | (r, d)  | Kaiming-uniform; rows are parameters of their own          |
| W_up = B    | layer.up              | (m, r)  | zero at the start                                          |
| r, r_max    | rank                  |         | largest rank                                               |
| b ~ p_B     | ranks(step)           |         | the rank of a step                                         |
| α           | alpha                 |         | scale of the update, α/b at rank b                         |
| h           | adapter output        | (m)     | h = W_0·x + (α/b)·B_b·A_b·x  (eq. 7)                       |
| FROZEN      | update="frozen"       |         | only row and column b of a step learn                      |

Differences from the paper: see README.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.types import Batch, LossOutput, Trace
from brickwork.data.classes import with_classes
from brickwork.data.config import ImageDataConfig
from brickwork.data.types import Examples, TaskData
from brickwork.modules.adapters import inject_lora
from brickwork.modules.heads import classifier, linear_weights
from brickwork.objectives.classification import cross_entropy
from brickwork.representation.contract import complete
from brickwork.representation.export_peft import export_peft
from brickwork.systems.dylora.backbones import (
    Encoder,
    body_of,
    load_backbone,
    pooling_of,
    published_name,
    tower_of,
)
from brickwork.systems.dylora.config import DyloraConfig
from brickwork.systems.dylora.language import LanguageSystem
from brickwork.systems.dylora.ranks import RankPoint, drawn_ranks, rank_curve, recommended, usual_ranks
from brickwork.systems.dylora.tasks import load_data

__all__ = ["Config", "Data", "System", "load_data"]

_CHUNK = 64
Config = DyloraConfig
Data = ImageDataConfig


@complete
class System(nn.Module):
    """A frozen encoder with adapters, and a classifier on its vectors."""

    reads = ("labelled",)

    def __init__(
        self,
        config: DyloraConfig,
        encoder: Encoder,
        *,
        seed: int,
        classes: Sequence[str],
        base: str | None,
        tower: str = "",
    ):
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.config = config
        self.adapters = inject_lora(
            body_of(encoder),
            config.targets,
            rank=config.rank,
            alpha=config.alpha,
            scaling=config.scaling,
            sizes=config.sizes(),
            dropout=config.dropout,
        )
        self.head = classifier(encoder.embedding_dim, len(classes), config.classifier)
        self.classes = tuple(classes)
        self.base, self.tower = base, tower
        self.seed = seed
        self.input_kind: Literal["texts", "images"] = "texts" if encoder.kind == "text" else "images"

    @staticmethod
    def variant(config: DyloraConfig) -> "type[System] | type[LanguageSystem]":
        """The class for ``config.task``."""
        return LanguageSystem if config.task == "language" else System

    @staticmethod
    def facts(config: DyloraConfig, data: TaskData) -> dict[str, Any]:
        """The names of the classes, of the published model that adapters are exported for, and of its adapted part."""
        classes = data.class_names or tuple(map(str, range(data.num_classes or 0)))
        tower = tower_of(config.backbone, config.revision, data.modality)
        return {
            "classes": classes,
            "base": published_name(config.backbone),
            **({"tower": tower} if tower else {}),
        }

    @staticmethod
    def build_encoder(config: DyloraConfig, data: TaskData, assets: Path | None) -> Encoder:
        """The backbone as it is.

        Raises:
            DataError: it does not read ``data``.
            ArtifactError: it is missing, damaged or unsafe.
        """
        return load_backbone(config.backbone, config.revision, config.max_tokens, data)

    def ranks(self, step: int) -> tuple[int, ...]:
        """b ~ p_B, one for the whole model; two with ``sandwich``."""
        return drawn_ranks(self.config, self.seed, step)

    def logits(self, inputs: Any) -> Float[Tensor, "batch classes"]:
        """W·f_b(x) + c: the classes at the rank b that is set now; in f each adapted layer gives
        h = W_0·x + (α/b)·B_b·A_b·x (eq. 7)."""
        layer = self.encoder.num_layers
        return self.head(self.encoder(inputs, [layer])[layer])

    def loss(self, batch: Batch) -> LossOutput:
        """L_b = cross-entropy at the rank b of the step; with ``sandwich`` the mean of two. In the stage ``backbone``,
        before any adapter has learnt, that of the backbone."""
        if batch.get("stage") == "backbone":
            return LossOutput.of({"backbone": cross_entropy(self.logits(batch["input"]), batch["label"])})
        ranks, smoothing = self.ranks(batch["step"]), self.config.label_smoothing
        terms = {}
        for name, b in zip(("rank_drawn", "rank_full"), ranks):
            how = {"last_only": self.config.update == "frozen", "drift": self.config.idle == "drift"}
            with self.adapters.rank(b, **how):
                terms[name] = cross_entropy(
                    self.logits(batch["input"]), batch["label"], label_smoothing=smoothing
                )
        return LossOutput.of(terms, dict.fromkeys(terms, 1 / len(terms)), {"rank": float(ranks[0])})

    def start_stage(self, stage: str) -> None:
        """Adapters begin with a fresh classifier, as on a backbone from elsewhere."""
        if stage == "adapters":
            fresh = classifier(self.encoder.embedding_dim, len(self.classes), self.config.classifier)
            self.head.load_state_dict(fresh.state_dict())

    @staticmethod
    def controls(config: DyloraConfig) -> dict[str, DyloraConfig]:
        """LoRA at rank r alone, cut to smaller ranks afterwards (scaled as it was trained); ``config``, or DyLoRA where that
        is LoRA; the same with each step on its last rank alone."""
        learnt = config if config.sampler != "full" else replace(config, sampler="uniform")
        idle = {name: getattr(DyloraConfig, name) for name in ("geometric_p", "block", "ranks", "draw_every")}
        plain = replace(learnt, sampler="full", scaling="alpha/r", update="all", idle="stay", **idle)
        others = {"DyLoRA frozen": replace(learnt, update="frozen", idle="stay")}
        return {"LoRA": plain, "DyLoRA": replace(learnt, update="all"), **others}

    @staticmethod
    def compared(scores: Mapping[str, float]) -> dict[str, float]:
        """At rank r, and as the mean over r and the powers of two below it: points of accuracy, or nats per token saved."""
        if "accuracy" in scores:
            at = [100 * value for name, value in scores.items() if name.startswith("accuracy")]
            what = "points of accuracy"
        else:
            named = {n: v for n, v in scores.items() if n.startswith("perplexity")}
            at = [-math.log(v) for n, v in named.items() if n != "perplexity_untouched"]
            what = "nats per token saved (−log perplexity)"
        return {f"{what} at rank r": at[0], f"{what}, mean over ranks": sum(at) / len(at)}

    @torch.no_grad()
    def probabilities(self, inputs: Any, rank: int | None = None) -> Float[np.ndarray, "rows classes"]:
        """Of each class for texts or images (N, H, W, C), at ``rank`` (default: the rank that is set, at first r)."""
        parts = [np.zeros((0, len(self.classes)), dtype=np.float32)]
        device = next(self.parameters()).device
        with self.adapters.rank(self.adapters.state.rank if rank is None else rank):
            for start in range(0, len(inputs), _CHUNK):
                x = self.encoder.collate({"input": inputs[start : start + _CHUNK]})["input"].to(device)
                parts.append(self.logits(x).softmax(-1).float().cpu().numpy())
        return np.concatenate(parts)

    def predict(self, columns: Mapping[str, Any], rank: int | None = None) -> dict[str, Any]:
        """``label`` and its ``probability`` for each row of the column ``input``."""
        p = self.probabilities(columns["input"], rank)
        return {"label": [self.classes[i] for i in p.argmax(1)], "probability": p.max(1, initial=0.0)}

    def load_data(self, config: ImageDataConfig, seed: int) -> TaskData:
        """Other data with the classes that were learnt.

        Raises:
            DataError: it has another class.
        """
        return with_classes(load_data(config, seed), self.classes)

    def right(self, examples: Examples) -> np.ndarray:
        """Whether each example is given its class at the rank that is set."""
        return self.probabilities(examples.columns["input"]).argmax(1) == np.asarray(
            examples.columns["label"]
        )

    def curve(self, examples: Examples, ranks: Sequence[int] | None = None) -> tuple[RankPoint, ...]:
        """Accuracy at every rank, or at ``ranks``."""
        every = range(1, self.adapters.max_rank + 1)
        return rank_curve(self.adapters, lambda: self.right(examples), every if ranks is None else ranks)

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """Accuracy at r and at powers of two below it, and the smallest of these ranks within a point of the best."""
        points = self.curve(examples, usual_ranks(self.adapters.max_rank))
        at = {f"accuracy_rank_{p.rank}": p.accuracy for p in points[:-1]}
        return {"accuracy": points[-1].accuracy, **at, "recommended_rank": float(recommended(points))}

    def trace(self, examples: Examples) -> list[Trace]:
        """Which examples are right at which rank, by class."""
        ranks = usual_ranks(self.adapters.max_rank)
        columns = []
        for rank in ranks:
            with self.adapters.rank(rank):
                columns.append(self.right(examples).astype(np.float64))
        names = tuple(self.classes[int(label)] for label in examples.columns["label"])
        usage = np.stack(columns, axis=1)
        return [Trace(name="right answers by rank", modules=tuple(f"rank {b}" for b in ranks), usage=usage,
                      domain=names, unit="accuracy")]  # fmt: skip

    def export_peft(self, folder: Path | str, rank: int | None = None) -> Path:
        """The adapters at ``rank`` as a PEFT adapter, with the classifier beside it."""
        pooling = pooling_of(self.encoder, self.tower)
        about = {"classes": list(self.classes), **({"pooling": pooling} if pooling else {})}
        head = linear_weights(self.head, self.encoder.embedding_dim)
        return export_peft(
            self.adapters, folder, rank, base=self.base, head=head, about_head=about, inside=self.tower
        )
