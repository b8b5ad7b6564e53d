"""Experts: one linear map for each of E modules, applied to the tokens that a router sent there.

The tokens are sorted by module once (:class:`Dispatch`), then each map runs on contiguous slices. How it runs is a
choice of computation, and all give the same numbers:

``loop``     the reference: for each module, pick its rows, multiply, put the results in place
``sorted``   one matrix product for each module on its slice, into one buffer, with a backward of the same form
``grouped``  ``torch.nn.functional.grouped_mm``: all products in one call (float32, bfloat16; no float64)
``triton``   two kernels of our own for a GPU (:mod:`brickwork.modules.experts_triton`, with its state of testing)
``auto``     on a GPU ``triton`` where that package is installed, else ``grouped``; on a CPU and in float64 ``sorted``

No capacity limit: no token is ever dropped, whatever the routing.
Shape legend: T tokens, K chosen modules, S = T·K slots, E modules.
"""

import importlib.util
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.core.types import RouterOutput

Computation = Literal["auto", "loop", "sorted", "grouped", "triton"]
Init = Literal["authors", "kaiming"]


@dataclass(frozen=True)
class Dispatch:
    """The slots of a routing sorted by module: made once, used by every map of a layer.

    ``order``: the slots (token·K + place) in sorted order; ``inverse``: where each slot went. ``counts``: of each module.
    """

    order: Int64[Tensor, " slots"]
    inverse: Int64[Tensor, " slots"]
    counts: Int64[Tensor, " modules"]
    top_k: int

    @classmethod
    def of(cls, index: Int64[Tensor, "tokens chosen"], num_modules: int) -> "Dispatch":
        """From the chosen modules; slots of one module keep their order."""
        flat = index.flatten()
        order = flat.argsort(stable=True)
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(len(order), device=order.device)
        return cls(order, inverse, torch.bincount(flat, minlength=num_modules), index.shape[1])

    def spread(self, x: Float[Tensor, "tokens width"]) -> Float[Tensor, "slots width"]:
        """The row of each slot's token, in sorted order."""
        return _Spread.apply(x, self.order, self.inverse, self.top_k)

    def sort(self, slots: Float[Tensor, "slots width"]) -> Float[Tensor, "slots width"]:
        """Slots in the order of tokens to sorted order."""
        return _Reorder.apply(slots, self.order, self.inverse)

    def unsort(self, slots: Float[Tensor, "slots width"]) -> Float[Tensor, "slots width"]:
        """Slots in sorted order to the order of tokens."""
        return _Reorder.apply(slots, self.inverse, self.order)

    def combine(
        self, slots: Float[Tensor, "slots width"], weights: Float[Tensor, "tokens chosen"]
    ) -> Float[Tensor, "tokens width"]:
        """Σ over the K slots of each token, weighted."""
        per_token = self.unsort(slots).view(*weights.shape, slots.shape[1])
        return torch.bmm(weights[:, None, :].to(slots.dtype), per_token).squeeze(1)


class _Spread(torch.autograd.Function):
    """x[order // K]; backward gathers and sums, where PyTorch's own would scatter into zeros."""

    @staticmethod
    def forward(ctx, x: Tensor, order: Tensor, inverse: Tensor, top_k: int) -> Tensor:
        ctx.save_for_backward(inverse)
        ctx.top_k = top_k
        return x.index_select(0, order.div(top_k, rounding_mode="floor"))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (inverse,) = ctx.saved_tensors
        slots = gradient.index_select(0, inverse)
        return slots.view(-1, ctx.top_k, gradient.shape[1]).sum(1), None, None, None


