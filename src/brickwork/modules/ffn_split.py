"""Feed-forward layers of a pretrained transformer seen as equal groups of neurons: found, sorted, and left out by token.

    halves = feed_forwards(model)                             # by name: "layers.3.ffn"
    half = halves["layers.3.ffn"]
    labels = balanced_groups(half.keys(), groups=16, seed=0)  # (M,): the group of each neuron
    with grouped({half: labels}, highest(4)) as used:         # each token uses 4 groups of the 16
        model(batch)
    permute(half, group_order(labels))                        # groups side by side; the model does what it did

A half is FFN(x) = Σ_j φ(k_j·x + b_j) v_j + c, or gated Σ_j φ(k_j·x + b_j) (u_j·x + d_j) v_j + c. Its keys k_j say when a
neuron answers, so that clusters of keys are neurons that answer together (MoEfication, arXiv 2110.01786; Emergent Mixture
of Experts, arXiv 2310.10908, section 3). No parameter is added, and without the context the model is the dense one.

Shape legend: M neurons, E groups of M/E each, D width.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from brickwork.core.errors import ConfigError, naming_extras
from brickwork.modules.low_rank import is_transposed
from brickwork.modules.places import find_places
from brickwork.modules.pruning import makers_of

Choose = Callable[[Float[Tensor, "*rows groups"]], Bool[Tensor, "*rows groups"]]
"""From the scores of the groups to those that a token uses."""


# ---- where the neurons are ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class FeedForward:
    """The feed-forward half of one layer: ``makers`` make its neurons (of a gated one: the activated first), ``down``
    what they add to the residual stream."""

    name: str
    layer: int
    makers: tuple[Any, ...]
    down: Any
    neurons: int

    def keys(self) -> Float[Tensor, "neurons width"]:
        """k_j, the live weights."""
        return _rows(self.makers[0])


def feed_forwards(model: nn.Module) -> dict[str, FeedForward]:
    """The feed-forward halves of ``model`` by name, in the order of its layers.

    Raises:
        ConfigError: no transformer whose layers are known, none with a feed-forward half that is one plain matrix before
            and one after the neurons (a mixture; two stacked matrices of a gate), or one with an adapter.
    """
    places = find_places(model)
    return {
        place.name: FeedForward(
            place.name, place.layer, tuple(makers_of(places, place)), place.module, place.parts
        )
        for place in places.choose("ffn")
    }


def _rows(layer: Any) -> Tensor:
    return layer.weight.T if is_transposed(layer) else layer.weight


# ---- which neurons belong together -------------------------------------------------------------------------------


@naming_extras("groups of neurons")
def balanced_groups(
    keys: Float[Tensor, "neurons width"], groups: int, seed: int = 0, *, iterations: int = 100
) -> Int64[Tensor, " neurons"]:
    """k-means of the keys, each of length 1, with groups of one size: the group of each neuron.

    Every step is exact: the cheapest assignment under equal sizes, then the means; the sum of squared distances never
    grows, and it ends when no label changes. The assignment takes M² doubles of memory.

    Raises:
        ConfigError: the neurons do not divide into so many groups, or a key is not finite.
        MissingExtraError: scikit-learn is not installed.
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.cluster import kmeans_plusplus

    size = _group_size(len(keys), groups)
    points = F.normalize(keys.detach().double().cpu(), dim=-1).numpy()
    if not np.isfinite(points).all():
        raise ConfigError("keys of the neurons are not finite numbers: the weights of the model are damaged")
    centres, _ = kmeans_plusplus(points, groups, random_state=seed)
    labels = np.full(len(points), -1)
    for _ in range(iterations):
        # |p - c|² without |p|², which no assignment changes. A group is M/E columns, one for each of its places.
        costs = (centres**2).sum(-1) - 2 * points @ centres.T
        _, columns = linear_sum_assignment(np.repeat(costs, size, axis=1))
        before, labels = labels, columns // size
        if np.array_equal(before, labels):
            break
        centres = np.stack([points[labels == group].mean(0) for group in range(groups)])
    return torch.from_numpy(labels.astype(np.int64))


def random_groups(neurons: int, groups: int, seed: int = 0) -> Int64[Tensor, " neurons"]:
    """Groups of one size that nothing but chance made: the control. Raises as :func:`balanced_groups`."""
    size = _group_size(neurons, groups)
    order = torch.randperm(neurons, generator=torch.Generator().manual_seed(seed))
    return torch.arange(groups).repeat_interleave(size)[order]


def _group_size(neurons: int, groups: int) -> int:
    if groups < 1 or neurons % groups:
        below = max((n for n in range(1, min(groups, neurons) + 1) if neurons % n == 0), default=1)
        raise ConfigError(
            f"{neurons} neurons do not divide into groups={groups} of one size; {below} would do, for example"
        )
    return neurons // groups


# ---- neurons in another order ------------------------------------------------------------------------------------


def group_order(labels: Int64[Tensor, " neurons"]) -> Int64[Tensor, " neurons"]:
    """The order in which groups stand side by side, their neurons as they stood."""
    return labels.argsort(stable=True)


