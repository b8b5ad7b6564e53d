"""Linear layers with ReLU between them."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def mlp(widths: Sequence[int], *, dropout: float = 0.0, relu_at_end: bool = False) -> nn.Sequential:
    """Linear layers between ``widths`` with ReLU between them (and at the end), dropout on the input only."""
    parts: list[nn.Module] = [nn.Dropout(dropout)] if dropout else []
    for number, (before, after) in enumerate(pairwise(widths)):
        if number:
            parts.append(nn.ReLU())
        parts.append(nn.Linear(before, after))
    return nn.Sequential(*parts, nn.ReLU()) if relu_at_end else nn.Sequential(*parts)
