"""Feature bias: which of several equally needed features a network represents strongly.

Lampinen, Chan, Hermann: Learned feature representations are biased by complexity, learning order, position, and more. arXiv
2405.05847, 2024. The authors published no code beyond a demonstration.

What is learnt: networks that output several independent, balanced features of random bits. All are needed equally; measured
is how much of the variance of each hidden layer each of them explains, in many networks at once.

| paper | here          | shape     | meaning                                                          |
|-------|---------------|-----------|------------------------------------------------------------------|
| I     | bits          | (R, B, N) | inputs, each bit 0 or 1 with probability ½                       |
| f     | labels        | (R, B, F) | features; each reads bits of its own                             |
| φ     | hidden        | (R, B, D) | what a hidden layer gives                                        |
| R²_f  | explain       | (R)       | 1 − Σ ‖W f − φ‖² / Σ ‖φ − mean‖², W fitted on other inputs        |
| p_f   | prevalence    |           | how often a feature counts in the loss                           |
| L     | loss          |           | Σ_f mean over inputs of cross-entropy of f                       |

Differences from the paper: see README.md. Shape legend: R networks (replicas), B inputs, N bits, F features, D width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from brickwork.core.seeding import generator_for
from brickwork.core.shares import Explained, Property
from brickwork.core.types import Batch, LossOutput
from brickwork.data.types import Examples, TaskData
from brickwork.evaluation.explained import explain
from brickwork.representation.contract import complete
from brickwork.systems.feature_bias.config import (
    DEPTH,
    KIND,
    WIDTH,
    WIDTHS,
    Config,
    Data,
    check_bits,
    load_data,
)
from brickwork.systems.feature_bias.features import labels, places
from brickwork.systems.feature_bias.networks import Many, PrefixTransformer, ShowingMlp

__all__ = ["Config", "Data", "System", "load_data"]

LEARNT = 0.99
"""Accuracy of a feature from which on its share says how it is represented, and not whether it was learnt."""
_WATCHED_ROWS = 1024
_MAX_WATCHES = 64
_NOT_YET = -1.0  # an accuracy that is not measured
_LEAST_ROWS = 20  # to fit shares on


class Bank(nn.Module):
    """R networks that learn the same features, each from bits in an order of its own."""

    order: Tensor

    def __init__(self, features: Sequence[str], config: Config, bits: int, generator: torch.Generator):
        super().__init__()
        self.features = tuple(features)
        # On the CPU whatever the default device is: a system is restored without memory for weights.
        orders = [torch.randperm(bits, generator=generator, device="cpu") for _ in range(config.replicas)]
        self.register_buffer("order", torch.stack(orders).to(torch.get_default_device()))

        def make() -> nn.Module:
            if config.network == "mlp":
                return ShowingMlp(bits, config.widths or WIDTHS, len(self.features), config.dropout or 0.0)
            width, depth = config.width or WIDTH, config.depth or DEPTH
            return PrefixTransformer(bits, width, depth, len(self.features))

        self.networks = Many(make, config.replicas)

    def read(self, bits: Bool[Tensor, "batch bits"]) -> Bool[Tensor, "replicas batch bits"]:
        """The bits as each network gets them."""
        return bits[:, self.order].transpose(0, 1)

    def forward(
        self, own: Bool[Tensor, "replicas batch bits"]
    ) -> tuple[
        Float[Tensor, "replicas batch features"], Bool[Tensor, "replicas batch features"], list[Tensor]
    ]:
        """Logits, labels and hidden layers of bits that were :meth:`read`."""
        truth = labels(self.features, own)
        logits, hidden = self.networks(own.float(), truth.float())
        return logits, truth, hidden


@complete
class System(nn.Module):
    """The networks of the ``task`` and, with ``control``, as many whose two features are equal."""

    reads = (KIND,)
    watched: Tensor

    def __init__(self, config: Config, *, seed: int, bits: int):
        super().__init__()
        self.config, self.seed, self.bits = config, seed, bits
        check_bits(config, bits)
        generator = generator_for(seed, 0, "order of bits")
        banks = {"task": Bank(config.learnt, config, bits, generator)}
        if config.control:
            banks["control"] = Bank((config.learnt[-1],) * 2, config, bits, generator)
        self.banks = nn.ModuleDict(banks)
        # Step, then variance of each layer explained by each feature, then accuracy: of each replica, while training.
        shape = (
            _MAX_WATCHES if config.watch else 0,
            config.replicas,
            len(self.layers) + 1,
            len(config.learnt),
        )
        self.register_buffer("watched", torch.full(shape, _NOT_YET))

    @staticmethod
    def facts(config: Config, data: TaskData) -> dict[str, Any]:
        return {"bits": int(np.shape(data.train.columns["bits"])[1])}

    def collate(self, columns: Mapping[str, Any]) -> Batch:
        return {"bits": torch.from_numpy(np.ascontiguousarray(columns["bits"])).bool()}

    def loss(self, batch: Batch) -> LossOutput:
        """L = Σ_f mean(counts_f · cross-entropy(f)), summed over networks, which do not meet: each learns as if alone."""
        terms: dict[str, Tensor] = {}
        for name, bank in self.banks.items():
            own = bank.read(batch["bits"])  # type: ignore[operator]
            counts = self._counts(batch, own) if name == "task" else None
            if counts is not None and self.config.prevalence_of == "input":
                own = self._without(own, counts)
            logits, truth, _ = bank(own)
            each = F.binary_cross_entropy_with_logits(logits, truth.float(), reduction="none")
            if counts is not None:
                each = each * counts
            if name == "task" and batch.get("stage") == "first":
                each = each[..., self.config.first : self.config.first + 1]
            per_feature = each.mean(1).sum(0)
            terms |= {f"{name}/{place}": value for place, value in enumerate(per_feature)}
        return LossOutput.of(terms)

    def _counts(self, batch: Batch, own: Tensor) -> Bool[Tensor, "replicas inputs features"] | None:
        """Which features count for which input, drawn once for each input and step; ``None``: all of them."""
        if not self.config.prevalence or not self.training:
            return None
        shape = (*own.shape[:2], len(self.config.learnt))
        drawn = torch.rand(shape, generator=generator_for(self.seed, batch["step"], "prevalence"))
        return (drawn < torch.tensor(self.config.prevalence)).to(own.device)

    def _without(self, own: Tensor, counts: Tensor) -> Bool[Tensor, "replicas inputs bits"]:
        """The bits of features that do not count are 0."""
        own = own.clone()
        for place, part in enumerate(places(self.config.learnt, own.shape[-1])):
            own[..., part] &= counts[..., place : place + 1]
        return own

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Measures shares every ``watch`` steps, on inputs that are the same each time."""
        every = self.config.watch
        row = (step + 1) // every - 1 if every else 0
        if not every or (step + 1) % every or row >= len(self.watched):
            return
        shape = (_WATCHED_ROWS, self.bits)
        bits = torch.randint(0, 2, shape, generator=generator_for(0, 0, "watch"))
        bank, training = self.banks["task"], self.training
        self.eval()
        logits, truth, hidden = bank(bank.read(bits.bool().to(self.watched.device)))  # type: ignore[operator]
        self.train(training)
        right = ((logits > 0) == truth).float().mean(1)
        self.watched[row, :, -1] = right
        for layer, phi in enumerate(hidden):
            self.watched[row, :, layer] = explained_variance(phi, truth)

    @property
    def layers(self) -> list[str]:
        """Names of what is measured, first to last."""
        if self.config.network == "mlp":
            return [f"layer {number + 1}" for number in range(len(self.config.widths or WIDTHS))]
        return ["embedding", *(f"block {number + 1}" for number in range(self.config.depth or DEPTH))]

    @torch.no_grad()
    def responses(
        self, examples: Examples, bank: str = "task"
    ) -> tuple[
        Float[np.ndarray, "replicas rows features"],
        Bool[np.ndarray, "replicas rows features"],
        list[np.ndarray],
    ]:
        """Logits, labels and hidden layers (R, rows, D) of held-out inputs, in which every feature counts."""
        device = self.watched.device
        bits = torch.from_numpy(np.ascontiguousarray(examples.columns["bits"])).bool().to(device)
        own: Any = self.banks[bank]
        logits, truth, hidden = own(own.read(bits))
        return logits.cpu().numpy(), truth.cpu().numpy(), [phi.cpu().numpy() for phi in hidden]

    def shares(self, examples: Examples, bank: str = "task") -> list[list[Explained]]:
        """What each feature explains: for each layer, for each replica; features are called by their place."""
        _, truth, hidden = self.responses(examples, bank)
        return [
            [explain(phi, _properties(values), shuffles=1) for phi, values in zip(layer, truth)]
            for layer in hidden
        ]

    def accuracy(self, examples: Examples, bank: str = "task") -> Float[np.ndarray, "replicas features"]:
        logits, truth, _ = self.responses(examples, bank)
        accuracy: np.ndarray = ((logits > 0) == truth).mean(1)
        return accuracy

    def table(self, examples: Examples, bank: str = "task") -> Float[np.ndarray, "layers replicas features"]:
        """R² of each feature alone."""
        return np.array(
            [
                [[one.value for one in share.alone.values()] for share in layer]
                for layer in self.shares(examples, bank)
            ]
        )

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """Of each feature its accuracy and its share of each layer, means over replicas; and by how much two equal features
        differ."""
        scores: dict[str, float] = {}
        accuracy = self.accuracy(examples)
        if len(examples) < _LEAST_ROWS:
            return {
                f"accuracy_{name}": float(accuracy[:, place].mean()) for place, name in enumerate(self.names)
            }
        table = self.table(examples)
        for place, name in enumerate(self.names):
            scores[f"accuracy_{name}"] = float(accuracy[:, place].mean())
            for layer, own in zip(self.layers, table):
                scores[f"share_{name}_{layer.replace(' ', '_')}"] = float(own[:, place].mean())
        if self.config.control:
            apart = self.table(examples, "control")
            for layer, own in zip(self.layers, apart):
                scores[f"equal_apart_{layer.replace(' ', '_')}"] = float(np.abs(own[:, 0] - own[:, 1]).mean())
        return scores

    @property
    def names(self) -> list[str]:
        """The features, with their place where one comes more than once."""
        every = self.config.learnt
        return [f"{name}_{place + 1}" if every.count(name) > 1 else name for place, name in enumerate(every)]

    def analyse(self, examples: Examples) -> dict[str, dict[str, Any]]:
        """``shares``: a row for each bank, replica, layer and feature; ``watched``: variance while training."""
        rows: dict[str, list[Any]] = {
            name: []
            for name in ("networks", "replica", "layer", "feature", "accuracy", "alone", "added", "variance")
        }
        for bank in self.banks if len(examples) >= _LEAST_ROWS else ():
            accuracy = self.accuracy(examples, bank)
            names = self.names if bank == "task" else [f"{self.config.learnt[-1]}_{n}" for n in (1, 2)]
            for layer, several in zip(self.layers, self.shares(examples, bank)):
                for replica, share in enumerate(several):
                    for place, name in enumerate(names):
                        values = (
                            *(bank, replica, layer, name, float(accuracy[replica, place])),
                            *(share.alone[str(place)].value, share.added[str(place)].value, share.variance),
                        )
                        for column, value in zip(rows.values(), values):
                            column.append(value)
        return {"shares": rows, "watched": self._watched_rows()}

    def _watched_rows(self) -> dict[str, list[Any]]:
        rows: dict[str, list[Any]] = {
            name: [] for name in ("step", "layer", "feature", "variance", "accuracy")
        }
        for number, at in enumerate(self.watched.cpu().numpy()):
            if (at[:, -1] == _NOT_YET).any():
                break
            for layer, name in enumerate(self.layers):
                for place, feature in enumerate(self.names):
                    means = float(at[:, layer, place].mean()), float(at[:, -1, place].mean())
                    values = ((number + 1) * self.config.watch, name, feature, *means)
                    for column, value in zip(rows.values(), values):
                        column.append(value)
        return rows

    def draw(self, examples: Examples) -> list[Any]:
        """Shares by layer with two equal features beside, and how they came about."""
        from brickwork.systems.feature_bias.drawing import curves, layer_shares

        control = self.table(examples, "control") if self.config.control else None
        accuracy = self.accuracy(examples).mean(0)
        drawings = [layer_shares(self.layers, self.names, self.table(examples), control, accuracy)]
        if self._watched_rows()["step"]:
            drawings.append(curves(self._watched_rows(), self.layers, self.names))
        return drawings


def explained_variance(
    phi: Float[Tensor, "replicas batch dim"], truth: Bool[Tensor, "replicas batch features"]
) -> Float[Tensor, "replicas features"]:
    """Variance that each feature explains, not divided by any total: p(1 − p)·‖μ₁ − μ₀‖², the squared distance of its class
    means, less what it is on average for a shuffled feature: (total variance)/(B − 1)."""
    centred = phi - phi.mean(1, keepdim=True)
    f = truth.to(phi.dtype)
    f = f - f.mean(1, keepdim=True)
    spread = f.square().mean(1).clamp(min=1e-9)  # p(1 − p)
    own = torch.einsum("rbf,rbd->rfd", f, centred).square().sum(-1) / phi.shape[1] ** 2 / spread
    return own - centred.square().sum(-1).mean(1, keepdim=True) / (phi.shape[1] - 1)


def _properties(truth: Bool[np.ndarray, "rows features"]) -> list[Property]:
    return [
        Property(
            name=str(place),
            kind="truth value",
            columns=values[:, None].astype(np.float64),
            classes=values.astype(np.int64),
        )
        for place, values in enumerate(truth.T)
    ]
