"""SiT: a vision transformer that predicts velocities of flow matching, told of time and class in every block.

Ma et al., arXiv 2401.08740; its blocks are those of DiT (Peebles and Xie, arXiv 2212.09748) with adaLN-Zero.
Shape legend: B images, C channels, H × W pixels, p patch side, N patches, D width.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.encoders.blocks.attention import Padded, SelfAttention
from brickwork.encoders.blocks.mlp import Mlp

_FREQUENCIES = 128
_SLOWEST = 10_000.0
_TIME_SCALE = 1000.0  # t in 0 … 1 is spread as the steps of diffusion models are
_EPS = 1e-6


class SiTBlock(nn.Module):
    """x ← x + g₁·Attention((1 + s₁)·LN(x) + b₁); x ← x + g₂·MLP((1 + s₂)·LN(x) + b₂), where shifts, scales and gates follow
    from time and class, and are zero at first: then the block is the identity."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, elementwise_affine=False, eps=_EPS)
        self.attention = SelfAttention(width, num_heads)
        self.mlp_norm = nn.LayerNorm(width, elementwise_affine=False, eps=_EPS)
        self.mlp = Mlp(width, 4 * width)
        self.modulation = nn.Linear(width, 6 * width)

    def forward(
        self, x: Float[Tensor, "batch tokens width"], condition: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch tokens width"]:
        """Shapes: (B, N, D), (B, D) → (B, N, D)."""
        b1, s1, g1, b2, s2, g2 = self.modulation(F.silu(condition))[:, None].chunk(6, dim=-1)
        x = x + g1 * self.attention((1 + s1) * self.attention_norm(x) + b1, Padded(None))
        return x + g2 * self.mlp((1 + s2) * self.mlp_norm(x) + b2)


class SiT(nn.Module):
    """Images of one shape (height, width, channels) in −1 … 1, with noise, to velocities. Class ``num_classes`` is no class.

    Raises:
        ConfigError: patches do not fill the image, or a width that positions cannot have.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int,
        patch: int,
        width: int,
        num_layers: int,
        num_heads: int,
    ):
        super().__init__()
        height, breadth, channels = image_shape
        if height % patch or breadth % patch:
            raise ConfigError(
                f"model.patch={patch} does not divide images of {height} × {breadth} pixels; choose one that does, or "
                "another data.image_size"
            )
        self.image_shape, self.patch, self.width, self.num_classes = image_shape, patch, width, num_classes
        self.grid = (height // patch, breadth // patch)
        self.patch_embedding = nn.Conv2d(channels, width, patch, patch)
        self.register_buffer("positions", sine_positions(*self.grid, width))
        self.time = nn.Sequential(nn.Linear(2 * _FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(num_classes + 1, width)
        self.blocks = nn.ModuleList(SiTBlock(width, num_heads) for _ in range(num_layers))
        self.last_norm = nn.LayerNorm(width, elementwise_affine=False, eps=_EPS)
        self.last_modulation = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, patch * patch * channels)
        self._initialise()

    @property
    def num_layers(self) -> int:
        return len(self.blocks)

    def forward(
        self,
        x: Float[Tensor, "batch channels height breadth"],
        t: Float[Tensor, " batch"],
        label: Int64[Tensor, " batch"],
        at: int | None = None,
    ) -> tuple[Float[Tensor, "batch channels height breadth"], Float[Tensor, "batch tokens width"]]:
        """Velocities, and the hidden states after ``at`` blocks (none: all)."""
        condition = self.condition(t, label)
        hidden = self.run(self.embed(x), condition, 0, self.num_layers if at is None else at)
        tokens = self.run(hidden, condition, self.num_layers if at is None else at, self.num_layers)
        shift, scale = self.last_modulation(F.silu(condition))[:, None].chunk(2, dim=-1)
        return self._images(self.out((1 + scale) * self.last_norm(tokens) + shift)), hidden

    def embed(self, x: Float[Tensor, "batch channels height breadth"]) -> Float[Tensor, "batch tokens width"]:
        """Patches, row by row, with their places."""
        return self.patch_embedding(x).flatten(2).transpose(1, 2) + self.positions

    def condition(
        self, t: Float[Tensor, " batch"], label: Int64[Tensor, " batch"]
    ) -> Float[Tensor, "batch width"]:
        """c = time + class."""
        steps = torch.arange(_FREQUENCIES, device=t.device, dtype=torch.float32) / _FREQUENCIES
        angles = _TIME_SCALE * t[:, None].float() * torch.exp(-math.log(_SLOWEST) * steps)
        return self.time(
            torch.cat([angles.cos(), angles.sin()], dim=1).to(self.out.weight.dtype)
        ) + self.label(label)

    def run(
        self,
        x: Float[Tensor, "batch tokens width"],
        condition: Float[Tensor, "batch width"],
        start: int,
        end: int,
    ) -> Float[Tensor, "batch tokens width"]:
        """Blocks ``start`` to before ``end``."""
        for block in self.blocks[start:end]:
            x = block(x, condition)
        return x

    def flops(self, blocks: int, *, whole: bool = True) -> int:
        """Floating-point operations of one image, forward: patches, ``blocks`` blocks and, of the ``whole`` network, its end
        (matrices and attention, multiply and add counted apart)."""
        tokens, width = self.grid[0] * self.grid[1], self.width
        pixels = self.patch**2 * self.image_shape[2]
        one = tokens * 24 * width**2 + 4 * tokens**2 * width + 12 * width**2
        start = 2 * tokens * pixels * width + 4 * _FREQUENCIES * width + 2 * width**2
        end = 4 * width**2 + 2 * tokens * width * pixels
        return start + blocks * one + (end if whole else 0)

    def _images(self, tokens: Tensor) -> Float[Tensor, "batch channels height breadth"]:
        (rows, columns), p = self.grid, self.patch
        x = tokens.view(len(tokens), rows, columns, p, p, self.image_shape[2])
        return x.permute(0, 5, 1, 3, 2, 4).reshape(len(tokens), -1, rows * p, columns * p)

    def _initialise(self) -> None:
        """As SiT: Xavier for matrices, N(0, 0.02²) for time and classes, zeros for all modulations and the end."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embedding.weight.view(self.width, -1))
        nn.init.zeros_(self.patch_embedding.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.label.weight, std=0.02)
        times: Any = self.time
        for layer in (times[0], times[2]):
            nn.init.normal_(layer.weight, std=0.02)
        ends: Any = [*(block.modulation for block in self.blocks), self.last_modulation, self.out]
        for layer in ends:
            nn.init.zeros_(layer.weight)


def sine_positions(rows: int, columns: int, width: int) -> Float[Tensor, "tokens width"]:
    """Fixed positions in two dimensions: half of the width for the column, half for the row, sines before cosines.

    Raises:
        ConfigError: a width that is no multiple of 4.
    """
    if width % 4:
        raise ConfigError(f"model.width={width} is no multiple of 4, which positions in two dimensions need")
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    frequency = _SLOWEST ** (-torch.arange(width // 4) / (width // 4))
    parts = []
    for place in (x, y):
        angle = place.flatten()[:, None] * frequency
        parts += [angle.sin(), angle.cos()]
    return torch.cat(parts, dim=1)
