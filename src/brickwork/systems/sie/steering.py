"""How well changes can be read off the vectors, and how well the predictor moves them, each beside what chance gives.

Shape legend: O objects, V views of one, B pairs, K numbers of g, D dimensions of an embedding.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from brickwork.data.types import Examples
from brickwork.systems.sie import changes as known
from brickwork.systems.sie.data import ObjectViews
from brickwork.systems.sie.predictors import HyperLinear

_MOST_OBJECTS = 64
_LEAST_VIEWS = 3
_SAME = 1e-6


def objects_of(examples: Examples, most: int = _MOST_OBJECTS) -> list[ObjectViews]:
    """The objects of some views, each with all of its views; the first ``most``."""
    return list({id(m.of): m.of for m in examples.columns["member"]}.values())[:most]


def r_squared(
    truth: Float[np.ndarray, "pairs k"], guess: Float[np.ndarray, "pairs k"], *, one_mean: bool = False
) -> float:
    """1 − Σ(t − p)²/Σ(t − mean)²: with a mean for each number, so that what knows no image has 0; or ``one_mean`` of all
    numbers, as the authors compute it: then the mean of each number alone has more than 0."""
    mean = truth.mean() if one_mean else truth.mean(0)
    return float(1 - ((truth - guess) ** 2).sum() / max(((truth - mean) ** 2).sum(), 1e-12))


@torch.no_grad()
def pair_scores(system: Any, examples: Examples) -> dict[str, float]:
    """R² of each change as each readout reads it off pairs of held-out views, and as the predictor needs it (``solved``);
    the authors' R², and its floor."""
    x, y, truths = [], [], []
    for one in objects_of(examples):
        r = system.r(one.images)
        after = np.roll(np.arange(len(one)), -1)
        x.append(r)
        y.append(r[torch.from_numpy(after)])
        truths.append(system.g(one.values, one.values[after]))
    truth = torch.cat(truths).double().cpu().numpy()
    scores: dict[str, float] = {}
    first, second = torch.cat(x), torch.cat(y)
    guesses = system.read(first, second)
    if isinstance(system.predictor, HyperLinear):
        guesses["solved"] = system.solve(first, second)[0]
    for name, guessed in guesses.items():
        guess = guessed.double().cpu().numpy()
        for change, place in known.places(system.changes).items():
            if np.ptp(truth[:, place], axis=0).max() < _SAME:
                continue  # no held-out object changes in this way: there is nothing to explain
            scores[f"r2_{change}_{name}"] = r_squared(truth[:, place], guess[:, place])
        scores[f"r2_paper_{name}"] = r_squared(truth, guess, one_mean=True)
    floor = np.broadcast_to(truth.mean(0), truth.shape)
    return {**scores, "r2_paper_floor": r_squared(truth, floor, one_mean=True)}


@torch.no_grad()
def steering_scores(system: Any, examples: Examples) -> dict[str, float]:
    """Of each object's first view moved to each of its others: the mean reciprocal rank of the right one among them, of the
    predictor, of a predictor that moves nothing, and by chance. The first view itself is neither asked for nor a candidate.
    """
    if system.predictor is None:
        return {}
    ranks: dict[str, list[float]] = {"steering": [], "unmoved": []}
    chance, count = [], 0
    for one in objects_of(examples):
        if len(one) < _LEAST_VIEWS:
            continue
        z = system.z_equivariant(system.r(one.images))
        others = len(one) - 1
        g = system.g(np.repeat(one.values[:1], others, 0), one.values[1:])
        ranks["steering"] += own_ranks(system.predictor(z[:1].expand(others, -1), g), z[1:])
        ranks["unmoved"] += own_ranks(z[:1].expand(others, -1), z[1:])
        chance += [float((1 / np.arange(1, others + 1)).mean())] * others
        count += 1
    if not count:
        return {}
    scores = {f"{name}_mrr": float(np.mean(1 / np.array(values))) for name, values in ranks.items()}
    hits = float(np.mean(np.array(ranks["steering"]) <= 1))
    return {**scores, "chance_mrr": float(np.mean(chance)), "steering_hit@1": hits}


@torch.no_grad()
def same_object_scores(system: Any, examples: Examples) -> dict[str, float]:
    """How often the view that is nearest to a held-out view by one part is of the same object: what a search by that part
    finds first. ``chance``: that of a view that is drawn. Nothing of a single object."""
    objects = objects_of(examples)
    if len(objects) < 2:
        return {}
    owner = torch.from_numpy(np.repeat(np.arange(len(objects)), [len(one) for one in objects]))
    representation = system.representation()
    vectors = torch.from_numpy(representation.encode(np.concatenate([one.images for one in objects])))
    shares = {
        f"same_object_{name}": nearest_is_same(F.normalize(vectors[:, place], dim=1), owner)
        for name, place in representation.encoder.parts.items()
    }
    same = (owner[:, None] == owner).double().sum(1) - 1
    return {**shares, "same_object_chance": float((same / (len(owner) - 1)).mean())}


def nearest_is_same(vectors: Float[Tensor, "n dim"], owner: Int64[Tensor, " n"]) -> float:
    """How often the nearest other vector, by inner product, has the same owner; of several that are as near, their share."""
    scores = (vectors @ vectors.T).fill_diagonal_(-torch.inf)
    nearest = scores == scores.max(dim=1, keepdim=True).values
    same = owner[:, None] == owner
    return float(((nearest & same).double().sum(1) / nearest.double().sum(1)).mean())


def own_ranks(queries: Float[Tensor, "n dim"], candidates: Float[Tensor, "n dim"]) -> Sequence[float]:
    """The place of candidate i for query i by cosine, from 1; among equals, the middle one."""
    scores = (F.normalize(queries, dim=1) @ F.normalize(candidates, dim=1).T).double()
    own = scores.diagonal()[:, None]
    ranks: list[float] = (1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2).tolist()
    return ranks
