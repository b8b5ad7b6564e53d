"""Flow matching where everything is known: data from a normal distribution, whose velocity has a closed form."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from brickwork.modules.flow import flow_matching, guided, interpolate, sample

MEAN, DEVIATION = 1.5, 0.4


def of_a_normal(x, t):
    """E[ε − x₀ | z_t = x] of x₀ ~ N(m, s²): Bayes' rule for the linear z_t = (1 − t) x₀ + t ε."""
    t = t[:, None]
    variance = (1 - t) ** 2 * DEVIATION**2 + t**2
    residual = x - (1 - t) * MEAN
    noise = t / variance * residual
    data = MEAN + (1 - t) * DEVIATION**2 / variance * residual
    return noise - data


def test_the_ends_of_the_path_are_data_and_noise():
    x, noise = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    assert torch.equal(interpolate(x, noise, torch.zeros(3)), x)
    assert torch.equal(interpolate(x, noise, torch.ones(3)), noise)
    middle = interpolate(x, noise, torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(middle[1], (x[1] + noise[1]) / 2)
    # The derivative of the path is the target.
    ahead = interpolate(x, noise, torch.full((3,), 0.5 + 1e-3)) - interpolate(x, noise, torch.full((3,), 0.5))
    assert flow_matching(ahead / 1e-3, x, noise).max() < 1e-5


def test_the_loss_counts_each_row_by_itself():
    x, noise = torch.zeros(2, 3), torch.ones(2, 3)
    velocity = torch.stack([torch.ones(3), torch.full((3,), 3.0)])
    assert flow_matching(velocity, x, noise).tolist() == [0.0, 4.0]


@pytest.mark.parametrize(
    ("sampler", "steps", "close"), [("euler", 400, 0.02), ("heun", 50, 0.02), ("sde", 400, 0.03)]
)
def test_samples_of_a_normal_have_its_mean_and_deviation(sampler, steps, close):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(20_000, 1, generator=generator)
    x = sample(of_a_normal, noise, steps=steps, sampler=sampler, generator=generator)
    assert x.mean().item() == pytest.approx(MEAN, abs=close)
    assert x.std().item() == pytest.approx(DEVIATION, abs=close)


def test_heun_follows_the_equation_as_scipy_solves_it():
    start = torch.tensor([[-1.0], [0.3], [2.0]], dtype=torch.float64)

    def slope(t, x):
        return of_a_normal(torch.from_numpy(x)[:, None], torch.full((3,), t, dtype=torch.float64))[
            :, 0
        ].numpy()

    solved = solve_ivp(slope, (1.0, 0.0), start[:, 0].numpy(), rtol=1e-10, atol=1e-12).y[:, -1]
    errors = {
        steps: np.abs(sample(of_a_normal, start, steps=steps)[:, 0].numpy() - solved).max()
        for steps in (32, 64)
    }
    assert errors[64] < 1e-3
    # Of second order, but for the last step.
    assert errors[32] / errors[64] > 2.5


def test_guidance_of_one_is_the_class_alone_and_of_zero_no_class():
    x, t = torch.randn(4, 2), torch.rand(4)

    def with_class(x, t):
        return 2 * x

    def without(x, t):
        return -x

    assert torch.equal(guided(with_class, without, 1.0)(x, t), 2 * x)
    assert torch.equal(guided(with_class, without, 0.0)(x, t), -x)
    torch.testing.assert_close(guided(with_class, without, 3.0)(x, t), -x + 3 * (2 * x + x))