class _Reorder(torch.autograd.Function):
    """x[order], whose gradient is g[inverse]: a gather both ways."""

    @staticmethod
    def forward(ctx, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient.index_select(0, ctx.saved_tensors[0]), None, None


# ---- grouped linear --------------------------------------------------------------------------------------------


def grouped_linear(
    x: Float[Tensor, "slots inputs"],
    weight: Float[Tensor, "modules inputs outputs"],
    counts: Int64[Tensor, " modules"],
    computation: Computation = "sorted",
) -> Float[Tensor, "slots outputs"]:
    """Each row times the matrix of its module; rows are sorted by module, ``counts`` of each.

    Raises:
        ConfigError: ``grouped`` in a precision that PyTorch's kernel does not have; ``triton`` without the package or a GPU.
    """
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(dtype), weight.to(dtype)
    if computation == "auto":
        computation = automatic(x.device, x.dtype)
    if computation == "loop":
        return _loop(x, weight, counts)
    if computation == "sorted":
        return _Slices.apply(x, weight, tuple(counts.tolist()))
    if computation == "triton":
        return _triton(x, weight, counts)
    if x.dtype == torch.float64:
        raise ConfigError("computation='grouped' has no float64; use 'sorted' or 'loop'")
    if not len(x):
        return x @ weight.sum(0)  # no rows, and gradients of zero
    return _Contiguous.apply(F.grouped_mm(x, weight, offs=counts.cumsum(0).to(torch.int32)))


def automatic(device: torch.device, dtype: torch.dtype) -> Computation:
    """What ``auto`` stands for on this device and in this precision."""
    if device.type != "cuda" or dtype == torch.float64:
        return "sorted"
    return "triton" if importlib.util.find_spec("triton") else "grouped"


def _triton(x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    if importlib.util.find_spec("triton") is None:
        raise ConfigError(
            "computation='triton' needs the package: pip install triton; or use 'sorted' or 'auto'"
        )
    from brickwork.modules.experts_triton import grouped_linear_triton

    return grouped_linear_triton(x, weight, counts)


def _loop(x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """The reference: nothing but indexing and one product for each module, differentiated by PyTorch."""
    owner = torch.repeat_interleave(torch.arange(len(counts), device=x.device), counts)
    y = x.new_zeros(len(x), weight.shape[2])
    for module in range(len(counts)):
        rows = (owner == module).nonzero().squeeze(1)
        y = y.index_put((rows,), x[rows] @ weight[module])
    return y


class _Slices(torch.autograd.Function):
    """y = [x_m W_m] on contiguous slices; dx_m = dy_m W_mᵀ, dW_m = x_mᵀ dy_m, each written into its place."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, counts: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.counts = counts
        y = x.new_empty(x.shape[0], weight.shape[2])
        for part, rows, matrix in zip(y.split(counts), x.split(counts), weight):
            if len(rows):
                torch.mm(rows, matrix, out=part)
        return y

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        pieces = gradient.split(ctx.counts)
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(x)
            for part, rows, matrix in zip(dx.split(ctx.counts), pieces, weight):
                if len(rows):
                    torch.mm(rows, matrix.t(), out=part)
        if ctx.needs_input_grad[1]:
            dw = torch.empty_like(weight)
            for part, rows, grads in zip(dw, x.split(ctx.counts), pieces):
                if len(rows):
                    torch.mm(rows.t(), grads, out=part)
                else:
                    part.zero_()
        return dx, dw, None


class _Contiguous(torch.autograd.Function):
    """Identity, with a contiguous gradient: PyTorch's grouped product refuses an expanded one (torch 2.13)."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient.contiguous()


class _FrozenStart(torch.autograd.Function):
    """Identity, whose first ``count`` slices get no gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, count: int) -> Tensor:
        ctx.count = count
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.clone()
        gradient[: ctx.count] = 0
        return gradient, None


def frozen_start(parameter: Tensor, count: int) -> Tensor:
    """The parameter, the first ``count`` modules of which are not trained.

    An optimiser that decays weights has to leave such a parameter out of the decay.
    """
    return _FrozenStart.apply(parameter, count) if count else parameter


# ---- layers ----------------------------------------------------------------------------------------------------


class ExpertLinear(nn.Module):
    """A matrix for each module, without biases.

    ``init="authors"``: U(−1/inputs, 1/inputs), so that a new mixture adds almost nothing (ModuleFormer). ``"kaiming"``:
    U(−1/√inputs, 1/√inputs), as ``nn.Linear``. The first ``frozen`` modules are not trained.
    """

    def __init__(
        self,
        num_modules: int,
        inputs: int,
        outputs: int,
        *,
        init: Init = "authors",
        computation: Computation = "sorted",
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_modules, inputs, outputs))
        self.init = init
        self.computation = computation
        self.frozen = 0
        self.reset(0)

    def reset(self, start: int) -> None:
        """Fresh weights for the modules from ``start`` on."""
        inputs = self.weight.shape[1]
        bound = 1 / inputs if self.init == "authors" else inputs**-0.5
        nn.init.uniform_(self.weight.data[start:], -bound, bound)

    @property
    def num_modules(self) -> int:
        return self.weight.shape[0]

    def forward(
        self, x: Float[Tensor, "slots inputs"], counts: Int64[Tensor, " modules"]
    ) -> Float[Tensor, "slots outputs"]:
        """Rows sorted by module, ``counts`` of each."""
        return grouped_linear(x, frozen_start(self.weight, self.frozen), counts, self.computation)


class ExpertMlp(nn.Module):
    """y = Σ_m p_m V_mᵀ GELU(U_mᵀ x) over the modules that a token was sent to; GELU in its tanh form."""

    def __init__(
        self,
        num_modules: int,
        width: int,
        hidden: int,
        *,
        init: Init = "authors",
        computation: Computation = "sorted",
    ):
        super().__init__()
        self.up = ExpertLinear(num_modules, width, hidden, init=init, computation=computation)
        self.down = ExpertLinear(num_modules, hidden, width, init=init, computation=computation)

    def forward(
        self, x: Float[Tensor, "tokens width"], routed: RouterOutput
    ) -> Float[Tensor, "tokens width"]:
        """The weighted sum over the chosen modules of each token."""
        dispatch = Dispatch.of(routed.index, self.up.num_modules)
        hidden = F.gelu(self.up(dispatch.spread(x), dispatch.counts), approximate="tanh")
        return dispatch.combine(self.down(hidden, dispatch.counts), routed.weights)
