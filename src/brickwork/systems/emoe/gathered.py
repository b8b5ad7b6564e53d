"""Feed-forward halves that compute only the groups a token uses: what a mask leaves out is not multiplied at all.

The same numbers as :func:`~brickwork.modules.ffn_split.gated`, for serving. Between the matrices of a half stands nothing
but what is done to each number by itself (an activation, a gate, dropout), so the half runs as it is on rows that are a
token and one of its groups, sorted by group, with the neurons of that group.

Shape legend: T tokens, E groups of M/E neurons, K groups used by a token, S = T·K rows, D width.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor

from brickwork.modules.experts import Dispatch, grouped_linear
from brickwork.modules.ffn_split import FeedForward, Gate, Labels, check_labels, group_order
from brickwork.modules.low_rank import is_transposed


@contextmanager
def gathered(labels: Labels, gates: Mapping[FeedForward, Gate]) -> Iterator[None]:
    """Runs a model, while the context lasts, as :func:`~brickwork.modules.ffn_split.gated` does, without the products of
    groups of weight 0. The weights of the model are those at its beginning. Groups are of one size.

    Raises:
        ConfigError: labels that are not one for each neuron.
    """
    check_labels(labels)
    with ExitStack() as stack:
        for half, own in labels.items():
            part = _Gathered(half, own, gates[half])
            for number, maker in enumerate(half.makers):
                stack.enter_context(_instead(maker, part.maker(number)))
            stack.enter_context(_instead(half.down, part.down))
        yield


@contextmanager
def _instead(layer: Any, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    layer.forward = forward
    try:
        yield
    finally:
        del layer.forward


class _Gathered:
    """One half with its weights by group."""

    def __init__(self, half: FeedForward, labels: Int64[Tensor, " neurons"], gate: Gate):
        self.gate = gate
        self.groups = int(labels.max()) + 1
        order = group_order(labels)
        size = len(labels) // self.groups
        self.makers = [
            (
                _out_in(maker)[order].unflatten(0, (self.groups, size)).transpose(1, 2).contiguous(),
                None if maker.bias is None else maker.bias[order].unflatten(0, (self.groups, size)),
            )
            for maker in half.makers
        ]
        self.out = _out_in(half.down)[:, order].T.unflatten(0, (self.groups, size)).contiguous()
        self.bias = half.down.bias
        self.given: Tensor | None = None

    def maker(self, number: int) -> Callable[[Tensor], Tensor]:
        weight, bias = self.makers[number]

        def forward(x: Float[Tensor, "*rows width"]) -> Float[Tensor, "slots neurons"]:
            self._route(x)
            y = grouped_linear(self.dispatch.spread(x.flatten(0, -2)), weight, self.dispatch.counts)
            return y if bias is None else y + bias.repeat_interleave(self.dispatch.counts, 0)

        return forward

    def down(self, neurons: Float[Tensor, "slots neurons"]) -> Float[Tensor, "*rows width"]:
        """Σ over the groups of a token of weight times what they add, and the bias."""
        assert self.given is not None
        added = self.dispatch.combine(grouped_linear(neurons, self.out, self.dispatch.counts), self.weights)
        added = added if self.bias is None else added + self.bias
        shape, self.given = self.given.shape[:-1], None
        return added.unflatten(0, shape)

    def _route(self, x: Tensor) -> None:
        """Which groups the tokens of ``x`` use; the matrices of one half ask for the same."""
        if self.given is x:
            return
        self.given = x
        weights = self.gate(x.flatten(0, -2)).to(x.dtype)
        most = int((weights != 0).sum(-1).max()) if len(weights) else 1
        self.weights, index = weights.topk(max(most, 1), dim=-1)
        self.dispatch = Dispatch.of(index, self.groups)


def _out_in(layer: Any) -> Tensor:
    return layer.weight.T if is_transposed(layer) else layer.weight
