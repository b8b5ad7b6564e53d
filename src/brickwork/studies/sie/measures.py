"""What is measured of a run of SIE, on objects that training never saw, each with what knows no image beside it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from brickwork.data.types import Examples
from brickwork.evaluation.probes import linear_probe
from brickwork.studies.bench import Trained
from brickwork.systems.sie import changes as known
from brickwork.systems.sie.changes import Change
from brickwork.systems.sie.data import RENDERED, ObjectViews
from brickwork.systems.sie.predictors import Readout
from brickwork.systems.sie.steering import objects_of, r_squared, steering_scores

_STEPS_APART = (1, 3, 7)  # of the views that make pairs, of one object
_HIDDEN, _BATCH, _EPOCHS, _RATE = 256, 256, 10, 1e-3


def features(trained: Trained) -> dict[str, list[Tensor]]:
    """The encoder's outputs for all views: ``train`` and ``test``, an object each."""
    system = trained.system
    parts = {"train": trained.data.train, "test": trained.data.test}
    return {name: [system.r(one.images) for one in _all(part)] for name, part in parts.items()}


def _all(part: Examples) -> list[ObjectViews]:
    return objects_of(part, most=len(part))


# ---- reading -----------------------------------------------------------------------------------------------------------


def rotation_r2(trained: Trained, part: str) -> dict[str, float]:
    """R² of the change that is told, read off ``part`` by an MLP that is fitted on training objects."""
    return read(trained, trained.system.changes, part)


def colour_r2(trained: Trained, part: str) -> float:
    """R² of both hues, told or not."""
    hues = (RENDERED["floor_hue"], RENDERED["light_hue"])
    return read(trained, hues, part)["r2"]


def read(trained: Trained, changes: Sequence[Change], part: str) -> dict[str, float]:
    """``r2`` with a mean for each number, ``paper`` as the authors compute it, and its ``floor``."""
    columns = list(trained.data.details.columns)
    places = [columns.index(name) for name in known.columns_of(changes)]
    made = trained.measured(features)
    x, y, g = _pairs(trained, made["train"], _all(trained.data.train), changes, places, part, _STEPS_APART)
    probe = _fitted(x, y, g, trained.seed)
    x, y, g = _pairs(trained, made["test"], _all(trained.data.test), changes, places, part, (1,))
    with torch.no_grad():
        guess = probe(x, y).double().numpy()
    truth = g.double().numpy()
    floor = np.broadcast_to(truth.mean(0), truth.shape)
    return {
        "r2": r_squared(truth, guess),
        "paper": r_squared(truth, guess, one_mean=True),
        "floor": r_squared(truth, floor, one_mean=True),
    }


