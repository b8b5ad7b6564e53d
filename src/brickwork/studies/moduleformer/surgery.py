"""Training that goes on with modules added or before modules are pruned, and what is measured of it (C2 and C3)."""

import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from brickwork.data.types import Examples
from brickwork.modules.experts import grouped_linear
from brickwork.studies.bench import Trained
from brickwork.studies.moduleformer.setups import CODE, WIDEST, base, dense, mean_nats, of_domain
from brickwork.studies.study import Lab
from brickwork.systems.moduleformer.growth import add_modules, concentrating
from brickwork.systems.moduleformer.pruning import pruned_copy, shares_of_use

MORE_STEPS = {"smoke": 20, "small": 200, "gpu": 1000}  # of training that goes on
PRUNED_SHARES = (0.25, 0.5, 0.75)  # of the modules

Curve = Sequence[tuple[int, float, float]]
"""(step, nats on old, nats on new texts)."""


@dataclass(frozen=True)
class Beginning:
    """A model that goes on, the texts that it goes on with, and others of that kind, by which its rate is chosen."""

    system: Any
    new: Examples
    held_out: Examples


@dataclass(frozen=True)
class Watched:
    """A model, and its losses on old and new texts while it was trained; both of the test part."""

    model: Any
    curve: Curve = ()


