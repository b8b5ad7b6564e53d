"""Small networks that show all of their hidden layers, and many of them with weights of their own in one pass.

Shape legend: R networks, B inputs, N bits, F features, W width.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state


class ShowingMlp(nn.Module):
    """Linear layers with ReLU and dropout, then a linear output for each feature."""

    def __init__(self, inputs: int, widths: Sequence[int], features: int, dropout: float):
        super().__init__()
        sizes = [inputs, *widths]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.out = nn.Linear(widths[-1], features)
        self.dropout = dropout

    def forward(
        self, bits: Float[Tensor, "batch bits"], answers: Float[Tensor, "batch features"]
    ) -> tuple[Float[Tensor, "batch features"], list[Tensor]]:
        """Logits and what each hidden layer gives. ``answers`` are not read."""
        shown, x = [], bits
        for layer in self.hidden:
            x = F.relu(layer(x))
            shown.append(x)
            x = F.dropout(x, self.dropout, self.training)
        return self.out(x), shown


class PrefixTransformer(nn.Module):
    """Bits as a prefix with attention in both directions, then one output token a feature, in order, with teacher forcing.

    The prefix cannot see the outputs: what it holds is there before any feature is written. Norms stand before each half.
    """

    def __init__(self, bits: int, width: int, depth: int, features: int):
        super().__init__()
        self.num_bits, self.features = bits, features
        self.value = nn.Embedding(2, width)
        self.said = nn.Embedding(3, width)  # the answer before: 0, 1, or none yet
        self.place = nn.Embedding(bits + features, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 1)

    def forward(
        self, bits: Float[Tensor, "batch bits"], answers: Float[Tensor, "batch features"]
    ) -> tuple[Float[Tensor, "batch features"], list[Tensor]]:
        """Logits, and the mean over the prefix of the residual stream after the embedding and each block."""
        before = F.pad(answers.long()[:, :-1], (1, 0), value=2)
        x = torch.cat([self.value(bits.long()), self.said(before)], dim=1) + self.place.weight
        shown = [x[:, : self.num_bits].mean(1)]
        mask = prefix_mask(self.num_bits, self.features).to(x.device)
        for block in self.blocks:
            x = block(x, mask)
            shown.append(x[:, : self.num_bits].mean(1))
        return self.out(self.norm(x[:, self.num_bits :]))[..., 0], shown


def prefix_mask(bits: int, features: int) -> Bool[Tensor, "tokens tokens"]:
    """Which token may see which: the prefix itself, an output the prefix and all outputs up to it."""
    count = bits + features
    mask = torch.ones(count, count, dtype=torch.bool).tril()
    mask[:bits, :bits] = True
    return mask


class _Block(nn.Module):
    """Attention with two heads and an MLP of four times the width."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "batch tokens width"], mask: Tensor) -> Tensor:
        q, k, v = self.qkv(self.first(x)).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.mT / q.shape[-1] ** 0.5
        seen = scores.masked_fill(~mask, -torch.inf).softmax(-1) @ v
        x = x + self.join(seen.transpose(1, 2).flatten(-2))
        return x + self.down(F.gelu(self.up(self.second(x))))


class Many(nn.Module):
    """R networks of one shape with weights of their own: one pass computes all (``torch.func.vmap``)."""

    def __init__(self, make: Callable[[], nn.Module], count: int):
        super().__init__()
        models = [make() for _ in range(count)]
        weights, _ = stack_module_state(models)
        self.weights = nn.ParameterDict(
            {name.replace(".", "/"): nn.Parameter(value.detach()) for name, value in weights.items()}
        )
        self._template = [models[0]]  # in a list: its own weights are no parameters of this module

    def forward(self, *inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What each network gives of its own row of ``inputs``. Shapes: (R, B, …) → (R, B, …)."""
        template = self._template[0].train(self.training)
        named = {name.replace("/", "."): value for name, value in self.weights.items()}

        def one(weights: dict[str, Tensor], *given: Tensor) -> Any:
            return functional_call(template, weights, given)

        result: tuple[Tensor, list[Tensor]] = torch.func.vmap(one, randomness="different")(named, *inputs)
        return result
