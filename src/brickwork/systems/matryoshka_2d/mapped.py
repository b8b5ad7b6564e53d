"""A training of the full depth; then every exit gets its map.

1. The steps train the encoder by the loss of the data on its full vector. Its weights end half-way between where they began
   and where the steps led (Wortsman et al. 2022, arXiv 2109.01903: what the published model knew is not forgotten).
2. Axes and ridge regressions from the states of examples, as the closed form has them (closed_form.py).
3. Each map is trained on these states by the same loss on every prefix, while the encoder is frozen: a step is a product of
   two matrices, so hundreds take seconds. It ends half-way too, between what was solved and what was trained.

It is no method of the paper, whose losses train early exits in every step. It costs less, and is better at the sizes that
were measured (lab/LOG.md).

Shape legend: n examples, P inputs of a map, D dimensions.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.seeding import generator_for
from brickwork.data.types import Examples
from brickwork.encoders.exit_maps import ExitMaps
from brickwork.encoders.text import TextEncoder
from brickwork.objectives.nested import BaseLoss, nested_loss
from brickwork.objectives.pairwise import Objective, pair_loss
from brickwork.representation.batches import pooled_batches
from brickwork.systems.matryoshka_2d.closed_form import (
    PRECISION,
    States,
    count_in,
    maps_of,
    no_moments,
    solve,
    warn_of_few,
)
from brickwork.systems.matryoshka_2d.config import Config
from brickwork.training.optimizers import set_rate
from brickwork.training.schedules import rate_factor

COLUMNS = ("anchor", "positive", "negative")
STEPS, ROWS, RATE = 200, 256, 1e-3
"""Of the training of a map: steps of Adam, examples of each, and the highest rate."""
KEPT = 0.5
"""How far the weights go from where they began to where a training led; chosen on collections with real queries."""
MAX_TEXTS = 6_000


def learn_maps(
    encoder: TextEncoder,
    examples: Examples,
    *,
    began: Mapping[str, Tensor],
    config: Config,
    objective: Objective,
    dims: Sequence[int],
    seed: int,
) -> Iterator[str]:
    """Brings the encoder half-way back to the weights that it ``began`` with, solves the maps of its exits and trains them;
    yields what it does next.

    Reads at most ``config.max_texts`` texts, and holds their states at every depth in memory meanwhile.
    """
    encoder.eval()
    for name, value in encoder.named_parameters():
        if name in began:
            _keep(value, began[name])
    # States come to the CPU, and sums of float64 and small matrices are at home there: the maps go there too meanwhile.
    maps, device = maps_of(encoder), next(maps_of(encoder).parameters()).device
    maps.to("cpu")
    names = [name for name in COLUMNS if name in examples.columns]
    count = max(1, (config.max_texts or MAX_TEXTS) // len(names))
    order = torch.randperm(len(examples), generator=generator_for(seed, 0, "examples"))
    columns = examples.take(order[:count].tolist())
    warn_of_few(len({text for name in names for text in columns[name]}), encoder)
    moments = no_moments(maps)
    states = []
    for number, name in enumerate(names, start=1):
        texts = encoder.prompts.before(name, list(columns[name]), columns=columns)
        yield f"learning the maps of the exits: reading {len(texts):,} texts ({name}, {number} of {len(names)}) …"
        states.append(_states(encoder, texts, moments))
    yield f"learning the maps of the exits: solving and training {len(maps.depths)} …"
    solve(maps, moments)
    batch = encoder.collate({name: values for name, values in columns.items() if name in ("group", "score")})
    for depth in maps.depths:
        _train_map(
            maps,
            depth,
            [x[depth] for x in states],
            lambda rows: pair_loss(objective, {k: v[rows] for k, v in batch.items()}, config.temperature),
            dims,
            generator_for(seed, depth, "map"),
        )
    maps.to(device)


def _states(encoder: TextEncoder, texts: Sequence[str], moments: nn.ModuleDict) -> dict[int, Tensor]:
    """What the map of each depth takes of ``texts``, each (n, P), counted into ``moments``."""
    maps = maps_of(encoder)
    states: dict[int, Tensor] = {}
    for rows, inputs in pooled_batches(States(encoder), list(texts), maps.depths, precision=PRECISION):
        count_in(moments, maps, inputs, rows)
        for depth, x in inputs.items():
            states.setdefault(depth, x.new_empty(len(texts), x.shape[1]))[torch.from_numpy(rows)] = x
    return states


def _train_map(
    maps: ExitMaps,
    depth: int,
    states: Sequence[Float[Tensor, "n inputs"]],
    loss_of: Callable[[Tensor], BaseLoss],
    dims: Sequence[int],
    draws: torch.Generator,
) -> None:
    """Trains the map of ``depth`` on the states of each column by the loss of some rows, on every prefix."""
    linear: Any = maps.maps[str(depth)].requires_grad_(True)
    began = [value.detach().clone() for value in linear.parameters()]
    optimizer = torch.optim.Adam([{"params": list(linear.parameters()), "base_lr": RATE}], lr=RATE)
    with torch.enable_grad():
        for step in range(STEPS):
            rows = torch.randperm(len(states[0]), generator=draws)[:ROWS]
            vectors = [maps(x[rows], depth) for x in states]
            optimizer.zero_grad()
            nested_loss(loss_of(rows), *vectors, dims=dims, reduction="mean").total.backward()
            set_rate(optimizer, rate_factor(step, steps=STEPS, warmup=0.1, schedule="linear"))
            optimizer.step()
    linear.requires_grad_(False)
    for value, before in zip(linear.parameters(), began):
        _keep(value, before)


@torch.no_grad()
def _keep(value: Tensor, began: Tensor) -> None:
    """Brings a weight back part of the way to where it began."""
    value.lerp_(began.to(value), 1 - KEPT)
