"""The next tokens of a sequence."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from brickwork.core.types import CausalLM


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


def text_after(tokenizer: Any, prompt: Sequence[int], new: Sequence[int]) -> str:
    """What the tokens ``new`` add to the text of ``prompt``. ``tokenizer``: of the library ``tokenizers``.

    Decoded alone, they lose a space at their start with tokenizers that begin every text with one (Llama 2, T5).
    """
    before, whole = tokenizer.decode(list(prompt)), tokenizer.decode([*prompt, *new])
    return whole[len(before) :] if whole.startswith(before) else tokenizer.decode(list(new))


@torch.no_grad()
def continue_text(
    model: CausalLM,
    prompt: Sequence[int],
    *,
    max_tokens: int,
    temperature: float,
    top_k: int,
    generator: torch.Generator,
    stop: Collection[int] = (),
    shorten: Callable[[Any], Any] | None = None,
    device: torch.device | str = "cpu",
) -> list[int]:
    """At most ``max_tokens`` tokens that follow ``prompt`` (at least one token), with the keys and values of those before.

    One of ``stop`` ends the text and is left out. ``shorten``: what is kept of a cache for the next token; none: all.
    """
    new: list[int] = []
    ids, cache = torch.tensor([list(prompt)], device=device), None
    while len(new) < max_tokens:
        out = model(ids, cache=cache)
        cache = out.cache if shorten is None else shorten(out.cache)
        token = sample(out.logits[0, -1], temperature=temperature, top_k=top_k, generator=generator)
        if token in stop:
            break
        new.append(token)
        ids = torch.tensor([[token]], device=device)
    return new