def going_on(
    lab: Lab,
    arm: str,
    begin: Callable[[int], Beginning],
    watch: Callable[[Any, int], tuple[float, float]] | None = None,
) -> Callable[[int], Trained]:
    """Seed → a copy of the model of ``begin(seed)`` (:class:`Watched`) trained on its new texts, at the rate that suits the
    arm, and looked at by ``watch`` eight times on the way."""
    steps = lab.bench.steps(MORE_STEPS[lab.scale])
    every = max(1, steps // 8)

    def train(rate: float, seed: int) -> Trained:
        beginning = begin(seed)
        curve: list[tuple[int, float, float]] = []

        def look(system: Any) -> dict[str, float]:
            old, new = watch(system, seed) if watch else (math.nan, math.nan)
            curve.append((min(len(curve) * every, steps), old, new))
            return {"old": old, "new": new}

        config = replace(
            base(lab.scale).train, steps=steps, learning_rate=rate, validate_every=every if watch else 0
        )
        model = copy.deepcopy(beginning.system)
        trained = lab.bench.fit(model, beginning.new, config, seed, look if watch else None)
        return replace(trained, system=Watched(trained.system, curve))

    def score(trained: Trained) -> float:
        return -mean_nats(trained.system.model, begin(trained.seed).held_out)

    key = ("going on", lab.scale, arm)
    return lab.bench.at_its_rate(key, train, score, base(lab.scale).train.learning_rate)


# ---- new modules (C2) ------------------------------------------------------------------------------------------


def prose_then_code(lab: Lab, arm: str) -> Callable[[int], Trained]:
    """Seed → a model of prose (one for all arms) that goes on with code: all weights, adapters, or new modules."""

    def prose(seed: int) -> Trained:
        return lab.bench.train(replace(base(lab.scale, also=()), seed=seed))

    def code(seed: int, part: str) -> Examples:
        return of_domain(getattr(lab.bench.data(replace(base(lab.scale), seed=seed)), part), CODE)

    def begin(seed: int) -> Beginning:
        systems = lab.bench.memo(
            ("prose, then code", lab.scale, seed), lambda: _ways_to_go_on(prose(seed).system)
        )
        return Beginning(systems[arm], code(seed, "train"), code(seed, "validation"))

    def watch(system: Any, seed: int) -> tuple[float, float]:
        return mean_nats(system, prose(seed).data.test), mean_nats(system, code(seed, "test"))

    return going_on(lab, arm, begin, watch)


def _ways_to_go_on(start: Any) -> dict[str, Any]:
    grown = add_modules(start, attention=2, feed_forward=4)
    # The rank whose adapters come closest to as many trained parameters.
    rank = min(range(1, 17), key=lambda r: abs(trainable(with_low_rank(start, r)) - trainable(grown)))
    return {"all weights": start, "adapters": with_low_rank(start, rank), "new modules": grown}


def forgetting(models: Mapping[str, Trained]) -> dict[tuple[str, str], float]:
    """(arm, measure): all arms compared at the loss on code that the weakest of them reaches."""
    curves = {arm: trained.system.curve for arm, trained in models.items()}
    level = max(min(new for _, _, new in curve) for curve in curves.values())
    _, before, _ = curves["all weights"][0]
    values: dict[tuple[str, str], float] = {}
    for arm, curve in curves.items():
        values[arm, "trained parameters"] = float(trainable(models[arm].system.model))
        values[arm, "forgetting at equal code loss"] = nats_at(curve, level) - before
        values[arm, "code loss compared"] = level
        values[arm, "code loss at the end"] = curve[-1][2]
    return values


def nats_at(curve: Curve, new: float) -> float:
    """Nats on old texts where training first reached ``new`` nats on the new ones, between measurements linearly.

    A curve that never gets there gives its last value.
    """
    for (_, old_a, new_a), (_, old_b, new_b) in itertools.pairwise(curve):
        if new_b <= new:
            share = (new_a - new) / (new_a - new_b) if new_a > new_b else 1.0
            return old_a + min(max(share, 0.0), 1.0) * (old_b - old_a)
    return curve[-1][1]


def trainable(system: nn.Module) -> int:
    """Parameters that are trained; of a map with frozen modules, only the new ones."""
    return sum(
        p.numel() - getattr(part, "frozen", 0) * p[:1].numel()
        for part in system.modules()
        for p in part.parameters(recurse=False)
        if p.requires_grad
    )


class LowRankExperts(nn.Module):
    """W_m + A_m B_m for every module of an expert map, W_m frozen, A ~ N(0, 1/inputs), B = 0 (LoRA, arXiv 2106.09685).

    The baseline of C2: adapters of modules, which adapters of ``nn.Linear`` do not cover.
    """

    def __init__(self, inner: Any, rank: int):
        super().__init__()
        modules, inputs, outputs = inner.weight.shape
        self.inner = inner
        self.num_modules = modules
        self.a = nn.Parameter(torch.randn(modules, inputs, rank) * inputs**-0.5)
        self.b = nn.Parameter(torch.zeros(modules, rank, outputs))

    def forward(
        self, x: Float[torch.Tensor, "slots inputs"], counts: torch.Tensor
    ) -> Float[torch.Tensor, "slots outputs"]:
        return self.inner(x, counts) + grouped_linear(grouped_linear(x, self.a, counts), self.b, counts)


def with_low_rank(system: Any, rank: int) -> Any:
    """A copy whose modules have adapters, which alone are trained."""
    adapted = copy.deepcopy(system).requires_grad_(False)
    for block in adapted.decoder.blocks:
        experts = block.feed_forward.experts
        for part, names in ((block.attention, ("query", "out")), (experts, ("up", "down"))):
            for name in names:
                setattr(part, name, LowRankExperts(getattr(part, name), rank))
    return adapted


# ---- pruning (C3) ----------------------------------------------------------------------------------------------


def tuned_on_code(lab: Lab, arm: str) -> Callable[[int], Trained]:
    """Seed → a model of prose and code that goes on with code: plain, with load concentration, or a dense one."""

    def start(seed: int) -> Trained:
        model = dense(WIDEST) if arm == "dense" else {}
        return lab.bench.train(replace(base(lab.scale, **model), seed=seed))

    def begin(seed: int) -> Beginning:
        system, data = start(seed).system, start(seed).data
        system = concentrating(system, 0.05) if arm == "concentrated" else system
        return Beginning(system, of_domain(data.train, CODE), of_domain(data.validation, CODE))

    trained = going_on(lab, arm, begin)
    return lambda seed: replace(trained(seed), system=trained(seed).system.model, data=start(seed).data)


def rises(trained: Trained) -> dict[tuple[float, str], float]:
    """(share pruned, measure) of a mixture: what pruning by use and pruning at random cost, in nats per byte of code."""
    system = trained.system
    test, held = of_domain(trained.data.test, CODE), of_domain(trained.data.validation, CODE)
    before, use = mean_nats(system, test), shares_of_use(system, held)
    rng = np.random.default_rng(trained.seed)
    at_random = [{name: rng.random(len(f)) / len(f) for name, f in use.items()} for _ in range(3)]
    values: dict[tuple[float, str], float] = {}
    for share in PRUNED_SHARES:
        smaller, *controls = (pruned_copy(system, shares, share)[0] for shares in (use, *at_random))
        left, whole = (sum(p.numel() for p in model.parameters()) for model in (smaller, system))
        values[share, "nats before"] = before
        values[share, "rise"] = mean_nats(smaller, test) - before
        values[share, "rise at random"] = fmean(mean_nats(model, test) - before for model in controls)
        values[share, "parameters left"] = left / whole
    return values


def dense_rises(trained: Trained) -> dict[tuple[float, str], float]:
    """The same of a dense model without its smallest hidden units."""
    test = of_domain(trained.data.test, CODE)
    before = mean_nats(trained.system, test)
    values: dict[tuple[float, str], float] = {}
    for share in PRUNED_SHARES:
        values[share, "nats before"] = before
        values[share, "rise"] = mean_nats(without_hidden(trained.system, share), test) - before
    return values


def without_hidden(system: Any, share: float) -> Any:
    """A copy of a dense model without ``share`` of its hidden feed-forward units, those of the smallest weights."""
    smaller = copy.deepcopy(system)
    for block in smaller.decoder.blocks:
        up, down = block.feed_forward.up, block.feed_forward.down
        size = up.weight.data.norm(dim=1) * down.weight.data.norm(dim=0)
        keep = size.argsort(descending=True)[: max(1, round((1 - share) * len(size)))].sort().values
        up.weight, up.bias = nn.Parameter(up.weight.data[keep]), nn.Parameter(up.bias.data[keep])
        down.weight = nn.Parameter(down.weight.data[:, keep])
    return smaller
