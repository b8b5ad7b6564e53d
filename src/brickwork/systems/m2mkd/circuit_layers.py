"""The layers of a Neural Attentive Circuit: matrices modulated by codes, attention along a graph, and what reads images.

Rahaman et al., arXiv 2210.08031. Shape legend: B images, U receivers, V senders or tokens, D width of a state, E of a
code, H heads, T width of a token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.core.seeding import uniforms

LAYER_SCALE = 0.1
_MODULATION = 0.1  # g, to begin with
_KERNEL = 7  # of the convolutions


@dataclass(frozen=True)
class Noise:
    """Numbers that are drawn for each image by itself: a pure function of (seed, step, row)."""

    seed: int
    step: int
    rows: Sequence[int]

    def uniform(self, name: str, like: Tensor, *shape: int) -> Float[Tensor, "batch ..."]:
        """From 0 to 1, (B, *shape), on the device of ``like`` and of its kind, in float32 at least: in bf16 half of them
        would be one of 128 numbers."""
        count = int(torch.Size(shape).numel())
        drawn = torch.from_numpy(uniforms(f"{self.seed}/{self.step}/{name}", self.rows, count))
        fine = drawn.to(like.device, torch.promote_types(like.dtype, torch.float32))
        return fine.T.reshape(len(self.rows), *shape)

    def normal(self, name: str, like: Tensor, *shape: int) -> Float[Tensor, "batch ..."]:
        """From N(0, 1)."""
        return torch.special.ndtri(self.uniform(name, like, *shape).clamp(1e-7, 1 - 1e-7))

    def gumbel(self, name: str, like: Tensor, *shape: int) -> Float[Tensor, "batch ..."]:
        """From the standard Gumbel distribution."""
        return -(-self.uniform(name, like, *shape).clamp(1e-7, 1 - 1e-7).log()).log()


class ModFC(nn.Module):
    """W((1 + g·LN(P c)) ⊙ x) + b: one matrix for all latents, which each latent's code c turns into its own."""

    def __init__(self, inputs: int, outputs: int, code_dim: int):
        super().__init__()
        self.project = nn.Linear(code_dim, inputs, bias=False)
        self.norm = nn.LayerNorm(inputs, elementwise_affine=False)
        self.gain = nn.Parameter(torch.tensor(_MODULATION))
        self.linear = nn.Linear(inputs, outputs)

    def modulation(self, codes: Float[Tensor, "u e"]) -> Float[Tensor, "u d"]:
        """1 + g·LN(P c)."""
        return 1 + self.gain * self.norm(self.project(codes))

    def forward(
        self, x: Float[Tensor, "batch u d"], codes: Float[Tensor, "#u e"]
    ) -> Float[Tensor, "batch u out"]:
        """Of states x of latents with these codes; one code for all if there is one."""
        return self.linear(self.modulation(codes) * x)


class Residual(nn.Module):
    """old + γ ⊙ new, where γ begins at 0.1; while it trains, new is left out for some images (stochastic depth)."""

    def __init__(self, width: int, drop: float):
        super().__init__()
        self.scale = nn.Parameter(torch.full((width,), LAYER_SCALE))
        self.drop = drop

    def forward(self, old: Tensor, new: Tensor, noise: Noise | None = None, name: str = "") -> Tensor:
        """Without ``noise`` nothing is left out."""
        new = self.scale * new
        if noise is None or not self.drop:
            return old + new
        kept = noise.uniform(f"{name}/drop", new, 1, 1) >= self.drop
        return old + new * kept / (1 - self.drop)


class ModFFN(nn.Module):
    """x + γ ⊙ ModFC(GEGLU(ModFC(LN x))), the hidden layer twice as wide as the state."""

    def __init__(self, width: int, code_dim: int, drop: float):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.widen = ModFC(width, 4 * width, code_dim)
        self.narrow = ModFC(2 * width, width, code_dim)
        self.residual = Residual(width, drop)

    def forward(
        self,
        x: Float[Tensor, "batch u d"],
        codes: Float[Tensor, "#u e"],
        noise: Noise | None = None,
        name: str = "",
    ) -> Float[Tensor, "batch u d"]:
        """Of states x of latents with these codes."""
        value, gate = self.widen(self.norm(x), codes).chunk(2, dim=-1)
        new = self.narrow(value * F.gelu(gate), codes)
        return self.residual(x, new, noise, f"{name}/ffn")


