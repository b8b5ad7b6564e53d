"""The feed-forward half of a transformer block."""

import torch.nn.functional as F
from torch import Tensor, nn


class Mlp(nn.Module):
    """down(gelu(up(x))), with the exact GELU (as BERT)."""

    def __init__(self, width: int, hidden_width: int):
        super().__init__()
        self.up = nn.Linear(width, hidden_width)
        self.down = nn.Linear(hidden_width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (…, D) → (…, D)."""
        return self.down(F.gelu(self.up(x)))