def inverse(order: Int64[Tensor, " neurons"]) -> Int64[Tensor, " neurons"]:
    """The order that undoes ``order``: ``permute`` with one and then the other changes no bit."""
    return order.argsort()


@torch.no_grad()
def permute(half: FeedForward, order: Int64[Tensor, " neurons"]) -> None:
    """Puts the neurons of ``half`` into another order, in place; what it computes stays the same.

    Raises:
        ConfigError: ``order`` does not name each neuron once.
    """
    if not torch.equal(order.sort().values.cpu(), torch.arange(half.neurons)):
        raise ConfigError(f"{half.name}: an order must name each of its {half.neurons} neurons once")
    for maker in half.makers:
        rows = _rows(maker)
        rows.copy_(rows[order.to(rows.device)])
        if maker.bias is not None:
            maker.bias.copy_(maker.bias[order.to(rows.device)])
    columns = _rows(half.down)
    columns.copy_(columns[:, order.to(columns.device)])


# ---- groups chosen token by token --------------------------------------------------------------------------------


def group_keys(
    keys: Float[Tensor, "neurons width"], labels: Int64[Tensor, " neurons"]
) -> Float[Tensor, "groups width"]:
    """g_e, the mean of the keys of each group: g_e·x is the mean pre-activation of its neurons, but for their biases."""
    sums = keys.new_zeros(int(labels.max()) + 1, keys.shape[1]).index_add_(0, labels.to(keys.device), keys)
    return sums / torch.bincount(labels).to(sums)[:, None]


def highest(count: int) -> Choose:
    """Uses the ``count`` groups with the highest scores (avg-k)."""
    return lambda scores: _first(scores, count)


def lowest(count: int) -> Choose:
    """Uses the ``count`` groups with the lowest scores: a control."""
    return lambda scores: _first(-scores, count)


def any_of(count: int, generator: torch.Generator) -> Choose:
    """Uses ``count`` groups drawn by chance for each token, whatever their scores: structured dropout, a control.

    Draws are made on the CPU, so that they do not depend on the device.
    """
    return lambda scores: _first(torch.rand(scores.shape, generator=generator).to(scores.device), count)


def _first(scores: Float[Tensor, "*rows groups"], count: int) -> Bool[Tensor, "*rows groups"]:
    if not 1 <= count <= scores.shape[-1]:
        raise ConfigError(f"{count} of {scores.shape[-1]} groups cannot be used: 1 to {scores.shape[-1]} can")
    chosen = scores.topk(count, dim=-1).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, chosen, True)


Labels = Mapping[FeedForward, Int64[Tensor, " neurons"]]


Gate = Callable[[Float[Tensor, "*rows width"]], Tensor]
"""From what a half is given to a weight (…, E) of each group for each token, numbers or yes and no; 0 leaves a group out."""


def average_gate(half: FeedForward, labels: Int64[Tensor, " neurons"], choose: Choose) -> Gate:
    """The groups that ``choose`` takes by g_e·x, with the live keys and without a gradient through them (avg-k)."""

    @torch.no_grad()
    def gate(x: Float[Tensor, "*rows width"]) -> Bool[Tensor, "*rows groups"]:
        return choose(F.linear(x, group_keys(half.keys(), labels)))

    return gate


@contextmanager
def grouped(labels: Labels, choose: Choose) -> Iterator[dict[str, Tensor]]:
    """Runs a model, while the context lasts, with only the groups of each half that ``choose`` takes for a token.

    The neurons of other groups are zero, and the output bias stays whole. All groups chosen is the dense model. Yields what
    each half used in its last call, by name.

    Raises:
        ConfigError: labels that are not one for each neuron; when the model runs, a choice of more groups than there are.
    """
    check_labels(labels)
    gates = {half: average_gate(half, own, choose) for half, own in labels.items()}
    with gated(labels, gates) as used:
        yield used


@contextmanager
def gated(labels: Labels, gates: Mapping[FeedForward, Gate]) -> Iterator[dict[str, Tensor]]:
    """Runs a model, while the context lasts, with the neurons of each group times the weight that the gate of their half
    gives it for a token; the output bias stays whole. Yields the weights of each half in its last call, by name.

    Raises:
        ConfigError: labels that are not one for each neuron.
    """
    check_labels(labels)
    used: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for half, own in labels.items():
            for handle in _weigh(half, own, gates[half], used):
                stack.callback(handle.remove)
        yield used


def check_labels(labels: Labels) -> None:
    """Raises ConfigError for labels that are not one for each neuron of their half."""
    for half, own in labels.items():
        if own.shape != (half.neurons,) or int(own.min()) < 0:
            raise ConfigError(f"{half.name}: one label for each of its {half.neurons} neurons is needed")


def _weigh(
    half: FeedForward, labels: Tensor, gate: Gate, used: dict[str, Tensor]
) -> Iterator[torch.utils.hooks.RemovableHandle]:
    def ask(_: nn.Module, given: tuple[Any, ...]) -> None:
        used[half.name] = gate(given[0])

    def weigh(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        weights = used[half.name][..., labels.to(given[0].device)]
        return (given[0] * weights.to(given[0].dtype), *given[1:])

    yield half.makers[0].register_forward_pre_hook(ask)
    yield half.down.register_forward_pre_hook(weigh)