class GraphAttention(nn.Module):
    """Receivers gather the values of senders: softmax_v(q_u·k_v/√(D/H) + log P_uv). Queries, keys, values and the matrix
    behind them are :class:`ModFC` of the latent that has them; one LayerNorm for both sides."""

    def __init__(self, width: int, code_dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (ModFC(width, width, code_dim) for _ in range(4))

    def forward(
        self,
        receivers: Float[Tensor, "batch u d"],
        receiver_codes: Float[Tensor, "#u e"],
        senders: Float[Tensor, "batch v d"],
        sender_codes: Float[Tensor, "#v e"],
        log_p: Float[Tensor, "#batch u v"] | None = None,
    ) -> Float[Tensor, "batch u d"]:
        """Messages; a receiver that is cut off from all senders gets zero. Without ``log_p`` all are joined alike."""
        x = self.norm(senders)
        q = self._split(self.query(self.norm(receivers), receiver_codes))
        k, v = self._split(self.key(x, sender_codes)), self._split(self.value(x, sender_codes))
        if log_p is None:
            return self.out(_joined(F.scaled_dot_product_attention(q, k, v)), receiver_codes)
        alone = log_p.isinf().all(-1, keepdim=True)
        mask = log_p.masked_fill(alone, 0.0)[:, None]
        heard = _joined(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
        return self.out(heard, receiver_codes).masked_fill(alone, 0.0)

    def _split(self, x: Tensor) -> Float[Tensor, "batch h u c"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _joined(x: Float[Tensor, "batch h u c"]) -> Float[Tensor, "batch u d"]:
    return x.transpose(1, 2).flatten(2)


class Matrix(nn.Linear):
    """A linear layer whose weights are read, not called: layers that are packed for inference are called alone."""


class TokenAttention(nn.Module):
    """Latents gather from tokens, whose keys and values are :class:`ModFC` with the code of the *receiver*.

    There is a key for each token and latent; none is made. With m_u the modulation, q·W(m_u ⊙ x) = (Wᵀq ⊙ m_u)·x, and
    Σ_v a_v W(m_u ⊙ x_v) = W(m_u ⊙ Σ_v a_v x_v): latents ask in the space of tokens, and take their matrix last. The bias of
    the keys adds the same to all tokens, which the softmax does not see; there is none.
    """

    def __init__(self, token_dim: int, width: int, code_dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm, self.token_norm = nn.LayerNorm(width), nn.LayerNorm(token_dim)
        self.query, self.out = ModFC(width, width, code_dim), ModFC(width, width, code_dim)
        self.key, self.value = ModFC(token_dim, width, code_dim), ModFC(token_dim, width, code_dim)
        self.key.linear, self.value.linear = Matrix(token_dim, width, bias=False), Matrix(token_dim, width)

    def forward(
        self,
        receivers: Float[Tensor, "batch u d"],
        codes: Float[Tensor, "u e"],
        tokens: Float[Tensor, "batch v t"],
    ) -> Float[Tensor, "batch u d"]:
        """Messages."""
        x = self.token_norm(tokens)
        q = self.query(self.norm(receivers), codes).unflatten(-1, (self.heads, -1))
        by_head = self.key.linear.weight.unflatten(0, (self.heads, -1))
        asked = torch.einsum("buhc,hct->bhut", q, by_head) * self.key.modulation(codes)
        every = x[:, None].expand(-1, self.heads, -1, -1)
        seen = F.scaled_dot_product_attention(asked, every, every, scale=q.shape[-1] ** -0.5)
        values = self.value.linear.weight.unflatten(0, (self.heads, -1))
        heard = torch.einsum("bhut,hct->buhc", seen * self.value.modulation(codes), values).flatten(2)
        return self.out(heard + self.value.linear.bias, codes)


# ---- images to tokens ------------------------------------------------------------------------------------------------


class ConvNeXtBlock(nn.Module):
    """x + γ ⊙ W₂ GELU(W₁ LN(7×7 convolution of each channel)). Liu et al., arXiv 2201.03545, equal to transformers'."""

    def __init__(self, channels: int):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, _KERNEL, padding=_KERNEL // 2, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.widen, self.narrow = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), LAYER_SCALE))

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
        """Of feature maps."""
        new = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        new = self.scale * self.narrow(F.gelu(self.widen(new)))
        return x + new.permute(0, 3, 1, 2)


class ChannelNorm(nn.Module):
    """LayerNorm of the channels of each pixel."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
        """Of feature maps."""
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Tokeniser(nn.Module):
    """A token for each ``patch`` × ``patch`` pixels: two stages of ConvNeXt blocks, D/4 and D/2 channels, with a learned
    vector for the place behind the channels.

    Raises:
        ConfigError: patches do not fill the image.
    """

    def __init__(self, image_shape: Sequence[int], *, patch: int, width: int, blocks: int, place_dim: int):
        super().__init__()
        height, breadth, channels = image_shape
        if height % patch or breadth % patch:
            raise ConfigError(
                f"patches of {patch} × {patch} do not fill images of {height} × {breadth} pixels; choose a patch that "
                "divides both sides"
            )
        narrow, wide = width // 4, width // 2
        first, second = (patch // 2, 2) if patch % 2 == 0 else (patch, 1)
        self.stages = nn.Sequential(
            nn.Conv2d(channels, narrow, first, stride=first),
            ChannelNorm(narrow),
            *(ConvNeXtBlock(narrow) for _ in range(blocks)),
            ChannelNorm(narrow),
            nn.Conv2d(narrow, wide, second, stride=second),
            *(ConvNeXtBlock(wide) for _ in range(blocks)),
        )
        self.stages.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.places = nn.Parameter(torch.randn((height // patch) * (breadth // patch), place_dim) * 0.02)
        self.dim = wide + place_dim

    def forward(self, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch v t"]:
        """Tokens, row by row."""
        x = self.stages(images).flatten(2).transpose(1, 2)
        return torch.cat([x, self.places.expand(len(x), -1, -1)], dim=-1)
