"""Linear maps behind the exits of an encoder, so that vectors of every depth stand in one space.

Without them an early exit gives the pooled states of its layer, which were never meant to be compared with anything. What
the maps hold is solved (``matryoshka-2d``, closed form) or trained.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from brickwork.core.errors import ConfigError


class ExitMaps(nn.Module):
    """A matrix for each depth in ``depths``, which ascend to ``num_layers``, the full depth.

    At full depth it turns the encoder's own vector (``dim`` dimensions) and adds nothing, so that dot products can stay what
    they are. Below, it takes the mean of the hidden states after the layer and that after layer 0 (``width`` dimensions
    each; at depth 0 just this one), and adds a constant. Fresh maps change nothing where the widths agree: the
    mean states of the layer as they are.

    Raises:
        ConfigError: depths that do not ascend to the full one.
    """

    def __init__(self, *, depths: Sequence[int], num_layers: int, width: int, dim: int):
        super().__init__()
        self.depths = tuple(depths)
        if list(depths) != sorted(set(depths)) or not depths or depths[0] < 0 or depths[-1] != num_layers:
            raise ConfigError(
                f"exits at depths {list(depths)}: they must ascend from 0 or more and end at {num_layers}"
            )
        self.num_layers = num_layers
        inputs = {
            depth: dim if depth == num_layers else width if depth == 0 else 2 * width for depth in depths
        }
        self.maps = nn.ModuleDict(
            {str(depth): nn.Linear(size, dim, bias=depth < num_layers) for depth, size in inputs.items()}
        )
        for linear in self.maps.values():
            nn.init.eye_(linear.weight)  # type: ignore[arg-type]
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)  # type: ignore[arg-type]

    def forward(self, inputs: Tensor, depth: int) -> Tensor:
        """The vector at ``depth`` from what its map takes. Shapes: (B, inputs) → (B, dim), at least float32."""
        linear: nn.Linear = self.maps[str(depth)]  # type: ignore[assignment]
        return linear(inputs.to(linear.weight.dtype))

    def flops(self, depth: int) -> int:
        """Floating-point operations for one text (multiply and add counted apart)."""
        return 2 * self.maps[str(depth)].weight.numel()  # type: ignore[operator]
