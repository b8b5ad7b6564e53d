"""Related words as a language model says them: what comes next after a prompt that asks for a text in one word.

Jiang et al. 2023 (PromptEOL, arXiv 2307.16645) ask like this. What it says after any text is taken away: the mean logits
over texts, as the function words that all texts share lie in one direction (arXiv 2406.17378).

Shape legend: B texts, V key words, D width.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from brickwork.core.types import TokenBatch
from brickwork.encoders.text import TextEncoder
from brickwork.encoders.tokenization import encode_texts
from brickwork.objectives.distillation import Sparse

BEFORE, AFTER = 'This text: "', '" means in one word: "'


class Asked(nn.Module):
    """A language model as it was before the training, and its own ``rows`` for key words that are one token (others are
    never said). ``usual``: its mean logits over some training texts."""

    said: Tensor
    rows: Tensor
    usual: Tensor

    def __init__(self, encoder: TextEncoder, rows: Float[Tensor, "tokens width"], words: Sequence[str]):
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        tokens = [_only_token(encoder, word) for word in words]
        self.register_buffer("said", torch.tensor([token is not None for token in tokens]))
        self.register_buffer("rows", rows[torch.tensor([token or 0 for token in tokens])].clone())
        self.register_buffer("usual", torch.zeros(len(words)))

    def prompts(self, texts: Sequence[str]) -> TokenBatch:
        """The prompt around each text, which is cut so that its end stays."""
        tokenizer = self.encoder.tokenizer
        before, after = (tokenizer.encode(part, add_special_tokens=False).ids for part in (BEFORE, AFTER))
        room = max(1, self.encoder.max_tokens - len(before) - len(after))
        rows, _ = encode_texts(tokenizer, texts, self.encoder.max_tokens, marks=False)
        return TokenBatch.from_lists([[*before, *row[:room], *after] for row in rows])

    @torch.no_grad()
    def logits(self, prompts: TokenBatch) -> Float[Tensor, "batch words"]:
        """Logits of the key words as the next token."""
        last = self.encoder.num_layers
        hidden = self.encoder.body(prompts, [last])[last]
        ends = prompts.lengths.cumsum(0) - 1
        return hidden[ends].float() @ self.rows.float().T

    @torch.no_grad()
    def learn_usual(self, texts: Sequence[str], batch: int = 8) -> None:
        """Sets ``usual``."""
        parts = [
            self.logits(self.prompts(texts[start : start + batch])).sum(0)
            for start in range(0, len(texts), batch)
        ]
        self.usual.copy_(torch.stack(parts).sum(0) / len(texts))

    def related(self, prompts: TokenBatch, present: Bool[Tensor, "batch words"], most: int) -> Sparse:
        """The ``most`` likely words beyond the text: softmax of ℓ − ℓ̄ over them."""
        logits = self.logits(prompts) - self.usual
        logits = logits.masked_fill(present | ~self.said, -torch.inf)
        best, ids = logits.topk(min(most, logits.shape[1]), dim=1)
        probs = torch.softmax(best, dim=1)
        return Sparse(ids, torch.nan_to_num(probs))


def _only_token(encoder: TextEncoder, word: str) -> int | None:
    """The token that is the whole word behind the open quote of the prompt; ``None`` for words of several."""
    ids = encoder.tokenizer.encode(word, add_special_tokens=False).ids
    return ids[0] if len(ids) == 1 else None
