"""Nested classifiers: separate and tied, against each other and against matrix products."""

import pytest
import torch

from brickwork.core.errors import ConfigError
from brickwork.modules.heads import NestedLinear, classifier, linear_weights
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


@pytest.mark.parametrize("kind", ["linear", "simplex"])
def test_a_classifier_and_the_linear_layer_that_answers_alike(z, kind):
    head = classifier(8, 3, kind)
    layer = linear_weights(head, 8)
    torch.testing.assert_close(head(z), z @ layer["weight"].T + layer["bias"])
    assert (sum(p.numel() for p in head.parameters()) == 0) == (kind == "simplex")


def test_a_simplex_needs_width(z):
    # The corners of K = 3 have cosines of −1/2 (closed form); the scale leaves angles as they are.
    weight = linear_weights(classifier(8, 3, "simplex"), 8)["weight"]
    cosines = torch.nn.functional.cosine_similarity(weight[:, None], weight[None], dim=-1)
    torch.testing.assert_close(cosines, torch.full((3, 3), -0.5).fill_diagonal_(1.0))
    with pytest.raises(
        ConfigError, match="simplex of 10 classes needs features of 9 dimensions or more; these have 8"
    ):
        classifier(8, 10, "simplex")


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
