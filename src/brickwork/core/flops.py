"""Floating-point operations of anything that PyTorch runs: its own counter, completed where it misses some.

Matrix products, convolutions and attention count, a multiplication and an addition apart; what is done to each element
(norms, activations, look-ups) does not, and is under a hundredth of a network.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count


@dataclass
class Counted:
    """What was counted: ``flops``, known when the block has ended."""

    flops: int = 0


@contextmanager
def counted() -> Iterator[Counted]:
    """Counts what runs inside, forward and backward; as much memory and time as without."""
    result = Counted()
    with FlopCounterMode(display=False, custom_mapping=_MISSED) as counter:
        yield result
    result.flops = counter.get_total_flops()


def count_flops(run: Callable[[], object]) -> int:
    """The operations of one call, without a gradient."""
    with counted() as result, torch.no_grad():
        run()
    return result.flops


def _attention(query: Any, key: Any, value: Any, *rest: Any, **more: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *rest: Any, **more: Any) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


def _matrix_vector(matrix: Any, vector: Any, *rest: Any, **more: Any) -> int:
    return 2 * matrix[0] * matrix[1]


def _add_matrix_vector(bias: Any, matrix: Any, vector: Any, *rest: Any, **more: Any) -> int:
    return 2 * matrix[0] * matrix[1]


def _dot(left: Any, right: Any, *rest: Any, **more: Any) -> int:
    return 2 * left[0]


def _grouped(left: Any, right: Any, *rest: Any, out_shape: Any = None, **more: Any) -> int:
    """One matrix for each group of rows: (rows, d) × (groups, d, d2), each row with one of them; a product of each pair of
    a batch where both have three dimensions; and of columns by groups, (d, rows) × (rows, d2), for gradients."""
    inner = left[-1]
    if len(left) == 2 and len(right) == 2:
        return 2 * left[0] * inner * right[1]
    result = 2 * inner
    for side in out_shape:
        result *= side
    return result


_ATEN = torch.ops.aten
_MISSED = {
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    _ATEN.mv: _matrix_vector,
    _ATEN.addmv: _add_matrix_vector,
    _ATEN.dot: _dot,
    _ATEN._grouped_mm: _grouped,
}
