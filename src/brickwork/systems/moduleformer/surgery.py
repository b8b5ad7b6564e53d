"""Surgery on mixtures: modules added for something new, modules removed that are little used.

Works on what has a ``router`` and ``expert_maps()``: mixtures of attention heads and of feed-forward modules.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from brickwork.core.errors import ConfigError
from brickwork.modules.decoders import ExpertFeedForward, HeadMixture
from brickwork.modules.routers import RememberedScorer

Trained = Literal["new", "router", "all"]
# Below the mean of the old logits: new modules are tried now and then, and hardly change what the others do.
_NEW_OFFSET = -2.0


Mixture = HeadMixture | ExpertFeedForward
"""A router and the maps of its modules."""


def grow(mixture: Mixture, count: int) -> None:
    """Appends ``count`` fresh modules; the old ones' weights and logits stay what they were.

    The embedding of a new module is the mean of the old ones', so that its logit is their mean (for a cosine router:
    near it), minus 2; a little noise tells new ones apart. Old softmax weights become a little smaller.
    """
    scorer = mixture.router.scorer
    old = scorer.modules_embedding.data
    start = old.mean(0) + 0.02 * torch.randn(count, old.shape[1], dtype=old.dtype, device=old.device)
    scorer.modules_embedding = nn.Parameter(torch.cat([old, start]))
    scorer.offset = torch.cat([scorer.offset, scorer.offset.new_full((count,), _NEW_OFFSET)])
    for part in mixture.expert_maps():
        weight = part.weight.data
        part.weight = nn.Parameter(torch.cat([weight, weight.new_empty(count, *weight.shape[1:])]))
        part.reset(len(weight))


def remember(mixture: Mixture) -> None:
    """Keeps the router's weights as they are now; from then on its outputs have ``aux["route"]``, how far it moved."""
    mixture.router.remembered = RememberedScorer(mixture.router.scorer)


def freeze_old(mixture: Mixture, old: int, trained: Trained) -> None:
    """Trains only what is new: the modules from number ``old`` on and their rows of the router, or with ``"router"`` all
    of the router. ``"all"`` trains everything."""
    for part in mixture.expert_maps():
        part.frozen = 0 if trained == "all" else old
    scorer = mixture.router.scorer
    scorer.frozen = old if trained == "new" else 0
    for name, parameter in scorer.named_parameters():
        parameter.requires_grad_(trained != "new" or name == "modules_embedding")


def prune(mixture: Mixture, keep: Sequence[int]) -> None:
    """Removes all modules but ``keep``; the router's softmax runs over the ones that are left, and what it remembered of
    earlier ones is gone.

    Raises:
        ConfigError: fewer would be left than each token chooses.
    """
    rows = sorted(set(keep))
    top_k = mixture.router.top_k
    if len(rows) < top_k:
        raise ConfigError(
            f"{len(rows)} modules would be left where each token chooses top_k={top_k}; prune fewer"
        )
    scorer = mixture.router.scorer
    scorer.modules_embedding = nn.Parameter(scorer.modules_embedding.data[rows].clone())
    scorer.offset = scorer.offset[rows].clone()
    mixture.router.remembered = None
    for part in mixture.expert_maps():
        part.weight = nn.Parameter(part.weight.data[rows].clone())


def least_used(
    shares: Sequence[Float[np.ndarray, " _"]], share: float, at_least: Sequence[int]
) -> list[list[int]]:
    """Which modules of each mixture stay when ``share`` of all modules go, the least used first, over all mixtures.

    A mixture keeps at least ``at_least`` of its modules; where it would lose more, the next least used of others go.
    Use is relative to an even share, so that mixtures of different sizes compare.
    """
    ranked = sorted(
        (float(value) * len(used), number, module)
        for number, used in enumerate(shares)
        for module, value in enumerate(used)
    )
    wanted = round(share * len(ranked))
    left = [set(range(len(used))) for used in shares]
    for _, number, module in ranked:
        if wanted and len(left[number]) > at_least[number]:
            left[number].discard(module)
            wanted -= 1
    return [sorted(rows) for rows in left]
