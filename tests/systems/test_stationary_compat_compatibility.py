"""The loss towards the previous model: the authors' numbers, its sum written out, and what each option does."""

import math

import pytest
import torch

from brickwork.systems.stationary_compat.objective import higher_order

LABEL = torch.tensor([0, 0, 1, 2, 1, 3])


def waves(a: float, b: float) -> torch.Tensor:
    """Six unit vectors of five dimensions, without a random generator, as they were given to the authors' code."""
    i, j = torch.arange(6, dtype=torch.float64)[:, None], torch.arange(5, dtype=torch.float64)[None]
    x = torch.sin(a * i * i + b * j + 0.3 * i * j)
    return x / x.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(("scale", "expected"), [(10.0, 0.45797380635807045), (3.0, 1.0928289517207614)])
def test_equals_the_authors_code(scale, expected):
    """``HocLoss`` of miccunifi/iamcl2r (18495ac), run on these vectors."""
    loss = higher_order(waves(1.3, 0.7), waves(1.1, 0.9), LABEL, scale=scale)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("mask", ["zero", "exclude"])
def test_equals_the_sum_written_out(mask):
    old, new = waves(1.3, 0.7), waves(1.1, 0.9)
    total = 0.0
    for i in range(6):
        terms = []
        for j in range(6):
            similarity = 10.0 * float(old[i] @ new[j])
            if LABEL[i] != LABEL[j] or (mask == "exclude" and i == j):
                terms.append(math.exp(similarity))
            elif mask == "zero":
                terms.append(1.0)
        total += -10.0 * float(old[i] @ new[i]) + math.log(sum(terms))
    loss = higher_order(old, new, LABEL, mask=mask)
    assert loss.item() == pytest.approx(total / 6, rel=1e-9)


def test_lengths_do_not_matter():
    old, new = waves(1.3, 0.7), waves(1.1, 0.9)
    torch.testing.assert_close(higher_order(3 * old, 0.2 * new, LABEL), higher_order(old, new, LABEL))


def test_one_row_has_only_its_own():
    """With a single row both forms are easy: −μcos + log 1, and 0."""
    old, new, label = waves(1.3, 0.7)[:1], waves(1.1, 0.9)[:1], LABEL[:1]
    assert higher_order(old, new, label).item() == pytest.approx(-10 * float(old[0] @ new[0]))
    assert higher_order(old, new, label, mask="exclude").item() == pytest.approx(0.0, abs=1e-12)
