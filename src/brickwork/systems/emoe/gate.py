"""The learned gate of EMoE-learn: a cosine router over groups of neurons."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.modules.routers import RouterScorer

HIDDEN = 256
_FIRST_SCALE, _LARGEST_SCALE = 2.0, 100.0
_SPREAD = 0.01


class CosineGate(nn.Module):
    """Weights of the ``used`` groups with the largest e^τ·cos(W·x, c_e): their soft-max, so that they sum to 1."""

    def __init__(self, width: int, groups: int, used: int):
        super().__init__()
        self.scorer = RouterScorer(width, groups, "cosine", HIDDEN)
        self.used = used
        nn.init.normal_(self.scorer.modules_embedding, std=_SPREAD)
        nn.init.constant_(self._log_scale, math.log(_FIRST_SCALE))

    @property
    def _log_scale(self) -> Tensor:
        assert self.scorer.log_scale is not None
        return self.scorer.log_scale

    def forward(self, x: Float[Tensor, "*rows width"], used: int | None = None) -> Tensor:
        """(…, D) → (…, E): zero for groups that are not used."""
        logits = self.scorer(x.flatten(0, -2)).unflatten(0, x.shape[:-1])
        best, places = logits.topk(used or self.used, dim=-1)
        return torch.zeros_like(logits).scatter(-1, places, best.softmax(-1))

    @torch.no_grad()
    def cap(self) -> None:
        """Holds e^τ at 100 or less."""
        self._log_scale.clamp_(max=math.log(_LARGEST_SCALE))
