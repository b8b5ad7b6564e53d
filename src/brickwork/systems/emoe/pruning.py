"""Groups of neurons taken away for good: what each group is worth, to whom, and a smaller model without the others.

    scores = score_groups(system, examples, mine)     # mine: which examples are of the domain that is to stay
    cut = cut_groups(system, scores.use, keep=16)     # the 16 groups of each layer that it uses most

``system`` is always a :class:`brickwork.systems.emoe.system.System`, which imports this.

Shape legend: N examples, L grouped layers, E groups.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.data.types import Examples
from brickwork.encoders.hub_images import HubImageEncoder
from brickwork.evaluation.permutation import benjamini_hochberg, permutation_p
from brickwork.modules.ablation import ablate
from brickwork.modules.places import find_places
from brickwork.modules.pruning import prune, prune_as
from brickwork.systems.emoe.serving import group_shares

_CHUNK = 64
_MEASURED = ("scores", "measurement")


@dataclass(frozen=True, eq=False)
class GroupScores:
    """Of each group of each grouped layer (rows as in ``layers``), for the examples of a domain.

    ``effect``: nats by which their cross-entropy rises without the group, the model served whole. ``use``: share of their
    tokens that choose it. ``p``: how often labels shuffled among examples give as large a difference of the effect with −
    without the domain; ``q``: the same by Benjamini and Hochberg, over all groups.
    """

    layers: tuple[str, ...]
    effect: Float[np.ndarray, "layers groups"]
    use: Float[np.ndarray, "layers groups"]
    p: Float[np.ndarray, "layers groups"]
    q: Float[np.ndarray, "layers groups"]


@torch.no_grad()
def score_groups(
    system: Any,
    examples: Examples,
    mine: Bool[np.ndarray, " examples"],
    *,
    permutations: int = 999,
    seed: int = 0,
) -> GroupScores:
    """Every group of every grouped layer ablated in turn.

    Raises:
        DataError: no example of the domain, or none of another.
    """
    if mine.all() or not mine.any():
        raise DataError(
            f"{int(mine.sum())} of {len(mine)} examples are of the domain: to tell which groups serve it, examples of "
            "others are needed as well"
        )
    damage = _damage(system, examples)
    rows, *shape = damage.shape
    p = permutation_p(damage.reshape(rows, -1), mine, range(rows), permutations=permutations, seed=seed)
    use = group_shares(system, examples)
    return GroupScores(
        layers=tuple(half.name for half in system.halves),
        effect=damage[mine].mean(0),
        use=np.stack([use[half.name][mine].mean(0) for half in system.halves]),
        p=p.reshape(shape),
        q=benjamini_hochberg(p).reshape(shape),
    )


def _damage(system: Any, examples: Examples) -> Float[np.ndarray, "examples layers groups"]:
    """Cross-entropy of each example without a group − with all groups."""
    whole = _nats(system, examples)
    without = [
        [_nats(system, examples, {half.name: {neurons: "zero"}}) for neurons in _members(labels)]
        for half, labels in system.labels.items()
    ]
    return np.moveaxis(np.array(without), -1, 0) - whole[:, None, None]


def _members(labels: Tensor) -> list[tuple[int, ...]]:
    """The neurons of each group."""
    return [tuple((labels == group).nonzero().flatten().tolist()) for group in range(int(labels.max()) + 1)]


def _nats(
    system: Any, examples: Examples, changes: Mapping[str, Any] | None = None
) -> Float[np.ndarray, " examples"]:
    """−log p(label) of each example, served whole, with some neurons replaced."""
    inputs, labels = examples.columns["input"], np.asarray(examples.columns["label"])
    device = next(system.parameters()).device
    parts = []
    with ablate(transformer_of(system.encoder), changes or {}), system.used_groups(system.config.groups):
        for start in range(0, len(inputs), _CHUNK):
            x = system.encoder.collate({"input": inputs[start : start + _CHUNK]})["input"].to(device)
            wanted = torch.from_numpy(labels[start : start + _CHUNK]).to(device)
            parts.append(F.cross_entropy(system.logits(x).float(), wanted, reduction="none").cpu())
    return torch.cat(parts).double().numpy()


@dataclass(frozen=True)
class Cut:
    """A smaller copy; the groups that stayed in each layer, by their old numbers; parameters before and after."""

    system: Any
    kept: dict[str, tuple[int, ...]]
    parameters: tuple[int, int]


def cut_groups(system: Any, scores: Float[np.ndarray, "layers groups"], keep: int) -> Cut:
    """A copy in which each grouped layer has the ``keep`` groups of the highest ``scores``; there is no training.

    It is a system of its own, with groups numbered afresh, of which a token uses as many as before, or all that are left.
    Served whole it does what the given system does with the other groups at zero (a learned gate shares all of its weight
    among those that are left).

    Raises:
        ConfigError: more groups than there are, fewer than two, or scores that are not one for each group.
    """
    config = system.config
    if not 2 <= keep <= config.groups:
        raise ConfigError(
            f"keep={keep}: each layer has {config.groups} groups, of which 2 to all can be kept"
        )
    if scores.shape != (len(system.halves), config.groups):
        raise ConfigError(
            f"scores of shape {scores.shape} are not one for each of {config.groups} groups of {len(system.halves)} layers"
        )
    kept = [sorted(row.tolist()) for row in np.argsort(-scores, axis=1, kind="stable")[:, :keep]]
    encoder = copy.deepcopy(system.encoder)
    gone: dict[str, dict[Any, Any]] = {
        half.name: {tuple((~_of(labels, own)).nonzero().flatten().tolist()): "zero"}
        for (half, labels), own in zip(system.labels.items(), kept)
    }
    if keep < config.groups:
        prune(transformer_of(encoder), gone)
    used = None if config.choose == "all" else min(config.active, keep)
    smaller = type(system)(
        replace(config, groups=keep, used=used), encoder, seed=system.seed, classes=system.classes
    )
    _take_over(smaller, system, kept)
    count = [sum(p.numel() for p in model.parameters()) for model in (system, smaller)]
    smaller.card = _card(system, smaller, count)
    names = (half.name for half in system.halves)
    return Cut(smaller.eval(), dict(zip(names, map(tuple, kept))), (count[0], count[1]))


def _of(labels: Tensor, groups: Sequence[int]) -> Tensor:
    """Which neurons are of one of ``groups``."""
    return torch.isin(labels, torch.tensor(groups, device=labels.device))


@torch.no_grad()
def _take_over(smaller: Any, system: Any, kept: Sequence[Sequence[int]]) -> None:
    """Groups (numbered afresh), classifier and gates of what is left."""
    if smaller.config.groups < system.config.groups or "neurons" in system.facts:
        smaller.facts["neurons"] = {half.name: half.neurons for half in smaller.halves}
    smaller.head.load_state_dict(system.head.state_dict())
    for own, new, groups in zip(system.labels.values(), smaller.labels.values(), kept):
        new.copy_(torch.searchsorted(torch.tensor(groups, device=own.device), own[_of(own, groups)]))
    for name, gate in smaller.gates.items():
        groups = kept[list(smaller.gates).index(name)]
        state = system.gates[name].state_dict()
        rows = ("scorer.modules_embedding", "scorer.offset")
        gate.load_state_dict({n: t[groups] if n in rows else t for n, t in state.items()})


def _card(system: Any, smaller: Any, parameters: Sequence[int]) -> dict[str, Any]:
    """What was measured of the model before is not true of the cut one."""
    known = {name: value for name, value in getattr(system, "card", {}).items() if name not in _MEASURED}
    summary = (
        f"A classifier that was cut to {smaller.config.groups} of {system.config.groups} groups of neurons in each of "
        f"{len(smaller.halves)} layers: {parameters[1]:,} of {parameters[0]:,} parameters are left. What it was measured at "
        "before does not hold any more."
    )
    return {**known, "summary": summary, "capabilities": ["predicts", "evaluates", "analyses", "draws"]}


def transformer_of(encoder: Any) -> Any:
    """The model of an encoder in which layers are found by name."""
    body = encoder.model if isinstance(encoder, HubImageEncoder) else encoder.body
    return getattr(body, "model", body)


def shape_as(transformer: nn.Module, neurons: Mapping[str, int]) -> None:
    """Gives a fresh model the widths that a cut one has, to load its weights into.

    Raises:
        ArtifactError: it has no such layer, or not so many neurons.
    """
    places = find_places(transformer)
    try:
        gone = {name: range(places[name].parts - count) for name, count in neurons.items()}
        prune_as(transformer, gone)
    except ConfigError as error:
        raise ArtifactError(f"the description of the cut model is damaged: {error}") from error
