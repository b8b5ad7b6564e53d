"""Networks that learn sums without a workspace: what the claims compare with."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.types import Batch, LossOutput
from brickwork.systems.global_workspace.arithmetic import NUM_VALUES
from brickwork.systems.global_workspace.sums import DigitReader, SumsSystem, one_hot


class TwoTokenLstm(nn.Module):
    """Reads a, then b, each in its own half of the input (so that they are told apart); the last state is the answer.

    LSTM cells rather than ``nn.LSTM``, which cannot be mapped over stacked weights.
    """

    def __init__(self, num_inputs: int, width: int, num_layers: int):
        super().__init__()
        self.num_inputs = num_inputs
        self.cells = nn.ModuleList(
            nn.LSTMCell(2 * num_inputs if layer == 0 else width, width) for layer in range(num_layers)
        )

    def forward(
        self, a: Float[Tensor, "batch inputs"], b: Float[Tensor, "batch inputs"]
    ) -> Float[Tensor, "batch width"]:
        """The hidden state of the last layer after b."""
        tokens = [F.pad(a, (0, self.num_inputs)), F.pad(b, (self.num_inputs, 0))]
        for cell in self.cells:
            state, outputs = None, []
            for token in tokens:
                state = cell(token, state)
                outputs.append(state[0])
            tokens = outputs
        return tokens[-1]


class EncoderLayer(nn.Module):
    """The layer of Vaswani et al. (2017) with norms after the sums, and explicit attention, which can be mapped over stacked
    weights where the fused kernels cannot. ``tests`` compare it with ``nn.TransformerEncoderLayer``.
    """

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.project = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """The tokens after attention and feed-forward."""
        q, k, v = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in self.project(x).chunk(3, -1)
        )
        share = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        x = self.norm1(x + self.join((share @ v).transpose(1, 2).flatten(2)))
        return self.norm2(x + self.narrow(F.relu(self.widen(x))))


class ThreeTokenTransformer(nn.Module):
    """[CLS, a, b] with an embedding of their own for a and for b, so that no position is needed; CLS is the answer.

    ``tied``: one layer, applied ``num_layers`` times (as in the Universal Transformer, arXiv 1807.03819).
    """

    def __init__(self, num_inputs: int, width: int, num_layers: int, num_heads: int, *, tied: bool):
        super().__init__()
        self.first = nn.Linear(num_inputs, width, bias=False)
        self.second = nn.Linear(num_inputs, width, bias=False)
        self.start = nn.Parameter(torch.randn(width) * 0.02)
        self.layers = nn.ModuleList(EncoderLayer(width, num_heads) for _ in range(1 if tied else num_layers))
        self.repeats = num_layers if tied else 1

    def forward(
        self, a: Float[Tensor, "batch inputs"], b: Float[Tensor, "batch inputs"]
    ) -> Float[Tensor, "batch width"]:
        """The state of CLS after the last layer."""
        x = torch.stack([self.start.expand(len(a), -1), self.first(a), self.second(b)], 1)
        for _ in range(self.repeats):
            for layer in self.layers:
                x = layer(x)
        return x[:, 0]


class BaselineSystem(SumsSystem):
    """``network`` on one-hot digits, or on the latents of a frozen encoder of images, and a linear readout."""

    def __init__(
        self,
        *,
        num_sums: int,
        modulo: int,
        image_shape: Sequence[int] | None,
        network: str,
        width: int,
        num_layers: int,
        num_heads: int | None,
        reader: Mapping[str, Any] | None,
    ):
        super().__init__(num_sums=num_sums, modulo=modulo, image_shape=image_shape)
        self.reader: DigitReader | None = None
        self.first_answer = 0
        num_inputs = NUM_VALUES
        if reader is not None and image_shape is not None:
            self.reader = DigitReader.of(reader, image_shape)
            self.first_answer, num_inputs = reader["steps"], reader["width"]
        if network == "lstm":
            self.network: nn.Module = TwoTokenLstm(num_inputs, width, num_layers)
        else:
            assert num_heads is not None
            tied = network == "universal"
            self.network = ThreeTokenTransformer(num_inputs, width, num_layers, num_heads, tied=tied)
        self.readout = nn.Linear(width, num_sums)

    def scores(self, batch: Batch, **options: Any) -> Float[Tensor, "batch sums"]:
        """Logits of the sums."""
        if self.reader is None:
            a, b = one_hot(batch["a"], NUM_VALUES), one_hot(batch["b"], NUM_VALUES)
        else:
            with torch.no_grad():
                a, b = self.reader.body(batch["first"]), self.reader.body(batch["second"])
        return self.readout(self.network(a, b))

    def loss(self, batch: Batch) -> LossOutput:
        """Cross-entropy of the sum; of images, after the encoder's classes."""
        if self.reader is not None and batch["step"] < self.first_answer:
            return LossOutput.of({"reader": self.reader.loss(batch)})
        scores = self.scores(batch)
        # Not F.cross_entropy: its target is looked at, and so cannot be mapped.
        answer = -(scores.log_softmax(1) * one_hot(batch["sum"], self.num_sums)).sum(1).mean()
        return LossOutput.of({"answer": answer})
