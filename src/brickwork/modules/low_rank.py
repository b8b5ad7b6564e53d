"""A layer with a low-rank update whose rows are parameters across layers. The adapters of a model: :mod:`.adapters`.

A layer y = W0·x becomes y = W0·x + s·B_b·A_b·x with W0 frozen. A (r, d) and B (m, r) are kept in segments of rows and
columns, each a parameter of its own: one that takes no part in a step has no gradient at all, so that no optimiser moves
it, neither by momentum nor by weight decay. One gradient of zeros for the whole matrix would not do that. All adapted
layers of a model share the rank, so a segment holds its rows and columns of all of them: there are as many parameters as
ranks, not as many as ranks times layers, whose gradients and updates would cost more than the adapters.

Shape legend: d inputs, m outputs, r largest rank, b rank in use (1 … r), w = Σ (d + m) over the adapted layers.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Scaling = Literal["alpha/b", "alpha/r", "alpha/sqrt(b)"]
Factors = tuple[Float[Tensor, "rank ..."], Float[Tensor, "_outputs rank"]]
"""A_b, (b, d) or for a convolution (b, d, height, width), and B_b, (m, b)."""
Shape = tuple[int, int, tuple[int, ...]]
"""Inputs, outputs and kernel of a layer."""


@dataclass
class RankState:
    """The rank that all adapters of one model use now.

    ``last_only``: rows of A and columns of B below the last segment have no gradient. ``drift``: what takes no part in
    the step has a gradient of zeros instead of none. ``off``: layers do what they did without adapters.
    """

    rank: int
    last_only: bool = False
    drift: bool = False
    off: bool = False


class Segments(nn.Module):
    """A and B of all adapted layers of a model: row i of every A and column i of every B, side by side.

    ``sizes``: ranks at which the rows are split into parameters, ascending; the last is r. ``widths``: of the parts of a
    row, in turn d (times the kernel) and m of each layer.
    """

    def __init__(self, matrix: Float[Tensor, "rank w"], sizes: Sequence[int], widths: Sequence[int]):
        super().__init__()
        self.widths = tuple(widths)
        self.set(matrix, sizes)

    def set(self, matrix: Float[Tensor, "rank w"], sizes: Sequence[int]) -> None:
        """Takes the rows apart into segments."""
        self.sizes = tuple(sizes)
        lengths = [size - before for before, size in zip((0, *sizes), sizes)]
        self.rows = nn.ParameterList(nn.Parameter(part.clone()) for part in matrix.split(lengths))
        self.forget()

    def forget(self) -> None:
        """Drops the parts that were put together for a forward pass."""
        self._key: tuple[Any, ...] | None = None
        self._parts: tuple[Tensor, ...] = ()
        self._taken: set[int] = set()

    def factors(self, place: int, state: RankState, rank: int | None = None) -> tuple[Tensor, Tensor]:
        """Of the layer at ``place`` the first b rows of A, flat, (b, d·kernel), and of Bᵀ, (b, m), with the gradients that
        ``state`` allows; b is ``rank``, or that of the state.

        Those of all layers are put together at once, for one forward pass: until a layer asks again, the gradient has come
        back, or a parameter has counted a change (fused optimisers do not let it count).
        """
        b, modes = rank or state.rank, (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
        versions = tuple(0 if p.is_inference() else p._version for p in self.rows)
        key = (b, state.last_only, state.drift, *modes, *versions)
        if key != self._key or place in self._taken:
            self.forget()
            matrix = self._together(b, state)
            if matrix.requires_grad:
                matrix.register_hook(lambda gradient: self.forget())
            self._key, self._parts = key, matrix.split(self.widths, dim=1)
        self._taken.add(place)
        return self._parts[2 * place], self._parts[2 * place + 1]

    def _together(self, b: int, state: RankState) -> Float[Tensor, "b w"]:
        last_only, drift = state.last_only, state.drift
        first = max(
            (size for size in (0, *self.sizes) if size < b), default=0
        )  # where the last segment begins
        rows, start = [], 0
        for size, segment in zip(self.sizes, self.rows):
            if start >= b and not drift:
                break
            part = segment if drift or size <= b else segment[: b - start]
            rows.append(part.detach() if last_only and start < first and not drift else part)
            start = size
        matrix = torch.cat(rows)
        if drift and last_only:
            matrix = torch.cat([matrix[:first].detach(), matrix[first:]])
        return matrix[:b]


class LowRankLayer(nn.Module):
    """A frozen layer and its low-rank update.

    ``base``: ``nn.Linear``, ``nn.Conv2d`` of one group, or the transposed linear layer of transformers' GPT-2.
    ``place``: which of the layers that share ``segments`` this is; the first of them owns their parameters.
    """

    def __init__(
        self,
        base: nn.Module,
        state: RankState,
        segments: Segments,
        place: int,
        *,
        alpha: float,
        scaling: Scaling,
        dropout: float,
    ):
        super().__init__()
        self.base = base
        self.state = state
        self.place = place
        self._shared = (
            segments,
        )  # in a tuple, so that only the first layer has their parameters in its state
        if place == 0:
            self.segments = segments
        self.alpha = alpha
        self.scaling: Scaling = scaling
        self.dropout = nn.Dropout(dropout)
        self.merged: int | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """The ranks at which A and B are split into parameters; the last is r."""
        return self._shared[0].sizes

    @property
    def weight(self) -> Tensor:
        """The frozen weight: some models ask a layer for its type or device."""
        return cast(Tensor, self.base.weight)

    @property
    def bias(self) -> Tensor | None:
        return cast(Any, self.base).bias

    def scale(self, rank: int) -> float:
        """s: α/b (DyLoRA, eq. 7), α/r (ordinary LoRA at its full rank), or α/√b (rsLoRA)."""
        return (
            self.alpha
            / {
                "alpha/b": rank,
                "alpha/r": self.sizes[-1],
                "alpha/sqrt(b)": math.sqrt(rank),
            }[self.scaling]
        )

    def factors(self, rank: int | None = None) -> Factors:
        """A_b = A[:b] and B_b = B[:, :b], with the gradients that the state of the step allows."""
        down, up = self._shared[0].factors(self.place, self.state, rank)
        inputs, _, kernel = layer_shape(self.base)
        return down.view(-1, inputs, *kernel) if kernel else down, up.T

    def forward(self, x: Tensor) -> Tensor:
        """y = W0·x + s·B_b·(A_b·x). Shapes: (…, d) → (…, m), or images (N, d, H, W) → (N, m, H', W')."""
        y = self.base(x)
        if self.merged is not None or self.state.off:
            return y
        down, up = self.factors()
        h = self.dropout(x).to(down.dtype)
        if isinstance(self.base, nn.Conv2d):
            base = self.base
            h = F.conv2d(h, down, None, base.stride, base.padding, base.dilation)
            update = F.conv2d(h, up[:, :, None, None])
        else:
            update = F.linear(F.linear(h, down), up)
        return y + (self.scale(self.state.rank) * update).to(y.dtype)

    def delta(self, rank: int) -> Tensor:
        """s·B_b·A_b in the shape of the base's weight."""
        down, up = self.factors(rank)
        product = self.scale(rank) * (up @ down.flatten(1)).view(-1, *down.shape[1:])
        return (product.T if is_transposed(self.base) else product).to(self.weight.dtype)


