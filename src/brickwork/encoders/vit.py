"""A vision transformer (Dosovitskiy et al., arXiv 2010.11929) whose blocks can be run from any one to any other.

Patches of an image are its tokens; a class token before them ends as the image's vector. The blocks are those of
``blocks/transformer``, with the norm before each half. Weights of transformers' ViT load into it.

Shape legend: B images, C channels, H × W pixels, p patch side, N patches, D width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.encoders.blocks.attention import Padded
from brickwork.encoders.blocks.transformer import Block
from brickwork.encoders.features import Features


class Blocks(nn.Module):
    """Some consecutive blocks, shared with the network that they stand in."""

    def __init__(self, blocks: Sequence[Block]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(
        self, x: Float[Tensor, "batch tokens width"], mask: Bool[Tensor, "batch _ _ tokens"] | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """Any tokens, also more than an image has. ``mask``: true for keys that are seen, the same for all heads and
        queries (B, 1, 1, T) or for each query its own (B, 1, T, T)."""
        for block in self.blocks:
            x = block(x, Padded(mask))
        return x


class Stem(nn.Module):
    """What makes the first tokens of images, shared with the network that it stands in."""

    def __init__(
        self,
        patch_embedding: nn.Conv2d,
        class_token: nn.Parameter,
        positions: nn.Parameter,
        dropout: nn.Dropout,
    ):
        super().__init__()
        self.patch_embedding, self.class_token = patch_embedding, class_token
        self.position_embedding, self.dropout = positions, dropout

    def forward(
        self, images: Float[Tensor, "batch channels height breadth"]
    ) -> Float[Tensor, "batch t width"]:
        """The class token and the patches, row by row, with their positions: what the first block reads."""
        return _embedded(self, images)


class ViT(nn.Module):
    """Images of one shape (height, width, channels), prepared as numbers. Positions are learned.

    Raises:
        ConfigError: patches do not fill the image, or heads the width.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        patch: int,
        width: int,
        num_layers: int,
        num_heads: int,
        mlp_width: int | None = None,
        dropout: float = 0.0,
        norm_eps: float = 1e-12,
    ):
        super().__init__()
        height, breadth, channels = image_shape
        if height % patch or breadth % patch:
            raise ConfigError(
                f"patches of {patch} × {patch} do not fill images of {height} × {breadth} pixels; choose a patch that "
                "divides both sides"
            )
        if width % num_heads:
            raise ConfigError(f"width {width} is not a multiple of num_heads {num_heads}")
        self.image_shape = image_shape
        self.patch = patch
        self.width = width
        self.grid = (height // patch, breadth // patch)
        self.patch_embedding = nn.Conv2d(channels, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position_embedding = nn.Parameter(torch.zeros(1, 1 + self.grid[0] * self.grid[1], width))
        self.dropout = nn.Dropout(dropout)
        self.mlp_width = mlp_width or 4 * width
        self.blocks = nn.ModuleList(
            Block(
                width=width,
                num_heads=num_heads,
                mlp_width=self.mlp_width,
                dropout=dropout,
                norm="pre",
                eps=norm_eps,
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.apply(_initialise)
        for parameter in (self.class_token, self.position_embedding):
            nn.init.trunc_normal_(parameter, std=0.02)

    @property
    def num_layers(self) -> int:
        return len(self.blocks)

    def embed(self, images: Float[Tensor, "batch channels height breadth"]) -> Float[Tensor, "batch t width"]:
        """The class token and the patches, row by row, with their positions: what the first block reads."""
        return _embedded(self, images)

    def stem(self) -> Stem:
        """What is before the first block, the same parameters."""
        return Stem(self.patch_embedding, self.class_token, self.position_embedding, self.dropout)

    def blocks_from_to(self, start: int, end: int) -> Blocks:
        """Blocks ``start`` to before ``end``, the same objects: a to b and b to c are a to c exactly.

        Raises:
            ConfigError: no such blocks.
        """
        if not 0 <= start <= end <= self.num_layers:
            raise ConfigError(f"blocks {start} to {end}: there are {self.num_layers}, numbered from 0")
        return Blocks(list(self.blocks[start:end]))  # type: ignore[arg-type]

    def forward(
        self, images: Float[Tensor, "batch channels height breadth"], upto: int | None = None
    ) -> Features:
        """Vector (the class token) and patches after ``upto`` blocks (none: all), under the last norm, and the hidden states
        of the patches; later blocks do not run."""
        hidden = self._run(images, self.num_layers if upto is None else upto)
        last = self.norm(hidden[-1])
        return Features(last[:, 0], last[:, 1:], self.grid, tuple(h[:, 1:] for h in hidden))

    def exits(
        self, images: Float[Tensor, "batch channels height breadth"], layers: Sequence[int]
    ) -> dict[int, Float[Tensor, "batch width"]]:
        """Layer → the class token after it, under the last norm; deeper blocks do not run."""
        hidden = self._run(images, max(layers))
        return {layer: self.norm(hidden[layer][:, 0]) for layer in layers}

    def _run(self, images: Tensor, upto: int) -> list[Float[Tensor, "batch tokens width"]]:
        hidden = [self.embed(images)]
        for block in self.blocks[:upto]:
            hidden.append(block(hidden[-1], Padded(None)))
        return hidden

    def flops(self, layers: int) -> int:
        """Floating-point operations of one image in its patches' matrix, and in the matrices and the attention of the first
        ``layers`` blocks (multiply and add counted apart)."""
        patches = self.grid[0] * self.grid[1]
        pixels = self.patch**2 * self.image_shape[2]
        tokens, mlp_width = patches + 1, self.mlp_width
        block = tokens * (8 * self.width**2 + 4 * self.width * mlp_width) + 4 * tokens**2 * self.width
        return 2 * patches * pixels * self.width + layers * block

    @classmethod
    def of(cls, model: nn.Module) -> "ViT":
        """The same network as a ViT of transformers, with a copy of its weights.

        Raises:
            ConfigError: the model computes what this class does not.
        """
        config: Any = model.config
        if config.model_type != "vit" or config.hidden_act != "gelu" or not config.qkv_bias:
            raise ConfigError(
                f"a model of type '{config.model_type}' with activation '{config.hidden_act}' is no ViT with GELU and "
                "biases: only that can be taken apart"
            )
        vit = cls(
            image_shape=(config.image_size, config.image_size, config.num_channels),
            patch=config.patch_size,
            width=config.hidden_size,
            num_layers=config.num_hidden_layers,
            num_heads=config.num_attention_heads,
            mlp_width=config.intermediate_size,
            norm_eps=config.layer_norm_eps,
        )
        vit.load_state_dict(_renamed(model.state_dict(), config.num_hidden_layers))
        return vit


def _embedded(parts: Any, images: Tensor) -> Tensor:
    patches = parts.patch_embedding(images).flatten(2).transpose(1, 2)
    x = torch.cat([parts.class_token.expand(len(images), -1, -1), patches], dim=1)
    return parts.dropout(x + parts.position_embedding)


_NAMES = {
    "class_token": "embeddings.cls_token",
    "position_embedding": "embeddings.position_embeddings",
    **{
        f"patch_embedding.{end}": f"embeddings.patch_embeddings.projection.{end}"
        for end in ("weight", "bias")
    },
    **{f"norm.{end}": f"layernorm.{end}" for end in ("weight", "bias")},
}
_LAYER = {
    "attention.out": "attention.o_proj",
    "attention_norm": "layernorm_before",
    "mlp.up": "mlp.fc1",
    "mlp.down": "mlp.fc2",
    "mlp_norm": "layernorm_after",
}
_QKV = ("q_proj", "k_proj", "v_proj")


def _renamed(state: Mapping[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """The state of :class:`ViT` from that of transformers'."""
    result = {ours: state[theirs] for ours, theirs in _NAMES.items()}
    for layer in range(num_layers):
        for end in ("weight", "bias"):
            for ours, theirs in _LAYER.items():
                result[f"blocks.{layer}.{ours}.{end}"] = state[f"layers.{layer}.{theirs}.{end}"]
            parts = [state[f"layers.{layer}.attention.{part}.{end}"] for part in _QKV]
            result[f"blocks.{layer}.attention.qkv.{end}"] = torch.cat(parts)
    return result


def _initialise(module: nn.Module) -> None:
    """Weights from N(0, 0.02²) cut at two deviations, biases zero."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
