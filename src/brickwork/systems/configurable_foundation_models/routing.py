"""Which brick a request belongs to, by keys that lie in the bricks themselves.

    e(x) = mean over tokens of the base's input embeddings          z_b(x) = (e(x) − centre_b) / spread_b
    k_b  = mean of z_b over half of the brick's own texts           sim_b(x) = cos(z_b(x), k_b)

θ_b is the ``abstain`` quantile of sim_b over the other half. The brick with the largest similarity among those that reach
their θ_b is taken; where none does, the base answers. Nothing of one brick depends on which others are there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from brickwork.core.errors import ConfigError
from brickwork.modules.bricks import Brick

BASE = "base"
KEYS = ("key", "centre", "spread", "threshold")
_MOST_TOKENS = 512


@torch.no_grad()
def embed_texts(lm: Any, texts: Sequence[str]) -> Float[Tensor, "texts width"]:
    """e(x) of each text, from its first 512 tokens; of a text without tokens zeros."""
    table = lm.model.get_input_embeddings().weight
    rows = [table.new_zeros(0, table.shape[1])]
    for encoding in lm.tokenizer.encode_batch(list(texts), add_special_tokens=False):
        ids = torch.tensor(encoding.ids[:_MOST_TOKENS], dtype=torch.int64, device=table.device)
        rows.append(
            table[ids].float().mean(0, keepdim=True) if len(ids) else table.new_zeros(1, table.shape[1])
        )
    return torch.cat(rows)


def learn_keys(
    vectors: Float[Tensor, "texts width"], domains: Sequence[str], abstain: float
) -> dict[str, dict[str, Tensor]]:
    """Key, centre, spread and threshold of each domain's brick, from the e(x) of all training texts."""
    centre, spread = vectors.mean(0), vectors.std(0, unbiased=False).clamp(min=1e-6)
    z = (vectors - centre) / spread
    keys = {}
    for name in sorted(set(domains)):
        rows = torch.tensor([place for place, domain in enumerate(domains) if domain == name])
        half, other = rows[::2], rows[1::2] if len(rows) > 1 else rows
        key = z[half].mean(0)
        similar = torch.nn.functional.cosine_similarity(z[other], key[None], dim=1)
        threshold = similar.quantile(abstain)
        keys[name] = {"key": key, "centre": centre, "spread": spread, "threshold": threshold.view(1)}
    return keys


def similarities(
    vectors: Float[Tensor, "texts width"], bricks: Mapping[str, Brick]
) -> Float[Tensor, "texts bricks"]:
    """sim_b(x) of each text and brick.

    Raises:
        ConfigError: a brick without keys.
    """
    columns = [vectors.new_zeros(len(vectors), 0)]
    for name, brick in bricks.items():
        if missing := set(KEYS) - set(brick.keys):
            raise ConfigError(
                f"brick '{name}' has no {sorted(missing)[0]}, so no request can find it; name it (brick={name}), or give it "
                "keys (routing.learn_keys)"
            )
        key, centre, spread, _ = (brick.keys[part].to(vectors) for part in KEYS)
        z = (vectors - centre) / spread
        columns.append(torch.nn.functional.cosine_similarity(z, key[None], dim=1)[:, None])
    return torch.cat(columns, dim=1)


def route(
    vectors: Float[Tensor, "texts width"], bricks: Mapping[str, Brick]
) -> tuple[list[str], Float[Tensor, " texts"]]:
    """The brick of each text, or ``base``, and how similar the text is to the nearest key."""
    similar = similarities(vectors, bricks)
    if not bricks:
        return [BASE] * len(vectors), vectors.new_zeros(len(vectors))
    thresholds = torch.cat([brick.keys["threshold"].to(vectors) for brick in bricks.values()])
    accepted = torch.where(similar >= thresholds, similar, -torch.inf)
    best, place = accepted.max(1)
    names = list(bricks)
    chosen = [names[int(p)] if torch.isfinite(b) else BASE for b, p in zip(best, place)]
    return chosen, similar.max(1).values
