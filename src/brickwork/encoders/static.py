"""Static token embeddings: a text is the mean of its tokens' vectors. No depth, very fast."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.types import TokenBatch


class StaticEmbedding(nn.Module):
    """A table of token vectors. The padding token stands for an empty text and counts as nothing."""

    kind = "static"
    num_layers = 1

    def __init__(self, *, vocab_size: int, width: int, pad_id: int, dropout: float = 0.0):
        super().__init__()
        self.arguments = {"vocab_size": vocab_size, "width": width, "pad_id": pad_id, "dropout": dropout}
        self.width = width
        self.pad_id = pad_id
        self.token_embedding = nn.Embedding(vocab_size, width, padding_idx=pad_id)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            nn.init.normal_(self.token_embedding.weight, std=width**-0.5)
            self.token_embedding.weight[pad_id].zero_()

    def forward(self, tokens: TokenBatch) -> Float[Tensor, "batch width"]:
        """The mean of each text's token vectors; zeros for an empty text."""
        starts = tokens.lengths.cumsum(0) - tokens.lengths
        weight = self.token_embedding.weight
        pooled = F.embedding_bag(tokens.ids, weight, starts, mode="mean", padding_idx=self.pad_id)
        return self.dropout(pooled)

    def forward_padded(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The same for padded texts, for tracing. Shapes: two of (B, L) → (B, D)."""
        weight = (attention_mask.bool() & (input_ids != self.pad_id)).to(self.token_embedding.weight.dtype)
        total = (self.token_embedding(input_ids) * weight[..., None]).sum(1)
        return self.dropout(total / weight.sum(1, keepdim=True).clamp(min=1))

    def flops(self, lengths: Sequence[int], layers: int) -> int:
        """One addition for each number of each token's vector."""
        return layers * sum(lengths) * self.width
