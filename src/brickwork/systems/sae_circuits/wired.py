"""A model whose circuit is known, since it was wired by hand: two layers of attention, two heads of sixteen do the work.

Its residual stream is [token | position | previous token | output | distractor]. Head (0, 0) looks at the position before
and writes that token into *previous*; head (1, 0) looks for tokens whose previous token is the current one, and writes them
into *output*, which is what the logits are. The other heads are Gaussian and write into *distractor*, which nothing reads.
So the model continues "a b … a" with b (induction), and nothing but the two heads matters to it.

Shape legend: B texts, T tokens, V vocabulary, D width, H heads.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.core.seeding import generator_for
from brickwork.core.types import Decoded

TOKENS = 20
LENGTH = 18  # with the start
HEADS = 8
CIRCUIT = ((0, 0), (1, 0))
_DISTRACTOR = 40
_SHARP = 30.0  # logits of attention
_START = TOKENS


class WiredAttention(nn.Module):
    """Causal attention without scaling."""

    def __init__(self, width: int, size: int):
        super().__init__()
        self.size = size
        self.head_dim = size
        self.query = nn.Linear(width, HEADS * size, bias=False)
        self.key = nn.Linear(width, HEADS * size, bias=False)
        self.value = nn.Linear(width, HEADS * size, bias=False)
        self.out = nn.Linear(HEADS * size, width, bias=False)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        q, k, v = (
            part(x).unflatten(-1, (-1, self.size)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
        return self.out(mixed.transpose(1, 2).flatten(2))


class WiredBlock(nn.Module):
    def __init__(self, width: int, size: int):
        super().__init__()
        self.attention = WiredAttention(width, size)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        return x + self.attention(x)


class WiredModel(nn.Module):
    """The model; ``distractor``: how large what the other heads write is, relative to the circuit's. It is a
    :class:`~brickwork.core.types.CausalLM`; what it keeps for the next token are the tokens, which it reads again."""

    def __init__(self, distractor: float = 1.0):
        super().__init__()
        self.vocabulary = TOKENS + 1
        self.width = 3 * self.vocabulary + LENGTH + _DISTRACTOR
        self.num_layers, self.num_heads, self.num_kv_heads = 2, HEADS, HEADS
        self.tokenizer = wired_tokenizer()
        self.max_positions = LENGTH
        self.blocks = nn.ModuleList(WiredBlock(self.width, self.vocabulary) for _ in range(2))
        self.requires_grad_(False)
        if next(self.parameters()).device.type != "meta":
            self._wire(distractor)

    def _wire(self, distractor: float) -> None:
        v, t = self.vocabulary, LENGTH
        token, place, previous, output = (
            slice(0, v),
            slice(v, v + t),
            slice(v + t, 2 * v + t),
            slice(2 * v + t, 3 * v + t),
        )
        rest = slice(3 * v + t, self.width)
        generator = generator_for(0, 0, "wired")
        for layer, block in enumerate(self.blocks):
            attention: WiredAttention = block.attention  # type: ignore[assignment]
            q, k, values, out = (
                part.weight for part in (attention.query, attention.key, attention.value, attention.out)
            )
            for weight in (q, k, values):
                weight.zero_()
                weight[:, : v + t] = torch.randn(len(weight), v + t, generator=generator) * (v + t) ** -0.5
            out.zero_()
            out[rest] = distractor * torch.randn(_DISTRACTOR, out.shape[1], generator=generator) * v**-0.5
            q[:v], k[:v], values[:v], out[:, :v] = 0, 0, 0, 0
            values[:v, token] = torch.eye(v)
            if layer == 0:
                q[: t - 1, v + 1 : v + t] = _SHARP * torch.eye(t - 1)  # position i asks for i − 1
                k[:t, place] = torch.eye(t)
                out[previous, :v] = torch.eye(v)
            else:
                q[:v, token] = _SHARP * torch.eye(v)
                k[:v, previous] = torch.eye(v)
                out[output, :v] = torch.eye(v)

    def embed(self, ids: Int64[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        if ids.shape[1] > LENGTH:
            raise ConfigError(f"the hand-wired model reads at most {LENGTH} tokens, not {ids.shape[1]}")
        x = torch.zeros(*ids.shape, self.width, device=ids.device)
        x[..., : self.vocabulary] = F.one_hot(ids, self.vocabulary)
        x[..., self.vocabulary : self.vocabulary + LENGTH] = torch.eye(LENGTH, device=ids.device)[
            : ids.shape[1]
        ]
        return x

    def head(self, hidden: Float[Tensor, "b t d"]) -> Float[Tensor, "b t v"]:
        """Ten times the output slot: a token that was found has a probability near 1."""
        return 10 * hidden[..., 2 * self.vocabulary + LENGTH : 3 * self.vocabulary + LENGTH]

    def forward(
        self,
        ids: Int64[Tensor, "b t"] | None = None,
        mask: Bool[Tensor, "b t"] | None = None,
        cache: Tensor | None = None,
        *,
        inputs_embeds: Float[Tensor, "b t d"] | None = None,
        with_hidden: bool = False,
    ) -> Decoded:
        """``mask`` changes nothing: padding comes last, and what comes later is never seen. ``cache``: the tokens before.

        Raises:
            ConfigError: both ids and ``inputs_embeds`` or neither, or more than 18 tokens.
        """
        if (ids is None) == (inputs_embeds is None):
            raise ConfigError("a language model reads ids or inputs_embeds: give one of them")
        x = inputs_embeds
        if ids is not None:
            new, ids = ids.shape[1], ids if cache is None else torch.cat([cache, ids], dim=1)
            x = self.embed(ids)
        assert x is not None
        hidden = [x]
        for block in self.blocks:
            hidden.append(block(hidden[-1]))
        start = 0 if ids is None else ids.shape[1] - new
        kept = tuple(one[:, start:] for one in hidden)
        return Decoded(logits=self.head(kept[-1]), cache=ids, hidden=kept if with_hidden else ())


def wired_tokenizer() -> Tokenizer:
    """Words ``t0`` … ``t19`` and ``<start>``."""
    words = {f"t{number}": number for number in range(TOKENS)} | {"<start>": _START}
    tokenizer = Tokenizer(models.WordLevel(words, "<start>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer
