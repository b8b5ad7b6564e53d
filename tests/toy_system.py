"""A tiny system on random vectors, small enough to follow by hand."""

from typing import Any

import torch
from torch import Tensor, nn

from brickwork.core import distributed
from brickwork.core.types import Batch, LossOutput
from brickwork.data.types import Examples


class Toy(nn.Module):
    """Two views of a vector find each other among the batch (in-batch negatives, over all processes)."""

    def __init__(self, width: int = 8, dim: int = 4, dropout: float = 0.0, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Linear(width, 16)
        self.drop = nn.Dropout(dropout)
        self.second = nn.Linear(16, dim)
        self.log_scale = nn.Parameter(torch.tensor(1.0))

    def collate(self, columns: dict[str, Any]) -> Batch:
        return {name: torch.as_tensor(value) for name, value in columns.items()}

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        return {
            name: self.second(self.drop(torch.tanh(self.first(batch[name]))))
            for name in ("anchor", "positive")
        }

    def loss_from(self, embeddings: dict[str, Tensor], batch: Batch) -> LossOutput:
        anchor = nn.functional.normalize(embeddings["anchor"], dim=-1)
        positive = distributed.all_gather_with_grad(nn.functional.normalize(embeddings["positive"], dim=-1))
        logits = anchor @ positive.T * self.log_scale.exp()
        label = torch.arange(len(anchor)) + distributed.rank() * len(anchor)
        size = embeddings["anchor"].square().mean()
        match = nn.functional.cross_entropy(logits, label)
        return LossOutput.of(
            {"match": match, "size": size}, {"size": 0.1}, {"scale": self.log_scale.detach().exp()}
        )

    def loss(self, batch: Batch) -> LossOutput:
        return self.loss_from(self.embed(batch), batch)


def toy_data(count: int = 40, width: int = 8, seed: int = 1) -> Examples:
    """Noisy pairs."""
    generator = torch.Generator().manual_seed(seed)
    anchor = torch.randn(count, width, generator=generator)
    positive = anchor + 0.1 * torch.randn(count, width, generator=generator)
    return Examples({"anchor": anchor.numpy(), "positive": positive.numpy()})
