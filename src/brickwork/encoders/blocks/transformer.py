"""A transformer encoder that can stop after any layer, on packed texts.

Post-norm it is BERT (Devlin et al. 2018): weights of BERT-shaped checkpoints load into it (encoders/bert.py).
Shape legend: T tokens of all texts, D width.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.types import TokenBatch
from brickwork.encoders.blocks.attention import Layout, Packed, Padded, SelfAttention
from brickwork.encoders.blocks.mlp import Mlp
from brickwork.encoders.blocks.norm import ExitNorm, ExitNormKind


class Block(nn.Module):
    """Attention and feed-forward, each with a residual; the norm after it (``post``) or before (``pre``)."""

    def __init__(self, *, width: int, num_heads: int, mlp_width: int, dropout: float, norm: str, eps: float):
        super().__init__()
        self.pre_norm = norm == "pre"
        self.attention = SelfAttention(width, num_heads)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, mlp_width)
        self.mlp_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Shapes: (…, D) → (…, D)."""
        if self.pre_norm:
            x = x + self.dropout(self.attention(self.attention_norm(x), layout))
            return x + self.dropout(self.mlp(self.mlp_norm(x)))
        x = self.attention_norm(x + self.dropout(self.attention(x, layout)))
        return self.mlp_norm(x + self.dropout(self.mlp(x)))


class Transformer(nn.Module):
    """Token and position embeddings, then ``num_layers`` blocks.

    Dropout acts on the embeddings and on what each half block adds.
    """

    kind = "transformer"

    def __init__(
        self,
        *,
        vocab_size: int,
        width: int,
        num_layers: int,
        num_heads: int,
        mlp_width: int,
        max_positions: int,
        dropout: float = 0.0,
        norm: Literal["post", "pre"] = "post",
        exit_norm: ExitNormKind = "none",
        norm_eps: float = 1e-12,
    ):
        super().__init__()
        self.arguments = {
            "vocab_size": vocab_size,
            "width": width,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "mlp_width": mlp_width,
            "max_positions": max_positions,
            "dropout": dropout,
            "norm": norm,
            "exit_norm": exit_norm,
            "norm_eps": norm_eps,
        }
        self.width = width
        self.num_layers = num_layers
        self.max_positions = max_positions
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.position_embedding = nn.Embedding(max_positions, width)
        self.embedding_norm = nn.LayerNorm(width, eps=norm_eps)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(
                width=width,
                num_heads=num_heads,
                mlp_width=mlp_width,
                dropout=dropout,
                norm=norm,
                eps=norm_eps,
            )
            for _ in range(num_layers)
        )
        self.exit_norm = ExitNorm(exit_norm, width, num_layers, norm_eps)
        self.apply(_initialise)

    def forward(self, tokens: TokenBatch, exits: Sequence[int]) -> dict[int, Float[Tensor, "tokens width"]]:
        """Hidden states after each layer in ``exits`` (0: the embedding output).

        Only as many blocks run as the deepest exit needs.

        Raises:
            ValueError: a text has more tokens than there are positions.
        """
        if tokens.max_length > self.max_positions:
            raise ValueError(
                f"a text has {tokens.max_length} tokens; this model has {self.max_positions} positions"
            )
        x = self._embed(tokens.ids, tokens.position)
        return self._run(x, Packed.of(tokens), exits)

    def forward_padded(self, input_ids: Tensor, attention_mask: Tensor, layer: int) -> Tensor:
        """Hidden states after ``layer`` of padded texts; the same numbers, for tracing (ONNX).

        Shapes: two of (B, L) → (B, L, D). Annotated loosely: a tracer's sizes are symbols.
        """
        return self.exits_padded(input_ids, attention_mask, (layer,))[layer]

    def exits_padded(self, ids: Tensor, mask: Tensor, exits: Sequence[int]) -> dict[int, Tensor]:
        """The same after each of ``exits``, from one pass."""
        position = torch.arange(ids.shape[1], device=ids.device)
        x = self._embed(ids, position)
        return self._run(x, Padded(mask.bool()[:, None, None, :]), exits)

    def _embed(self, ids: Tensor, position: Tensor) -> Tensor:
        return self.dropout(
            self.embedding_norm(self.token_embedding(ids) + self.position_embedding(position))
        )

    def _run(self, x: Tensor, layout: Layout, exits: Sequence[int]) -> dict[int, Tensor]:
        hidden = {0: self.exit_norm(x, 0)} if 0 in exits else {}
        for layer, block in enumerate(self.blocks[: max(exits)], start=1):
            x = block(x, layout)
            if layer in exits:
                hidden[layer] = self.exit_norm(x, layer)
        return hidden

    def flops(self, lengths: Sequence[int], layers: int) -> int:
        """Floating-point operations of the matrix products (multiply and add counted apart) up to ``layers``.

        Per token and layer 2·(4D² + 2DM) for the projections; per text of n tokens and layer 4n²D for the
        attention. Norms, activations and look-ups are left out: they are under 1 %.
        """
        # M is read off the weights: neurons may have been pruned, in some layers more than in others.
        blocks: Any = self.blocks[:layers]
        neurons = sum(block.mlp.up.weight.shape[0] for block in blocks)
        per_token = 2 * (4 * self.width**2 * layers + 2 * self.width * neurons)
        return sum(n * per_token + layers * 4 * n * n * self.width for n in lengths)


def _initialise(module: nn.Module) -> None:
    """As BERT: weights from N(0, 0.02²), biases zero."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
