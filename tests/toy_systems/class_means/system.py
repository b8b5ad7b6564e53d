"""Class means: m_c = Σ_{i: y_i = c} x_i / (n_c + λ)  (eq. 1), and the class of the nearest mean.

Nobody: Class Means. arXiv 0000.00001.

| paper | here          | shape  | meaning              |
|-------|---------------|--------|----------------------|
| m     | means         | (C, P) | mean of each class   |
| n     | counts        | (C)    | examples of a class  |
| λ     | shrink        |        | pulls means to 0     |

Shape legend: N images, P pixels, C classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from brickwork.core.config import at_least
from brickwork.data.types import Examples, TaskData
from brickwork.representation.contract import complete

_ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class Config:
    """``shrink``: λ."""

    shrink: Annotated[float, at_least(0)] = 0.0


@complete
class System(nn.Module):
    """Sums and counts of each class, and the means that follow."""

    reads = ("labelled",)
    input_kind: Literal["texts", "images", "columns"] = "images"

    def __init__(self, config: Config, *, seed: int, classes: Sequence[str], pixels: int):
        super().__init__()
        self.config = config
        self.classes = tuple(classes)
        self.sums: Tensor
        self.counts: Tensor
        self.means: Tensor
        self.register_buffer("sums", torch.zeros(len(classes), pixels))
        self.register_buffer("counts", torch.zeros(len(classes)))
        self.register_buffer("means", torch.zeros(len(classes), pixels))

    @staticmethod
    def facts(config: Config, data: TaskData) -> dict[str, Any]:
        return {"classes": data.class_names, "pixels": data.train.columns["input"][0].size}

    def fit(self, examples: Examples, *, start: int) -> Iterator[float]:
        """A share of the rows in each round, in an order that the round draws; then the means so far (eq. 1)."""
        for number in range(start, _ROUNDS):
            rows = list(range(number, len(examples), _ROUNDS))
            part = examples.take([rows[i] for i in torch.randperm(len(rows)).tolist()])
            label = torch.as_tensor(np.asarray(part["label"]))
            self.sums.index_add_(0, label, self._pixels(part["input"]))
            self.counts.index_add_(0, label, torch.ones(len(label)))
            self.means.copy_(self.sums / (self.counts + self.config.shrink).clamp(min=1)[:, None])
            yield (number + 1) / _ROUNDS

    def scores(self, inputs: Any) -> Tensor:
        """Minus the distance of each image to each mean, (N, C)."""
        return -torch.cdist(self._pixels(inputs), self.means, compute_mode="donot_use_mm_for_euclid_dist")

    def predict(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        best = self.scores(columns["input"]).max(1)
        return {"label": [self.classes[i] for i in best.indices], "score": best.values.numpy()}

    def evaluate(self, examples: Examples) -> dict[str, float]:
        right = self.scores(examples.columns["input"]).argmax(1).numpy() == np.asarray(
            examples.columns["label"]
        )
        return {"accuracy": float(right.mean())}

    def recommend(self, users: Sequence[Any], *, count: int) -> dict[str, Any]:
        best = self.scores(np.asarray(users)).topk(count)
        return {
            "user": np.repeat(np.arange(len(users)), count),
            "rank": np.tile(np.arange(1, count + 1), len(users)),
            "item": [self.classes[i] for i in best.indices.flatten()],
            "score": best.values.flatten().numpy(),
        }

    def analyse(self, examples: Examples) -> dict[str, dict[str, Any]]:
        distance = torch.cdist(self.means, self.means).fill_diagonal_(torch.inf)
        nearest = [self.classes[i] for i in distance.argmin(1)]
        return {"neighbours": {"class": list(self.classes), "nearest": nearest}}

    def _pixels(self, inputs: Any) -> Tensor:
        return torch.as_tensor(np.asarray(inputs)).flatten(1).float() / 255
