"""The optimiser of a run, and the two things done to gradients before it: measure and clip."""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.training.config import TrainConfig


def build_optimizer(system: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW or SGD over the trainable parameters; every group remembers its base rate as ``base_lr``.

    A system that has ``param_groups(learning_rate, weight_decay)`` decides itself. Else matrices decay, and
    what is not a matrix (biases, norms, temperatures) does not.
    """
    own: Any = getattr(system, "param_groups", None)
    if own is not None:
        chosen = list(own(config.learning_rate, config.weight_decay))
        groups = [{**g, "params": [p for p in g["params"] if p.requires_grad]} for g in chosen]
    else:
        trained = [p for p in system.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ConfigError(
            "nothing is trainable: every parameter of the system is frozen; behind a frozen encoder something has to come, "
            "for example --set model.encoder.projection=128"
        )
    optimizer: torch.optim.Optimizer
    if config.optimizer == "adamw":
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
    else:
        optimizer = torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    for group in optimizer.param_groups:
        group["base_lr"] = group["lr"]
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets the rate of every group to ``factor`` times its base rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Float[Tensor, ""]:
    """The Euclidean norm over the gradients of all ``parameters``; 0 where none has one."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float, norm: Float[Tensor, ""]) -> None:
    """Scales all gradients down so that their norm, now ``norm``, is at most ``limit``; 0 leaves them."""
    if limit:
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
