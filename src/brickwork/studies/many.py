"""Many small models of one architecture trained at once, each with its own start, data, learning rate and weight decay.

A model of a few thousand numbers spends its step in overhead: thirty of them side by side (their weights stacked, the loss
mapped over the stack) cost little more than one. That makes sweeps and seeds affordable. The numbers are those of training
them one after the other with AdamW at a constant rate.
"""

from collections.abc import Sequence
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
    """``learning_rates`` and ``weight_decays``: one for each model. ``clip_norm``: of each model's own gradient; 0: none.

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

    def forward(self, batch: Batch, step: int) -> Tensor:
        return self.system.loss({**batch, "step": step}).total  # type: ignore[operator]


def fit_many(systems: Sequence[nn.Module], batches: Sequence[Batch], config: ManyConfig) -> None:
    """Trains ``systems``, all of one architecture, in place; each sees all of its own batch (tensors only) at every step.

    The batches have the same shapes. The loss may not look at values (no ``item()``, no choice by a tensor), and every
    parameter takes part in every step.

    Raises:
        ValueError: batches, rates or decays are not as many as systems.
    """
    count = len(systems)
    if not len(batches) == len(config.learning_rates) == len(config.weight_decays) == count:
        raise ValueError(f"{count} systems need as many batches, learning rates and weight decays")
    losses = [_Total(system.train()) for system in systems]
    parameters, buffers = stack_module_state(losses)
    weights = {n: p.detach().clone() for n, p in parameters.items()}
    batch = {name: torch.stack([one[name] for one in batches]) for name in batches[0]}
    rate, decay = (torch.tensor(values) for values in (config.learning_rates, config.weight_decays))

    def loss(own: dict[str, Tensor], state: dict[str, Tensor], rows: Batch, step: int) -> Tensor:
        return functional_call(losses[0], (own, state), (rows, step))

    gradient = vmap(grad(loss), in_dims=(0, 0, 0, None))
    first = {n: torch.zeros_like(p) for n, p in weights.items()}
    second = {n: torch.zeros_like(p) for n, p in weights.items()}
    for step in range(config.steps):
        gradients = gradient(weights, buffers, batch, step)
        scale = _clip_factors(gradients, config.clip_norm)
        for name, weight in weights.items():
            shape = (count,) + (1,) * (weight.ndim - 1)
            own_decay = decay.view(shape) if weight.ndim > 2 else None
            g = gradients[name] * scale.view(shape)
            _adamw(weight, g, first[name], second[name], rate.view(shape), own_decay, step + 1)
    with torch.no_grad():
        for place, one in enumerate(losses):
            for name, parameter in one.named_parameters():
                parameter.copy_(weights[name][place])


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
    """What each model's gradient is multiplied by, as :func:`torch.nn.utils.clip_grad_norm_` does."""
    norms = torch.stack([g.flatten(1).square().sum(1) for g in gradients.values()]).sum(0).sqrt()
    return (limit / (norms + 1e-6)).clamp(max=1.0) if limit else torch.ones_like(norms)
