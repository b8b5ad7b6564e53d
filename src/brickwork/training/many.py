"""Many small models of one architecture trained at once, each with its own start, learning rate and weight decay.

A model of a few thousand numbers spends its step in overhead: thirty of them side by side (their weights stacked, the loss
mapped over the stack) cost little more than one. That makes sweeps and seeds affordable. The numbers are those of training
them one after the other with :func:`brickwork.training.loop.fit`'s optimiser, AdamW, at a constant rate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from brickwork.core.types import Batch

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


@dataclass(frozen=True, kw_only=True)
class ManyConfig:
    """``learning_rates`` and ``weight_decays``: one for each model. ``clip_norm``: of each model's own gradient; 0 does not clip.

    Weight decay is for matrices, as in :func:`brickwork.training.optimizers.build_optimizer`.
    """

    steps: int
    learning_rates: tuple[float, ...]
    weight_decays: tuple[float, ...]
    clip_norm: float = 1.0


class _Total(nn.Module):
    """The loss of a system as a module's output, which is what can be mapped over stacked weights."""

    def __init__(self, system: nn.Module):
        super().__init__()
        self.system = system

    def forward(self, batch: Batch) -> Tensor:
        return self.system.loss(batch).total  # type: ignore[operator, union-attr]


def fit_many(
    systems: Sequence[nn.Module],
    batches: Callable[[int], Batch],
    config: ManyConfig,
    *,
    after: Callable[[int], None] | None = None,
    after_at: Sequence[int] = (),
) -> None:
    """Trains ``systems``, all of one architecture, in place on the same batches: ``batches(step)``, without ``step`` in it.

    ``after(step)`` is called after the steps in ``after_at``, with the systems as they are then. Parameters that do not
    require gradients keep their values. The loss may not look at values (no ``item()``, no choice by a tensor).

    Raises:
        ValueError: rates or decays are not as many as systems.
    """
    count = len(systems)
    if not len(config.learning_rates) == len(config.weight_decays) == count:
        raise ValueError(f"{count} systems need as many learning rates and weight decays")
    losses = [_Total(system.train()) for system in systems]
    parameters, buffers = stack_module_state(losses)  # type: ignore[arg-type]
    frozen = {n: p.detach() for n, p in parameters.items() if not dict(losses[0].named_parameters())[n].requires_grad}
    weights = {n: p.detach().clone() for n, p in parameters.items() if n not in frozen}
    rate, decay = (torch.tensor(values) for values in (config.learning_rates, config.weight_decays))

    def loss(own: dict[str, Tensor], fixed: dict[str, Tensor], state: dict[str, Tensor], batch: Batch) -> Tensor:
        return functional_call(losses[0], ({**own, **fixed}, state), (batch,))

    first = {n: torch.zeros_like(p) for n, p in weights.items()}
    second = {n: torch.zeros_like(p) for n, p in weights.items()}
    wanted = set(after_at)
    for step in range(config.steps):
        batch = {**batches(step), "step": step}
        gradients = vmap(grad(loss), in_dims=(0, 0, 0, None), randomness="different")(weights, frozen, buffers, batch)
        scale = _clip_factors(gradients, config.clip_norm)
        for name, weight in weights.items():
            shape = (count,) + (1,) * (weight.ndim - 1)
            g = gradients[name] * scale.view(shape)
            _adamw(weight, g, first[name], second[name], rate.view(shape),
                   decay.view(shape) if weight.ndim > 2 else None, step + 1)  # fmt: skip
        if step + 1 in wanted and after is not None:
            _write_back(losses, weights)
            after(step + 1)
    _write_back(losses, weights)


def _adamw(
    weight: Tensor, g: Tensor, m: Tensor, v: Tensor, rate: Tensor, decay: Tensor | None, number: int
) -> None:
    """One update in place (Loshchilov & Hutter 2019, algorithm 2, with the rate of each model)."""
    if decay is not None:
        weight.mul_(1 - rate * decay)
    m.lerp_(g, 1 - _BETAS[0])
    v.mul_(_BETAS[1]).addcmul_(g, g, value=1 - _BETAS[1])
    root = (v / (1 - _BETAS[1] ** number)).sqrt_().add_(_EPSILON)
    weight.sub_(rate / (1 - _BETAS[0] ** number) * m / root)


def _clip_factors(gradients: dict[str, Tensor], limit: float) -> Float[Tensor, " models"]:
    norms = torch.stack([g.flatten(1).square().sum(1) for g in gradients.values()]).sum(0).sqrt()
    return (limit / (norms + 1e-6)).clamp(max=1.0) if limit else torch.ones_like(norms)


@torch.no_grad()
def _write_back(losses: Sequence[nn.Module], weights: dict[str, Tensor]) -> None:
    for place, one in enumerate(losses):
        own = dict(one.named_parameters())
        for name, values in weights.items():
            own[name].copy_(values[place])
