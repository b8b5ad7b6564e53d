"""Schedules against torch's own."""

import pytest
import torch

from brickwork.training.schedules import rate_factor


def torch_factors(make, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    results = []
    for _ in range(steps):
        results.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return results


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        ("cosine", lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=20)),
        ("linear", lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.0, total_iters=20)),
        ("constant", lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0)),
    ],
)
def test_without_warmup_as_in_torch(schedule, make):
    ours = [rate_factor(s, steps=20, warmup=0.0, schedule=schedule) for s in range(20)]
    assert ours == pytest.approx(torch_factors(make, 20), abs=1e-12)


def test_warmup_rises_to_one_and_the_rest_is_a_shorter_schedule():
    """A quarter of 20 steps: 1/5 … 5/5, then the 15 steps of torch's cosine."""
    ours = [rate_factor(s, steps=20, warmup=0.25, schedule="cosine") for s in range(20)]
    assert ours[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    rest = torch_factors(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=15), 15)
    assert ours[5:] == pytest.approx(rest, abs=1e-12)


def test_one_step():
    assert rate_factor(0, steps=1, warmup=0.1, schedule="cosine") == 1.0
