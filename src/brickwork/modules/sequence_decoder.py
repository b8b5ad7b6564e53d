"""From a code to the distribution of a text, token by token: a recurrent network that sees the code at every step.

Shape legend: B rows, D latent dimensions, L positions, V vocabulary, W width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from brickwork.core.config import from_dict, to_dict
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.types import TokenBatch
from brickwork.modules.latent import mean_over_valid
from brickwork.modules.sampling import sample


@dataclass(frozen=True, kw_only=True)
class SequenceDecoderConfig:
    """How to build a decoder of texts.

    ``width``: units of the gated recurrent network. ``num_layers``: networks on top of each other. ``word_dropout``: share
    of the tokens fed to it that are blanked while training, so that it must read the code.
    """

    kind: Literal["sequence"] = "sequence"
    width: int = 256
    num_layers: int = 1
    word_dropout: float = 0.0

    def validate(self) -> list[str]:
        problems = [
            f"{name} is {getattr(self, name)}; it must be at least 1"
            for name in ("width", "num_layers")
            if getattr(self, name) < 1
        ]
        if not 0 <= self.word_dropout < 1:
            problems.append(f"word_dropout is {self.word_dropout}; it must be in [0, 1)")
        return problems


class SequenceDecoder(nn.Module):
    """p(x|z) = Π_t p(x_t | x_<t, z). ``output`` gives the logits of the next token.

    Texts begin with the token ``start`` and end with ``end``: neither the first is predicted nor anything after the last.
    """

    def __init__(
        self, config: SequenceDecoderConfig, latent_dim: int, vocab_size: int, *, start: int, end: int
    ):
        super().__init__()
        self.config = config
        self.latent_dim = latent_dim
        self.vocab_size = vocab_size
        self.start, self.end = start, end
        width = config.width
        self.embedding = nn.Embedding(vocab_size, width)
        self.code = nn.Linear(latent_dim, width)
        self.first = nn.Linear(latent_dim, width * config.num_layers)
        self.network = nn.GRU(width, width, config.num_layers, batch_first=True)
        self.output = nn.Linear(width, vocab_size)

    def log_prob(self, z: Float[Tensor, "batch dim"], tokens: TokenBatch) -> Float[Tensor, " batch"]:
        """log p(x|z) in nats, summed over the tokens of each text (teacher forcing)."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.float() if z.dtype is torch.bfloat16 else z
            ids, mask = tokens.padded(self.end)
            logits = self.output(self._states(z, ids[:, :-1]))
            losses = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
            return -(losses * mask[:, 1:]).sum(1)

    def hidden(self, z: Float[Tensor, "batch dim"], tokens: TokenBatch) -> Float[Tensor, "batch width"]:
        """The states just before the next token's logits, with the true text fed in; their mean over its tokens."""
        ids, mask = tokens.padded(self.end)
        return mean_over_valid(self._states(z, ids[:, :-1]), mask[:, 1:].bool())

    @property
    def hidden_dim(self) -> int:
        """Numbers of :meth:`hidden`."""
        return self.config.width

    def _states(
        self, z: Float[Tensor, "batch dim"], ids: Int64[Tensor, "batch length"]
    ) -> Float[Tensor, "batch length width"]:
        fed = self.embedding(ids)
        if self.training and self.config.word_dropout:
            fed = fed * (torch.rand(ids.shape, device=ids.device) >= self.config.word_dropout)[..., None]
        return self.network(fed + self.code(z)[:, None], self._initial(z))[0]

    def _initial(self, z: Tensor) -> Tensor:
        """The state of each layer before the first token: (layers, B, W)."""
        return torch.tanh(self.first(z)).view(len(z), self.config.num_layers, -1).transpose(0, 1).contiguous()

    @torch.no_grad()
    def generate(
        self,
        z: Float[Tensor, "batch dim"],
        prefixes: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        temperature: float = 1.0,
        top_k: int = 0,
        banned: Sequence[int] = (),
        generator: torch.Generator | None = None,
    ) -> list[list[int]]:
        """For each code, the tokens that follow its prefix, without marks, until the end token or ``max_tokens``.

        ``temperature`` 0 takes the likeliest token; ``top_k`` 0 draws from all; ``banned`` tokens are never taken.
        """
        sequences: list[list[int]] = []
        for row, prefix in enumerate(prefixes):
            code = z[row : row + 1]
            state, extra = self._initial(code), self.code(code)[:, None]
            fed = torch.tensor([[self.start, *prefix]], device=z.device)
            written: list[int] = []
            while len(written) < max_tokens:
                hidden, state = self.network(self.embedding(fed) + extra, state)
                logits = self.output(hidden[0, -1])
                logits[[self.start, *banned]] = float("-inf")
                token = sample(logits, temperature=temperature, top_k=top_k, generator=generator)
                if token == self.end:
                    break
                written.append(token)
                fed = torch.tensor([[token]], device=z.device)
            sequences.append(written)
        return sequences

    def architecture(self) -> dict[str, Any]:
        """JSON values from which :meth:`from_architecture` rebuilds this decoder."""
        return {
            "kind": "sequence",
            "config": to_dict(self.config),
            "latent_dim": self.latent_dim,
            "vocab_size": self.vocab_size,
            "start": self.start,
            "end": self.end,
        }

    @classmethod
    def from_architecture(cls, architecture: Mapping[str, Any]) -> "SequenceDecoder":
        """The decoder that ``architecture`` describes, with fresh weights.

        Raises:
            ArtifactError: the description does not fit this version.
        """
        try:
            config = from_dict(SequenceDecoderConfig, architecture["config"])
            marks = {name: architecture[name] for name in ("start", "end")}
            return cls(config, architecture["latent_dim"], architecture["vocab_size"], **marks)
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise ArtifactError(f"the description of the decoder is damaged: {error!r}") from error
