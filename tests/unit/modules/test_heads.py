"""Nested classifiers: separate and tied, against each other and against matrix products."""

import pytest
import torch

from brickwork.modules.heads import NestedLinear
from brickwork.objectives.classification import cross_entropy
from brickwork.objectives.nested import nested_loss

DIMS = (2, 4, 8)


@pytest.fixture
def z():
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(0))


def test_tied_equals_separate_with_copied_weights(z):
    torch.manual_seed(0)
    tied, separate = NestedLinear(DIMS, 3, tied=True), NestedLinear(DIMS, 3)
    weight, bias = tied.heads["8"].weight.data, tied.heads["8"].bias.data
    for m in DIMS:
        separate.heads[str(m)].weight.data.copy_(weight[:, :m])
        separate.heads[str(m)].bias.data.copy_(bias)
    assert bias.any()
    for m, logits in tied(z).items():
        torch.testing.assert_close(logits, separate(z)[m])
        torch.testing.assert_close(logits, z[:, :m] @ weight[:, :m].T + bias)


def test_number_of_weights():
    count = lambda head: sum(p.numel() for p in head.parameters())  # noqa: E731
    assert count(NestedLinear(DIMS, 3, tied=True)) == 8 * 3 + 3
    assert count(NestedLinear(DIMS, 3)) == (2 + 4 + 8) * 3 + 3 * 3


def test_as_base_of_the_nested_loss(z):
    head, label = NestedLinear(DIMS, 3), torch.tensor([0, 1, 2, 0, 1])
    total = nested_loss(lambda prefix: cross_entropy(head.at(prefix), label), z, dims=DIMS).total
    expected = sum(torch.nn.functional.cross_entropy(logits, label) for logits in head(z).values())
    torch.testing.assert_close(total, expected)


def test_between_the_dims(z):
    tied, separate = NestedLinear(DIMS, 3, tied=True), NestedLinear(DIMS, 3)
    assert tied.at(z[:, :5]).shape == (5, 3)
    with pytest.raises(KeyError):
        separate.at(z[:, :5])
