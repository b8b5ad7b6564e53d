"""Counts against sums by hand: 2·m·k·n for a product of m × k and k × n."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from brickwork.core.flops import count_flops, counted


def test_a_matrix_and_a_convolution():
    layer, kernel = nn.Linear(8, 3), nn.Conv2d(3, 5, 3, padding=1)
    assert count_flops(lambda: layer(torch.zeros(4, 8))) == 2 * 4 * 8 * 3
    assert count_flops(lambda: kernel(torch.zeros(2, 3, 6, 6))) == 2 * 2 * 36 * 27 * 5


def test_attention_of_the_processor_counts_as_its_two_products():
    q, k = torch.randn(2, 4, 6, 8), torch.randn(2, 4, 10, 8)
    fused = count_flops(lambda: F.scaled_dot_product_attention(q, k, k))
    plain = count_flops(lambda: (q @ k.mT).softmax(-1) @ k)
    assert fused == plain == 2 * 2 * 4 * 6 * 10 * (8 + 8)


def test_backward_is_twice_forward_for_a_matrix_and_five_products_for_attention():
    layer, x = nn.Linear(8, 3), torch.randn(4, 8, requires_grad=True)
    with counted() as result:
        layer(x).sum().backward()
    assert result.flops == 3 * 2 * 4 * 8 * 3
    q = torch.randn(2, 4, 6, 8, requires_grad=True)
    with counted() as result:
        F.scaled_dot_product_attention(q, q, q).sum().backward()
    # Fused attention computes its logits a second time on the way back.
    assert result.flops == (2 + 5) * 2 * 2 * 4 * 6 * 6 * 8


def test_a_matrix_for_each_group_of_rows_counts_each_row_once():
    rows, matrices = (
        torch.ones(*size, dtype=torch.bfloat16, requires_grad=True) for size in ((6, 16), (2, 16, 8))
    )
    with counted() as result:
        F.grouped_mm(rows, matrices, offs=torch.tensor([2, 6], dtype=torch.int32)).square().sum().backward()
    assert result.flops == 3 * 2 * 6 * 16 * 8


@pytest.mark.parametrize(
    ("run", "wanted"),
    [
        (lambda: torch.ones(3, 4) @ torch.ones(4), 2 * 3 * 4),
        (lambda: torch.addmv(torch.ones(3), torch.ones(3, 4), torch.ones(4)), 2 * 3 * 4),
        (lambda: torch.ones(5) @ torch.ones(5), 2 * 5),
    ],
)
def test_vectors_count(run, wanted):
    assert count_flops(run) == wanted
