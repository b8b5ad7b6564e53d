"""Bits with gradients: against the closed form of the estimator."""

import pytest
import torch

from brickwork.core.errors import ConfigError
from brickwork.systems.binary_paragraph_vector.binariser import Binariser


def test_bits_forward_and_the_slope_of_the_sigmoid_backward():
    d = torch.tensor([[-2.0, -1e-6, 0.0, 1e-6, 3.0]], dtype=torch.float64, requires_grad=True)
    pull = torch.tensor([[1.0, -2.0, 3.0, 4.0, 0.5]], dtype=torch.float64)
    bits = Binariser()(d)
    assert bits.tolist() == [[0, 0, 0, 1, 1]]
    (bits * pull).sum().backward()
    a = torch.sigmoid(d.detach())
    torch.testing.assert_close(d.grad, pull * a * (1 - a))


def test_what_is_far_out_has_no_gradient_and_the_same_bit():
    d = torch.tensor([-50.0, 50.0], requires_grad=True)
    bits = Binariser()(d)
    bits.sum().backward()
    assert bits.tolist() == [0, 1]
    assert d.grad.tolist() == [0, 0]


@pytest.mark.parametrize("kind", ["straight-through", "stochastic", "noise"])
def test_in_evaluation_the_bit_is_the_sign(kind):
    d = torch.randn(50, 8)
    assert torch.equal(Binariser(kind).eval()(d), (d > 0).float())


def test_a_prefix_is_the_code_of_the_prefix():
    d = torch.randn(5, 16)
    assert torch.equal(Binariser()(d)[:, :8], Binariser()(d[:, :8]))


def test_drawn_bits_are_as_often_1_as_the_sigmoid_says():
    d = torch.tensor([-1.5, 0.0, 2.0]).expand(40_000, 3)
    bits = Binariser("stochastic")(d)
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(bits.mean(0), torch.sigmoid(d[0]), atol=0.01, rtol=0)


def test_noise_moves_numbers_before_the_sigmoid():
    """For d = 0 and noise s the output is σ(s z), whose mean is a half and whose logit has standard deviation s."""
    out = Binariser("noise", noise=2.0)(torch.zeros(40_000))
    logits = torch.logit(out)
    assert abs(float(logits.mean())) < 0.05
    assert abs(float(logits.std()) - 2.0) < 0.05
    assert torch.equal(Binariser("noise", noise=0.0)(torch.ones(3)), torch.sigmoid(torch.ones(3)))


def test_none_changes_nothing():
    d = torch.randn(3, 4)
    assert Binariser("none")(d) is d


@pytest.mark.parametrize("options", [{"kind": "straight"}, {"noise": -1.0}, {"noise": float("nan")}])
def test_wrong_options(options):
    with pytest.raises(ConfigError):
        Binariser(**options)
