"""Which brick a request belongs to, by keys that lie in the bricks themselves.

    e(x) = mean over tokens (but the first) of the base's hidden states after a tenth of its layers
    z_b(x) = (e(x) − centre_b) / spread_b       sim_b(x) = cos(z_b(x), k_b)
    k_b  = mean of z_b over half of the brick's own texts

The other half says how similar a text of the brick's own is: θ_b is the ``abstain`` quantile of sim_b, once for their first
16 tokens and once for their first 64, since short texts are less like anything; between the two it is interpolated. The
brick with the largest similarity among those that reach their θ_b is taken; where none does, the base answers. Nothing of
one brick depends on which others are there now.

Shape legend: N texts, D width of the base.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from brickwork.core.errors import ConfigError
from brickwork.encoders.causal_lm import HubCausalLM
from brickwork.modules.bricks import Brick
from brickwork.modules.places import find_places
from brickwork.modules.recorder import watched

BASE = "base"
KEYS = {"key": None, "centre": None, "spread": None, "threshold": 2}
"""What a brick's keys hold, and how many numbers (none: D)."""
SHORT, LONG = 16, 64
MOST_TEXTS = 200  # of a domain, for its key
_MOST_TOKENS = 256


class Embedded(NamedTuple):
    """e(x) of N texts, and how many tokens of each it is the mean of."""

    vectors: Float[Tensor, "texts width"]
    lengths: Float[Tensor, " texts"]


class _Reached(Exception):
    """The layer that was waited for has run."""


@torch.no_grad()
def embed_texts(lm: HubCausalLM, texts: Sequence[str], depth: int, most: int = _MOST_TOKENS) -> Embedded:
    """e(x) of each text from its first ``most`` tokens, after ``depth`` layers (0: the input embeddings)."""
    device = next(lm.parameters()).device
    rows, lengths = [torch.zeros(0, lm.width, device=device)], []
    for encoding in lm.tokenizer.encode_batch(list(texts), add_special_tokens=False):
        ids = torch.tensor([encoding.ids[:most]], dtype=torch.int64, device=device)
        hidden = _hidden(lm, ids, depth) if ids.numel() else torch.zeros(1, 1, lm.width, device=device)
        kept = hidden[0, 1:] if hidden.shape[1] > 1 else hidden[0]
        rows.append(kept.float().mean(0, keepdim=True))
        lengths.append(float(max(ids.shape[1], 1)))
    return Embedded(torch.cat(rows), torch.tensor(lengths, device=device))


def key_depth(lm: HubCausalLM) -> int:
    """After how many layers of a published base requests are compared."""
    return lm.num_layers // 10


def _hidden(lm: HubCausalLM, ids: Tensor, depth: int) -> Tensor:
    """Hidden states after ``depth`` layers; those behind are not run."""
    if depth == 0:
        return lm.embed(ids)
    layer = find_places(lm.model)[f"layers.{depth - 1}.residual"].module
    kept: list[Tensor] = []

    def stop(output: Tensor) -> None:
        kept.append(output)
        raise _Reached

    with contextlib.suppress(_Reached), watched(layer, stop, output=True):
        lm.model(input_ids=ids, use_cache=False)
    return kept[0]


def learn_keys(
    lm: HubCausalLM, texts: Sequence[str], domains: Sequence[str], depth: int, abstain: float
) -> dict[str, dict[str, Tensor]]:
    """Key, centre, spread and thresholds of each domain's brick, from at most 200 of its texts."""
    chosen = {}
    for name in sorted(set(domains)):
        rows = [place for place, domain in enumerate(domains) if domain == name]
        step = max(1, math.ceil(len(rows) / MOST_TEXTS))
        chosen[name] = [texts[row] for row in rows[::step]]
    vectors = {name: embed_texts(lm, some, depth).vectors for name, some in chosen.items()}
    every = torch.cat(list(vectors.values()))
    centre, spread = every.mean(0), every.std(0, unbiased=False).clamp(min=1e-6)
    keys = {}
    for name, some in chosen.items():
        key = ((vectors[name][::2] - centre) / spread).mean(0)
        others = some[1::2] if len(some) > 1 else some
        threshold = [
            _cosines(embed_texts(lm, others, depth, most).vectors, key, centre, spread).quantile(abstain)
            for most in (SHORT, LONG)
        ]
        keys[name] = {"key": key, "centre": centre, "spread": spread, "threshold": torch.stack(threshold)}
    return keys


def _cosines(vectors: Tensor, key: Tensor, centre: Tensor, spread: Tensor) -> Float[Tensor, " texts"]:
    return torch.nn.functional.cosine_similarity((vectors - centre) / spread, key[None], dim=1)


class Similarities(NamedTuple):
    """sim_b of N requests and B bricks, and the θ_b that each has to reach, which depends on its length."""

    similar: Float[Tensor, "texts bricks"]
    floors: Float[Tensor, "texts bricks"]


def similarities(requests: Embedded, bricks: Mapping[str, Brick]) -> Similarities:
    """How near requests are to the keys of bricks.

    Raises:
        ConfigError: a brick without keys, or with those of a base of another width.
    """
    vectors, lengths = requests
    share = ((lengths.clamp(SHORT, LONG) / SHORT).log() / math.log(LONG / SHORT)).clamp(0, 1)
    columns, floors = [], []
    for name, brick in bricks.items():
        if any(part not in brick.keys for part in KEYS) or brick.keys["key"].shape != vectors.shape[1:]:
            raise ConfigError(
                f"brick '{name}' has no key for this base, so no request can find it: name it (brick={name}), or take it "
                "out of the library"
            )
        key, centre, spread, threshold = (brick.keys[part].to(vectors) for part in KEYS)
        columns.append(_cosines(vectors, key, centre, spread))
        floors.append(threshold[0] + share * (threshold[1] - threshold[0]))
    return Similarities(torch.stack(columns, dim=1), torch.stack(floors, dim=1))


def route(requests: Embedded, bricks: Mapping[str, Brick]) -> tuple[list[str], Float[Tensor, " texts"]]:
    """The brick of each text, or ``base``, and its similarity to the nearest key. Raises as :func:`similarities`."""
    if not bricks:
        return [BASE] * len(requests.vectors), requests.vectors.new_zeros(len(requests.vectors))
    similar, floors = similarities(requests, bricks)
    best, place = torch.where(similar >= floors, similar, -torch.inf).max(1)
    names = list(bricks)
    chosen = [names[int(p)] if math.isfinite(b) else BASE for b, p in zip(best.tolist(), place)]
    return chosen, similar.max(1).values
