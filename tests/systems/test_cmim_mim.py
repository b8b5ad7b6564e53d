"""The objectives against torch.distributions, Gaussian closed forms in float64, and the published formulas."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from brickwork.core.errors import ConfigError
from brickwork.modules.latent import posterior
from brickwork.systems.cmim.objective import (
    asymmetric_mim,
    expected_log_posterior,
    expected_log_prior,
    latent_loss,
    log_normal,
    log_standard_normal,
    parse_objective,
)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def gaussian():
    mean, log_sigma = drawn(5, 3), 0.5 * drawn(5, 3, seed=1)
    return mean, log_sigma, Independent(Normal(mean, log_sigma.exp()), 1)


def test_densities_are_those_of_torch(gaussian):
    mean, log_sigma, q = gaussian
    z = drawn(5, 3, seed=2)
    torch.testing.assert_close(log_normal(z, mean, log_sigma), q.log_prob(z), rtol=1e-12, atol=1e-12)
    prior = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    torch.testing.assert_close(log_standard_normal(z), prior.log_prob(z), rtol=1e-12, atol=1e-12)


def test_the_vae_term_is_the_closed_form_of_the_divergence(gaussian):
    mean, log_sigma, q = gaussian
    prior = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    kl = expected_log_posterior(log_sigma) - expected_log_prior(mean, log_sigma)
    torch.testing.assert_close(kl, kl_divergence(q, prior), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(expected_log_posterior(log_sigma), -q.entropy(), rtol=1e-12, atol=1e-12)


def test_expectations_are_means_of_samples_with_the_same_gradient(gaussian):
    mean, log_sigma, _ = gaussian
    mean, log_sigma = mean[:1], log_sigma[:1].requires_grad_()
    noise = drawn(200_000, 3, seed=3)
    z = mean + log_sigma.exp() * noise
    for sampled, exact in (
        (
            log_normal(z, mean.expand_as(z), log_sigma.expand_as(z)).mean(),
            expected_log_posterior(log_sigma).sum(),
        ),
        (log_standard_normal(z).mean(), expected_log_prior(mean, log_sigma).sum()),
    ):
        assert sampled.item() == pytest.approx(exact.item(), abs=0.05)  # standard error 0.01
        ours = torch.autograd.grad(exact, log_sigma, retain_graph=True)[0]
        theirs = torch.autograd.grad(sampled, log_sigma, retain_graph=True)[0]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0.02)


def consistent(rho: float) -> float:
    """A-MIM of x, z jointly standard normal with correlation ρ, whose conditionals are encoder and decoder:
    H(x|z) + ½ [H(z|x) + H(z)] (cross-entropies equal entropies)."""
    conditional = 0.5 * math.log(2 * math.pi * math.e * (1 - rho**2))
    return conditional + 0.5 * (conditional + 0.5 * math.log(2 * math.pi * math.e))


@pytest.mark.parametrize("rho", [0.3, 0.9])
def test_mim_of_a_consistent_gaussian_pair_is_its_entropies(rho):
    x, noise = drawn(400_000, 1), drawn(400_000, 1, seed=1)
    log_sigma = torch.full_like(x, 0.5 * math.log(1 - rho**2))
    z = rho * x + log_sigma.exp() * noise
    nll = -log_normal(x, rho * z, log_sigma)
    value = asymmetric_mim(nll, log_normal(z, rho * x, log_sigma), log_standard_normal(z))
    assert value.item() == pytest.approx(consistent(rho), abs=0.01)


def test_more_information_is_a_lower_mim_and_no_lower_divergence():
    # What sets MIM apart: at consistent pairs its value falls with I(x; z) = −½ log(1 − ρ²), the VAE's stays H(x).
    assert consistent(0.9) < consistent(0.3)
    for rho in (0.3, 0.9):
        h_x_given_z = 0.5 * math.log(2 * math.pi * math.e * (1 - rho**2))
        information = -0.5 * math.log(1 - rho**2)
        assert h_x_given_z + information == pytest.approx(0.5 * math.log(2 * math.pi * math.e))


def test_mim_pays_for_a_narrow_posterior_where_a_vae_charges():
    terms = {"nll": torch.tensor(0.0, dtype=torch.float64)}

    def value(name: str, log_sigma: float) -> float:
        spread = torch.full((1, 4), log_sigma, dtype=torch.float64)
        terms["log_q"] = expected_log_posterior(spread).mean()
        terms["log_prior"] = expected_log_prior(torch.zeros_like(spread), spread).mean()
        return latent_loss(terms, parse_objective(name)).total.item()

    assert value("mim", -8) < value("mim", -4) < value("mim", 0)
    assert value("vae", -8) > value("vae", -4) > value("vae", 0) == pytest.approx(0)


def test_sigma_never_falls_below_its_floor_and_keeps_a_gradient():
    outputs = torch.tensor([[0.0, 0.0, -50.0, 3.0]], requires_grad=True)
    q = posterior(outputs, floor=-6.0)
    assert q.log_sigma.min() >= -6
    assert q.log_sigma[0, 1].item() == pytest.approx(3, abs=1e-3)
    near = torch.tensor([[0.0, -10.0]], requires_grad=True)
    posterior(near, floor=-6.0).log_sigma.sum().backward()
    assert near.grad[0, 1] > 0


@pytest.mark.parametrize(
    ("expression", "weights"),
    [
        ("ae", {"nll": 1}),
        ("vae", {"nll": 1, "log_q": 1, "log_prior": -1}),
        ("mim", {"nll": 1, "log_q": -0.5, "log_prior": -0.5}),
        ("cmim", {"nll": 1, "log_q": -0.5, "log_prior": -0.5, "self": 1}),
        ("mim + self", {"nll": 1, "log_q": -0.5, "log_prior": -0.5, "self": 1}),
        ("cmim-self", {"nll": 1, "log_q": -0.5, "log_prior": -0.5}),
        ("0.5*ae + 2 * info_nce", {"nll": 0.5, "info_nce": 2}),
        (" info_nce_views ", {"info_nce_views": 1}),
    ],
)
def test_expressions(expression, weights):
    assert parse_objective(expression) == weights


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", "cannot be read"),
        ("mim +", "cannot be read from"),
        ("mim info_nce", "cannot be read from 'info_nce'"),
        ("mimm", "no term.*mim"),
        ("-1*ae", "rewards a bad nll"),
        ("mim + 3*log_prior", "rewards a bad log_prior"),
        ("mim - 2*self", "rewards a bad self"),
        ("log_q - log_prior", "asks nothing"),
        ("ae - ae", "asks nothing"),
    ],
)
def test_expressions_that_mean_nothing_are_refused(expression, words):
    with pytest.raises(ConfigError, match=words):
        parse_objective(expression)
