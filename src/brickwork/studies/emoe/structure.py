"""How much groups of neurons are modules: whether they answer together, hold most of what is done, and are found by their
mean key."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from brickwork.modules.ffn_split import FeedForward, group_keys

TOP = 4  # a quarter of the groups


@dataclass(frozen=True)
class Seen:
    """What went into a feed-forward half, and what its neurons did, for each token."""

    inputs: Float[Tensor, "tokens width"]
    neurons: Float[Tensor, "tokens neurons"]


@torch.no_grad()
def watch(model: nn.Module, halves: Sequence[FeedForward], call: Callable[[], object]) -> dict[str, Seen]:
    """What each of ``halves`` of ``model`` gets and does while ``call`` runs it."""
    inputs: dict[str, list[Tensor]] = {half.name: [] for half in halves}
    neurons: dict[str, list[Tensor]] = {half.name: [] for half in halves}
    hooks = []
    for half in halves:
        into, done = inputs[half.name], neurons[half.name]
        hooks.append(
            half.makers[0].register_forward_pre_hook(
                lambda _, given, into=into: into.append(given[0].flatten(0, -2).float())
            )
        )
        hooks.append(
            half.down.register_forward_pre_hook(
                lambda _, given, done=done: done.append(given[0].flatten(0, -2).float())
            )
        )
    training = model.training
    model.eval()
    call()
    model.train(training)
    for hook in hooks:
        hook.remove()
    return {name: Seen(torch.cat(inputs[name]), torch.cat(neurons[name])) for name in inputs}


def structure(
    seen: Seen, keys: Float[Tensor, "neurons width"], labels: Int64[Tensor, " neurons"]
) -> dict[str, float]:
    """``co-activation``: mean correlation of the positive parts of two neurons of one group. ``mass``: share of a token's
    activation (positive part) in the quarter of the groups that have most. ``recall``: share of these groups that the mean
    key finds."""
    positive = seen.neurons.clamp(min=0)
    return {
        "co-activation": _co_activation(positive, labels),
        **_mass_and_recall(seen.inputs, positive, keys, labels),
    }


def _co_activation(positive: Tensor, labels: Tensor) -> float:
    """Means over pairs of one group, from sums of standardised columns: Σ_ij r_ij = |Σ_i z_i|²/T."""
    z = positive.double() - positive.double().mean(0)
    deviation = z.pow(2).mean(0).sqrt()
    alive = deviation > 1e-9
    z, labels = z[:, alive] / deviation[alive], labels[alive]
    groups = int(labels.max()) + 1
    sums = torch.zeros(len(z), groups, dtype=z.dtype).index_add_(1, labels, z)
    sizes = torch.bincount(labels, minlength=groups).double()
    within = sums.pow(2).mean(0) - sizes
    return float(within.sum() / (sizes * (sizes - 1)).sum())


def _mass_and_recall(inputs: Tensor, positive: Tensor, keys: Tensor, labels: Tensor) -> dict[str, float]:
    groups = int(labels.max()) + 1
    count = max(1, groups // TOP)
    mass = torch.zeros(len(positive), groups).index_add_(1, labels, positive)
    best = mass.topk(count, dim=-1)
    share = best.values.sum(-1) / mass.sum(-1).clamp(min=1e-12)
    scores = inputs @ group_keys(keys.float(), labels).T
    chosen = torch.zeros_like(mass, dtype=torch.bool).scatter_(-1, scores.topk(count, dim=-1).indices, True)
    return {"mass": float(share.mean()), "recall": float(chosen.gather(-1, best.indices).float().mean())}


def worst(
    of: Mapping[str, Mapping[str, float]], against: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """For each measure the smallest difference over layers."""
    layers = list(of)
    return {
        measure: min(of[layer][measure] - against[layer][measure] for layer in layers)
        for measure in of[layers[0]]
    }
