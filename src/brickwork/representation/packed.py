"""Linear layers for bf16 inference on a CPU: weights laid out once, bias and GELU in the pass of the product.

torch's own ``nn.Linear`` arranges the weights again in each call, writes the bias before the product and
leaves GELU to a pass of its own, which together cost as much as the product. The operators used here are
those that torch's compiler emits; where a torch build lacks them, plain layers do.
"""

import torch
from torch import Tensor, nn

from brickwork.encoders.blocks.mlp import Mlp

# The layout is chosen for this many rows, a typical batch; any number of rows may come.
_ROWS = 4096


def can_pack() -> bool:
    """Whether this torch build has the operators."""
    mkldnn = torch.ops.mkldnn
    return torch.backends.mkldnn.is_available() and all(
        hasattr(mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight")
    )


class PackedLinear(nn.Module):
    """``activation(x Wᵀ + b)`` in bf16; ``activation`` is ``none`` or ``gelu`` (the exact one)."""

    def __init__(self, linear: nn.Linear, activation: str = "none"):
        super().__init__()
        weight = linear.weight.detach().to(torch.bfloat16)
        bias = None if linear.bias is None else linear.bias.detach().to(torch.bfloat16)
        self.activation = activation
        self.register_buffer(
            "weight", torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS), persistent=False
        )
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (…, in) → (…, out)."""
        kind = "none" if self.activation == "gelu" else ""  # of GELU: exact, not the tanh approximation
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, self.activation, [], kind)


class PackedMlp(nn.Module):
    """:class:`Mlp` of packed layers."""

    def __init__(self, mlp: Mlp):
        super().__init__()
        self.up = PackedLinear(mlp.up, "gelu")
        self.down = PackedLinear(mlp.down)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (…, D) → (…, D)."""
        return self.down(self.up(x))


def pack_linears(module: nn.Module) -> None:
    """Replaces the linear layers inside ``module``, which then is for inference in bf16 on a CPU only."""
    for name, child in module.named_children():
        if type(child) is Mlp:
            setattr(module, name, PackedMlp(child))
        elif type(child) is nn.Linear:
            setattr(module, name, PackedLinear(child))
        else:
            pack_linears(child)
