"""The grouped linear as two Triton kernels: all modules in one launch, no row padded or copied, no wait for the counts.

Rows come sorted by module (:class:`brickwork.modules.experts.Dispatch`). Each module's rows are cut into tiles of
``_TILE`` rows; a table that is made on the device says which module and rows each tile has, so that one kernel serves
any routing, also modules without rows and all rows in one module. The table has room for the most tiles that there can
be; what is left over ends at once. Backward: dX is the same kernel on the transposed matrices, dW sums over the rows of
each module in a second one.

Sums are in float32, in float64 for float64. Products of float32 keep to ``torch.get_float32_matmul_precision``.

Checked in Triton's interpreter (``TRITON_INTERPRET=1``) against the reference loop in float32 and float64, values and
gradients; the interpreter has no bfloat16 products. Compiled for compute capabilities 8.0 and 9.0 in all three
precisions. Not run on a GPU yet, and so not timed. Tiles of one module each are the schedule of grouped products such as
ScatterMoE's (Tan et al., arXiv 2403.08245), which besides gathers inside the kernel.

Importing this needs the package ``triton``.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int64
from torch import Tensor

from brickwork.core.errors import ConfigError

_TILE = 64  # rows, and columns of the result
_STEP = 32  # summed over at a time


@triton.jit
def _rows_kernel(
    x, weight, y, tile_module, tile_start, tile_stop, inputs, outputs, by_module, by_input, by_output,
    PRECISION: tl.constexpr, SUM: tl.constexpr, TILE: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """One tile of y: the rows of one module times a part of its matrix."""
    tile = tl.program_id(0)
    start = tl.load(tile_start + tile)
    stop = tl.load(tile_stop + tile)
    if start < stop:
        matrix = weight + tl.load(tile_module + tile) * by_module
        row = start + tl.arange(0, TILE)
        column = tl.program_id(1) * TILE + tl.arange(0, TILE)
        total = tl.zeros((TILE, TILE), dtype=SUM)
        for first in range(0, inputs, STEP):
            inner = first + tl.arange(0, STEP)
            a = tl.load(
                x + row[:, None] * inputs + inner[None, :],
                mask=(row[:, None] < stop) & (inner[None, :] < inputs),
                other=0.0,
            )
            b = tl.load(
                matrix + inner[:, None] * by_input + column[None, :] * by_output,
                mask=(inner[:, None] < inputs) & (column[None, :] < outputs),
                other=0.0,
            )
            total = tl.dot(a, b, total, input_precision=PRECISION, out_dtype=SUM)
        tl.store(
            y + row[:, None] * outputs + column[None, :],
            total.to(y.dtype.element_ty),
            mask=(row[:, None] < stop) & (column[None, :] < outputs),
        )


@triton.jit
def _matrices_kernel(
    x, gradient, result, starts, stops, inputs, outputs,
    PRECISION: tl.constexpr, SUM: tl.constexpr, TILE: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """One tile of dW of one module: Σ over its rows of xᵀ dy; zero where it has none."""
    module = tl.program_id(0)
    start = tl.load(starts + module)
    stop = tl.load(stops + module)
    inner = tl.program_id(1) * TILE + tl.arange(0, TILE)
    column = tl.program_id(2) * TILE + tl.arange(0, TILE)
    total = tl.zeros((TILE, TILE), dtype=SUM)
    for first in range(start, stop, STEP):
        row = first + tl.arange(0, STEP)
        a = tl.load(
            x + row[None, :] * inputs + inner[:, None],
            mask=(row[None, :] < stop) & (inner[:, None] < inputs),
            other=0.0,
        )
        b = tl.load(
            gradient + row[:, None] * outputs + column[None, :],
            mask=(row[:, None] < stop) & (column[None, :] < outputs),
            other=0.0,
        )
        total = tl.dot(a, b, total, input_precision=PRECISION, out_dtype=SUM)
    place = module.to(tl.int64) * inputs * outputs + inner[:, None] * outputs + column[None, :]
    tl.store(
        result + place,
        total.to(result.dtype.element_ty),
        mask=(inner[:, None] < inputs) & (column[None, :] < outputs),
    )


def _tiles(counts: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Module, first row and end of the module's rows, of each tile; tiles that are not needed have none."""
    stops = counts.cumsum(0)
    needed = (counts + _TILE - 1).div(_TILE, rounding_mode="floor")
    ends = needed.cumsum(0)
    tile = torch.arange(triton.cdiv(rows, _TILE) + len(counts), device=counts.device)
    module = torch.searchsorted(ends, tile, right=True).clamp(max=len(counts) - 1)
    start = (stops - counts)[module] + (tile - (ends - needed)[module]) * _TILE
    return module, start, stops[module]


def _how(x: Tensor) -> dict[str, Any]:
    """What the kernels are specialised for."""
    exact = x.dtype != torch.float32 or torch.get_float32_matmul_precision() == "highest"
    return {
        "PRECISION": "ieee" if exact else "tf32",
        "SUM": tl.float64 if x.dtype == torch.float64 else tl.float32,
        "TILE": _TILE,
        "STEP": _STEP,
    }


def _times(x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """[x_m W_m]; ``weight`` may be a transposed view."""
    inputs, outputs = weight.shape[1:]
    y = x.new_empty(len(x), outputs)
    tiles = _tiles(counts, len(x))
    grid = (len(tiles[0]), triton.cdiv(outputs, _TILE))
    with torch.cuda.device_of(x):
        _rows_kernel[grid](x, weight, y, *tiles, inputs, outputs, *weight.stride(), **_how(x))
    return y


class _Grouped(torch.autograd.Function):
    """y = [x_m W_m]; dx_m = dy_m W_mᵀ, dW_m = x_mᵀ dy_m."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, weight, counts)
        return _times(x, weight, counts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, counts = ctx.saved_tensors
        gradient = gradient.contiguous()
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = _times(gradient, weight.transpose(1, 2), counts)
        if ctx.needs_input_grad[1]:
            modules, inputs, outputs = weight.shape
            dw = weight.new_empty(weight.shape)
            stops = counts.cumsum(0)
            grid = (modules, triton.cdiv(inputs, _TILE), triton.cdiv(outputs, _TILE))
            with torch.cuda.device_of(x):
                _matrices_kernel[grid](x, gradient, dw, stops - counts, stops, inputs, outputs, **_how(x))
        return dx, dw, None


def grouped_linear_triton(
    x: Float[Tensor, "slots inputs"],
    weight: Float[Tensor, "modules inputs outputs"],
    counts: Int64[Tensor, " modules"],
) -> Float[Tensor, "slots outputs"]:
    """Each row times the matrix of its module; rows are sorted by module, ``counts`` of each.

    Raises:
        ConfigError: the rows are on a CPU, and Triton does not interpret its kernels.
    """
    if x.device.type == "cpu" and isinstance(_rows_kernel, triton.JITFunction):
        raise ConfigError(
            "computation='triton' runs on a GPU; on a CPU use 'sorted' or 'auto' (TRITON_INTERPRET=1 in the environment "
            "runs the kernels there, slowly, to check them)"
        )
    if not len(x):
        return x @ weight.sum(0)  # no rows, and gradients of zero
    return _Grouped.apply(x, weight, counts)