def is_transposed(layer: nn.Module) -> bool:
    """Whether a linear layer keeps its weight as (inputs, outputs), as GPT-2 in transformers does."""
    return type(layer).__name__ == "Conv1D" and hasattr(layer, "nf")


def layer_shape(layer: nn.Module) -> tuple[int, int, tuple[int, ...]]:
    """Inputs, outputs and kernel of a layer that can be adapted."""
    weight = cast(Tensor, layer.weight)
    if is_transposed(layer):
        return weight.shape[0], weight.shape[1], ()
    return weight.shape[1], weight.shape[0], tuple(weight.shape[2:])


def widths(shapes: Iterable[Shape]) -> list[int]:
    """Of the parts of a row of :class:`Segments`: d (times the kernel) and m of each layer in turn."""
    return [width for inputs, outputs, kernel in shapes for width in (inputs * math.prod(kernel), outputs)]


def first_rows(shapes: Iterable[Shape], rank: int) -> Float[Tensor, "rank w"]:
    """A as LoRA draws it, layer by layer, and B = 0."""
    parts = []
    for inputs, outputs, kernel in shapes:
        down = torch.empty(rank, inputs, *kernel)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5))
        parts += [down.flatten(1), torch.zeros(rank, outputs)]
    return torch.cat(parts, dim=1)
