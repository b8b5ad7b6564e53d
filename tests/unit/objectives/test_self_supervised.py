"""Losses on two views: against the numbers of lightly's code, the papers' sums written out, and what they are for."""

import math

import pytest
import torch

from brickwork.objectives.self_supervised import (
    barlow_twins,
    covariance_penalty,
    simclr,
    variance_hinge,
    vicreg,
)

# lightly-ai/lightly at e8d317f, run on these tensors: the loss, and the length of its gradient with respect to a.
PEER = {
    "vicreg": (vicreg, 8.224528003868551, 4.6955698171829185),
    "vicreg, other weights": (
        lambda a, b: vicreg(a, b, invariance=10.0, variance=10.0),
        3.7277919118528287,
        1.7802331129067666,
    ),
    "barlow": (barlow_twins, 0.04863500526914516, 0.09946491195430343),
    "simclr": (simclr, 0.1140580041782217, 0.39911531946587514),
}


def views():
    i = torch.arange(24, dtype=torch.float64).reshape(6, 4)
    a = torch.sin(1.7 * i + 0.3 * i * i)
    return a.requires_grad_(), (a + 0.5 * torch.cos(2.3 * i)).detach()


@pytest.mark.parametrize("name", PEER)
def test_losses_and_gradients_are_those_of_a_peer(name):
    loss, value, slope = PEER[name]
    a, b = views()
    result = loss(a, b)
    (gradient,) = torch.autograd.grad(result, a)
    assert result.item() == pytest.approx(value, rel=1e-6)
    assert gradient.norm().item() == pytest.approx(slope, rel=1e-6)


def test_vicreg_by_its_sums():
    """Equations 1 to 4 and 6 of the paper, entry by entry."""
    a, b = (z.detach() for z in views())
    rows, dims = a.shape
    total = (
        25 * sum(float((a[i, j] - b[i, j]) ** 2) for i in range(rows) for j in range(dims)) / (rows * dims)
    )
    for z in (a, b):
        mean = [float(z[:, j].sum()) / rows for j in range(dims)]
        c = [
            [
                sum(float((z[r, i] - mean[i]) * (z[r, j] - mean[j])) for r in range(rows)) / (rows - 1)
                for j in range(dims)
            ]
            for i in range(dims)
        ]
        total += 12.5 * sum(max(0.0, 1 - math.sqrt(c[j][j] + 1e-4)) for j in range(dims)) / dims
        total += sum(c[i][j] ** 2 for i in range(dims) for j in range(dims) if i != j) / dims
    assert vicreg(a, b).item() == pytest.approx(total, rel=1e-12)


def test_simclr_by_its_sums():
    """Equation 1 of the paper over all 2B views."""
    a, b = (z.detach() for z in views())
    z = torch.nn.functional.normalize(torch.cat([a, b]), dim=1)
    total = 0.0
    for i in range(12):
        scores = [math.exp(float(z[i] @ z[k]) / 0.5) for k in range(12)]
        total -= math.log(scores[(i + 6) % 12] / (sum(scores) - scores[i])) / 12
    assert simclr(a, b, temperature=0.5).item() == pytest.approx(total, rel=1e-10)


def test_what_each_term_sees():
    torch.manual_seed(0)
    z = torch.randn(4096, 3)
    assert variance_hinge(2 * z) == 0
    assert variance_hinge(0 * z).item() == pytest.approx(1 - 1e-2)  # √ε is left
    assert covariance_penalty(z) < 0.01
    twice = torch.cat([z, z], dim=1)  # each dimension has one other that is equal: 6 entries of 1, over 6
    assert covariance_penalty(twice).item() == pytest.approx(1, abs=0.1)
    assert barlow_twins(z, z).item() < 0.01
    assert barlow_twins(twice, twice).item() == pytest.approx(6 * 5e-3, rel=0.1)


def test_half_precision_is_not_computed_in():
    a, b = (z.detach().bfloat16() for z in views())
    for loss in (vicreg, barlow_twins, simclr):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = loss(a, b)
        assert low.dtype == torch.float32
        assert low.item() == pytest.approx(loss(a.double(), b.double()).item(), rel=1e-4)
