"""The norm that hidden states pass on their way out."""

from typing import Literal

from torch import Tensor, nn

ExitNormKind = Literal["none", "shared", "per_layer"]


class ExitNorm(nn.Module):
    """What the hidden states after layer 1 … L pass before they are used.

    ``none``: nothing (post-norm blocks end in a norm already). ``shared``: one norm, the same at every exit.
    ``per_layer``: one for each exit. Exit 0, the embedding output, has its own norm and is left as it is.
    """

    def __init__(self, kind: ExitNormKind, width: int, num_layers: int, eps: float):
        super().__init__()
        count = {"none": 0, "shared": 1, "per_layer": num_layers}[kind]
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=eps) for _ in range(count))

    def forward(self, x: Tensor, layer: int) -> Tensor:
        """Shapes: (…, D) → (…, D)."""
        if not self.norms or layer == 0:
            return x
        return self.norms[0 if len(self.norms) == 1 else layer - 1](x)
