"""Which parameters decay, and norms and clipping against torch."""

import pytest
import torch
from torch import nn

from brickwork.core.errors import ConfigError
from brickwork.training.config import TrainConfig
from brickwork.training.optimizers import build_optimizer, clip_gradients, gradient_norm, set_rate
from toy_system import Toy


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_only_matrices_decay(optimizer):
    """With no gradient, one update multiplies what decays by 1 - rate * decay and leaves the rest."""
    system = Toy()
    before = {name: p.detach().clone() for name, p in system.named_parameters()}
    for p in system.parameters():
        p.grad = torch.zeros_like(p)
    config = TrainConfig(learning_rate=0.1, weight_decay=0.5, momentum=0.0, optimizer=optimizer)
    build_optimizer(system, config).step()
    for name, p in system.named_parameters():
        factor = 0.95 if name.endswith("weight") else 1.0
        torch.testing.assert_close(p.detach(), before[name] * factor)


def test_a_system_may_choose_its_own_groups():
    class Own(Toy):
        def param_groups(self, learning_rate, weight_decay):
            return [
                {"params": self.first.parameters(), "lr": learning_rate / 10, "weight_decay": weight_decay},
                {"params": self.second.parameters()},
            ]

    optimizer = build_optimizer(Own(), TrainConfig(learning_rate=1.0))
    set_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.5]
    set_rate(optimizer, 1.0)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 1.0]


def test_frozen_parameters_are_left_out():
    system = Toy()
    system.first.requires_grad_(False)
    optimizer = build_optimizer(system, TrainConfig())
    assert sum(p.numel() for group in optimizer.param_groups for p in group["params"]) == 16 * 4 + 4 + 1


def test_nothing_to_train_says_what_to_add():
    model = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ConfigError, match=r"--set model\.encoder\.projection=128"):
        build_optimizer(model, TrainConfig())


def test_norm_and_clipping():
    """The norm of all gradients in one vector; clipping to 1 leaves the direction."""
    layer = nn.Linear(3, 2)
    for p in layer.parameters():
        p.grad = torch.randn_like(p) * 10
    whole = torch.cat([p.grad.flatten() for p in layer.parameters()])
    norm = gradient_norm(layer.parameters())
    torch.testing.assert_close(norm, whole.norm())
    clip_gradients(list(layer.parameters()), 0.0, norm)
    torch.testing.assert_close(torch.cat([p.grad.flatten() for p in layer.parameters()]), whole)
    clip_gradients(list(layer.parameters()), 1.0, norm)
    clipped = torch.cat([p.grad.flatten() for p in layer.parameters()])
    torch.testing.assert_close(clipped, whole / whole.norm(), rtol=1e-5, atol=1e-6)
