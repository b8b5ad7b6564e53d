"""The models that the claims of ModuleFormer compare, and what is measured of them.

Two layers of 64 numbers on bytes of English prose (WikiText-2 small) and Python source (the standard library), mixed and
never labelled. All arms have the optimiser, rate, steps and data order of the ``claims`` recipe (of ``smoke``: the toy
language); only the model changes.
"""

import itertools
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from brickwork.data.types import Examples
from brickwork.studies.old import ArmCost, Scale, Trained, Workbench
from brickwork.systems.moduleformer.system import module_use, token_nats
from brickwork.training.run import RunConfig

CODE = "code"
MIXED = ("stdlib",)  # with WikiText-2
# Of quality, domains and surgery; of losses and positions, which show sooner; of training that goes on.
STEPS: dict[str, int] = {"smoke": 40, "small": 1000, "gpu": 3000}
SHORT_STEPS: dict[str, int] = {"smoke": 40, "small": 400, "gpu": 3000}
MORE_STEPS: dict[str, int] = {"smoke": 20, "small": 200, "gpu": 1000}
LARGER = "more width, depth and training than two cores give"
# Feed-forward widths of dense twins; the first has the active parameters of the mixture (2 modules of 64).
DENSE_WIDTHS = (128, 256, 512)


def base(
    scale: Scale,
    seed: int,
    *,
    also: tuple[str, ...] = MIXED,
    steps: Mapping[str, int] = STEPS,
    **model: Any,
) -> RunConfig:
    """The run that all arms are changes of."""
    from brickwork.systems.moduleformer.recipes import claims

    run = claims()
    return replace(
        run,
        seed=seed,
        model=replace(run.model, **model),
        data=replace(run.data, also=also, limit=2000 if scale == "smoke" else run.data.limit),
        train=replace(run.train, steps=steps[scale]),
    )


def mixtures(
    bench: Workbench, scale: Scale, seeds: Sequence[int], *, steps: Mapping[str, int] = STEPS, **model: Any
) -> list[Trained]:
    """Mixtures with other options, one a seed."""
    return [bench.train(base(scale, seed, steps=steps, **model)) for seed in seeds]


def dense(bench: Workbench, scale: Scale, seeds: Sequence[int], width: int) -> list[Trained]:
    """Dense twins: as many query heads as a token chooses in the mixture, and ``width`` hidden numbers."""
    return mixtures(bench, scale, seeds, attention_modules=0, feed_forward_modules=0, hidden=width)


def mean_nats(system: Any, examples: Examples) -> float:
    """Nats per predicted byte."""
    sums, counts = token_nats(system, examples)
    return float(sums.sum() / counts.sum())


def of_domain(examples: Examples, domain: str) -> Examples:
    """The examples of one domain."""
    return examples.select([row for row, name in enumerate(examples.columns["domain"]) if name == domain])


def domains_of(examples: Examples) -> list[str]:
    """The domain of each example."""
    return [str(name) for name in examples.columns["domain"]]


def windows_of(examples: Examples, pieces: int) -> Examples:
    """Neighbouring pieces of a domain joined, ``pieces`` at a time: longer texts to test longer contexts."""
    inputs, domains = examples.columns["input"], examples.columns["domain"]
    texts, names = [], []
    for name in sorted(set(domains)):
        rows = [row for row, found in enumerate(domains) if found == name]
        for start in range(0, len(rows) - pieces + 1, pieces):
            texts.append("".join(inputs[row] for row in rows[start : start + pieces]))
            names.append(name)
    return Examples({"input": texts, "domain": names})


# ---- training that goes on -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Continued:
    """A system after more training, and what that cost; ``curve`` has (step, nats on old, nats on new texts)."""

    system: Any
    examples: int
    seconds: float
    learning_rate: float
    curve: tuple[tuple[int, float, float], ...]


def go_on(
    system: Any,
    new: Examples,
    run: RunConfig,
    scale: Scale,
    *,
    old_test: Examples | None = None,
    new_test: Examples | None = None,
) -> Continued:
    """Trains ``system`` in place on ``new``, watching held-out old and new texts eight times on the way."""
    from brickwork.training.loop import fit

    steps = MORE_STEPS[scale]
    watched_texts = (old_test, new_test) if old_test is not None and new_test is not None else None
    every = max(1, steps // 8)
    config = replace(run.train, steps=steps, validate_every=every if watched_texts else 0)
    curve: list[tuple[int, float, float]] = []

    def watch(watched: Any) -> dict[str, float]:
        old, now = (mean_nats(watched, texts) for texts in watched_texts or ())
        curve.append((min(len(curve) * every, steps), old, now))
        return {"old": old, "new": now}

    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="brickwork-claims-") as folder:
        validate = watch if watched_texts else None
        fit(system, new, config, Path(folder) / "run", seed=run.seed, validate=validate)
    return Continued(
        system.eval(),
        steps * config.batch_size,
        time.perf_counter() - began,
        config.learning_rate,
        tuple(curve),
    )


