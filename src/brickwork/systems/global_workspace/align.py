"""Domains that share a workspace: trained by translation, cycles and contrast, used to translate from one to another."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import DataError
from brickwork.core.seeding import generator_for
from brickwork.core.types import Batch, LossOutput, Trace
from brickwork.data.types import Examples, TaskData
from brickwork.modules.mlp import mlp
from brickwork.objectives.contrastive import LearnedTemperature
from brickwork.representation.contract import complete
from brickwork.representation.nearest import top_k
from brickwork.systems.global_workspace.config import LOSSES, AlignConfig, GlobalWorkspaceConfig
from brickwork.systems.global_workspace.domains import Layout, domain_array
from brickwork.systems.global_workspace.modules import (
    DomainWorkspace,
    QueryAttention,
    equal_weights,
    random_weights,
    single_weights,
)
from brickwork.systems.global_workspace.objective import (
    broadcast,
    contrastive,
    cycle,
    demi_cycle,
    mean_of,
    translation,
)


class Scaling(nn.Module):
    """Mean and standard deviation of each dimension of a domain over the training rows, kept with the weights."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def fit(self, values: Float[np.ndarray, "rows dim"]) -> None:
        """From the rows that are there; a dimension that never changes is only centred."""
        there = values[np.isfinite(values[:, 0])].astype(np.float64)
        spread = there.std(0)
        self.mean.copy_(torch.from_numpy(there.mean(0)))
        self.deviation.copy_(torch.from_numpy(np.where(spread > 1e-6, spread, 1.0)))

    def forward(self, values: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Standardised values."""
        return (values - self.mean) / self.deviation

    def back(self, values: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """The values in their own units."""
        return values * self.deviation + self.mean


@complete
class Alignment(nn.Module):
    """Encoders and decoders of domains around one vector, w = tanh(Σ α_i e_i(x_i)). ``widths``: dimensions of each domain.
    ``layout``: its columns in the user's file.
    """

    input_kind = "columns"

    def __init__(
        self,
        task: AlignConfig,
        *,
        seed: int,
        widths: Mapping[str, int],
        layout: Layout,
    ):
        super().__init__()
        self.config = GlobalWorkspaceConfig(task=task)
        self.facts = {"widths": dict(widths), "layout": {name: list(parts) for name, parts in layout.items()}}
        self.widths, self.layout = dict(widths), dict(layout)
        self.weights = {name: weight for name in LOSSES if (weight := getattr(task, name))}
        self.fusion_weights = task.fusion_weights
        self.seed = seed
        dim, hidden, depth = task.workspace_dim, task.hidden, task.num_hidden
        encoders = {d: mlp([n, *[hidden] * depth, dim]) for d, n in widths.items()}
        decoders = {d: mlp([dim, *[hidden] * depth, n]) for d, n in widths.items()}
        self.space = DomainWorkspace(encoders, decoders)
        self.attention = QueryAttention(list(widths), dim) if task.fusion_weights == "attention" else None
        self.scalings = nn.ModuleList(Scaling(n) for n in widths.values())
        self.temperature = LearnedTemperature(task.temperature) if "contrastive" in self.weights else None

    @staticmethod
    def build(task: AlignConfig, data: TaskData, seed: int) -> "Alignment":
        """The untrained system for ``data``, with the scalings of its training part.

        Raises:
            DataError: the data has no domains.
        """
        if data.kind != "domains":
            raise DataError(
                f"task.kind=align needs vectors of two or more domains; {data.name} holds {data.kind}: use --recipe "
                "addition or digits"
            )
        widths = {name: int(np.asarray(values).shape[1]) for name, values in data.train.columns.items()}
        layout = {name: list((data.details or {}).get(name, ())) for name in widths}
        system = Alignment(task, seed=seed, widths=widths, layout=layout)
        for scaling, name in zip(system.scalings, widths):
            scaling.fit(np.asarray(data.train.columns[name]))  # type: ignore[operator]
        return system

    def collate(self, columns: Mapping[str, Any]) -> Batch:
        """For each domain that is given ``x/NAME`` (B, D), zeros where a row lacks it, and ``there/NAME`` (B,) bool."""
        batch: Batch = {}
        for name, width in self.widths.items():
            values = domain_array(columns, name, self.layout.get(name, []))
            if values is None:
                continue
            if values.shape[1] != width:
                raise DataError(
                    f"the domain '{name}' has {values.shape[1]} dimensions; this model was made for {width}"
                )
            there = np.isfinite(values[:, 0])
            batch[f"x/{name}"] = torch.from_numpy(np.where(there[:, None], values, 0).astype(np.float32))
            batch[f"there/{name}"] = torch.from_numpy(there)
        if not batch:
            raise DataError(
                f"none of the domains of this model is among the columns; it knows {', '.join(self.widths)}"
            )
        return batch

    def _latents(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Standardised values and presence by domain; what is missing is 0, the mean."""
        there = {name: batch[f"there/{name}"] for name in self.widths if f"x/{name}" in batch}
        scaled = dict(zip(self.widths, self.scalings))
        return {n: torch.where(t[:, None], scaled[n](batch[f"x/{n}"]), 0.0) for n, t in there.items()}, there

    def loss(self, batch: Batch) -> LossOutput:
        """Each loss is the mean of its members; the total is their weighted sum."""
        x, there = self._latents(batch)

        def shares(present: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            drawn = {"random": random_weights, "single": single_weights}.get(self.fusion_weights)
            if drawn is None or not self.training:
                return self._shares({n: x[n] for n in present}, present)
            return drawn(present, generator_for(self.seed, batch["step"], "+".join(present)))

        makers = {
            "translation": lambda: translation(self.space, x, there),
            "cycle": lambda: cycle(self.space, x, there),
            "demi_cycle": lambda: demi_cycle(self.space, x, there),
            "contrastive": lambda: contrastive(self.space, x, there, temperature=self.temperature()),  # type: ignore[misc]
            "broadcast": lambda: broadcast(self.space, x, there, weights=shares),
        }
        terms = {name: mean_of(makers[name]()) for name in self.weights}
        return LossOutput.of(terms, self.weights)

    def _shares(self, x: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """α as it is in use: that of attention, or equal."""
        if self.attention is None:
            return equal_weights(present)
        return self.attention(self.space.encode(x), present)

    # ---- use ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def workspace(self, columns: Mapping[str, Any]) -> Float[np.ndarray, "rows dim"]:
        """The workspace of the domains that each row has, with equal shares or those of attention."""
        x, there = self._latents(self._batch(columns))
        return self.space.fuse(self.space.encode(x), self._shares(x, there)).cpu().numpy()

    def _batch(self, columns: Mapping[str, Any]) -> Batch:
        device = next(self.parameters()).device
        return {name: values.to(device) for name, values in self.collate(columns).items()}

    @torch.no_grad()
    def predict(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Each domain, translated from the *other* domains of a row, (N, D) in its own units; NaN where a row has no other.

        Give the columns of one domain to have it translated into all others.
        """
        x, there = self._latents(self._batch(columns))
        z = self.space.encode(x)
        translated = {}
        for name, scaling in zip(self.widths, self.scalings):
            others = {other: t for other, t in there.items() if other != name}
            if not others:
                continue
            shares = self._shares({o: x[o] for o in others}, others)
            w = self.space.fuse({o: z[o] for o in others}, shares)
            values = scaling.back(self.space.decode(w, [name])[name])  # type: ignore[operator]
            some = torch.stack(list(others.values())).any(0)
            translated[name] = torch.where(some[:, None], values, torch.nan).cpu().numpy()
        return translated

    @torch.no_grad()
    def evaluate(self, examples: Examples) -> dict[str, float]:
        """On the pairs of each two domains: R² of the translation (1: perfect, 0: no better than the mean), and how often
        the encoding of a row is nearest to its own in the other domain.
        """
        x, there = self._latents(self._batch(examples.columns))
        z = self.space.encode(x)
        scores: dict[str, float] = {}
        for i in x:
            for j in x:
                rows = there[i] & there[j]
                if i == j or int(rows.sum()) < 2:
                    continue
                translated = self.space.translate({i: x[i][rows]}, j)
                left, right = (z[d][rows].cpu().numpy() for d in (i, j))
                nearest = top_k(_unit(left), _unit(right), 1)[1][:, 0]
                scores[f"R²: {i} to {j}"] = r_squared(translated, x[j][rows])
                scores[f"recall@1: {i} to {j}"] = float((nearest == np.arange(len(left))).mean())
        if scores:
            own = [value for name, value in scores.items() if name.startswith("R²")]
            scores = {"R²: mean": float(np.mean(own)), **scores}
        return scores

    @torch.no_grad()
    def trace(self, examples: Examples) -> list[Trace]:
        """How much of the fused vector comes from each domain: |e_i(x_i)| of those that a row has, as shares."""
        x, there = self._latents(self._batch(examples.columns))
        size = torch.stack([values.norm(dim=1) * there[n] for n, values in self.space.encode(x).items()], 1)
        shares = (size / size.sum(1, keepdim=True).clamp(min=1e-9)).cpu().numpy()
        return [Trace(name="domains in the workspace", modules=tuple(x), usage=shares)]


def r_squared(predicted: Float[Tensor, "batch dim"], truth: Float[Tensor, "batch dim"]) -> float:
    """1 − Σ(truth − predicted)² / Σ(truth − mean of truth)², over all dimensions together."""
    residual = (truth - predicted).square().sum()
    return float(1 - residual / (truth - truth.mean(0)).square().sum().clamp(min=1e-12))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
