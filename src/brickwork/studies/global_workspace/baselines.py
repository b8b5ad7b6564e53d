"""Networks that learn sums without a workspace: what the claims compare with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.config import at_least
from brickwork.core.types import Batch, LossOutput
from brickwork.data.types import Examples, TaskData
from brickwork.systems.global_workspace.config import ReaderConfig
from brickwork.systems.global_workspace.data import NUM_VALUES
from brickwork.systems.global_workspace.modules import DigitReader
from brickwork.systems.global_workspace.sums import collate_sums, scores_of_rows, split_accuracy, sum_facts


class TwoTokenLstm(nn.Module):
    """Reads a, then b, each in its own half of the input (so that they differ); the last state is the answer."""

    def __init__(self, num_inputs: int, width: int, num_layers: int):
        super().__init__()
        self.num_inputs = num_inputs
        self.lstm = nn.LSTM(2 * num_inputs, width, num_layers, batch_first=True)

    def forward(
        self, a: Float[Tensor, "batch inputs"], b: Float[Tensor, "batch inputs"]
    ) -> Float[Tensor, "batch width"]:
        """The hidden state of the last layer after b."""
        tokens = torch.stack([F.pad(a, (0, self.num_inputs)), F.pad(b, (self.num_inputs, 0))], 1)
        return self.lstm(tokens)[0][:, -1]


class ThreeTokenTransformer(nn.Module):
    """[CLS, a, b] with an embedding of their own for a and for b, so that no position is needed; CLS is the answer.

    ``tied``: one layer, applied ``num_layers`` times (as in the Universal Transformer, arXiv 1807.03819).
    """

    def __init__(self, num_inputs: int, width: int, num_layers: int, num_heads: int, *, tied: bool):
        super().__init__()
        self.first = nn.Linear(num_inputs, width, bias=False)
        self.second = nn.Linear(num_inputs, width, bias=False)
        self.start = nn.Parameter(torch.randn(width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, num_heads, 2 * width, dropout=0.0, batch_first=True)
            for _ in range(1 if tied else num_layers)
        )
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


@dataclass(frozen=True, kw_only=True)
class BaselineConfig:
    """A network on the two digits without a workspace.

    lstm: digits as two tokens, read one after the other. transformer: [CLS, a, b]. universal: the same with one layer
    applied ``num_layers`` times. ``num_heads`` is not for lstm.
    """

    network: Literal["lstm", "transformer", "universal"] = "lstm"
    width: Annotated[int, at_least(1)] = 64
    num_layers: Annotated[int, at_least(1)] = 1
    num_heads: Annotated[int, at_least(1)] | None = None
    reader: ReaderConfig | None = None

    def validate(self) -> list[str]:
        if (self.network == "lstm") != (self.num_heads is None):
            return ["num_heads is needed for transformer and universal, and is not for lstm"]
        if self.num_heads is not None and self.width % self.num_heads:
            return [f"width={self.width} is not divisible by num_heads={self.num_heads}"]
        return []

    def build(self, data: TaskData) -> "BaselineSystem":
        """The untrained network for the sums of ``data``."""
        facts = sum_facts(self, data)
        return BaselineSystem(self, facts["num_sums"], facts["image_shape"])


class BaselineSystem(nn.Module):
    """``network`` on one-hot digits, or on the latents of an encoder of images that learns first, and a linear readout."""

    def __init__(self, config: BaselineConfig, num_sums: int, image_shape: Sequence[int] | None):
        super().__init__()
        self.num_sums = num_sums
        self.image_shape = image_shape
        self.reader: DigitReader | None = None
        num_inputs = NUM_VALUES
        if config.reader is not None and image_shape is not None:
            self.reader = DigitReader(image_shape, **vars(config.reader))
            num_inputs = config.reader.width
        if config.network == "lstm":
            self.network: nn.Module = TwoTokenLstm(num_inputs, config.width, config.num_layers)
        else:
            tied, heads = config.network == "universal", config.num_heads or 1
            self.network = ThreeTokenTransformer(
                num_inputs, config.width, config.num_layers, heads, tied=tied
            )
        self.readout = nn.Linear(config.width, num_sums)

    def collate(self, columns: Mapping[str, Any]) -> Batch:
        """Columns as tensors."""
        return collate_sums(columns, self.image_shape)

    def scores(self, batch: Batch) -> Float[Tensor, "batch sums"]:
        """Logits of the sums."""
        if self.reader is None:
            a, b = (F.one_hot(batch[name], NUM_VALUES).float() for name in ("a", "b"))
        else:
            with torch.no_grad():
                a, b = self.reader.body(batch["first"]), self.reader.body(batch["second"])
        return self.readout(self.network(a, b))

    def loss(self, batch: Batch) -> LossOutput:
        """Cross-entropy of the sum; in the stage ``reader``, of the encoder's classes."""
        if self.reader is not None and batch.get("stage") == "reader":
            return LossOutput.of({"reader": self.reader.loss(batch)})
        return LossOutput.of({"answer": F.cross_entropy(self.scores(batch), batch["sum"])})

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """Accuracy by kind of pair, as the workspace's."""
        columns = examples.columns
        right = scores_of_rows(self, columns).argmax(1) == np.asarray(columns["sum"])
        return split_accuracy(right, columns, "accuracy")
