"""The size at which the search page opens: the smallest one that was measured to be good enough.

Measured is what a training wrote into the model's card: for each held-out search task the quality of every size. What an
untrained or older model never measured is not guessed: then the page opens at full size. The page searches by meaning and
words together where an index has words, so hybrid searches count there, if they were measured.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from brickwork.representation.measured import Size, measured_tasks, qualities

KEEP = 0.98
"""The share of full size's quality that is good enough."""
_METRICS = ("ndcg@10", "recall@10", "mrr@10")


@dataclass(frozen=True, kw_only=True)
class StartingSize:
    """``dim`` and ``layers``, and the share ``kept`` of full size's ``metric`` in searches of that ``mode``: the lowest
    among the ``tasks``."""

    dim: int
    layers: int
    kept: float
    metric: str
    tasks: tuple[str, ...]
    mode: Literal["hybrid", "dense"]


def starting_size(
    card: Mapping[str, Any], dims: Sequence[int], depths: Sequence[int], *, words: bool = False
) -> StartingSize | None:
    """The smallest size (dimensions times layers, then fewer layers) that keeps :data:`KEEP` of full size's quality on every
    task of the card's ``measurement``; ``None`` where full size was not measured at these ``dims`` and ``depths``. With
    ``words`` by hybrid searches, where these were measured."""
    tasks = measured_tasks(card)
    modes: tuple[Literal["hybrid", "dense"], ...] = ("hybrid", "dense") if words else ("dense",)
    for mode, metric in itertools.product(modes, _METRICS):
        values = (qualities(task, metric, hybrid=mode == "hybrid") for task in tasks.values())
        shares = [_shares(each, dims, depths) for each in values]
        if not shares or not all(shares):
            continue
        kept = {size: min(share.get(size, 0.0) for share in shares) for size in shares[0]}
        good = [size for size, share in kept.items() if share >= KEEP]
        dim, layers = min(good, key=lambda size: (size[0] * max(size[1], 1), size[1]))
        return StartingSize(
            dim=dim, layers=layers, kept=kept[dim, layers], metric=metric, tasks=tuple(tasks), mode=mode
        )
    return None


def _shares(values: Mapping[Size, float], dims: Sequence[int], depths: Sequence[int]) -> dict[Size, float]:
    """The share of full size's quality at each size that can be searched; empty where full size has none."""
    there = {size: value for size, value in values.items() if size[0] in dims and size[1] in depths}
    full = there.get((dims[-1], depths[-1]), 0.0)
    return {size: value / full for size, value in there.items()} if full > 0 else {}
