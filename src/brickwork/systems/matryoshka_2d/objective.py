"""Losses that make a sentence encoder elastic in depth and width: five published variants, one shape.

``plan_step`` says, from (seed, step), which layers a step needs; the encoder runs once for these; then
``depth_width_loss`` adds a base loss on (prefixes of) their embeddings and an alignment of shallow to deep.

| variant            | trains each step                     | alignment (teacher X_N)                    |
|--------------------|--------------------------------------|--------------------------------------------|
| ``2dmse``          | (N,D) (n,D) (N,d) (n,d), n in 1…N−1  | T²·KL on full vectors, T = 1               |
| ``2dmse_weighted`` | the same, the n terms divided by n   | ln(2+n)·T·KL                               |
| ``adaptive_layer`` | (N,d) (n,d'), n in 0…N−1             | T·KL on full vectors, T = 0.3              |
| ``ese``            | (N,D) (N,k) (i,k), all i in 0…N−2    | to principal components, layer by layer    |
| ``starbucks``      | fixed pairs (n_j,d_j), all of them   | 0.3·KL on prefixes of the student's width  |
| ``mapped``         | (N,D)                                | none: exits get maps afterwards (mapped.py) |

In 2DMSE d < D; in ``adaptive_layer`` d and d' are any of the dims, drawn independently.

Sources: 2DMSE arXiv 2402.14776v1/v3 and the authors' code (AnglE, commits 74e5ba2 and 347bbb6); ESE
2402.14776v2 (AnglE, HEAD); ``adaptive_layer`` is sentence-transformers' Matryoshka2dLoss;
Starbucks arXiv 2410.13230.
Layer 0 is the embedding output. X_n: pooled vector after layer n of N, D dimensions.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from brickwork.core.elastic import NestedSampler
from brickwork.core.errors import ConfigError
from brickwork.core.types import LossOutput
from brickwork.objectives.distillation import feature_kl, mse, principal_target
from brickwork.objectives.nested import BaseLoss, cut

Variant = Literal["2dmse", "2dmse_weighted", "ese", "adaptive_layer", "starbucks", "mapped"]
LayerWeighting = Literal["uniform", "log", "linear"]

KL_TEMPERATURE: dict[str, float] = {
    "2dmse": 1.0,
    "2dmse_weighted": 1.0,
    "ese": 1.0,
    "adaptive_layer": 0.3,
    "starbucks": 1.0,
}
_STARBUCKS_KL_SHARE = 0.3
_ESE_COMPRESSION = 6  # 768 → 128 in the paper


@dataclass(frozen=True)
class DepthWidthPlan:
    """What one step trains.

    ``pairs``: (layer, dim) of each base loss; the last is the teacher's layer N at its width.
    ``num_layers``: N. ``full_dim``: D.
    """

    variant: Variant
    pairs: tuple[tuple[int, int], ...]
    num_layers: int
    full_dim: int

    @property
    def layers(self) -> tuple[int, ...]:
        """The exits that the encoder must return, ascending."""
        return tuple(sorted({layer for layer, _ in self.pairs} | {self.num_layers}))


def plan_step(
    variant: Variant,
    *,
    num_layers: int,
    dims: Sequence[int],
    layers: Sequence[int] = (),
    seed: int,
    step: int,
    compression_dim: int | None = None,
) -> DepthWidthPlan:
    """The pairs that ``variant`` trains at ``step``. ``dims`` ascend to the full width D.

    ``layers``: the depths that may be trained, ascending to N; empty = 1 … N (``starbucks``: N divided evenly
    among the dims). ``compression_dim``: k of ESE; None = the trained width nearest to D/6.

    Raises:
        ConfigError: a variant that samples a shallower layer, and there is none; or ``starbucks`` with layers
            and dims that do not pair up.
    """
    full = dims[-1]
    depths = tuple(layers) or tuple(range(1, num_layers + 1))
    last = (num_layers, full)
    draw = NestedSampler(seed)
    pairs: tuple[tuple[int, int], ...]
    if variant in ("2dmse", "2dmse_weighted"):
        if len(depths) < 2:
            raise ConfigError(
                f"variant '{variant}' needs a shallower layer to train; the encoder has {num_layers}, "
                f"and the layers to train are {list(depths)}"
            )
        (layer,) = draw.choose(depths[:-1], step, "layer")
        (dim,) = draw.choose(dims[:-1] or dims, step, "dim")
        pairs = ((layer, full), (layer, dim), (num_layers, dim), last)
    elif variant == "adaptive_layer":
        (layer,) = draw.choose(tuple(sorted({0, *depths[:-1]})), step, "layer")
        (dim,), (last_dim,) = draw.choose(dims, step, "dim"), draw.choose(dims, step, "last_dim")
        pairs = ((layer, dim), (num_layers, last_dim))
    elif variant == "ese":
        size = compression_dim or min(dims, key=lambda d: abs(math.log(d * _ESE_COMPRESSION / full)))
        # As the authors' code counts: from the embedding output on, and layer N − 1 is never trained.
        pairs = (*((layer, size) for layer in (0, *depths)[:-2]), (num_layers, size), last)
    elif variant == "mapped":
        pairs = (last,)
    elif layers:
        if len(layers) != len(dims):
            raise ConfigError(
                f"variant 'starbucks' pairs layers with dims: {len(layers)} and {len(dims)} differ"
            )
        pairs = tuple(zip(layers, dims))
    else:
        count = len(dims)
        pairs = tuple((math.ceil(num_layers * (i + 1) / count), dim) for i, dim in enumerate(dims))
    return DepthWidthPlan(variant, pairs, num_layers, full)


def depth_width_loss(
    base: BaseLoss,
    exits: Mapping[int, Sequence[Tensor | None]],
    plan: DepthWidthPlan,
    *,
    student_weight: float = 1.0,
    kl_weight: float = 1.0,
    kl_temperature: float | None = None,
    detach_teacher: bool = True,
    layer_weighting: LayerWeighting = "uniform",
) -> LossOutput:
    """The loss of one step.

    ``exits``: for each of ``plan.layers`` the columns of pooled, unnormalised embeddings, each (B, D), that
    ``base`` takes (anchor, positive, …).
    ``student_weight``: on the base losses of layers below N. ``kl_temperature``: None = the variant's own.
    ``detach_teacher``: keep the alignment's gradient out of layer N (the authors of 2DMSE did not).
    ``layer_weighting``: weight of the sampled layer n in ``adaptive_layer``: 1, 1/(1+ln(1+n)) or 1/(1+n).

    Terms are ``layer_<n>_dim_<d>`` and ``kl_layer_<n>`` (``ese``: also ``mse_layer_<n>``). Terms of alignment
    hold the plain divergence in nats, so its magnitude is in the log whatever its weight.
    """
    temperature = kl_temperature or KL_TEMPERATURE.get(plan.variant, 1.0)
    terms: dict[str, Tensor] = {}
    weights: dict[str, float] = {}
    for layer, dim in plan.pairs:
        name = f"layer_{layer}_dim_{dim}"
        # One pair may occur twice (d = D): its loss counts twice.
        terms.setdefault(name, base(*(cut(z, dim) for z in exits[layer])))
        weights[name] = weights.get(name, 0.0) + _base_weight(
            plan, layer, dim, student_weight, layer_weighting
        )
    if kl_weight:
        align = _align_components if plan.variant == "ese" else _align_to_last
        align(terms, weights, exits, plan, temperature, kl_weight, detach_teacher)
    stats: dict[str, float | Tensor] = {}
    if plan.variant in ("2dmse", "2dmse_weighted", "adaptive_layer"):
        stats = {"sampled_layer": float(plan.pairs[0][0]), "sampled_dim": float(plan.pairs[1][1])}
        if plan.variant == "adaptive_layer":
            stats["sampled_dim"] = float(plan.pairs[0][1])
    return LossOutput.of(terms, weights, stats)


def _base_weight(
    plan: DepthWidthPlan, layer: int, dim: int, student_weight: float, layer_weighting: LayerWeighting
) -> float:
    if layer == plan.num_layers:
        return 1.0
    if plan.variant == "2dmse_weighted":
        return student_weight / max(layer, 1)  # theirs begins at layer 1
    if plan.variant == "adaptive_layer":
        decay = {"uniform": 0.0, "log": math.log1p(layer), "linear": float(layer)}[layer_weighting]
        return student_weight / (1 + decay)
    if plan.variant == "ese":
        return student_weight / ((len(plan.pairs) - 2) * (1 + math.log1p(layer)))
    return student_weight


def _align_to_last(
    terms: dict[str, Tensor],
    weights: dict[str, float],
    exits: Mapping[int, Sequence[Tensor | None]],
    plan: DepthWidthPlan,
    temperature: float,
    kl_weight: float,
    detach_teacher: bool,
) -> None:
    """KL from layer N to each shallower layer, over the vectors of all columns together."""
    teacher = _stack(exits[plan.num_layers])
    on_prefix = plan.variant == "starbucks"
    students = dict.fromkeys(
        (layer, dim if on_prefix else plan.full_dim) for layer, dim in plan.pairs if layer < plan.num_layers
    )
    for layer, dim in students:
        name = f"kl_layer_{layer}" + (f"_dim_{dim}" if on_prefix else "")
        terms[name] = feature_kl(
            cut(teacher, dim),
            cut(_stack(exits[layer]), dim),
            temperature=temperature,
            detach_teacher=detach_teacher,
        )
        weights[name] = (
            kl_weight
            * {
                "2dmse": temperature**2,
                "2dmse_weighted": temperature * math.log(2 + layer),
                "adaptive_layer": temperature,
                "starbucks": temperature * _STARBUCKS_KL_SHARE,
            }[plan.variant]
        )


def _align_components(
    terms: dict[str, Tensor],
    weights: dict[str, float],
    exits: Mapping[int, Sequence[Tensor | None]],
    plan: DepthWidthPlan,
    temperature: float,
    kl_weight: float,
    detach_teacher: bool,
) -> None:
    """A(X) = MSE(X^k, P) + T·KL(softmax(P/T) ‖ softmax(X^k/T)) for each layer (ESE). P has no gradient."""
    for layer, size in plan.pairs[:-1]:
        x = _stack(exits[layer])
        target = principal_target(x, size)
        weight = kl_weight * _base_weight(plan, layer, size, 1.0, "uniform")
        terms[f"mse_layer_{layer}"] = mse(target, cut(x, size))
        terms[f"kl_layer_{layer}"] = feature_kl(
            target, cut(x, size), temperature=temperature, detach_teacher=detach_teacher
        )
        weights[f"mse_layer_{layer}"] = weight
        weights[f"kl_layer_{layer}"] = weight * temperature


def _stack(columns: Sequence[Tensor | None]) -> Tensor:
    return torch.cat([z for z in columns if z is not None])
