"""Matryoshka Representation Learning: one embedding whose prefixes are embeddings.

Kusupati, Bhatt, Rege, Wallingford, Sinha, Ramanujan, Howard-Snyder, Chen, Kakade, Jain, Farhadi: Matryoshka
Representation Learning. NeurIPS 2022, arXiv 2205.13147. Authors' code: RAIVNLab/MRL.

What is learnt: an encoder F whose first m dimensions, for every m in a nested set M, do the task as well as a model of
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
training.loop → representation.model → index (shortlist, funnel), cascade.py.

Differences from the paper: see README.md.
Shape legend: B rows, D width, m prefix, C classes.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.config import above, at_least, below, idle
from brickwork.core.elastic import ElasticAxes, nested_sizes
from brickwork.core.errors import ConfigError
from brickwork.core.types import Batch, LossOutput
from brickwork.data.config import HardNegatives, ImageDataConfig
from brickwork.data.types import TaskData
from brickwork.encoders.config import ImageEncoderConfig, PretrainedImageConfig, TextEncoderConfig
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.text import TextEncoder
from brickwork.modules.heads import NestedLinear
from brickwork.objectives.classification import cross_entropy
from brickwork.objectives.nested import BaseLoss, nested_loss
from brickwork.objectives.pairwise import Objective, choose_objective, pair_loss
from brickwork.representation.contract import encodes

_COLUMNS = ("anchor", "positive", "negative", "input")


@dataclass(frozen=True, kw_only=True)
class Config:
    """``encoder``: text or image, pretrained or from scratch. ``dims``: nested sizes, ending at the encoder's full width;
    empty = the full width halved down to 8. ``weights``: c_m for each of ``dims``, empty = all 1; a prefix of weight 0 is
    not trained (a fixed-feature model is dims=(m, D), weights=(1, 0)). ``reduction``: ``sum`` over prefixes as in the
    paper, or ``mean``. ``objective``: ``auto`` = InfoNCE for pairs and triplets, CoSENT for scored pairs, cross-entropy for
    labels. ``temperature``: of the pair objectives, None = 0.05 (the scale of CoSENT and AnglE is its inverse).
    ``head``: with labels, None = ``separate`` (MRL), or ``tied`` (MRL-E). ``label_smoothing``: with labels.
    """

    encoder: TextEncoderConfig | ImageEncoderConfig | PretrainedImageConfig = TextEncoderConfig()
    dims: tuple[int, ...] = ()
    weights: tuple[Annotated[float, at_least(0)], ...] = ()
    reduction: Literal["sum", "mean"] = "sum"
    objective: Literal["auto", "info_nce", "cosent", "angle", "cross_entropy"] = "auto"
    temperature: Annotated[float, above(0)] | None = None
    head: Literal["separate", "tied"] | None = None
    label_smoothing: Annotated[float, at_least(0), below(1)] | None = None

    def validate(self) -> list[str]:
        errors = [] if self.objective == "auto" else self.without_effect(self.objective)
        if self.weights and len(self.weights) != len(self.dims):
            errors.append(
                f"weights has {len(self.weights)} entries for {len(self.dims)} dims; give dims, and one each"
            )
        if self.weights and not any(self.weights):
            errors.append(f"weights is {list(self.weights)}; they must not all be zero")
        return errors

    def without_effect(self, objective: str) -> list[str]:
        """Options that were set and mean nothing with ``objective``."""
        unused = ("temperature",) if objective == "cross_entropy" else ("head", "label_smoothing")
        return idle(self, unused, f"objective '{objective}'")


@dataclass(frozen=True, kw_only=True)
class Data(ImageDataConfig):
    """The data of a run of ``matryoshka``."""

    hard_negatives: HardNegatives = field(default_factory=HardNegatives)
    """Negatives that are hard to tell from the positives, for pairs of texts."""


@encodes
class System(nn.Module):
    """An encoder, for labels a nested classifier, and a loss on every prefix."""

    reads = ("pairs", "triplets", "scored", "labelled")

    def __init__(
        self,
        config: Config,
        encoder: TextEncoder | ImageEncoder,
        *,
        seed: int,
        objective: Objective,
        num_classes: int | None,
    ):
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.objective: Objective = objective
        dims = nested_sizes(encoder.embedding_dim, config.dims)
        weights = config.weights or (1.0,) * len(dims)
        self.trained = {m: c for m, c in zip(dims, weights, strict=True) if c}
        self.axes = ElasticAxes(dims=dims, layers=(encoder.num_layers,))
        self.head: NestedLinear | None = None
        if num_classes is not None:
            self.head = NestedLinear(dims, num_classes, tied=config.head == "tied")

    @staticmethod
    def facts(config: Config, data: TaskData) -> dict[str, Any]:
        """The objective that goes with ``data``, and with labels how many classes there are.

        Raises:
            DataError: data that the objective cannot use.
            ConfigError: an option that has no effect with this data.
        """
        offered: tuple[Objective, ...] = ("info_nce", "cosent", "angle", "cross_entropy")
        objective = choose_objective(config.objective, data.kind, offered, "matryoshka")
        if problems := config.without_effect(objective):
            raise ConfigError("\n".join(problems))
        labels = objective == "cross_entropy"
        return {"objective": objective, "num_classes": data.num_classes if labels else None}

    def embed(self, batch: Batch) -> dict[str, Float[Tensor, "batch width"]]:
        """z of each column of inputs, (B, D)."""
        return self.encoder.embed(batch, _COLUMNS)

    def loss_from(self, embeddings: dict[str, Tensor], batch: Batch) -> LossOutput:
        """L = Σ_{m∈M} c_m · (1/B) Σ_i ℓ(z_{i,1:m})  (eq. 1); its terms are ``dim_<m>``."""
        z = [embeddings[name] for name in _COLUMNS if name in embeddings]
        dims, weights = list(self.trained), list(self.trained.values())
        return nested_loss(self._base(batch), *z, dims=dims, weights=weights, reduction=self.config.reduction)

    def _base(self, batch: Batch) -> BaseLoss:
        """ℓ as a function of prefixes."""
        if self.head is None:
            temperature = 0.05 if self.config.temperature is None else self.config.temperature
            return pair_loss(self.objective, batch, temperature)
        head, label, smoothing = self.head, batch["label"], self.config.label_smoothing or 0.0
        # W^(m) z_{1:m} + b^(m); MRL-E: W[:, 1:m] z_{1:m} + b  (eq. 1 and section 3)
        return lambda prefix: cross_entropy(head.at(prefix), label, label_smoothing=smoothing)