def continued_cost(name: str, arms: Sequence[Continued]) -> ArmCost:
    """The summed cost of the trainings that went on."""
    return ArmCost(
        name=name,
        trainings=len(arms),
        examples=sum(arm.examples for arm in arms),
        seconds=round(sum(arm.seconds for arm in arms), 2),
        learning_rate=arms[0].learning_rate,
    )


def nats_at(curve: Sequence[tuple[int, float, float]], new: float) -> float:
    """Nats on old texts where training first reached ``new`` nats on the new ones, between measurements linearly.

    A curve that never gets there gives its last value.
    """
    for (_, old_a, new_a), (_, old_b, new_b) in itertools.pairwise(curve):
        if new_b <= new:
            share = (new_a - new) / (new_a - new_b) if new_a > new_b else 1.0
            return old_a + min(max(share, 0.0), 1.0) * (old_b - old_a)
    return curve[-1][1]


# ---- low-rank adapters, the baseline of continual training -----------------------------------------------------


class LowRankExperts(nn.Module):
    """W_m + A_m B_m for every module of an expert map, W_m frozen, A ~ N(0, 1/inputs), B = 0 (LoRA, arXiv 2106.09685).

    The baseline of C2: adapters of modules, which adapters of ``nn.Linear`` do not cover.
    """

    def __init__(self, inner: nn.Module, rank: int):
        super().__init__()
        weight: torch.Tensor = inner.weight  # type: ignore[assignment]
        modules, inputs, outputs = weight.shape
        self.inner = inner
        self.a = nn.Parameter(torch.randn(modules, inputs, rank) * inputs**-0.5)
        self.b = nn.Parameter(torch.zeros(modules, rank, outputs))

    @property
    def num_modules(self) -> int:
        return self.a.shape[0]

    def forward(
        self, x: Float[torch.Tensor, "slots inputs"], counts: torch.Tensor
    ) -> Float[torch.Tensor, "slots outputs"]:
        from brickwork.modules.experts import grouped_linear

        return self.inner(x, counts) + grouped_linear(grouped_linear(x, self.a, counts), self.b, counts)


def with_low_rank(system: Any, rank: int) -> Any:
    """A copy whose modules have adapters, which alone are trained."""
    import copy

    adapted = copy.deepcopy(system).requires_grad_(False)
    for block in adapted.decoder.blocks:
        attention, feed = block.attention, block.feed_forward
        for name in ("query", "out"):
            setattr(attention, name, LowRankExperts(getattr(attention, name), rank))
        for name in ("up", "down"):
            setattr(feed.experts, name, LowRankExperts(getattr(feed.experts, name), rank))
    return adapted


def trainable(system: nn.Module) -> int:
    """Parameters that are trained; of a map with frozen modules, only the new ones."""
    total = 0
    for part in system.modules():
        for parameter in part.parameters(recurse=False):
            if parameter.requires_grad:
                total += parameter.numel() - getattr(part, "frozen", 0) * parameter[:1].numel()
    return total


# ---- use and pruning -------------------------------------------------------------------------------------------


def use_by_mixture(system: Any, examples: Examples) -> dict[str, Float[np.ndarray, "texts _"]]:
    """Assignments of each module in each text."""
    return module_use(system, examples)[0]


def at_random(
    use: Mapping[str, Float[np.ndarray, " _"]], seed: int
) -> list[dict[str, Float[np.ndarray, " _"]]]:
    """Three draws of made-up use, to prune at random by."""
    rng = np.random.default_rng(seed)
    return [{name: rng.random(len(shares)) / len(shares) for name, shares in use.items()} for _ in range(3)]


def without_hidden(system: Any, share: float) -> Any:
    """A copy of a dense model without ``share`` of its hidden feed-forward units, those of the smallest weights."""
    import copy

    smaller = copy.deepcopy(system)
    for block in smaller.decoder.blocks:
        mlp = block.feed_forward
        size = mlp.up.weight.data.norm(dim=1) * mlp.down.weight.data.norm(dim=0)
        keep = size.argsort(descending=True)[: max(1, round((1 - share) * len(size)))].sort().values
        mlp.up.weight = nn.Parameter(mlp.up.weight.data[keep])
        mlp.up.bias = nn.Parameter(mlp.up.bias.data[keep])
        mlp.down.weight = nn.Parameter(mlp.down.weight.data[:, keep])
    return smaller