def _pairs(
    trained: Trained,
    made: Sequence[Tensor],
    objects: Sequence[ObjectViews],
    changes: Sequence[Change],
    places: Sequence[int],
    part: str,
    apart: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors of the part of two views of each object, and g."""
    x, y, g = [], [], []
    for r, one in zip(made, objects):
        own = part_of(trained, r, part)
        for step in apart:
            after = np.roll(np.arange(len(one)), -step)
            x.append(own)
            y.append(own[torch.from_numpy(after)])
            g.append(known.between(changes, one.values[:, places], one.values[after][:, places]))
    return torch.cat(x), torch.cat(y), torch.from_numpy(np.concatenate(g)).float()


def part_of(trained: Trained, r: Tensor, part: str) -> Float[Tensor, "n width"]:
    """``whole``, or the ``invariant`` or ``equivariant`` half."""
    if part == "whole":
        return r
    half: Tensor = trained.system.halves(r)[("invariant", "equivariant").index(part)]
    return half


def _fitted(x: Tensor, y: Tensor, g: Tensor, seed: int) -> Any:
    """An MLP on both vectors, standardised by the training ones; mean squared error, Adam."""
    generator = torch.Generator().manual_seed(seed)
    mean, scale = x.mean(0), x.std(0).clamp(min=1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = Readout(x.shape[1], g.shape[1], _HIDDEN)
    optimiser = torch.optim.Adam(probe.parameters(), lr=_RATE)
    for _ in range(_EPOCHS):
        for rows in torch.randperm(len(x), generator=generator).split(_BATCH):
            optimiser.zero_grad()
            F.mse_loss(probe((x[rows] - mean) / scale, (y[rows] - mean) / scale), g[rows]).backward()
            optimiser.step()
    return lambda x, y: probe((x - mean) / scale, (y - mean) / scale)


def top1(trained: Trained, part: str) -> float:
    """Per cent right of a linear classifier of the objects' kinds, on objects that it was not fitted on."""
    made = trained.measured(features)
    sides = []
    for name, examples in (("train", trained.data.train), ("test", trained.data.test)):
        label_of = {
            id(m.of): label for m, label in zip(examples.columns["member"], examples.columns["label"])
        }
        vectors = torch.cat([part_of(trained, r, part) for r in made[name]]).numpy()
        labels = np.concatenate([np.full(len(one), label_of[id(one)]) for one in _all(examples)])
        sides += [vectors, labels]
    return 100 * linear_probe(*sides).accuracy


# ---- moving ------------------------------------------------------------------------------------------------------------


def use_of_g(trained: Trained) -> float:
    """How many times larger the predictor's error is when each pair gets the g of another: 1 where it ignores g."""
    system, made = trained.system, trained.measured(features)["test"]
    starts, ends, gs = [], [], []
    for r, one in zip(made, _all(trained.data.test)):
        z = system.z_equivariant(r)
        starts.append(z[:1].expand(len(one) - 1, -1))
        ends.append(z[1:])
        gs.append(system.g(np.repeat(one.values[:1], len(one) - 1, 0), one.values[1:]))
    start, end, g = torch.cat(starts), torch.cat(ends), torch.cat(gs)
    other = g[torch.from_numpy(np.random.default_rng(0).permutation(len(g)))]
    with torch.no_grad():
        own, wrong = (F.mse_loss(system.predictor(start, given), end).item() for given in (g, other))
    return wrong / own


def steering(trained: Trained) -> dict[str, float]:
    """Mean reciprocal ranks among an object's other views, and the retrieval error of rotations, where these are told."""
    scores = steering_scores(trained.system, trained.data.test)
    if [change.kind for change in trained.system.changes][:1] == ["rotation"]:
        scores |= retrieval_error(trained)
    return scores


@torch.no_grad()
def retrieval_error(trained: Trained) -> dict[str, float]:
    """PRE: mean of 1 − ⟨q, q'⟩² of the rotation asked for and that of the nearest view of all held-out objects, of moved
    and of unmoved vectors, and of a view by chance. The view that is moved is neither asked for nor a candidate."""
    system, made = trained.system, trained.measured(features)["test"]
    objects = _all(trained.data.test)
    turn = system.changes[0]
    places = [list(trained.data.details.columns).index(name) for name in turn.columns]
    every = np.concatenate([one.values[:, places] for one in objects])
    q = known.between((turn,), np.zeros_like(every), every)
    z = [system.z_equivariant(r) for r in made]
    unit = F.normalize(torch.cat(z), dim=1)
    errors: dict[str, list[float]] = {"pre": [], "unmoved_pre": [], "chance_pre": []}
    rng, first = np.random.default_rng(0), 0
    for own, one in zip(z, objects):
        count = len(one) - 1
        g = system.g(np.repeat(one.values[:1], count, 0), one.values[1:])
        start = own[:1].expand(count, -1)
        for name, query in (("pre", system.predictor(start, g)), ("unmoved_pre", start)):
            scores = F.normalize(query, dim=1) @ unit.T
            scores[:, first] = -torch.inf
            best = scores.argmax(1).numpy()
            errors[name] += (1 - (q[first + 1 : first + 1 + count] * q[best]).sum(1) ** 2).tolist()
        random = rng.integers(0, len(q), count)
        errors["chance_pre"] += (1 - (q[first + 1 : first + 1 + count] * q[random]).sum(1) ** 2).tolist()
        first += len(one)
    return {name: float(np.mean(values)) for name, values in errors.items()}
