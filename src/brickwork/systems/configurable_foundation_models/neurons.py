"""Which neurons of a language model tell a domain from others: functional scores, and sets of the best.

    A_i(x) = mean over tokens of |a_i|         or  max over tokens of relu(a_i)     (the first token is left out)
    s_i(f) = AP(c, A_i)                        or  max(AP(c, A_i), AP(1 − c, A_i))  c: text of domain f or not

a_i is the factor of a neuron's output weights: of a gated layer the product. AP: the average precision of A_i as a detector.
Xiao et al., arXiv 2409.02877, section 4; Zhang et al., arXiv 2305.18390 (the second form of each).

Shape legend: N texts, L layers, M neurons of a layer, F domains.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from brickwork.core.errors import ConfigError
from brickwork.encoders.tokenization import token_windows
from brickwork.modules.places import Place, find_places
from brickwork.modules.recorder import Recorder
from brickwork.systems.configurable_foundation_models.config import Activation, Direction

_TOKENS = 520  # of one batch: all its neurons, or all its logits, are in memory at once
_CHUNK = 4_000_000  # numbers of one step of the scores


def neuron_places(lm: Any, name: str) -> list[Place]:
    """The feed-forward halves of a language model, one for each layer and all as wide.

    Raises:
        ConfigError: ``name``, the model, has layers without one, or with halves of different widths.
    """
    try:
        places = find_places(lm).choose("ffn")
    except ConfigError as error:
        raise ConfigError(f"model.base={name}: {error}") from error
    if len({place.parts for place in places}) != 1 or len(places) != lm.num_layers:
        raise ConfigError(
            f"model.base={name}: its layers have different numbers of neurons, or some have none; use a model that is as it "
            "was made"
        )
    return places


def first_windows(
    lm: Any, texts: Sequence[str], context: int
) -> tuple[Int[Tensor, "texts tokens"], Bool[Tensor, "texts targets"]]:
    """The first ``context`` + 1 tokens of each text, and which next tokens exist. Padding comes last."""
    ids, mask, owners = token_windows(lm.tokenizer, texts, context)
    first = [place for place, owner in enumerate(owners) if place == 0 or owners[place - 1] != owner]
    return ids[first], mask[first]


def batches(count: int, context: int) -> Iterator[slice]:
    """``count`` windows of at most ``context`` + 1 tokens, some at a time."""
    size = max(1, _TOKENS // (context + 1))
    return (slice(start, start + size) for start in range(0, count, size))


@torch.no_grad()
def text_activity(
    lm: Any, texts: Sequence[str], context: int, how: Activation
) -> Float[Tensor, "texts layers neurons"]:
    """A_i of each text. Memory: that of the result and of one batch."""
    ids, mask = first_windows(lm, texts, context)
    device = next(lm.parameters()).device
    results = []
    for rows in batches(len(ids), context):
        longest = max(int(mask[rows].sum(1).max()) + 1, 2)
        # After the first token: it is the same for all texts to a model that attends to it, and its weight in a mean
        # says how long a text is.
        exists = mask[rows, : longest - 1].to(device)
        with Recorder(lm, "ffn", positions="all") as record:
            lm(ids[rows, :longest].to(device))
        layers = [_reduced(record[name][:, 1:], exists, how) for name in record.names()]
        results.append(torch.stack(layers, dim=1).float().cpu())
    return torch.cat(results)


def _reduced(
    own: Float[Tensor, "texts tokens neurons"], exists: Bool[Tensor, "texts tokens"], how: Activation
) -> Float[Tensor, "texts neurons"]:
    weights = exists[..., None].to(own.dtype)
    if how == "max_relu":
        return (own.relu() * weights).amax(1)
    return (own.abs() * weights).sum(1) / weights.sum(1).clamp(min=1)


# ---- scores ------------------------------------------------------------------------------------------------------


def average_precision(
    activity: Float[Tensor, "texts columns"], labels: Bool[Tensor, "sets texts"]
) -> Float[Tensor, "sets columns"]:
    """AP of every column as a detector of every set of texts: Σ over thresholds (R_k − R_{k−1}) P_k.

    Equal values are one threshold. One sort serves all sets. A set of no text has 0.
    """
    count, columns = activity.shape
    results = torch.zeros(len(labels), columns, dtype=torch.float32)
    ranks = torch.arange(1, count + 1)[:, None]
    width = max(1, _CHUNK // max(count, 1))
    for start in range(0, columns, width):
        values, order = activity[:, start : start + width].sort(dim=0, descending=True)
        last = torch.ones_like(order, dtype=torch.bool)  # of its equals
        last[:-1] = values[:-1] != values[1:]
        ends = torch.where(last, ranks - 1, count).flip(0).cummin(0).values.flip(0)
        for number, positive in enumerate(labels):
            found = positive[order]
            precision = (found.cumsum(0) / ranks).gather(0, ends)
            total = max(int(positive.sum()), 1)
            results[number, start : start + width] = (precision * found).sum(0) / total
    return results


def functional_scores(
    activity: Float[Tensor, "texts layers neurons"], labels: Bool[Tensor, "sets texts"], direction: Direction
) -> Float[Tensor, "sets layers neurons"]:
    """s_i(f) of each set of texts."""
    flat = activity.flatten(1)
    scores = average_precision(flat, labels)
    if direction == "both":
        scores = torch.maximum(scores, average_precision(flat, ~labels))
    return scores.view(len(labels), *activity.shape[1:])


def one_vs_rest(domains: Sequence[str], names: Sequence[str]) -> Bool[Tensor, "sets texts"]:
    """Which texts are of each domain."""
    return torch.tensor(np.array([[one == name for one in domains] for name in names], dtype=bool))


def shuffled(labels: Bool[Tensor, "sets texts"], times: int, generator: torch.Generator) -> Iterator[Tensor]:
    """The labels of the texts in ``times`` orders of chance, the same order for all sets."""
    for _ in range(times):
        yield labels[:, torch.randperm(labels.shape[1], generator=generator)]


# ---- sets of neurons ---------------------------------------------------------------------------------------------


def top_neurons(
    score: Float[Tensor, "layers neurons"],
    share: float,
    without: Bool[Tensor, "layers neurons"] | None = None,
) -> Bool[Tensor, "layers neurons"]:
    """The ``share`` of all neurons with the highest scores; none of ``without``."""
    score = score if without is None else score.masked_fill(without, -torch.inf)
    count = max(1, round(share * score.numel()))
    chosen = torch.zeros(score.numel(), dtype=torch.bool)
    chosen[score.flatten().topk(count).indices] = True
    return chosen.view_as(score)


def residents(activity: Float[Tensor, "layers neurons"], share: float) -> Bool[Tensor, "layers neurons"]:
    """Neurons that are active whatever the text: in each layer, the ``share`` with the highest mean activity."""
    count = max(1, round(share * activity.shape[1]))
    chosen = torch.zeros_like(activity, dtype=torch.bool)
    return chosen.scatter_(1, activity.topk(count, dim=1).indices, True)


def overlap(sets: Bool[Tensor, "sets layers neurons"]) -> Float[Tensor, "sets sets"]:
    """|A ∩ B| / |A| of sets of one size: of two sets by chance, their share of all neurons."""
    flat = sets.flatten(1).float()
    return flat @ flat.T / flat.sum(1, keepdim=True).clamp(min=1)
