"""Cached gradients against those of plain autograd, in float64."""

import pytest
import torch

from brickwork.core.types import LossOutput, slice_batch
from brickwork.training.gradient_cache import cached_backward
from toy_system import Toy, toy_data

ROWS = 10


def batch_of(system):
    columns = system.collate(toy_data().take(range(ROWS)))
    return {**{name: value.double() for name, value in columns.items()}, "step": 3, "indices": [*range(ROWS)]}


def gradients(system):
    return {name: p.grad.clone() for name, p in system.named_parameters()}


@pytest.mark.parametrize("chunk", [1, 3, 5, 10, 64])
def test_equals_the_direct_gradient(chunk):
    """Parameters of the encoder and of the loss (a temperature); chunks that divide the batch and not."""
    system = Toy().double()
    batch = batch_of(system)
    direct = system.loss(batch)
    (0.5 * direct.total).backward()
    expected = gradients(system)
    system.zero_grad()
    cached = cached_backward(system.embed, system.loss_from, batch, chunk=chunk, scale=0.5)
    assert cached.total.item() == pytest.approx(direct.total.item(), abs=1e-12)
    for name, gradient in gradients(system).items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-12)


def test_dropout_drops_the_same_units_in_both_passes():
    """The reference embeds the same chunks with a graph, so it draws the same numbers in the same order."""
    system = Toy(dropout=0.5).double()
    batch = batch_of(system)
    torch.manual_seed(5)
    parts = [system.embed(slice_batch(batch, start, min(start + 4, ROWS))) for start in (0, 4, 8)]
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    system.loss_from(whole, batch).total.backward()
    expected, after = gradients(system), torch.rand(3)
    system.zero_grad()
    torch.manual_seed(5)
    cached_backward(system.embed, system.loss_from, batch, chunk=4)
    assert torch.equal(torch.rand(3), after), "the random state goes on as after one pass"
    for name, gradient in gradients(system).items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-12)


def test_a_vector_that_the_loss_does_not_use():
    system = Toy().double()
    batch = batch_of(system)

    def only_anchor(vectors, batch):
        return LossOutput.of({"size": vectors["anchor"].square().sum()})

    cached_backward(system.embed, only_anchor, batch, chunk=3)
    cached = system.first.weight.grad.clone()
    system.zero_grad()
    only_anchor(system.embed(batch), batch).total.backward()
    torch.testing.assert_close(cached, system.first.weight.grad, rtol=0, atol=1e-12)
