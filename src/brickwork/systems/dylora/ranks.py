"""Quality against the rank of adapters, and which rank to take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from brickwork.core.elastic import NestedSampler, geometric_weights
from brickwork.evaluation.significance import wilson
from brickwork.modules.adapters import LoraAdapters
from brickwork.systems.dylora.config import DyloraConfig


@dataclass(frozen=True, kw_only=True)
class RankPoint:
    """One rank: the share of right answers, its 95 % interval (Wilson), and the numbers that its adapters hold."""

    rank: int
    accuracy: float
    low: float
    high: float
    parameters: int


def drawn_ranks(config: DyloraConfig, seed: int, step: int) -> tuple[int, ...]:
    """b ~ p_B, one for the whole model; two with ``sandwich``."""
    draw, sizes, turn = NestedSampler(seed), config.sizes(), step // config.draw_every
    if config.sampler == "sandwich":
        return draw.nested_dims(sizes, turn, 2)
    if config.sampler == "geometric":
        weights = geometric_weights(sizes, config.geometric_p or 0.3)
        return (draw.weighted(sizes, weights, turn, "rank"),)
    return draw.choose(sizes, turn, "rank")


def usual_ranks(largest: int) -> tuple[int, ...]:
    """1, 2, 4 … and the largest."""
    powers = [2**i for i in range(largest.bit_length()) if 2**i < largest]
    return (*powers, largest)


def rank_curve(
    adapters: LoraAdapters, right: Callable[[], Bool[np.ndarray, " rows"]], ranks: Sequence[int]
) -> tuple[RankPoint, ...]:
    """Accuracy at each of ``ranks``; ``right`` says for every example whether the model answers it rightly now."""
    points = []
    for rank in ranks:
        with adapters.rank(rank):
            correct = right()
        low, high = wilson(int(correct.sum()), len(correct))
        points.append(
            RankPoint(
                rank=rank,
                accuracy=float(correct.mean()) if len(correct) else 0.0,
                low=low,
                high=high,
                parameters=adapters.num_parameters(rank),
            )
        )
    return tuple(points)


def recommended(points: Sequence[RankPoint], within: float = 0.01) -> int:
    """The smallest rank whose accuracy is at most ``within`` below the best one."""
    best = max(point.accuracy for point in points)
    return min(point.rank for point in points if point.accuracy >= best - within)
