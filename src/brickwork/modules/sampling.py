"""The next token of a sequence."""

import torch
from jaxtyping import Float
from torch import Tensor


def sample(
    logits: Float[Tensor, " vocabulary"], *, temperature: float, top_k: int, generator: torch.Generator | None
) -> int:
    """The next token: the likeliest at temperature 0, else drawn (from the ``top_k`` likeliest, 0: from all)."""
    if temperature == 0:
        return int(logits.argmax())
    scaled = logits.double().cpu() / temperature
    if 0 < top_k < len(scaled):
        scaled = scaled.masked_fill(scaled < scaled.topk(top_k).values[-1], float("-inf"))
    return int(torch.multinomial(scaled.softmax(-1), 1, generator=generator))
